// What transpose, slice, pad, concatenate and reverse move, as copies of strided boxes: one place for what their
// attributes mean, read by the backends' lowerings.
#ifndef WEIR_OPS_BOX_COPY_H_
#define WEIR_OPS_BOX_COPY_H_

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "weir/core/attrs.h"
#include "weir/core/shape.h"

namespace weir {

struct CopyAxis {
  int64_t size = 0, src = 0, dst = 0;  // strides in elements
};

// dst[dst_offset + i . dst] = src[src_offset + i . src] over the index tuples i of axes, outermost first.
struct BoxCopy {
  int operand = 0;  // of the node
  int64_t src_offset = 0, dst_offset = 0;
  std::vector<CopyAxis> axes;  // at least one; none empty, neighbours that are contiguous on both sides merged
};

// The copies that make up a node's output (a pad's value fills what they leave out), or nullopt for other ops.
std::optional<std::vector<BoxCopy>> BoxCopiesOf(std::string_view op, const AttrMap& attrs,
                                                std::span<const Shape> inputs, const Shape& output);

// Splits an axis into pieces of equal size, the largest divisor of its size that is at most `piece`, unless that is far
// smaller; the pieces become the outermost axis.
void CutAxis(BoxCopy& copy, size_t axis, int64_t piece);

// The box turned so that its last two axes are a transposition: the one contiguous in src, then the one contiguous in
// dst. False, and unchanged, if it has no such axes of at least `least` elements.
bool ArrangeTransposition(BoxCopy& copy, int64_t least);

}  // namespace weir

#endif  // WEIR_OPS_BOX_COPY_H_
