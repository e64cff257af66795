#include "weir/backends/llvm/depthwise_filter_plan.h"

#include <algorithm>
#include <numeric>

#include "weir/ops/canonical_order.h"

namespace weir::jit {
namespace {

constexpr int64_t kMostSums = 15;        // of 32 registers: three rows of three or five taps
constexpr int64_t kMostPixels = 8;       // of a tile of a part of a row: their dy are in registers as well
constexpr int64_t kFewPixels = 4;        // of one whose operands come from the last-level cache, vector by vector
constexpr int64_t kSpareRegisters = 7;   // for x, and what is loaded ahead of its use
constexpr size_t kMostPieces = 6;        // of code for a row
constexpr int64_t kTileRows = 2;         // of dy in a tile
constexpr int64_t kManyRegisters = 32;   // vectors; with fewer, a tile is of one row
constexpr double kLongTask = 8e6;        // flops; instead of longer tasks, rows of the window are tasks too
constexpr int64_t kWayBytes = 4096;      // of a first-level cache: what is so far apart shares a set,
constexpr int64_t kWays = 8;             // which holds so many lines, or more
constexpr int64_t kRingBytes = 1 << 16;  // of the second-level cache, for the rows of dy of a walk
constexpr int64_t kSpareOfWalk = 7;      // registers: for dy
constexpr int64_t kTapsOfWalk = 64;      // whose code is straight, for each output of a tile
constexpr int64_t kHeldRow = 10;         // outputs; in shorter rows sums are loaded for a row of the window at its turn
constexpr int64_t kSpareOfHeld = 4;      // registers
constexpr int64_t kHeldPixels = 8;       // of a tile: more would read memory in smaller pieces
constexpr int64_t kShortRow = 4;         // outputs; rows of dy of fewer are tiles
constexpr int64_t kKeptBytes = 1 << 17;  // of the second-level cache, for the rows of x that rows of dy meet again,
constexpr int64_t kKeptNearBytes = 22 << 10;  // and of the first-level cache
constexpr int64_t kSpareOfRows = 6;           // registers of half a vector, besides sums: for x and what arrives of it,
constexpr int64_t kSourceOfRows = 3;          // which take these; the others are for dy

// How channels are cut into tasks, by the cache that holds x and dy.
struct Cut {
  int64_t most_bytes = INT64_MAX;  // of operands
  int64_t vectors = 1;             // of channels of a task, at least
  int64_t tasks = 16;              // at most: enough for eight threads
  double task_flops = 4e5;         // 5 us at the rate of loads
};
constexpr Cut kNear{.most_bytes = 1 << 20};
// Rows of x that rows of dy share stay in the first-level cache. Tasks are more and smaller: not all cores are equally far
// from the last-level cache.
constexpr Cut kLast{.most_bytes = 8 << 20, .vectors = 4, .tasks = 32, .task_flops = 1e5};
// Memory is read in long pieces of a pixel, less long if there is no other way to make tasks.
constexpr Cut kMemory{.vectors = 8};
constexpr int64_t kVectorsOfOneChunk = 4;

int64_t MostSums(int64_t registers) { return std::min(kMostSums, registers / 2); }

// Outputs that a tile of so many rows of dy may be wide.
int64_t TileWidth(const DepthwiseFilterPlan& p, int64_t height, int64_t registers) {
  const int64_t most = (registers - p.group_rows * p.columns - kSpareRegisters) / height;
  return p.g.axis[2].output <= most ? most : std::clamp<int64_t>(most, 2, kMostPixels);
}

// Rows of dy in a tile, where an image has as many: several if they are whole rows, so that each follows the one
// before, and neighbours on one axis, which share rows of x.
int64_t TileRows(const DepthwiseFilterPlan& p, int64_t registers) {
  const ConvGeometry& g = p.g;
  const bool whole = g.axis[2].output <= TileWidth(p, kTileRows, registers) && g.axis[1].output >= kTileRows;
  return whole && g.axis[0].window == 1 && p.group_rows > 1 && registers >= kManyRegisters ? kTileRows : 1;
}

// Coordinates that `outputs` neighbours read for `taps` neighbours.
int64_t Cells(const SpatialAxis& axis, int64_t outputs, int64_t taps) {
  return std::min(outputs * taps, (outputs - 1) * axis.stride + (taps - 1) * axis.dilation + 1);
}

// Whether the lines of memory that a tile reads of one vector are more than there is room for in the sets that they
// share: where a pixel's size is a large power of two, sets are few.
bool Crowded(const DepthwiseFilterPlan& p) {
  const int64_t width = std::min(p.tile_width, p.g.axis[2].output);
  const int64_t x = Cells(p.g.axis[1], p.tile_rows, p.group_rows) * Cells(p.g.axis[2], width, p.columns);
  const int64_t sets = kWayBytes / std::gcd(p.g.out_channels * BytesOf(Elem::kF32), kWayBytes);
  return x + p.tile_rows * width > sets * kWays;
}

bool Planar(const ConvGeometry& g) {
  const SpatialAxis& outer = g.axis[0];
  return outer.window == 1 && outer.output == 1 && outer.pad_before == 0;
}

bool Walks(const DepthwiseFilterPlan& p, int64_t registers) {
  if (!Planar(p.g) || registers < kManyRegisters || p.walk_width < 1 || p.taps() > kTapsOfWalk) return false;
  const bool fits = p.ring_floats() * BytesOf(Elem::kF32) <= kRingBytes && p.Row(p.walk_width).pieces() <= kMostPieces;
  // With several groups of rows of the window, each would read the rows of x anew; of a strided convolution they are
  // most of what is read.
  const bool read_again = p.g.axis[1].stride > 1 && p.groups() > 1;
  return fits && (Crowded(p) || read_again);
}

// Whether a walk holds the sums of all taps: beside them the cells of x that an output meets and dy are in registers.
bool HoldsSums(const DepthwiseFilterPlan& p, int64_t registers) {
  const SpatialAxis& row = p.g.axis[2];
  return row.output >= kHeldRow && p.taps() <= kMostSums &&
         p.taps() + (p.columns - 1) * row.dilation + 1 + kSpareOfHeld <= registers;
}

int64_t OperandBytes(const DepthwiseFilterPlan& p) {
  return BytesOf(Elem::kF32) * p.g.batch * (p.x_floats() + p.dy_floats());
}

void Split(DepthwiseFilterPlan& p) {
  const int64_t bytes = OperandBytes(p);
  const bool near = bytes <= kNear.most_bytes;
  p.by_chunks = p.chunks > 1 && !near;
  const Cut& cut = near ? kNear : p.by_chunks && bytes <= kLast.most_bytes ? kLast : kMemory;
  const int64_t vectors = near || p.by_chunks ? cut.vectors : kVectorsOfOneChunk;
  const int64_t wanted = std::clamp<int64_t>(static_cast<int64_t>(p.flops() / cut.task_flops), 1, cut.tasks);
  const int64_t parts = std::min(CeilDiv(p.vectors(), vectors), p.by_chunks ? CeilDiv(wanted, p.chunks) : wanted);
  p.task_vectors = CeilDiv(p.vectors(), parts);
}

// The plan by rows of dy, if few registers and rows long enough make it the better one. Of a strided convolution little
// of what is kept is met again.
std::optional<DepthwiseFilterPlan> ByRows(DepthwiseFilterPlan p, const TileLimits& limits) {
  const int64_t registers = limits.vector_registers;
  const bool few = registers < kManyRegisters && p.g.axis[2].output >= kShortRow;
  const int64_t halves = 2 * registers, most_sums = halves - kSpareOfRows;
  if (!few || p.g.axis[1].stride > 1 || !Planar(p.g) || p.taps() > kTapsOfWalk || p.columns > most_sums)
    return std::nullopt;
  p.order = DepthwiseFilterPlan::Order::kRows;
  p.group_rows = std::min(most_sums / p.columns, p.window_rows);
  p.tile_width = halves - p.group_rows * p.columns - kSourceOfRows;
  p.ahead = OperandBytes(p) > limits.far_bytes;
  const int64_t vector_bytes = BytesOf(Elem::kF32) * p.kept_rows() * kLanes * p.g.axis[2].input;
  if (vector_bytes == 0 || vector_bytes > kKeptBytes || p.Row(p.tile_width).pieces() > kMostPieces) return std::nullopt;
  // Memory is read in long pieces, what is nearer in any: then what is kept had better stay near too.
  const int64_t room = p.ahead ? kKeptBytes : kKeptNearBytes;
  p.task_vectors = std::clamp<int64_t>(room / vector_bytes, 1, p.task_vectors);
  return p;
}

}  // namespace

double DepthwiseFilterPlan::flops() const {
  return 2.0 * static_cast<double>(g.batch * g.out_positions()) * static_cast<double>(dw_floats());
}

DepthwiseRow DepthwiseFilterPlan::Row(int64_t width) const {
  const SpatialAxis& axis = g.axis[2];
  return DepthwiseRow({.src = axis.input,
                       .dst = axis.output,
                       .advance = axis.stride,
                       .base = -axis.pad_before,
                       .delta = axis.dilation,
                       .taps = axis.window},
                      width);
}

std::optional<DepthwiseFilterPlan> PlanDepthwiseFilter(const ConvGeometry& geometry, const TileLimits& limits) {
  const int64_t registers = limits.vector_registers;
  DepthwiseFilterPlan p;
  p.g = geometry;
  const ConvGeometry& g = p.g;
  p.window_rows = g.axis[0].window * g.axis[1].window;
  p.columns = g.axis[2].window;
  if (limits.fetches_far) p.fetch = kFetchFar;
  p.chunk_images = std::min(FilterGradientImages(g.out_positions()), std::max<int64_t>(1, g.batch));
  p.chunks = CeilDiv(g.batch, p.chunk_images);
  Split(p);
  if (const auto by_rows = ByRows(p, limits)) return by_rows;
  if (p.columns > MostSums(registers)) return std::nullopt;
  p.group_rows = std::clamp<int64_t>(MostSums(registers) / p.columns, 1, p.window_rows);
  p.tile_rows = TileRows(p, registers);
  p.tile_width = TileWidth(p, p.tile_rows, registers);
  // Nothing is fetched: wide pixels are to be read in order.
  const int64_t bytes = OperandBytes(p);
  if (bytes > kLast.most_bytes && bytes <= limits.far_bytes && p.task_vectors >= kMemory.vectors)
    p.tile_width = std::min(p.tile_width, kFewPixels);
  if (p.Row(p.tile_width).pieces() > kMostPieces) return std::nullopt;
  const int64_t cells = registers - p.columns - kSpareOfWalk;
  p.walk_width = (cells - (p.columns - 1) * g.axis[2].dilation - 1) / g.axis[2].stride + 1;
  if (Walks(p, registers)) p.order = DepthwiseFilterPlan::Order::kWalk;
  p.held_sums = HoldsSums(p, registers);
  if (p.held_sums) p.walk_width = std::min(p.walk_width, kHeldPixels);
  p.fetch_next = !p.held_sums && g.out_channels * BytesOf(Elem::kF32) % kWayBytes == 0;
  p.ahead = p.order == DepthwiseFilterPlan::Order::kTiles && OperandBytes(p) > limits.far_bytes;
  p.by_groups = p.order == DepthwiseFilterPlan::Order::kTiles &&
                p.flops() > kLongTask * static_cast<double>(p.tasks()) && p.window_rows > 1;
  if (p.by_groups) p.group_rows = p.tile_rows = 1;
  return p;
}

}  // namespace weir::jit
