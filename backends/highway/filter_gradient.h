// The filter gradient as kernels see it: dw[tap, c, o] = sum over positions of x dy, a matrix of rows (tap, c) and
// columns o. Rows lie contiguously in x along the innermost axis; terms are positions. What is copied, how terms run
// and how rows are cut into register tiles is decided here; which task does what is lower_conv_filter.cc's.
#ifndef WEIR_BACKENDS_HIGHWAY_FILTER_GRADIENT_H_
#define WEIR_BACKENDS_HIGHWAY_FILTER_GRADIENT_H_

#include <cstdint>
#include <vector>

#include "weir/backends/highway/lowering.h"
#include "weir/ops/conv_geometry.h"

namespace weir::highway {

// Rows [row, row + rows) of dw, of which row i reads x at `u` + i.
struct Segment {
  int64_t row = 0, rows = 0, u = 0;
};

struct FilterGradient {
  ConvGeometry geometry;
  bool depthwise = false;
  int64_t multiplier = 1;
  int64_t chunk_images = 1, chunks = 0;
  int64_t rows = 0, columns = 0;  // dw as a matrix
  std::vector<Segment> segments;  // at most a register tile of rows each
  // Operands as kernels see them: copies or themselves.
  bool copy_x = false, copy_dy = false;
  int64_t low[3] = {}, size[3] = {}, strides[3] = {};  // of x's box
  int64_t x_image = 0, dy_image = 0, dy_pitch = 0;     // floats
  // With several panels dy is laid out panel after panel; with many, each register tile's rows of x are brought
  // together once for all panels.
  bool packed = false, pack_rows = false;
  int64_t panel_width = 0;
  std::vector<TermRun> runs;  // of a chunk's images, rows of positions
  int64_t image_runs = 0;
  int64_t band = 0;                          // runs
  std::vector<int64_t> row_u, row_v, tap_u;  // depthwise
  const KernelTable* kernels = nullptr;
  int x_input = 0, dy_input = 0;

  int64_t ImagesOf(int64_t chunk) const { return std::min(chunk_images, geometry.batch - chunk * chunk_images); }
  int64_t x_floats() const { return geometry.in_positions() * geometry.in_channels; }

  const float* X(const KernelCall& call, int64_t image) const { return FloatInput(call, x_input) + image * x_floats(); }
  const float* Dy(const KernelCall& call, int64_t image) const;
  void CopyX(const KernelCall& call, int64_t image, float* dst) const;
  // One image's dy into the copy of its chunk. Packed: a panel has all positions of the chunk's images.
  void CopyDy(const KernelCall& call, int64_t image, float* chunk) const;

  // Rows of segments [begin, end) for one chunk, from the chunk's operands; dst is row segments[begin].row. pack:
  // scratch of pack_floats().
  void Multiply(const float* x, const float* dy, int64_t images, size_t begin, size_t end, int64_t band_runs,
                Accumulate accumulate, float* dst, float* pack) const;
  int64_t pack_floats() const;

  void MultiplyPacked(const float* x, const float* dy, int64_t images, size_t begin, size_t end, Accumulate accumulate,
                      float* dst, float* pack) const;

  // Bands of positions that stay in the first-level cache while all rows pass over them.
  void MultiplyInPlace(const float* x, const float* dy, int64_t images, size_t begin, size_t end, int64_t band_runs,
                       Accumulate accumulate, float* dst) const;
  void MultiplyDepthwise(const float* x, const float* dy, int64_t images, float* dst) const;
};

FilterGradient DescribeFilterGradient(const LowerContext& context);

}  // namespace weir::highway

#endif  // WEIR_BACKENDS_HIGHWAY_FILTER_GRADIENT_H_
