#include "weir/ops/reduce_geometry.h"

#include <algorithm>

namespace weir {
namespace {

int64_t CountOf(const std::vector<ReduceAxis>& axes) {
  int64_t count = 1;
  for (const ReduceAxis& axis : axes) count *= axis.size;
  return count;
}

}  // namespace

ReduceGeometry ReduceGeometryOf(const Shape& input, const Dims& axes) {
  ReduceGeometry g;
  const Dims strides = input.Strides();
  bool previous_reduced = false, any = false;
  for (int i = 0; i < input.rank(); ++i) {
    if (input.dim(i) == 1) continue;
    const bool is_reduced = std::binary_search(axes.begin(), axes.end(), i);
    std::vector<ReduceAxis>& list = is_reduced ? g.reduced : g.kept;
    if (any && previous_reduced == is_reduced) {
      list.back().size *= input.dim(i);
      list.back().stride = strides[static_cast<size_t>(i)];
    } else {
      list.push_back({input.dim(i), strides[static_cast<size_t>(i)]});
    }
    previous_reduced = is_reduced;
    any = true;
  }
  g.row_mode = any && previous_reduced;
  std::vector<ReduceAxis>& innermost = g.row_mode ? g.reduced : g.kept;
  if (!innermost.empty()) {
    g.inner = innermost.back().size;
    innermost.pop_back();
  }
  g.kept_count = CountOf(g.kept);
  g.reduced_count = CountOf(g.reduced);
  return g;
}

}  // namespace weir
