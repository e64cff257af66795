// The source of a convolution as its kernels read it: padding becomes zeros in a copy, which may compute the cluster's
// prologue on its way.
#ifndef WEIR_BACKENDS_LLVM_CONV_SOURCE_H_
#define WEIR_BACKENDS_LLVM_CONV_SOURCE_H_

#include <cstdint>

#include "weir/backends/llvm/cluster_ir.h"
#include "weir/backends/llvm/conv_ir.h"
#include "weir/backends/llvm/conv_plan.h"

namespace weir::jit {

// The source as kernels read it: the operand itself, or a copy in scratch of the box that a task needs, with zeros
// where it leaves the image, so that padding is read like anything else.
class ConvSource {
 public:
  // `slab_axis` is cut into tasks of `slab` outputs of each phase (all of them if it isn't cut); copies are of
  // `images` images at a time.
  ConvSource(const ConvProblem& problem, int slab_axis, int64_t slab, int64_t images);

  bool copied() const { return copied_; }
  int64_t scratch_floats() const { return copied_ ? images_ * image_floats_ + kSlack : 0; }
  int64_t stride(int axis) const { return strides_[axis]; }
  int64_t image_floats() const { return image_floats_; }
  // Floats between the parts of a pixel of a deinterleaved copy; see ConvProblem::multiplier.
  int64_t part_floats() const { return strides_[2] / parts_; }
  // Element of source coordinate 0 of axis `axis`, relative to the box's first.
  int64_t origin(int axis) const { return copied_ ? -low_[axis] * strides_[axis] : 0; }
  // Whether the box may be copied slab by slab of its slab axis, just before it is needed.
  bool by_slabs() const {
    return copied_ && images_ == 1 && problem_.classes() == 1 && (slab_axis_ == 0 || (slab_axis_ == 1 && box_[0] == 1));
  }
  int64_t slabs() const { return box_[slab_axis_]; }
  // Slabs of the box that outputs below `count` of the task read.
  Val SlabsFor(KernelBuilder& b, Val count) const;

  // Whether every element of the source is in some copy, and is so in one task only but for the halos of `blocks` tasks
  // that share an image, which are small; then a prologue may compute the source as it is copied.
  bool TakesPrologue(int64_t blocks) const;
  // Copies begin at multiples of so many elements of the source.
  int64_t granularity() const { return granularity_; }

  // One image's copy, at slot `slot`; its outputs begin with `first` on the slab axis. The first `own` slabs are no
  // other task's: what of a prologue is wanted in memory is stored with them.
  struct Box {
    Val image = kNoVal, first = kNoVal, slot = kNoVal, own = kNoVal;
  };
  // Copies slabs [begin, end) of a box.
  void Copy(KernelBuilder& b, AnchorOperand& src, int dst, const Box& box, Val begin, Val end) const;

 private:
  // Cells in a row, and where they go.
  struct Run {
    Val from, to, count;
    bool again;  // they are another task's
  };
  static constexpr int64_t kSlack = 16;  // whole vectors are written to the end of a row

  void CopyRow(KernelBuilder& b, AnchorOperand& src, int dst, const Box& box, const Val* x,
               const Val* coordinate) const;
  void CopyCells(KernelBuilder& b, AnchorOperand& src, int dst, const Run& cells) const;
  void CopyFloats(KernelBuilder& b, AnchorOperand& src, int dst, const Run& floats, bool in_row) const;

  const ConvProblem& problem_;
  const int slab_axis_;
  const int64_t slab_;  // outputs of a task along it, of each phase, at most
  const int64_t images_;
  const bool cut_;
  bool copied_ = false;
  int64_t parts_ = 1;
  int64_t low_[3] = {}, box_[3] = {}, strides_[3] = {};
  int64_t image_floats_ = 0;
  int64_t granularity_ = 1;
};

// The copies of a plan's tasks: of what a unit of images needs, or a task's part of an image.
ConvSource SourceOf(const ConvProblem& problem, const ConvPlan& plan);

}  // namespace weir::jit

#endif  // WEIR_BACKENDS_LLVM_CONV_SOURCE_H_
