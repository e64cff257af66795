// The filter's side of Winograd's convolution: its transform, by a stage of its own.
#ifndef WEIR_BACKENDS_LLVM_WINOGRAD_FILTER_H_
#define WEIR_BACKENDS_LLVM_WINOGRAD_FILTER_H_

#include <string>

#include "weir/backends/llvm/winograd_plan.h"

namespace weir::jit {

// The plan's filter, transformed and packed [panel][element][source channel][panel's output channels] at the begin of
// the workspace, from cluster input `filter`.
Stage TransformFilterStage(const WinogradPlan& plan, int filter, std::string name);

}  // namespace weir::jit

#endif  // WEIR_BACKENDS_LLVM_WINOGRAD_FILTER_H_
