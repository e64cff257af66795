// The outputs' side of units of tiles of Winograd's convolution: a row of elements' products, transformed along the second
// axis as soon as they are known, then along the first, to the epilogue and the pool behind it.
#ifndef WEIR_BACKENDS_LLVM_WINOGRAD_OUTPUT_H_
#define WEIR_BACKENDS_LLVM_WINOGRAD_OUTPUT_H_

#include <cstdint>
#include <optional>

#include "weir/backends/llvm/conv_tail.h"
#include "weir/backends/llvm/lowering.h"
#include "weir/backends/llvm/winograd_plan.h"

namespace weir::jit {

class WinogradOutput {
 public:
  using Range = ConvTail::Range;

  // Takes its part of the kernel's scratch.
  WinogradOutput(KernelBuilder& builder, const Cluster& cluster, const WinogradPlan& plan, ScratchSpace& scratch);

  // Panels of output channels of the task.
  void SetPanels(Range panels) { panels_ = panels; }
  // Where a row of elements' products wait, one after the other of its six elements.
  int products() const { return products_; }
  // Of row `i` of elements, the products of `tiles` tiles: to their place of the row in scratch, from `to` on.
  void Transform(Val i, Val to, Val tiles) const;

  // The outputs of a unit whose rows of elements are all transformed: images, or rows of tiles of an image.
  void Images(Range images);
  void Rows(Val image, Range rows);

 private:
  void Begin(Val flat);
  void StoreRow(Val tile, Val tile_row, Val flat);
  void StoreRows(Val tile, int64_t height, Val flat);
  void Store(Val from, Val pixel, Val column, int64_t height);
  void Finish(Val end);
  Range Channels() const;
  Val Minus(Val a, Val c) const { return b_.Add(a, b_.Mul(c, -1)); }

  KernelBuilder& b_;
  const WinogradPlan& plan_;
  const ConvProblem& p_;
  const bool short_epilogue_;
  ClusterIr epilogue_;
  std::optional<ConvTail> tail_;
  int products_ = -1, outputs_ = -1, sums_ = -1;
  Range panels_;
  Val unit_begin_ = kNoVal;  // in the output
};

}  // namespace weir::jit

#endif  // WEIR_BACKENDS_LLVM_WINOGRAD_OUTPUT_H_
