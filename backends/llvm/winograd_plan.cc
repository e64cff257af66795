#include "weir/backends/llvm/winograd_plan.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "weir/backends/llvm/winograd_ir.h"

namespace weir::jit {
namespace {

constexpr double kTaskFlops = 40e6;           // of the direct sum: 20 us
constexpr double kLeastFlops = 4e6;           // of parts of an image, and of parts of the output channels
constexpr int64_t kTasks = 16;                // enough for eight threads
constexpr int64_t kMostRows = 14;             // tiles of a group: with two vectors each, all of 32 registers
constexpr int64_t kNearFilter = 1024 * 1024;  // bytes; a transformed filter that stays in the second-level cache
constexpr int64_t kMostTiles = 16;     // of a unit: a row of elements and its products stay in the first-level cache,
constexpr int64_t kMostTilesFar = 64;  // but a filter that comes from afar has to be worth its way
constexpr int64_t kFewTiles = 12, kFewTilesFar = 64;  // images of fewer make units together
// Tiles for which a filter from afar is not worth transforming but panel by panel: the tiles' transforms are read once for
// each panel, which is less than four times the taps.
constexpr int64_t kMostTilesByPanels = 128;
constexpr int64_t kLeastPanels = 4;             // tasks
constexpr int64_t kCloseFilterRow = 32 * 1024;  // bytes; a row of elements that leaves the first-level cache some room
constexpr int64_t kFilterTask = 8 * 1024;       // pairs of channels that a task transforms the taps of

ConvProblem Covered(ConvProblem problem) {
  for (int a : {1, 2}) {
    ConvAxis& axis = problem.axis[a];
    axis.dst = axis.phases[0].count = RoundUp(axis.dst, kWinogradTile);
    axis.pool = 1;
  }
  return problem;
}

// Cycles a tile that products, the filter's way from the second-level cache and what is computed for nothing take.
double CyclesOf(int64_t tiles, int64_t rows, int64_t vectors) {
  const double groups = static_cast<double>(CeilDiv(tiles, rows));
  const auto r = static_cast<double>(rows), v = static_cast<double>(vectors), t = static_cast<double>(tiles);
  const double term = std::max({r * v / 2, 0.6 * (r + v), 4.0});
  return (groups * term + 1.5 * v) / t;
}

}  // namespace

WinogradPlan::WinogradPlan(const ConvProblem& p, const TileLimits& limits) : problem(p), covered(Covered(p)) {
  tile_rows = WinogradTiles(p.axis[1].dst);
  tile_columns = WinogradTiles(p.axis[2].dst);
  const int64_t vectors = CeilDiv(p.dst_channels, kLanes);
  product.vectors = std::min<int64_t>(vectors, vectors % 3 == 0 && vectors % 2 != 0 ? 3 : 2);
  if (limits.vector_registers < kMostRows) product.vectors = 1;
  panels = CeilDiv(vectors, product.vectors);
  part_panels = panels;

  const int64_t most_rows = std::min(kMostRows, (limits.vector_registers - product.vectors - 1) / product.vectors);
  by_panels = far_filter() && p.batch > 0 && panels >= kLeastPanels && p.batch * image_tiles() <= kMostTilesByPanels;
  if (by_panels) {
    SplitPanels(most_rows);
  } else {
    SplitUnits(most_rows);
  }
}

void WinogradPlan::SplitPanels(int64_t most_rows) {
  by_images = true;
  unit = images = problem.batch;
  block = tile_rows;
  part_panels = 1;
  parts = tasks = panels;
  double least = 0;
  for (int64_t rows = most_rows; rows >= 1; --rows) {
    const double cycles = CyclesOf(unit * image_tiles(), rows, product.vectors);
    if (least > 0 && cycles >= least) continue;
    least = cycles;
    product.rows = rows;
  }
}

void WinogradPlan::SplitUnits(int64_t most_rows) {
  const ConvProblem& p = problem;
  const double flops = std::max(p.flops(), 1.0), image = flops / static_cast<double>(std::max<int64_t>(1, p.batch));
  const bool near = !far_filter();
  by_images = image_tiles() < (near ? kFewTiles : kFewTilesFar) && p.batch > 1;
  // Units begin and end with windows of the tail.
  const int64_t quantum = by_images ? 1 : std::lcm(kWinogradTile, p.axis[1].pool) / kWinogradTile;
  const int64_t cuts = std::clamp<int64_t>(
      std::min(CeilDiv(kTasks, std::max<int64_t>(1, p.batch)), static_cast<int64_t>(image / kLeastFlops)), 1,
      tile_rows);
  block = by_images ? tile_rows : std::min(tile_rows, RoundUp(CeilDiv(tile_rows, cuts), quantum));
  blocks = CeilDiv(tile_rows, block);

  // The unit and its groups that take the fewest cycles.
  const int64_t step = by_images ? image_tiles() : tile_columns;
  const int64_t most = near ? kMostTiles : kMostTilesFar;
  product.rows = 1;
  double least = 0;
  for (int64_t u = 1; u <= (by_images ? p.batch : block); ++u) {
    const bool whole = u % quantum == 0 || u == block;
    if (!whole || (least > 0 && u * step > most)) continue;
    // Units of an image's last rows are smaller.
    const int64_t units = by_images ? 1 : CeilDiv(block, u);
    for (int64_t rows = std::min(most_rows, u * step); rows >= 1; --rows) {
      const double cycles = CyclesOf(u * step, rows, product.vectors) * static_cast<double>(units * u);
      if (least > 0 && cycles >= least * (by_images ? static_cast<double>(u) / static_cast<double>(unit) : 1)) continue;
      least = cycles;
      unit = u;
      product.rows = rows;
    }
  }

  const auto per_task = static_cast<int64_t>(kTaskFlops / image);
  if (by_images) {
    images = TaskSize(p.batch, std::max<int64_t>(1, per_task), 1);
    images = RoundUp(images, unit);
  } else if (blocks == 1) {
    images = TaskSize(p.batch, std::max<int64_t>(1, per_task), 1);
  }
  const int64_t regions = blocks * CeilDiv(p.batch, images);
  const auto worth = static_cast<int64_t>(flops / static_cast<double>(std::max<int64_t>(1, regions)) / kLeastFlops);
  part_panels =
      CeilDiv(panels, std::max<int64_t>(1, std::min({CeilDiv(kTasks, std::max<int64_t>(1, regions)), worth, panels})));
  parts = CeilDiv(panels, part_panels);
  tasks = regions * parts;
}

int64_t WinogradPlan::filter_panel() const { return kWinogradElements * problem.src_channels * product.width(); }

bool WinogradPlan::far_filter() const { return panels * filter_panel() * 4 > kNearFilter; }

bool WinogradPlan::by_groups() const {
  return part_panels == 1 && filter_panel() / kWinogradCells * 4 <= kCloseFilterRow;
}

int64_t WinogradPlan::unit_floats() const {
  if (by_images) return unit * problem.DstStep(0);
  return unit * kWinogradTile * problem.DstStep(2);
}

ConvSource WinogradPlan::Source() const {
  if (by_images) return {covered, 0, 1, unit};
  return {covered, 1, blocks == 1 ? covered.axis[1].dst : block * kWinogradTile, 1};
}

namespace {

// The stage's kernel. A unit is a source channel of a panel, or a block of kLanes of them of a filter that is transposed:
// its taps are turned in registers and wait in scratch.
class FilterTransform {
 public:
  FilterTransform(const WinogradPlan& plan, int filter_input, std::string name)
      : plan_(plan), p_(plan.problem), b_(std::move(name)), task_(b_.Task()) {
    filter_ = b_.Buffer({IrBuffer::Kind::kInput, filter_input, Elem::kF32, 0});
    packed_ = b_.Buffer({IrBuffer::Kind::kWorkspace, 0, Elem::kF32, 0});
    if (p_.transposed) turned_ = b_.Buffer({IrBuffer::Kind::kScratch, 0, Elem::kF32, 0});
  }

  Stage Take() {
    const int64_t step = p_.transposed ? kLanes : 1, steps = CeilDiv(p_.src_channels, step);
    const int64_t units = plan_.panels * steps;
    const int64_t per_task = TaskSize(units, std::max<int64_t>(1, kFilterTask / (plan_.product.width() * step)), 1);
    const Val begin = b_.Mul(task_, per_task), end = b_.Min(b_.Add(begin, b_.I64(per_task)), b_.I64(units));
    b_.Loop(begin, end, 1, [&](Val at) {
      const Val panel = b_.Div(at, steps), c = b_.Mul(b_.Rem(at, steps), step);
      b_.Loop(b_.I64(0), b_.I64(plan_.product.width()), kLanes, [&](Val v) {
        if (p_.transposed) {
          Turned(panel, c, v);
        } else {
          InPlace(panel, c, v);
        }
      });
    });
    return MakeStage(b_.Take(), CeilDiv(units, per_task), p_.transposed ? kTaps * kBlock * BytesOf(Elem::kF32) : 0);
  }

 private:
  static constexpr int64_t kTaps = 9, kBlock = kLanes * kLanes;

  Val Column(Val panel, Val v) { return b_.Add(b_.Mul(panel, plan_.product.width()), v); }
  // Output channels from `column` on; there may be none.
  Val Left(Val column) {
    const Val left = b_.Add(b_.I64(p_.dst_channels), b_.Mul(column, -1));
    return b_.Select(b_.Binary(IrOp::kLt, left, b_.I64(0)), b_.I64(0), left);
  }

  void InPlace(Val panel, Val c, Val v) {
    const Val column = Column(panel, v);
    const Val count = p_.dst_channels % plan_.product.width() == 0 ? kNoVal : Left(column);
    const Val from = b_.Add(b_.Mul(c, p_.dst_channels), column);
    Transform(panel, c, v, [&](int64_t tap) {
      return b_.Load(filter_, b_.Add(from, b_.I64(tap * p_.src_channels * p_.dst_channels)), kLanes, count);
    });
  }

  void Turned(Val panel, Val c, Val v) {
    const Val column = Column(panel, v);
    const Val channels = b_.Min(b_.I64(kLanes), b_.Add(b_.I64(p_.src_channels), b_.Mul(c, -1)));
    const PanelPack pack{.src = filter_,
                         .dst = turned_,
                         .from = kNoVal,
                         .to = kNoVal,
                         .pitch = p_.src_channels,
                         .begin = column,
                         .end = b_.Add(column, b_.I64(kLanes)),
                         .columns = p_.dst_channels,
                         .terms = channels};
    b_.Loop(b_.I64(0), b_.I64(kTaps), 1, [&](Val tap) {
      PanelPack one = pack;
      one.from = b_.Add(b_.Mul(tap, p_.dst_channels * p_.src_channels), c);
      one.to = b_.Mul(tap, kBlock);
      PackTransposed(b_, {}, one, /*whole=*/p_.src_channels % kLanes == 0);
    });
    b_.Loop(b_.I64(0), channels, 1, [&](Val i) {
      Transform(panel, b_.Add(c, i), v, [&](int64_t tap) {
        return b_.Load(turned_, b_.Add(b_.Mul(i, kLanes), b_.I64((kTaps - 1 - tap) * kBlock)), kLanes);
      });
    });
  }

  // Of source channel `c` and the vector of output channels at `v` of the panel; tap(t) is its tap in the order of the
  // sum.
  template <class Tap>
  void Transform(Val panel, Val c, Val v, const Tap& tap) {
    const int64_t width = plan_.product.width();
    const Val to = b_.Add(b_.Add(b_.Mul(panel, plan_.filter_panel()), b_.Mul(c, width)), v);
    const auto store = [&](int i, int j, Val u) {
      const int64_t element = i * kWinogradCells + j;
      b_.Store(packed_, u, b_.Add(to, b_.I64(element * p_.src_channels * width)));
    };
    EmitSquare<IrWinograd::Filter, 3, kWinogradCells>(
        b_, [&](int row, int column) { return tap(row * 3 + column); }, store);
  }

  const WinogradPlan& plan_;
  const ConvProblem& p_;
  KernelBuilder b_;
  const Val task_;
  int filter_ = -1, packed_ = -1, turned_ = -1;
};

}  // namespace

Stage TransformFilterStage(const WinogradPlan& plan, int filter_input, std::string name) {
  return FilterTransform(plan, filter_input, std::move(name)).Take();
}

}  // namespace weir::jit
