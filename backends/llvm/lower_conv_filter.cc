// Filter gradients. The canonical order sums chunks of images apart and adds their totals in order, so there are two
// ways to split the work: by chunks, whose sums then lie in the workspace until a second kernel adds them, while they
// are small; and by rows of dw, each task passing over all images.
#include <functional>

#include "weir/backends/llvm/filter_copy.h"
#include "weir/backends/llvm/filter_plan.h"
#include "weir/backends/llvm/lowering.h"
#include "weir/core/strings.h"
#include "weir/ops/winograd.h"

namespace weir::jit {
namespace {

constexpr double kTaskFlops = 2e6;       // 10 us at 200 GFLOP/s
constexpr double kLeastTaskFlops = 1e6;  // where segments share nothing that a task would bring near
constexpr int64_t kTasks = 16;           // enough for eight threads
constexpr int64_t kAhead = 16;           // terms: a panel of a chunk comes from the second-level cache
constexpr int64_t kSharing = 4;          // segments of a task: they share bands of x and dy
constexpr int64_t kUnroll = 4;           // terms whose operands are packed
constexpr int64_t kLine = 16;            // floats of a cache line
constexpr int64_t kFetchTerms = 128;     // ahead, where a task passes over its operands once
constexpr int64_t kCopyTaskFloats = 64 * 1024;

// Where something lies: element `at` of a buffer.
struct Place {
  int buffer = -1;
  Val at = kNoVal;
};

class FilterKernel {
 public:
  FilterKernel(const Cluster& cluster, const FilterPlan& plan, const char* part)
      : p_(plan), b_(StrCat(Describe(cluster), part)), task_(b_.Task()) {
    x_ = b_.Buffer({IrBuffer::Kind::kInput, p_.x_input, Elem::kF32, 0});
    dy_ = b_.Buffer({IrBuffer::Kind::kInput, p_.dy_input, Elem::kF32, 0});
  }

  // A task: one chunk, some segments; sums go to the chunk's place in the workspace.
  Stage ByChunks(int64_t segments_per_task, int64_t row_tasks) {
    task_segments_ = segments_per_task;
    const Val chunk = b_.Div(task_, row_tasks), first = b_.Mul(chunk, p_.chunk_images), images = ImagesOf(first);
    Place x{x_, b_.Mul(first, p_.x_image)};
    if (p_.copy_x) {
      x = {scratch_.Take(p_.chunk_images * p_.x_image), b_.I64(0)};
      FilterCopy copy(b_, p_, x_);
      b_.Loop(b_.I64(0), images, 1, [&](Val i) { copy.Image(b_.Add(first, i), x.buffer, b_.Mul(i, p_.x_image)); });
    }
    const Val begin = b_.Mul(b_.Rem(task_, row_tasks), segments_per_task);
    const Val end = b_.Min(b_.I64(p_.segments()), b_.Add(begin, b_.I64(segments_per_task)));
    if (p_.pack_dy) packed_dy_ = scratch_.Take(p_.packed_floats());
    if (p_.pack_rows) packed_rows_ = scratch_.Take(p_.band_terms() * p_.packed_pitch());
    const Val dst = b_.Add(b_.Mul(chunk, p_.rows * p_.columns), b_.Mul(RowOf(begin), p_.columns));
    SumChunk(x, {dy_, b_.Mul(first, p_.dy_floats())}, images, begin, end, {Workspace(0), dst});
    return MakeStage(b_.Take(), p_.chunks * row_tasks, scratch_.bytes());
  }

  // Copies of all images' operands to the workspace: x first.
  int64_t copied_bytes() const { return p_.copy_x ? RoundUp(p_.g.batch * p_.x_image * 4, 64) : 0; }
  int64_t workspace_bytes() const { return copied_bytes() + (p_.pack_dy ? p_.chunks * p_.packed_floats() * 4 : 0); }
  Stage CopyImages(int64_t per_task) {
    const Val begin = b_.Mul(task_, per_task), end = b_.Min(b_.I64(p_.g.batch), b_.Add(begin, b_.I64(per_task)));
    b_.Loop(begin, end, 1, [&](Val image) {
      if (p_.copy_x) FilterCopy(b_, p_, x_).Image(image, Workspace(0), b_.Mul(image, p_.x_image));
      if (p_.pack_dy) {
        const Val term = b_.Mul(b_.Rem(image, p_.chunk_images), p_.g.out_positions());
        const Val at =
            b_.Add(b_.Mul(b_.Div(image, p_.chunk_images), p_.packed_floats()), b_.Mul(term, p_.tile.width()));
        PackColumns(b_.Mul(image, p_.dy_floats()), b_.I64(p_.g.out_positions()), {Workspace(copied_bytes()), at});
      }
    });
    return MakeStage(b_.Take(), CeilDiv(p_.g.batch, per_task));
  }

  // A task: some segments over all chunks, and the epilogue. Totals lie in scratch, sums of later chunks behind them.
  Stage ByRows(const Cluster& cluster, int64_t segments_per_task) {
    task_segments_ = segments_per_task;
    ClusterIr epilogue(b_, cluster);
    const Val begin = b_.Mul(task_, segments_per_task);
    const Val end = b_.Min(b_.I64(p_.segments()), b_.Add(begin, b_.I64(segments_per_task)));
    const Val row = RowOf(begin), floats = b_.Mul(b_.Binary(IrOp::kSub, RowOf(end), row), p_.columns);
    const int64_t most = RoundUp(segments_per_task * p_.tile.rows * p_.columns, kLanes);
    const int totals = scratch_.Take(2 * most);
    if (p_.pack_rows) packed_rows_ = scratch_.Take(p_.band_terms() * p_.packed_pitch());
    if (p_.chunks == 0) Clear({totals, b_.I64(0)}, floats);
    b_.Loop(b_.I64(0), b_.I64(p_.chunks), 1, [&](Val chunk) {
      const Val image = b_.Mul(chunk, p_.chunk_images), later = b_.Binary(IrOp::kLt, b_.I64(0), chunk);
      const Val dst = b_.Select(later, b_.I64(most), b_.I64(0));
      const Place dy = p_.pack_dy ? Place{Workspace(copied_bytes()), b_.Mul(chunk, p_.packed_floats())}
                                  : Place{dy_, b_.Mul(image, p_.dy_floats())};
      SumChunk({p_.copy_x ? Workspace(0) : x_, b_.Mul(image, p_.x_image)}, dy, ImagesOf(image), begin, end,
               {totals, dst});
      b_.If(later, [&] {
        b_.Loop(b_.I64(0), floats, kLanes, [&](Val i) {
          const Val sum =
              b_.Binary(IrOp::kAdd, b_.Load(totals, i, kLanes), b_.Load(totals, b_.Add(i, b_.I64(most)), kLanes));
          b_.Store(totals, sum, i);
        });
      });
    });
    EmitRange(b_, epilogue,
              {.buffer = totals,
               .base = b_.I64(0),
               .flat = b_.Mul(row, p_.columns),
               .count = floats,
               .whole = p_.columns % kLanes == 0,
               .aligned = p_.columns % kLanes == 0,
               .blocks = p_.columns % kRandomBlock == 0});
    return MakeStage(b_.Take(), CeilDiv(p_.segments(), segments_per_task), scratch_.bytes());
  }

 private:
  int Workspace(int64_t at) { return b_.Buffer({IrBuffer::Kind::kWorkspace, 0, Elem::kF32, at}); }
  Val ImagesOf(Val first) {
    if (p_.g.batch % p_.chunk_images == 0) return b_.I64(p_.chunk_images);
    return b_.Min(b_.I64(p_.chunk_images), b_.Binary(IrOp::kSub, b_.I64(p_.g.batch), first));
  }
  // First row of a segment, or the number of rows for the end of all.
  Val RowOf(Val segment) {
    const int64_t tiles = p_.tiles_per_unit();
    return b_.Add(b_.Mul(b_.Div(segment, tiles), p_.unit_rows), b_.Mul(b_.Rem(segment, tiles), p_.tile.rows));
  }

  void Clear(Place dst, Val floats) {
    b_.Loop(b_.I64(0), floats, kLanes, [&](Val i) {
      b_.Store(dst.buffer, b_.F32(0, kLanes), b_.Add(dst.at, i), b_.Binary(IrOp::kSub, floats, i));
    });
  }
  // ---- Sums --------------------------------------------------------------------------------------------------------
  Val CountOf(size_t level, Val images) {
    const int64_t count = p_.positions[level].count;
    return level == 0 && p_.chunk_images > 1 ? b_.Mul(images, count / p_.chunk_images) : b_.I64(count);
  }

  // Rows of segments [begin, end) of one chunk; dst is the place of the first.
  void SumChunk(Place x, Place dy, Val images, Val begin, Val end, Place dst) {
    const Val first = RowOf(begin);
    if (!p_.one_band()) Clear(dst, b_.Mul(b_.Binary(IrOp::kSub, RowOf(end), first), p_.columns));
    Bands(0, x, dy.at, images, [&](Place band_x, Val band_dy, Val rounds) {
      Place columns{dy.buffer, band_dy};
      if (packed_dy_ >= 0) {
        columns = {packed_dy_, b_.I64(0)};
        PackColumns(band_dy, b_.Mul(rounds, p_.Inside(p_.band_level)), columns);
      }
      b_.Loop(begin, end, 1, [&](Val segment) {
        const Val rows = b_.Mul(b_.Binary(IrOp::kSub, RowOf(segment), first), p_.columns);
        piece_ = b_.Mul(b_.Binary(IrOp::kSub, segment, begin), p_.groups * p_.panels());
        band_ = {band_x, {dy.buffer, band_dy}};
        Segment(segment, band_x, columns, rounds, {dst.buffer, b_.Add(dst.at, rows)});
      });
    });
  }
  // body(x, dy, rounds of the band's loop) for every band of positions in order.
  void Bands(size_t level, Place x, Val dy, Val images, const std::function<void(Place, Val, Val)>& body) {
    const PositionLoop& loop = p_.positions[level];
    const Val count = CountOf(level, images);
    const auto at = [&](Val i) { return Place{x.buffer, b_.Add(x.at, b_.Mul(i, loop.x))}; };
    if (level < p_.band_level) {
      b_.Loop(b_.I64(0), count, 1,
              [&](Val i) { Bands(level + 1, at(i), b_.Add(dy, b_.Mul(i, loop.dy)), images, body); });
    } else if (p_.band >= loop.count) {
      body(x, dy, count);
    } else {
      b_.Loop(b_.I64(0), count, p_.band, [&](Val i) {
        const bool whole = b_.IsConst(count) && loop.count % p_.band == 0;
        const Val rounds = whole ? b_.I64(p_.band) : b_.Min(b_.I64(p_.band), b_.Binary(IrOp::kSub, count, i));
        body(at(i), b_.Add(dy, b_.Mul(i, loop.dy)), rounds);
      });
    }
  }
  void PackColumns(Val dy, Val terms, Place dst) {
    PackPanels(b_, p_.tile,
               {.src = dy_,
                .dst = dst.buffer,
                .from = dy,
                .to = dst.at,
                .pitch = p_.columns,
                .begin = b_.I64(0),
                .end = b_.I64(p_.columns),
                .columns = p_.columns,
                .terms = terms,
                .panel_terms = p_.panel_terms});
  }

  // The rows of a segment: a unit's tiles differ in height or in offsets, or follow each other.
  void Segment(Val segment, Place x, Place columns, Val rounds, Place dst) {
    const int64_t tiles = p_.tiles_per_unit(), height = p_.tile.rows;
    Val unit = b_.Div(segment, tiles), at = x.at;
    const Val tile = b_.Rem(segment, tiles);
    for (size_t i = p_.outer.size(); i-- > 0;) {
      const Val index = i == 0 ? unit : b_.Rem(unit, p_.outer[i].count);
      at = b_.Add(at, b_.Mul(index, p_.outer[i].x));
      if (i > 0) unit = b_.Div(unit, p_.outer[i].count);
    }
    const auto rows = [&](int64_t count, int64_t behind, Val from, std::vector<int64_t> offsets) {
      TileOperands operands{.row_offsets = std::move(offsets),
                            .row_vectors = p_.depthwise,
                            .row_buffer = x.buffer,
                            .column_buffer = columns.buffer};
      operands.row_pitch = p_.row_pitch;
      if (p_.pack_rows) {
        PackRows(p_.band_level, {x.buffer, from}, b_.I64(0), count, behind, rounds);
        operands.row_buffer = packed_rows_;
        from = b_.I64(0);
      }
      GroupsOfTile({count, p_.tile.vectors}, operands, from, columns.at, rounds, dst);
    };
    if (p_.unit_offsets.empty()) {
      const int64_t whole = p_.unit_rows / height, rest = p_.unit_rows % height;
      const Val from = b_.Add(at, b_.Mul(tile, height * p_.row_pitch));
      if (rest == 0) return rows(height, 0, from, {});
      b_.If(b_.Binary(IrOp::kLt, tile, b_.I64(whole)), [&] { rows(height, rest, from, {}); });
      b_.If(b_.Binary(IrOp::kEq, tile, b_.I64(whole)), [&] { rows(rest, 0, from, {}); });
      return;
    }
    for (int64_t k = 0; k < tiles; ++k) {
      const int64_t begin = k * height, end = std::min(begin + height, p_.unit_rows);
      const auto one = [&] {
        rows(end - begin, 0, at, {p_.unit_offsets.begin() + begin, p_.unit_offsets.begin() + end});
      };
      tiles == 1 ? one() : b_.If(b_.Binary(IrOp::kEq, tile, b_.I64(k)), one);
    }
  }
  // While tiles pass over a band, they fetch the next one to the second-level cache, each its piece: what else comes from
  // farther away would have to be waited for.
  std::vector<TileOperands::Fetch> NextBand(Val group, Val panel) {
    std::vector<TileOperands::Fetch> fetches;
    if (!p_.fetch) return fetches;
    const int64_t pieces = task_segments_ * p_.groups * p_.panels(), terms = p_.band_terms();
    const int64_t ahead = pieces == 1 ? std::min(terms, kFetchTerms) : terms;
    const Val piece = b_.Add(piece_, b_.Add(b_.Mul(group, p_.panels()), panel));
    const auto add = [&](Place band, int64_t floats) {
      const int64_t step = CeilDiv(floats, pieces);
      const Val at = b_.Add(b_.Add(band.at, b_.Mul(piece, terms * step)), b_.I64(ahead * floats));
      fetches.push_back({.buffer = band.buffer, .at = at, .step = step, .to_first = false});
    };
    add(band_.dy, p_.columns);
    // A copy of x is near, and of one with steps not all is read.
    if (!p_.copy_x && p_.positions[p_.band_level].x == p_.Inside(p_.band_level) * p_.pixel) add(band_.x, p_.pixel);
    return fetches;
  }

  void GroupsOfTile(const TileShape& tile, TileOperands& operands, Val x, Val dy, Val rounds, Place dst) {
    const auto over_columns = [&](Val group) {
      const Val offset = b_.Mul(group, p_.group_columns);
      b_.Loop(b_.I64(0), b_.I64(p_.group_columns), tile.width(), [&](Val c) {
        const std::vector<Val> counts = ColumnCounts(b_, tile, c, p_.group_columns);
        if (!p_.pack_dy) operands.counts = counts;
        operands.fetches = NextBand(group, b_.Div(c, tile.width()));
        const Val row = b_.Add(x, p_.depthwise ? c : b_.Mul(group, p_.group_rows));
        const Val column = p_.pack_dy ? b_.Add(dy, b_.Mul(c, p_.panel_terms)) : b_.Add(b_.Add(dy, offset), c);
        const Val at = b_.Add(b_.Add(dst.at, offset), c);
        const Sums sums = p_.one_band() ? ZeroSums(b_, tile) : LoadSums(b_, tile, dst.buffer, at, p_.columns, counts);
        StoreSums(b_, tile, Terms(p_.band_level, tile, operands, {row, column, b_.I64(0)}, rounds, sums), dst.buffer,
                  at, p_.columns, counts);
      });
    };
    if (p_.groups == 1) return over_columns(b_.I64(0));
    b_.Loop(b_.I64(0), b_.I64(p_.groups), 1, over_columns);
  }

  // `count` rows at x of all positions of a band, with as many of the `behind` rows that follow them as fill a vector.
  void PackRows(size_t level, Place x, Val term, int64_t count, int64_t behind, Val rounds) {
    if (level == p_.positions.size()) {
      // In shorter vectors rather than with a mask, which would take a register from the tiles.
      const Val to = b_.Mul(term, p_.packed_pitch());
      const int64_t room = std::min(count + behind, p_.packed_pitch());
      for (int64_t i = 0; i < count;) {
        int64_t lanes = kLanes;
        while (lanes > 1 && (lanes > room - i || lanes / 2 >= count - i)) lanes /= 2;
        if (lanes == 2) lanes = 1;
        b_.Store(packed_rows_, b_.Load(x.buffer, b_.Add(x.at, b_.I64(i)), static_cast<int>(lanes)),
                 b_.Add(to, b_.I64(i)));
        i += lanes;
      }
      return;
    }
    b_.Loop(b_.I64(0), rounds, 1, [&](Val i) {
      const Val inner = level + 1 < p_.positions.size() ? b_.I64(p_.positions[level + 1].count) : kNoVal;
      const Place at{x.buffer, b_.Add(x.at, b_.Mul(i, p_.positions[level].x))};
      PackRows(level + 1, at, b_.Add(term, b_.Mul(i, p_.Inside(level))), count, behind, inner);
    });
  }

  // A position: where its operands lie, and its number in the band.
  struct Term {
    Val x = kNoVal, dy = kNoVal, number = kNoVal;
  };
  // All positions of a band.
  Sums Terms(size_t level, const TileShape& tile, TileOperands operands, const Term& first, Val rounds,
             const Sums& sums) {
    if (p_.pack_rows) {
      operands.row = first.x;
      operands.column = first.dy;
      operands.row_step = p_.packed_pitch();
      operands.ahead = kAhead;
      operands.column_step = tile.width();
      return AddTerms(b_, tile, operands, b_.Mul(rounds, p_.Inside(level)), sums, kUnroll);
    }
    if (level == p_.positions.size()) {
      for (const TileOperands::Fetch& fetch : operands.fetches) {
        const Val at = b_.Add(fetch.at, b_.Mul(first.number, fetch.step));
        for (int64_t i = 0; i < fetch.step; i += kLine)
          b_.Prefetch(fetch.buffer, b_.Add(at, b_.I64(i)), fetch.to_first);
      }
      return AddTerm(b_, tile, operands, first.x, first.dy, sums);
    }
    const PositionLoop& loop = p_.positions[level];
    const int64_t step = p_.pack_dy ? loop.dy / p_.columns * tile.width() : loop.dy;
    return b_.For(b_.I64(0), rounds, 1, sums, [&](Val i, const Sums& acc) {
      const Val inner = level + 1 < p_.positions.size() ? b_.I64(p_.positions[level + 1].count) : kNoVal;
      const Term next{b_.Add(first.x, b_.Mul(i, loop.x)), b_.Add(first.dy, b_.Mul(i, step)),
                      b_.Add(first.number, b_.Mul(i, p_.Inside(level)))};
      return Terms(level + 1, tile, operands, next, inner, acc);
    });
  }

  const FilterPlan& p_;
  KernelBuilder b_;
  ScratchSpace scratch_{b_};
  const Val task_;
  int x_ = -1, dy_ = -1;
  int packed_dy_ = -1, packed_rows_ = -1;  // of a band
  int64_t task_segments_ = 1;
  // The band that tiles pass over, and the number of a segment's first piece of what the task fetches.
  struct {
    Place x, dy;
  } band_;
  Val piece_ = kNoVal;
};

void LowerByChunks(const Cluster& cluster, const FilterPlan& p, Lowering& lowering) {
  const double chunk_flops = p.flops() / static_cast<double>(p.chunks);
  const int64_t wanted =
      std::clamp<int64_t>(std::min(CeilDiv(kTasks, p.chunks), static_cast<int64_t>(chunk_flops / kTaskFlops)), 1,
                          std::max<int64_t>(1, p.segments() / kSharing));
  const int64_t per_task = CeilDiv(p.segments(), wanted), row_tasks = CeilDiv(p.segments(), per_task);
  lowering.kernel += StrCat("by ", p.chunks, " chunks, ", p.chunks * row_tasks, " tasks");
  lowering.workspace_bytes = p.chunks * p.rows * p.columns * 4;
  lowering.stages.push_back(FilterKernel(cluster, p, ", chunks").ByChunks(per_task, row_tasks));
  lowering.stages.push_back(CombineParts(cluster, p.chunks, p.rows * p.columns));
}

void LowerByRows(const Cluster& cluster, const FilterPlan& p, Lowering& lowering) {
  int64_t wanted = std::min(static_cast<int64_t>(p.flops() / kTaskFlops), 4 * kTasks);
  if (p.pack_dy) wanted = std::max(wanted, std::min(static_cast<int64_t>(p.flops() / kLeastTaskFlops), kTasks));
  wanted = std::clamp<int64_t>(wanted, 1, p.segments());
  const int64_t per_task = CeilDiv(p.segments(), wanted);
  if ((p.copy_x || p.pack_dy) && p.g.batch > 0) {
    FilterKernel copy(cluster, p, ", copy");
    lowering.workspace_bytes = copy.workspace_bytes();
    const int64_t floats = (p.copy_x ? p.x_image : 0) + (p.pack_dy ? p.dy_floats() : 0);
    lowering.stages.push_back(copy.CopyImages(TaskSize(p.g.batch, std::max<int64_t>(1, kCopyTaskFloats / floats), 1)));
  }
  lowering.kernel += StrCat("by rows, ", CeilDiv(p.segments(), per_task), " tasks");
  lowering.stages.push_back(FilterKernel(cluster, p, ", rows").ByRows(cluster, per_task));
}

}  // namespace

LowerResult LowerConvFilterGradient(const Cluster& cluster, const TileLimits& limits) {
  if (UsesWinograd(cluster.node(*cluster.anchor).attrs)) return LowerWinogradFilterGradient(cluster, limits);
  if (auto depthwise = LowerDepthwiseFilterGradient(cluster, limits)) return *std::move(depthwise);
  const FilterPlan plan = PlanFilterGradient(cluster, limits);
  Lowering lowering;
  lowering.in_place = PointwisePairs(cluster);
  lowering.kernel = StrCat("jit, ", plan.depthwise ? "depthwise " : "", "filter gradient ", plan.tile.rows, "x",
                           plan.tile.vectors, ", ");
  if (plan.by_rows) {
    LowerByRows(cluster, plan, lowering);
  } else {
    LowerByChunks(cluster, plan, lowering);
  }
  return lowering;
}

}  // namespace weir::jit
