// Winograd's convolution and its input gradient: filters are transformed once into the workspace; then a task takes
// blocks of tiles through transform, products, transform and epilogue, one block after the other. Where there are few
// tiles, tasks are parts of the output channels as well, and the source is transformed in a stage of its own.
#include <optional>

#include "weir/backends/highway/winograd.h"

namespace weir::highway {
namespace {

constexpr int64_t kSourceBytes = 1 << 20;  // of a block's elements: half a second-level cache
constexpr int64_t kLeastTiles = 16;        // for which a panel of filters is read
constexpr int64_t kMostTiles = 32;
constexpr int64_t kFarElementBytes = 24 << 10;  // of a panel and element: half a first-level cache
constexpr int64_t kTaskTiles = 64;  // in blocks one after the other: each reads rows of the source that the next shares
constexpr int64_t kTasks = 16;      // for fewer, output channels are cut; if there is but a panel of them, blocks are,
                                    // down to a register tile
constexpr int64_t kFilterRows = 64;  // source channels of a task that transforms filters

// Transformed filters: panels of output channels, each [36][source channels][panel width].
struct FilterState {
  WinogradShape shape;
  const KernelTable* kernels = nullptr;
  int filter_input = 0;
  int64_t panel_width = 0, panels = 0;

  int64_t element_floats() const { return PlaneStride(shape.src_channels * panel_width); }
  int64_t panel_floats() const { return kWinogradElements * element_floats(); }
  int64_t row_tasks() const { return CeilDiv(shape.src_channels, kFilterRows); }

  void Run(const KernelCall& call) const {
    const int64_t panel = call.task / row_tasks(), row = call.task % row_tasks() * kFilterRows;
    const int64_t column = panel * panel_width, in = shape.src_channels, out = shape.dst_channels;
    const int64_t rows = std::min(kFilterRows, in - row), columns = std::min(panel_width, out - column);
    const float* w = FloatInput(call, filter_input);
    WinogradFilterArgs args{.w = w + row * out + column,
                            .tap_stride = in * out,
                            .row_stride = out,
                            .rows = rows,
                            .columns = columns,
                            .dst = FloatsAt(call.workspace, 0) + panel * panel_floats() + row * panel_width,
                            .element_stride = element_floats(),
                            .width = panel_width};
    if (shape.gradient) {
      // Taps from the last on, and [output][source] turned round.
      float* turned = FloatsAt(call.scratch, 0);
      for (int64_t t = 0; t < 9; ++t) {
        kernels->move.transpose(w + ((8 - t) * out + column) * in + row, in, columns, rows,
                                turned + t * rows * panel_width, panel_width);
      }
      args.w = turned;
      args.tap_stride = rows * panel_width;
      args.row_stride = panel_width;
    }
    kernels->winograd.filter(args);
  }
};

// The source's elements of a block, [36][tiles][channels].
struct SourceLayout {
  WinogradShape shape;
  TileBlocks blocks;
  const KernelTable* kernels = nullptr;
  int src_input = 0;
  int64_t tile_stride = 0, element_stride = 0;

  int64_t block_floats() const { return kWinogradElements * element_stride; }
  void Transform(const KernelCall& call, const TileBlocks::Block& block, float* dst) const {
    TransformCells(kernels->winograd.source, block,
                   {.image = FloatInput(call, src_input),
                    .rows = shape.src_rows,
                    .columns = shape.src_columns,
                    .pixel_stride = shape.src_channels,
                    .channels = shape.src_channels,
                    .dst = dst,
                    .element_stride = element_stride,
                    .tile_stride = tile_stride},
                   shape.pad_rows, shape.pad_columns);
  }
};

struct SourceState {
  SourceLayout source;
  int64_t offset = 0;  // in the workspace

  void Run(const KernelCall& call) const {
    source.Transform(call, source.blocks.At(call.task),
                     FloatsAt(call.workspace, offset) + call.task * source.block_floats());
  }
};

// A task is some blocks and a part of the output channels; part after part.
struct BlockState {
  SourceLayout source;
  FilterState filter;
  std::optional<Epilogue> epilogue;
  int64_t part_panels = 1, parts = 1;
  bool shared = false;  // the source lies in the workspace
  int64_t shared_offset = 0, source_offset = 0, product_offset = 0;
  int64_t product_element = 0;
  int64_t task_blocks = 1;

  // Where a task's outputs go: pixel (4 block.row, 4 block.column) of the block's first image is at dst.
  struct Destination {
    float* dst = nullptr;
    int64_t pixel = 0, row = 0, image = 0;    // strides
    int64_t column = 0, columns = 0;          // channels
    int64_t rows = 0, pixels = 0, begin = 0;  // of the block in an image; the first pixel's number in the output
  };

  void Run(const KernelCall& call) const {
    const int64_t runs = CeilDiv(source.blocks.count(), task_blocks);
    const int64_t first = call.task % runs * task_blocks, part = call.task / runs;
    const int64_t end = std::min(source.blocks.count(), first + task_blocks);
    for (int64_t index = first; index < end; ++index) RunBlock(call, index, part);
  }

  void RunBlock(const KernelCall& call, int64_t index, int64_t part) const {
    const TileBlocks::Block block = source.blocks.At(index);
    const float* elements = FloatsAt(call.workspace, shared_offset) + index * source.block_floats();
    if (!shared) {
      float* own = FloatsAt(call.scratch, source_offset);
      source.Transform(call, block, own);
      elements = own;
    }
    const Destination to = DestinationOf(call, block, part);
    const int64_t first = part * part_panels, end = std::min(filter.panels, first + part_panels);
    for (int64_t panel = first; panel < end; ++panel) {
      const int64_t column = panel * filter.panel_width;
      const int64_t columns = std::min(filter.panel_width, source.shape.dst_channels - column);
      WinogradProductArgs args{
          .source = elements,
          .source_element = source.element_stride,
          .source_tile = source.tile_stride,
          .filter = FloatsAt(call.workspace, 0) + panel * filter.panel_floats(),
          .filter_element = filter.element_floats(),
          .terms = source.shape.src_channels,
          .tiles = block.tiles(),
          .columns = columns,
          .product = FloatsAt(call.scratch, product_offset),
          .product_element = product_element,
          .product_tile = filter.panel_width,
          .far = filter.element_floats() * 4 > kFarElementBytes,
      };
      if (panel == first && part_panels == filter.panels) Fetch(call, block, to, index, args);
      filter.kernels->winograd.product(args);
      Store(call, block, to, column, columns);
    }
    Finish(call, block, to);
  }

  // While the first panel is multiplied: what will be written, and the source's rows for the next block.
  void Fetch(const KernelCall& call, const TileBlocks::Block& block, const Destination& to, int64_t index,
             WinogradProductArgs& args) const {
    const WinogradShape& s = source.shape;
    if (to.pixels < s.dst_columns) return;  // not contiguous
    args.stream[0] = epilogue->direct() ? to.dst : epilogue->Written(call, to.begin * s.dst_channels);
    if (args.stream[0] != nullptr) args.stream_floats[0] = block.images * to.rows * to.pixels * s.dst_channels;
    const Stream next = NextRows(source.blocks, index, FloatInput(call, source.src_input), s.src_rows,
                                 s.src_columns * s.src_channels, kWinogradCells - kWinogradTile - s.pad_rows);
    args.stream[1] = next.begin;
    args.stream_floats[1] = next.floats;
  }

  Destination DestinationOf(const KernelCall& call, const TileBlocks::Block& block, int64_t part) const {
    const WinogradShape& s = source.shape;
    Destination to{
        .column = part * part_panels * filter.panel_width,
        .rows = std::min(block.rows * kWinogradTile, s.dst_rows - block.row * kWinogradTile),
        .pixels = std::min(block.columns * kWinogradTile, s.dst_columns - block.column * kWinogradTile),
        .begin = (block.image * s.dst_rows + block.row * kWinogradTile) * s.dst_columns + block.column * kWinogradTile};
    to.columns = std::min(part_panels * filter.panel_width, s.dst_channels - to.column);
    if (epilogue->direct()) {
      to.dst = epilogue->Buffer(call, to.begin * s.dst_channels + to.column);
      to.pixel = s.dst_channels;
      to.row = s.dst_columns * to.pixel;
      to.image = s.dst_rows * to.row;
    } else {
      to.dst = epilogue->Buffer(call, 0);
      to.pixel = to.columns;
      to.row = to.pixels * to.pixel;
      to.image = to.rows * to.row;
    }
    return to;
  }

  void Store(const KernelCall& call, const TileBlocks::Block& block, const Destination& to, int64_t column,
             int64_t columns) const {
    WinogradOutputArgs args{.product = FloatsAt(call.scratch, product_offset),
                            .element_stride = product_element,
                            .tile_stride = filter.panel_width,
                            .tiles = block.columns,
                            .channels = columns,
                            .row_stride = to.row,
                            .pixel_stride = to.pixel,
                            .pixels = to.pixels};
    for (int64_t n = 0; n < block.images; ++n) {
      for (int64_t r = 0; r < block.rows; ++r) {
        args.dst = to.dst + n * to.image + r * kWinogradTile * to.row + column - to.column;
        args.rows = to.rows - r * kWinogradTile;
        filter.kernels->winograd.output(args);
        args.product += block.columns * filter.panel_width;
      }
    }
  }

  // The epilogue, over what is contiguous in the output.
  void Finish(const KernelCall& call, const TileBlocks::Block& block, const Destination& to) const {
    const WinogradShape& s = source.shape;
    if (epilogue->program().empty()) return;
    if (to.columns < s.dst_channels) {
      for (int64_t n = 0; n < block.images; ++n) {
        for (int64_t r = 0; r < to.rows; ++r) {
          for (int64_t p = 0; p < to.pixels; ++p) {
            const int64_t pixel = to.begin + (n * s.dst_rows + r) * s.dst_columns + p;
            epilogue->Finish(call, pixel * s.dst_channels + to.column, to.columns,
                             to.dst + n * to.image + r * to.row + p * to.pixel);
          }
        }
      }
    } else if (to.pixels == s.dst_columns) {
      // Several images only if all of each.
      epilogue->Finish(call, to.begin * s.dst_channels, block.images * to.rows * to.pixels * s.dst_channels, to.dst);
    } else {
      for (int64_t r = 0; r < to.rows; ++r) {
        epilogue->Finish(call, (to.begin + r * s.dst_columns) * s.dst_channels, to.pixels * s.dst_channels,
                         to.dst + r * to.row);
      }
    }
  }
};

}  // namespace

Lowering LowerWinograd(const LowerContext& context, const WinogradShape& shape) {
  const KernelTable& kernels = context.kernels;
  auto filter = std::make_shared<FilterState>();
  filter->shape = shape;
  filter->kernels = &kernels;
  filter->filter_input = context.anchor_input(1);
  filter->panel_width = kernels.product.panel_vectors * kernels.lanes;
  filter->panels = CeilDiv(shape.dst_channels, filter->panel_width);

  auto state = std::make_shared<BlockState>();
  state->filter = *filter;
  SourceLayout& source = state->source;
  source.shape = shape;
  source.kernels = &kernels;
  source.src_input = context.anchor_input(0);
  source.tile_stride = RoundUp(shape.src_channels, kernels.lanes);
  int64_t tiles = std::clamp(kSourceBytes / (kWinogradElements * source.tile_stride * 4), kLeastTiles, kMostTiles);
  // Cutting output channels costs less than cutting tiles.
  if (filter->panels == 1) {
    tiles = std::min(tiles, std::max(kernels.product.row_tile, shape.batch * shape.tiles() / kTasks));
  }
  source.blocks = CutTiles(shape.batch, shape.tile_rows(), shape.tile_columns(), tiles);
  const int64_t block_tiles = source.blocks.tiles();
  source.element_stride = PlaneStride(block_tiles * source.tile_stride);

  state->product_element = PlaneStride(block_tiles * filter->panel_width);
  const int64_t blocks = source.blocks.count();
  state->task_blocks = std::clamp<int64_t>(blocks / kTasks, 1, std::max<int64_t>(1, kTaskTiles / block_tiles));
  const int64_t runs = CeilDiv(blocks, state->task_blocks);
  state->part_panels = CeilDiv(filter->panels, std::min(filter->panels, CeilDiv(kTasks, runs)));
  state->parts = CeilDiv(filter->panels, state->part_panels);
  state->shared = state->parts > 1;

  Lowering lowering;
  Arena workspace, scratch;
  workspace.TakeFloats(filter->panels * filter->panel_floats());
  const int64_t pixels = block_tiles * kWinogradTile * kWinogradTile;
  state->epilogue.emplace(context.program,
                          pixels * std::min(shape.dst_channels, state->part_panels * filter->panel_width), scratch);
  if (state->shared) {
    state->shared_offset = workspace.TakeFloats(blocks * source.block_floats());
  } else {
    state->source_offset = scratch.TakeFloats(source.block_floats());
  }
  state->product_offset = scratch.TakeFloats(kWinogradElements * state->product_element);
  const int64_t turned = shape.gradient ? 9 * std::min(kFilterRows, shape.src_channels) * filter->panel_width * 4 : 0;
  const int64_t filter_tasks = filter->panels * filter->row_tasks();
  lowering.prepared_input = filter->filter_input;
  lowering.stages.push_back(MakeStage<FilterState>(std::move(filter), filter_tasks, turned));
  if (state->shared) {
    auto transform = std::make_shared<SourceState>();
    transform->source = source;
    transform->offset = state->shared_offset;
    lowering.stages.push_back(MakeStage<SourceState>(std::move(transform), blocks, 0));
  }
  const int64_t tasks = runs * state->parts;
  lowering.kernel = StrCat("Winograd, blocks of ", block_tiles, " tiles",
                           state->shared ? StrCat(" by ", state->parts, " parts") : "", ", ", tasks, " tasks");
  lowering.workspace_bytes = workspace.bytes();
  lowering.stages.push_back(MakeStage<BlockState>(std::move(state), tasks, scratch.bytes()));
  return lowering;
}

}  // namespace weir::highway
