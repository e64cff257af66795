// A reduction's index space as every backend needs it: axes of size 1 dropped, neighbouring axes of one kind (kept,
// reduced) merged, the innermost apart. The order of summation over it is in canonical_order.h.
#ifndef WEIR_OPS_REDUCE_GEOMETRY_H_
#define WEIR_OPS_REDUCE_GEOMETRY_H_

#include <cstdint>
#include <vector>

#include "weir/core/attrs.h"
#include "weir/core/shape.h"

namespace weir {

struct ReduceAxis {
  int64_t size = 0, stride = 0;  // of the input, in elements
};

struct ReduceGeometry {
  std::vector<ReduceAxis> kept, reduced;  // outermost first, without the innermost axis, whose size is `inner`
  bool row_mode = false;                  // the innermost axis is reduced; else it is kept
  int64_t inner = 1;
  int64_t kept_count = 1, reduced_count = 1;  // index tuples of `kept`, of `reduced`
};

// `axes` ascending, each once.
ReduceGeometry ReduceGeometryOf(const Shape& input, const Dims& axes);

}  // namespace weir

#endif  // WEIR_OPS_REDUCE_GEOMETRY_H_
