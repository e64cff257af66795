// A pool behind a convolution's epilogue, the cluster's tail: done for what a unit has just computed, while that is in
// the first-level cache.
#ifndef WEIR_BACKENDS_LLVM_CONV_TAIL_H_
#define WEIR_BACKENDS_LLVM_CONV_TAIL_H_

#include <cstdint>
#include <optional>

#include "weir/backends/llvm/conv_ir.h"
#include "weir/backends/llvm/lowering.h"

namespace weir::jit {

class ConvTail {
 public:
  struct Range {
    Val begin = kNoVal, end = kNoVal;
  };

  // For a cluster with a tail, whose convolution is done in units of outputs along `unit_level`: whole windows each.
  ConvTail(KernelBuilder& builder, const Cluster& cluster, const ConvProblem& problem, int unit_level);

  // What is pooled.
  Ref operand() const { return operand_; }
  // Whether that is no output of the cluster, so that a unit's has to be kept in scratch.
  bool kept() const { return output_ < 0; }

  // Pools the outputs `range` of the unit level, of `image` if that is an axis, and of channels `channels`. Their first
  // is element `begin` of the output, and the first of `scratch` if the operand is kept there.
  void Pool(Val image, Range range, Range channels, int scratch, Val begin);

 private:
  void Level(int level, Range range, Val src, Val dst);
  void Window(Val src, Val dst);
  // Floats of the tail's output from one window to the next.
  int64_t Step(int level) const;

  KernelBuilder& b_;
  const ConvProblem& p_;
  const int unit_level_;
  const Ref operand_;
  const int output_;  // position of the operand among the cluster's outputs, or -1
  const bool max_;
  int src_ = -1;
  int dst_ = -1, index_ = -1;  // of the pool's outputs, if they are wanted
  Elem index_elem_ = Elem::kU8;
  Range channels_;
};

}  // namespace weir::jit

#endif  // WEIR_BACKENDS_LLVM_CONV_TAIL_H_
