// The source of a convolution as its kernels read it: padding becomes zeros in a copy.
#ifndef WEIR_BACKENDS_LLVM_CONV_SOURCE_H_
#define WEIR_BACKENDS_LLVM_CONV_SOURCE_H_

#include <cstdint>

#include "weir/backends/llvm/conv_ir.h"

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

  // Copies slabs [begin, end) of one image's box, whose outputs begin with `first` on the slab axis, to slot `slot`.
  void Copy(KernelBuilder& b, int src, int dst, Val image, Val first, Val slot, Val begin, Val end) const;

 private:
  static constexpr int64_t kSlack = 16;  // whole vectors are written to the end of a row

  void CopyRow(KernelBuilder& b, int src, int dst, const Val* coordinate, Val image, Val row) const;
  void CopyCells(KernelBuilder& b, int src, int dst, Val from, Val to, Val cells) const;

  const ConvProblem& problem_;
  const int slab_axis_;
  const int64_t images_;
  const bool cut_;
  bool copied_ = false;
  int64_t parts_ = 1;
  int64_t low_[3] = {}, box_[3] = {}, strides_[3] = {};
  int64_t image_floats_ = 0;
};

}  // namespace weir::jit

#endif  // WEIR_BACKENDS_LLVM_CONV_SOURCE_H_
