#include "weir/backends/highway/filter_gradient.h"

#include <algorithm>

#include "weir/backends/highway/conv_box.h"
#include "weir/ops/canonical_order.h"

namespace weir::highway {
namespace {

constexpr int64_t kPackedPanels = 3;       // from so many panels of output channels on, dy is packed,
constexpr int64_t kPackedRowPanels = 8;    // and from so many on x as well, tile by tile
constexpr int64_t kBandFloats = 8 * 1024;  // of x and dy that all rows pass over while they are in the first cache

void DescribeOperands(FilterGradient& p) {
  const ConvGeometry& g = p.geometry;
  const int64_t lanes = p.kernels->lanes;
  int64_t pitch = g.in_channels, size[3];
  p.dy_pitch = g.out_channels;
  if (p.depthwise) {
    pitch = p.dy_pitch = RoundUp(g.out_channels, lanes);
    p.copy_dy = p.dy_pitch != g.out_channels;
  } else {
    const int64_t panel = p.kernels->product.panel_vectors * lanes;
    p.packed = g.groups == 1 && CeilDiv(g.out_channels, panel) >= kPackedPanels;
    p.panel_width = panel;
    p.pack_rows = p.packed && CeilDiv(g.out_channels, panel) >= kPackedRowPanels;
    if (p.packed) p.dy_pitch = RoundUp(g.out_channels, panel);
    // Whole vectors are read: beyond the last row of dy there must be something to read.
    p.copy_dy = p.packed || g.group_out() % lanes != 0;
  }
  p.copy_x = pitch != g.in_channels;
  for (int a = 0; a < 3; ++a) {
    const SpatialAxis& axis = g.axis[a];
    p.low[a] = -axis.pad_before;
    p.size[a] = (axis.output - 1) * axis.stride + (axis.window - 1) * axis.dilation + 1;
    p.copy_x |= p.low[a] != 0 || p.low[a] + p.size[a] > axis.input;
    size[a] = axis.input;
  }
  if (p.copy_x) {
    std::copy_n(p.size, 3, size);
  } else {
    std::fill_n(p.low, 3, 0);
  }
  p.strides[2] = pitch;
  p.strides[1] = size[2] * p.strides[2];
  p.strides[0] = size[1] * p.strides[1];
  p.x_image = size[0] * p.strides[0];
  p.dy_image = g.out_positions() * p.dy_pitch;
}

void DescribeTerms(FilterGradient& p) {
  const ConvGeometry& g = p.geometry;
  const int64_t u_step = g.axis[2].stride * p.strides[2];
  for (int64_t image = 0; image < p.chunk_images; ++image) {
    for (int64_t a = 0; a < g.axis[0].output; ++a) {
      for (int64_t b = 0; b < g.axis[1].output; ++b) {
        const int64_t u = a * g.axis[0].stride * p.strides[0] + b * g.axis[1].stride * p.strides[1];
        const int64_t position = (a * g.axis[1].output + b) * g.axis[2].output;
        const int64_t v_step = p.packed ? p.panel_width : p.dy_pitch, v = position * v_step;
        const TermRun run{image * p.x_image + u, image * g.out_positions() * v_step + v, g.axis[2].output};
        if (image == 0) {
          p.row_u.push_back(u);
          p.row_v.push_back(v);
        }
        // Rows without padding between them go on where the last one ended.
        const bool joins = a + b > 0 && p.runs.back().u + p.runs.back().length * u_step == run.u;
        if (joins) {
          p.runs.back().length += run.length;
        } else {
          p.runs.push_back(run);
        }
      }
    }
    if (image == 0) p.image_runs = static_cast<int64_t>(p.runs.size());
  }
}

void DescribeRows(FilterGradient& p) {
  const ConvGeometry& g = p.geometry;
  const int64_t tile = p.kernels->product.row_tile;
  const bool whole_rows = g.groups == 1 && (g.axis[2].dilation == 1 || g.axis[2].window == 1);
  const int64_t inner_taps = whole_rows ? 1 : g.axis[2].window;
  const int64_t inner_rows = (whole_rows ? g.axis[2].window : 1) * g.group_in();
  int64_t row = 0;
  for (int64_t a = 0; a < g.axis[0].window; ++a) {
    for (int64_t b = 0; b < g.axis[1].window; ++b) {
      for (int64_t c = 0; c < inner_taps; ++c) {
        const int64_t u = a * g.axis[0].dilation * p.strides[0] + b * g.axis[1].dilation * p.strides[1] +
                          c * g.axis[2].dilation * p.strides[2];
        // Tiles of about equal height.
        const int64_t height = CeilDiv(inner_rows, CeilDiv(inner_rows, tile));
        for (int64_t i = 0; i < inner_rows; i += height) {
          const int64_t rows = std::min(height, inner_rows - i);
          p.segments.push_back({row, rows, u + i});
          row += rows;
        }
      }
    }
  }
  if (!p.depthwise) return;
  p.segments = {{0, p.rows, 0}};
  for (int64_t a = 0; a < g.axis[0].window; ++a) {
    for (int64_t b = 0; b < g.axis[1].window; ++b) {
      for (int64_t c = 0; c < g.axis[2].window; ++c) {
        p.tap_u.push_back(a * g.axis[0].dilation * p.strides[0] + b * g.axis[1].dilation * p.strides[1] +
                          c * g.axis[2].dilation * p.strides[2]);
      }
    }
  }
}

}  // namespace

const float* FilterGradient::Dy(const KernelCall& call, int64_t image) const {
  return FloatInput(call, dy_input) + image * geometry.out_positions() * geometry.out_channels;
}

void FilterGradient::CopyX(const KernelCall& call, int64_t image, float* dst) const {
  BoxCopy box{.channels = geometry.in_channels,
              .layout = multiplier > 1 ? ChannelLayout::kReplicate : ChannelLayout::kPlain,
              .multiplier = multiplier};
  for (int a = 0; a < 3; ++a) {
    box.image[a] = geometry.axis[a].input;
    box.low[a] = low[a];
    box.size[a] = size[a];
    box.strides[a] = strides[a];
  }
  CopyBox(box, X(call, image), dst);
}

void FilterGradient::CopyDy(const KernelCall& call, int64_t image, float* chunk) const {
  const int64_t in_chunk = image % chunk_images, positions = geometry.out_positions();
  if (packed) {
    const int64_t all = ImagesOf(image / chunk_images) * positions;
    for (int64_t c = 0; c < columns; c += panel_width) {
      kernels->move.pack(Dy(call, image) + c, columns, positions, std::min(panel_width, columns - c), panel_width,
                         chunk + (c / panel_width * all + in_chunk * positions) * panel_width);
    }
    return;
  }
  float* dst = chunk + in_chunk * dy_image;
  const BoxCopy box{.image = {1, 1, geometry.out_positions()},
                    .channels = geometry.out_channels,
                    .size = {1, 1, geometry.out_positions()},
                    .strides = {dy_image, dy_image, dy_pitch}};
  CopyBox(box, Dy(call, image), dst);
}

void FilterGradient::Multiply(const float* x, const float* dy, int64_t images, size_t begin, size_t end,
                              int64_t band_runs, Accumulate accumulate, float* dst, float* pack) const {
  if (depthwise) {
    MultiplyDepthwise(x, dy, images, dst);
  } else if (packed) {
    MultiplyPacked(x, dy, images, begin, end, accumulate, dst, pack);
  } else {
    MultiplyInPlace(x, dy, images, begin, end, band_runs, accumulate, dst);
  }
}

int64_t FilterGradient::pack_floats() const {
  int64_t most = 0;
  for (const Segment& segment : segments) most = std::max(most, RoundUp(segment.rows, kernels->lanes));
  return pack_rows ? most * chunk_images * geometry.out_positions() : 0;
}

void FilterGradient::MultiplyPacked(const float* x, const float* dy, int64_t images, size_t begin, size_t end,
                                    Accumulate accumulate, float* dst, float* pack) const {
  const int64_t u_step = geometry.axis[2].stride * strides[2], terms = images * geometry.out_positions();
  const int64_t count = images * image_runs;
  const TermRun all{0, 0, terms};
  for (size_t s = begin; s < end; ++s) {
    ProductArgs args{.u = x + segments[s].u,
                     .v = dy,
                     .v_step = panel_width,
                     .panel_stride = terms * panel_width,
                     .columns = columns,
                     .rows = segments[s].rows,
                     .runs = runs.data(),
                     .run_count = count,
                     .dst = dst + (segments[s].row - segments[begin].row) * columns,
                     .accumulate = accumulate,
                     .far = terms * panel_width * 4 > kFarPanelBytes,
                     .u_step = u_step,
                     .dst_stride = columns};
    if (pack_rows) {
      args.u = pack;
      args.u_step = RoundUp(segments[s].rows, kernels->lanes);
      args.runs = &all;
      args.run_count = 1;
      float* to = pack;
      for (int64_t r = 0; r < count; ++r) {
        const TermRun& run = runs[static_cast<size_t>(r)];
        kernels->move.pack(x + segments[s].u + run.u, u_step, run.length, segments[s].rows, args.u_step, to);
        to += run.length * args.u_step;
      }
    }
    kernels->product.column_product(args);
  }
}

void FilterGradient::MultiplyInPlace(const float* x, const float* dy, int64_t images, size_t begin, size_t end,
                                     int64_t band_runs, Accumulate accumulate, float* dst) const {
  const ConvGeometry& g = geometry;
  const int64_t count = images * image_runs;
  for (int64_t first = 0; first < count; first += band_runs) {
    for (int64_t group = 0; group < g.groups; ++group) {
      for (size_t s = begin; s < end; ++s) {
        kernels->product.column_product(
            {.u = x + segments[s].u + group * g.group_in(),
             .v = dy + group * g.group_out(),
             .v_step = dy_pitch,
             .panel_stride = kernels->product.panel_vectors * kernels->lanes,
             .columns = g.group_out(),
             .rows = segments[s].rows,
             .runs = runs.data() + first,
             .run_count = std::min(band_runs, count - first),
             .dst = dst + (segments[s].row - segments[begin].row) * columns + group * g.group_out(),
             .accumulate = first == 0 ? accumulate : Accumulate::kContinue,
             .u_step = g.axis[2].stride * strides[2],
             .dst_stride = columns});
      }
    }
  }
}

void FilterGradient::MultiplyDepthwise(const float* x, const float* dy, int64_t images, float* dst) const {
  kernels->depthwise.filter_gradient({.u = x,
                                      .v = dy,
                                      .columns = columns,
                                      .images = images,
                                      .u_image = x_image,
                                      .v_image = dy_image,
                                      .rows = static_cast<int64_t>(row_u.size()),
                                      .row_u = row_u.data(),
                                      .row_v = row_v.data(),
                                      .positions = geometry.axis[2].output,
                                      .u_step = geometry.axis[2].stride * strides[2],
                                      .v_step = dy_pitch,
                                      .tap_offset = tap_u.data(),
                                      .taps = rows,
                                      .dst = dst,
                                      .dst_stride = columns});
}

FilterGradient DescribeFilterGradient(const LowerContext& context) {
  FilterGradient p;
  p.geometry =
      ConvGeometryOf(context.anchor().attrs, context.anchor_input_type(0).shape, context.anchor().outputs[0].shape);
  const ConvGeometry& g = p.geometry;
  p.kernels = &context.kernels;
  p.x_input = context.anchor_input(0);
  p.dy_input = context.anchor_input(1);
  p.depthwise = IsDepthwise(g);
  p.multiplier = p.depthwise ? g.group_out() : 1;
  p.chunk_images = std::min(FilterGradientImages(g.out_positions()), std::max<int64_t>(1, g.batch));
  p.chunks = CeilDiv(g.batch, p.chunk_images);
  p.rows = g.taps() * g.group_in();
  p.columns = g.out_channels;
  DescribeOperands(p);
  DescribeTerms(p);
  DescribeRows(p);
  const int64_t run_floats = p.runs[0].length * (p.dy_pitch + g.axis[2].stride * p.strides[2]);
  p.band = std::max<int64_t>(1, kBandFloats / std::max<int64_t>(1, run_floats));
  return p;
}

}  // namespace weir::highway
