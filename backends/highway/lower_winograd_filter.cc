// Winograd's filter gradient: the elements of source and cotangent meet in 36 sums over tiles, which are transformed to
// taps once. As with the direct sum, canonical chunks of images leave two ways to split the work: by chunks, whose sums
// lie in the workspace until a second stage adds them, or by blocks of channels, each task passing over all images.
#include <cstring>
#include <optional>

#include "weir/backends/highway/winograd.h"

namespace weir::highway {
namespace {

constexpr int64_t kBlockChannels = 64;  // of either side in a task: its sums take 590 KB of the second-level cache
constexpr int64_t kLeastChannels = 16;  // blocks are halved down to this if there would be few tasks
constexpr int64_t kElementBytes = 640 << 10;  // of tiles transformed at a time, of both operands
constexpr int64_t kLeastTiles = 16, kMostTiles = 64;
constexpr int64_t kFewTasks = 8, kTasks = 16;
constexpr int64_t kPartialBytes = 32 << 20;  // of sums of chunks
constexpr int64_t kLineFloats = 16;
constexpr int64_t kTapRange = 512;  // sums that a task transforms to taps at a time: 72 KB

// Channels [in, in + ins) and [out, out + outs).
struct ChannelBlock {
  int64_t in = 0, ins = 0, out = 0, outs = 0;
};

struct GradientPlan {
  WinogradShape shape;
  const KernelTable* kernels = nullptr;
  int x_input = 0, dy_input = 0;
  int64_t chunk_images = 1, chunks = 1;  // one empty chunk if there are no images
  TileBlocks tiles;                      // of a whole chunk
  int64_t ins = 0, outs = 0;             // of a block of channels
  int64_t source_tile = 0, source_element = 0, cotangent_tile = 0, cotangent_element = 0;
  int64_t source_offset = 0, cotangent_offset = 0;  // in scratch

  int64_t sums() const { return shape.src_channels * shape.dst_channels; }  // of an element
  int64_t out_blocks() const { return CeilDiv(shape.dst_channels, outs); }
  int64_t channel_blocks() const { return CeilDiv(shape.src_channels, ins) * out_blocks(); }
  ChannelBlock ChannelsAt(int64_t index) const {
    ChannelBlock block{.in = index / out_blocks() * ins, .out = index % out_blocks() * outs};
    block.ins = std::min(ins, shape.src_channels - block.in);
    block.outs = std::min(outs, shape.dst_channels - block.out);
    return block;
  }

  // The sums of a chunk: sum (c, o) of element e goes to dst + e * element_stride + c * row_stride + o.
  void Accumulate(const KernelCall& call, int64_t chunk, const ChannelBlock& channels, float* dst,
                  int64_t element_stride, int64_t row_stride) const {
    TileBlocks blocks = tiles;
    blocks.batch = std::min(chunk_images, shape.batch - chunk * chunk_images);
    for (int64_t i = 0; i < blocks.count(); ++i) {
      TileBlocks::Block block = blocks.At(i);
      block.image += chunk * chunk_images;
      Transform(call, block, channels);
      Fetcher fetcher = NextOperands(call, blocks, i, chunk, channels);
      const TermRun terms{0, 0, block.tiles()};
      for (int64_t e = 0; e < kWinogradElements; ++e) {
        const Stream stream = fetcher.Take(CeilDiv(channels.ins, kernels->product.row_tile) * terms.length);
        kernels->product.column_product({.u = FloatsAt(call.scratch, source_offset) + e * source_element,
                                         .v = FloatsAt(call.scratch, cotangent_offset) + e * cotangent_element,
                                         .v_step = cotangent_tile,
                                         .panel_stride = kernels->product.panel_vectors * kernels->lanes,
                                         .columns = channels.outs,
                                         .rows = channels.ins,
                                         .runs = &terms,
                                         .run_count = 1,
                                         .dst = dst + e * element_stride,
                                         .accumulate = i == 0 ? Accumulate::kStore : Accumulate::kContinue,
                                         .stream = stream.begin,
                                         .stream_floats = stream.floats,
                                         .u_step = source_tile,
                                         .dst_stride = row_stride});
      }
    }
    if (blocks.count() > 0) return;
    for (int64_t e = 0; e < kWinogradElements; ++e) {
      for (int64_t c = 0; c < channels.ins; ++c) {
        std::fill_n(dst + e * element_stride + c * row_stride, channels.outs, 0.0f);
      }
    }
  }

  // What the next block of a chunk reads, handed out product by product.
  struct Fetcher {
    Stream streams[2];

    Stream Take(int64_t lines) {
      Stream& from = streams[0].floats > 0 ? streams[0] : streams[1];
      const Stream taken{from.begin, std::min(from.floats, lines * kLineFloats)};
      from.begin += taken.floats;
      from.floats -= taken.floats;
      return taken;
    }
  };
  Fetcher NextOperands(const KernelCall& call, const TileBlocks& blocks, int64_t index, int64_t chunk,
                       const ChannelBlock& channels) const {
    Fetcher fetcher;
    const WinogradShape& s = shape;
    const int64_t image = chunk * chunk_images, source_row = s.src_columns * s.src_channels,
                  cotangent_row = s.dst_columns * s.dst_channels;
    // Of some channels only, rows are not contiguous.
    if (channels.ins == s.src_channels) {
      fetcher.streams[0] = NextRows(blocks, index, FloatInput(call, x_input) + image * s.src_rows * source_row,
                                    s.src_rows, source_row, kWinogradCells - kWinogradTile - s.pad_rows);
    }
    if (channels.outs == s.dst_channels) {
      fetcher.streams[1] = NextRows(blocks, index, FloatInput(call, dy_input) + image * s.dst_rows * cotangent_row,
                                    s.dst_rows, cotangent_row, 0);
    }
    return fetcher;
  }

  void Transform(const KernelCall& call, const TileBlocks::Block& block, const ChannelBlock& channels) const {
    TransformCells(kernels->winograd.source, block,
                   {.image = FloatInput(call, x_input) + channels.in,
                    .rows = shape.src_rows,
                    .columns = shape.src_columns,
                    .pixel_stride = shape.src_channels,
                    .channels = channels.ins,
                    .dst = FloatsAt(call.scratch, source_offset),
                    .element_stride = source_element,
                    .tile_stride = source_tile},
                   shape.pad_rows, shape.pad_columns);
    TransformCells(kernels->winograd.cotangent, block,
                   {.image = FloatInput(call, dy_input) + channels.out,
                    .rows = shape.dst_rows,
                    .columns = shape.dst_columns,
                    .pixel_stride = shape.dst_channels,
                    .channels = channels.outs,
                    .dst = FloatsAt(call.scratch, cotangent_offset),
                    .element_stride = cotangent_element,
                    .tile_stride = cotangent_tile},
                   0, 0);
  }
};

// ---- By chunks ----------------------------------------------------------------------------------
// Task: one chunk, a block of channels. The workspace holds [chunk][36][in][out].
struct ChunkState {
  GradientPlan plan;

  void Run(const KernelCall& call) const {
    const int64_t chunk = call.task / plan.channel_blocks();
    const ChannelBlock channels = plan.ChannelsAt(call.task % plan.channel_blocks());
    float* dst = FloatsAt(call.workspace, 0) + chunk * kWinogradElements * plan.sums() +
                 channels.in * plan.shape.dst_channels + channels.out;
    plan.Accumulate(call, chunk, channels, dst, plan.sums(), plan.shape.dst_channels);
  }
};

// Adds the chunks, transforms, and runs the epilogue, over some of the sums.
struct TapState {
  const KernelTable* kernels = nullptr;
  std::optional<Epilogue> epilogue;
  int64_t sums = 0, chunks = 1, per_task = 0;

  void Run(const KernelCall& call) const {
    const int64_t end = std::min(sums, (call.task + 1) * per_task);
    for (int64_t begin = call.task * per_task; begin < end; begin += kTapRange) {
      const int64_t count = std::min(kTapRange, end - begin);
      float* dst = epilogue->Buffer(call, begin);
      const int64_t tap_stride = epilogue->direct() ? sums : count;
      kernels->winograd.taps({.sums = FloatsAt(call.workspace, 0) + begin,
                              .element_stride = sums,
                              .part_stride = kWinogradElements * sums,
                              .parts = chunks,
                              .count = count,
                              .dst = dst,
                              .tap_stride = tap_stride});
      for (int64_t t = 0; t < 9; ++t) epilogue->Finish(call, t * sums + begin, count, dst + t * tap_stride);
    }
  }
};

// ---- By blocks of channels ----------------------------------------------------------------------
// Task: a block, over all chunks. Sums lie in scratch, [36][in][out].
struct BlockState {
  GradientPlan plan;
  std::optional<Epilogue> epilogue;
  int64_t total_offset = 0, chunk_offset = 0;

  void Run(const KernelCall& call) const {
    const ChannelBlock channels = plan.ChannelsAt(call.task);
    const int64_t element = channels.ins * channels.outs;
    float *total = FloatsAt(call.scratch, total_offset), *part = FloatsAt(call.scratch, chunk_offset);
    for (int64_t chunk = 0; chunk < plan.chunks; ++chunk) {
      plan.Accumulate(call, chunk, channels, chunk == 0 ? total : part, element, channels.outs);
      if (chunk > 0) {
        plan.kernels->reduce.combine[static_cast<int>(ReduceKind::kSum)](part, kWinogradElements * element, total);
      }
    }
    // Rows of all output channels are contiguous; of others each is a range by itself.
    const int64_t out = plan.shape.dst_channels;
    const int64_t rows = channels.outs == out ? 1 : channels.ins, count = element / rows;
    for (int64_t r = 0; r < rows; ++r) {
      const int64_t begin = (channels.in + r) * out + channels.out;
      float* dst = epilogue->Buffer(call, begin);
      const int64_t tap_stride = epilogue->direct() ? plan.sums() : count;
      plan.kernels->winograd.taps({.sums = total + r * count,
                                   .element_stride = element,
                                   .parts = 1,
                                   .count = count,
                                   .dst = dst,
                                   .tap_stride = tap_stride});
      for (int64_t t = 0; t < 9; ++t) epilogue->Finish(call, t * plan.sums() + begin, count, dst + t * tap_stride);
    }
  }
};

GradientPlan DescribeGradient(const LowerContext& context) {
  const ConvGeometry geometry =
      ConvGeometryOf(context.anchor().attrs, context.anchor_input_type(0).shape, context.anchor().outputs[0].shape);
  GradientPlan plan;
  plan.shape = WinogradForward(geometry);
  plan.kernels = &context.kernels;
  plan.x_input = context.anchor_input(0);
  plan.dy_input = context.anchor_input(1);
  const WinogradShape& s = plan.shape;
  plan.chunk_images = std::min(WinogradGradientImages(s.tiles()), std::max<int64_t>(1, s.batch));
  plan.chunks = std::max<int64_t>(1, CeilDiv(s.batch, plan.chunk_images));
  const auto part = [](int64_t all, int64_t most) { return CeilDiv(all, CeilDiv(all, most)); };
  plan.ins = part(s.src_channels, kBlockChannels);
  plan.outs = part(s.dst_channels, kBlockChannels);
  // Whole panels of the products.
  if (plan.outs < s.dst_channels) plan.outs = kBlockChannels;
  while (plan.chunks * plan.channel_blocks() < kFewTasks && plan.ins > kLeastChannels) plan.ins = CeilDiv(plan.ins, 2);
  plan.tiles =
      CutTiles(plan.chunk_images, s.tile_rows(), s.tile_columns(),
               std::clamp(kElementBytes / (kWinogradElements * (plan.ins + plan.outs) * 4), kLeastTiles, kMostTiles));
  return plan;
}

void TakeScratch(GradientPlan& plan, Arena& scratch) {
  const int64_t tiles = plan.tiles.tiles(), lanes = plan.kernels->lanes;
  plan.source_tile = RoundUp(plan.ins, lanes);
  plan.source_element = PlaneStride(tiles * plan.source_tile);
  plan.cotangent_tile = RoundUp(plan.outs, lanes);
  plan.cotangent_element = PlaneStride(tiles * plan.cotangent_tile);
  plan.source_offset = scratch.TakeFloats(kWinogradElements * plan.source_element);
  plan.cotangent_offset = scratch.TakeFloats(kWinogradElements * plan.cotangent_element);
}

}  // namespace

Lowering LowerWinogradFilterGradient(const LowerContext& context) {
  GradientPlan plan = DescribeGradient(context);
  Arena scratch;
  TakeScratch(plan, scratch);
  Lowering lowering;
  const int64_t partial_bytes = plan.chunks * kWinogradElements * plan.sums() * 4;
  const int64_t blocks = plan.channel_blocks();
  if (blocks < kTasks && partial_bytes <= kPartialBytes) {
    auto chunk = std::make_shared<ChunkState>();
    auto taps = std::make_shared<TapState>();
    taps->kernels = plan.kernels;
    taps->sums = plan.sums();
    taps->chunks = plan.chunks;
    taps->per_task =
        TaskSize(plan.sums(), std::max<int64_t>(kTapRange, (int64_t{1} << 14) / plan.chunks), plan.kernels->lanes);
    Arena tap_scratch;
    taps->epilogue.emplace(context.program, 9 * std::min(kTapRange, taps->per_task), tap_scratch);
    lowering.workspace_bytes = partial_bytes;
    lowering.kernel = StrCat("Winograd filter gradient by ", plan.chunks, " chunks, ", plan.chunks * blocks, " tasks");
    chunk->plan = std::move(plan);
    const int64_t tasks = chunk->plan.chunks * blocks, tap_tasks = CeilDiv(taps->sums, taps->per_task);
    lowering.stages.push_back(MakeStage<ChunkState>(std::move(chunk), tasks, scratch.bytes()));
    lowering.stages.push_back(MakeStage<TapState>(std::move(taps), tap_tasks, tap_scratch.bytes()));
    return lowering;
  }
  auto block = std::make_shared<BlockState>();
  const int64_t sums = plan.ins * plan.outs;
  block->total_offset = scratch.TakeFloats(kWinogradElements * sums);
  if (plan.chunks > 1) block->chunk_offset = scratch.TakeFloats(kWinogradElements * sums);
  block->epilogue.emplace(context.program, 9 * (plan.outs == plan.shape.dst_channels ? sums : plan.outs), scratch);
  block->plan = std::move(plan);
  lowering.kernel = StrCat("Winograd filter gradient by channels, ", blocks, " tasks");
  lowering.stages.push_back(MakeStage<BlockState>(std::move(block), blocks, scratch.bytes()));
  return lowering;
}

}  // namespace weir::highway
