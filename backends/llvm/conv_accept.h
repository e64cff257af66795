// What LowerConv takes: the problem of a node, and whether a prologue or a tail may be part of its cluster. The plan of
// a problem decides, which LowerConv makes again from the same shapes.
#ifndef WEIR_BACKENDS_LLVM_CONV_ACCEPT_H_
#define WEIR_BACKENDS_LLVM_CONV_ACCEPT_H_

#include <optional>

#include "weir/backends/llvm/conv_ir.h"
#include "weir/backends/llvm/lowering.h"

namespace weir::jit {

// The conv or conv_input_gradient `node`, with the pool `tail` behind it or none.
ConvProblem ConvProblemOf(const Graph& graph, const Node& node, const Node* tail);
// Why it can't be lowered; nullopt if it can.
std::optional<Decline> ConvDecline(const Graph& graph, const Node& node);

}  // namespace weir::jit

#endif  // WEIR_BACKENDS_LLVM_CONV_ACCEPT_H_
