#include "weir/ops/box_copy.h"

#include <algorithm>

#include "weir/ops/attrs.h"

namespace weir {
namespace {

void MergeNeighbours(std::vector<CopyAxis>& axes) {
  std::vector<CopyAxis> merged;
  for (const CopyAxis& axis : axes) {
    if (axis.size == 1) continue;
    if (!merged.empty() && merged.back().src == axis.src * axis.size && merged.back().dst == axis.dst * axis.size) {
      merged.back() = {merged.back().size * axis.size, axis.src, axis.dst};
    } else {
      merged.push_back(axis);
    }
  }
  if (merged.empty()) merged.push_back({1, 1, 1});
  axes = std::move(merged);
}

class Boxes {
 public:
  Boxes(const AttrMap& attrs, std::span<const Shape> inputs, const Shape& output)
      : attrs_(attrs), inputs_(inputs), output_(output), out_(output.Strides()) {}

  void Transpose() {
    const Dims strides = inputs_[0].Strides();
    const Dims& permutation = attrs_.Ints(kPermutation);
    BoxCopy copy;
    for (size_t i = 0; i < permutation.size(); ++i) {
      copy.axes.push_back({OutDim(i), strides[static_cast<size_t>(permutation[i])], out_[i]});
    }
    Add(std::move(copy));
  }
  void Slice() {
    const Dims strides = inputs_[0].Strides();
    const Dims &begin = attrs_.Ints(kBegin), &steps = attrs_.Ints(kSteps);
    BoxCopy copy;
    for (size_t i = 0; i < strides.size(); ++i) {
      copy.src_offset += begin[i] * strides[i];
      // A step that is never taken may be as large as it likes.
      copy.axes.push_back({OutDim(i), OutDim(i) > 1 ? strides[i] * steps[i] : strides[i], out_[i]});
    }
    Add(std::move(copy));
  }
  void Pad() {
    const Dims strides = inputs_[0].Strides();
    const Dims &before = attrs_.Ints(kBefore), &interior = attrs_.Ints(kInterior);
    BoxCopy copy;
    for (size_t i = 0; i < strides.size(); ++i) {
      copy.dst_offset += before[i] * out_[i];
      const int64_t count = inputs_[0].dim(static_cast<int>(i));
      copy.axes.push_back({count, strides[i], count > 1 ? out_[i] * (interior[i] + 1) : out_[i]});
    }
    Add(std::move(copy));
  }
  void Concatenate() {
    const size_t axis = static_cast<size_t>(attrs_.Int(kAxis));
    int64_t offset = 0;
    for (size_t operand = 0; operand < inputs_.size(); ++operand) {
      const Shape& shape = inputs_[operand];
      const Dims strides = shape.Strides();
      BoxCopy copy{.operand = static_cast<int>(operand), .src_offset = 0, .dst_offset = offset, .axes = {}};
      for (size_t i = 0; i < strides.size(); ++i) {
        copy.axes.push_back({shape.dim(static_cast<int>(i)), strides[i], out_[i]});
      }
      offset += shape.dim(static_cast<int>(axis)) * out_[axis];
      Add(std::move(copy));
    }
  }
  void Reverse() {
    const Dims& axes = attrs_.Ints(kAxes);
    BoxCopy copy;
    for (size_t i = 0; i < out_.size(); ++i) {
      const bool reversed = std::find(axes.begin(), axes.end(), static_cast<int64_t>(i)) != axes.end();
      if (reversed) copy.src_offset += (OutDim(i) - 1) * out_[i];
      copy.axes.push_back({OutDim(i), reversed ? -out_[i] : out_[i], out_[i]});
    }
    Add(std::move(copy));
  }

  std::vector<BoxCopy> Take() { return std::move(copies_); }

 private:
  int64_t OutDim(size_t i) const { return output_.dim(static_cast<int>(i)); }
  void Add(BoxCopy copy) {
    for (const CopyAxis& axis : copy.axes) {
      if (axis.size == 0) return;
    }
    MergeNeighbours(copy.axes);
    copies_.push_back(std::move(copy));
  }

  const AttrMap& attrs_;
  const std::span<const Shape> inputs_;
  const Shape& output_;
  const Dims out_;
  std::vector<BoxCopy> copies_;
};

}  // namespace

std::optional<std::vector<BoxCopy>> BoxCopiesOf(std::string_view op, const AttrMap& attrs,
                                                std::span<const Shape> inputs, const Shape& output) {
  Boxes boxes(attrs, inputs, output);
  if (op == "transpose") {
    boxes.Transpose();
  } else if (op == "slice") {
    boxes.Slice();
  } else if (op == "pad") {
    boxes.Pad();
  } else if (op == "concatenate") {
    boxes.Concatenate();
  } else if (op == "reverse") {
    boxes.Reverse();
  } else {
    return std::nullopt;
  }
  return boxes.Take();
}

void CutAxis(BoxCopy& copy, size_t index, int64_t piece) {
  const CopyAxis axis = copy.axes[index];
  if (axis.size <= piece) return;
  int64_t size = piece;
  while (axis.size % size != 0) --size;
  if (size < piece / 4) return;
  copy.axes[index].size = size;
  copy.axes.insert(copy.axes.begin(), {axis.size / size, axis.src * size, axis.dst * size});
}

bool ArrangeTransposition(BoxCopy& copy, int64_t least) {
  if (copy.axes.size() < 2 || copy.axes.back().dst != 1 || copy.axes.back().src == 1) return false;
  for (size_t i = 0; i + 1 < copy.axes.size(); ++i) {
    if (copy.axes[i].src != 1 || copy.axes[i].size < least || copy.axes.back().size < least) continue;
    const CopyAxis columns = copy.axes[i];
    copy.axes.erase(copy.axes.begin() + static_cast<std::ptrdiff_t>(i));
    copy.axes.insert(copy.axes.end() - 1, columns);
    return true;
  }
  return false;
}

}  // namespace weir
