#include "weir/backends/llvm/product_ir.h"

#include <algorithm>

#include "weir/core/strings.h"
#include "weir/ops/canonical_order.h"

namespace weir::jit {
namespace {

constexpr int64_t kMostVectors = 16;
constexpr double kNearVectors = 640;                // of columns that stay in the first-level cache: 40 KiB
constexpr int64_t kShortEpilogue = 24;              // instructions a vector
constexpr int64_t kLightWork = 64;                  // operations of an epilogue repeated for a tile
constexpr int64_t kCombineTask = int64_t{1} << 16;  // floats added by a task: some 6 us

// Cycles of a term of columns in so many registers: two multiplications at a time, loads a little slower than that, and a
// sum waits four cycles for its last term. Vectors of columns come from farther away than elements of rows, from the
// second-level cache if they are `far`.
double TermCycles(int64_t rows, int64_t registers, bool far) {
  const double products = static_cast<double>(rows * registers) / 2,
               loads = 0.6 * static_cast<double>(rows + registers);
  return std::max({products, loads, 4.0}) + (far ? 1 : 0.25) * static_cast<double>(registers);
}
// To begin and to store a tile.
double TileCycles(int64_t rows, int64_t registers) { return 12 + 1.5 * static_cast<double>(rows * registers); }

}  // namespace

TileShape ChooseTile(int64_t rows, int64_t columns, int64_t terms, const TileLimits& limits, bool alike,
                     int64_t most_rows) {
  const int64_t all_vectors = std::max<int64_t>(1, CeilDiv(columns, int64_t{kLanes}));
  const double depth = static_cast<double>(std::max<int64_t>(1, std::min(terms, kMatMulBlock)));
  const double two_tiles = alike ? 1.08 : 1;  // a second tile has to be worth its code
  const bool far = depth * static_cast<double>(all_vectors) > kNearVectors;
  TileShape best;
  double least = 0;
  for (int64_t vectors = 1; vectors <= std::min(kMostVectors, all_vectors); ++vectors) {
    for (int64_t height = 1; height <= std::min(most_rows, rows); ++height) {
      if (height * vectors + std::min(height, vectors) + 1 > limits.vector_registers) break;
      const int64_t wide = vectors * limits.vector_parts;
      const auto cycles = [&](int64_t h) { return depth * TermCycles(h, wide, far) + TileCycles(h, wide); };
      const int64_t rest = rows % height;
      double cost = static_cast<double>(rows / height) * cycles(height);
      if (rest != 0) cost = two_tiles * (cost + cycles(rest));
      cost *= static_cast<double>(CeilDiv(all_vectors, vectors));
      if (least == 0 || cost < least) {
        least = cost;
        best = {height, vectors, limits.vector_parts};
      }
    }
  }
  return best;
}

Sums ZeroSums(KernelBuilder& b, const TileShape& tile) {
  return Sums(static_cast<size_t>(tile.rows * tile.vectors), b.F32(0, kLanes));
}

Sums AddTerm(KernelBuilder& b, const TileShape& tile, const TileOperands& o, Val row, Val column, Sums sums) {
  const auto count = [&](int64_t j) { return o.counts.empty() ? kNoVal : o.counts[static_cast<size_t>(j)]; };
  std::vector<Val> v;
  for (int64_t j = 0; j < tile.vectors; ++j) {
    v.push_back(b.Load(o.column_buffer, b.Add(column, b.I64(j * kLanes)), kLanes, count(j)));
  }
  for (int64_t i = 0; i < tile.rows; ++i) {
    const int64_t offset = o.row_offsets.empty() ? i * o.row_pitch : o.row_offsets[static_cast<size_t>(i)];
    Val u = o.row_vectors ? kNoVal : b.Splat(b.Load(o.row_buffer, b.Add(row, b.I64(offset)), 1), kLanes);
    for (int64_t j = 0; j < tile.vectors; ++j) {
      if (o.row_vectors) u = b.Load(o.row_buffer, b.Add(row, b.I64(offset + j * kLanes)), kLanes, count(j));
      Val& sum = sums[static_cast<size_t>(i * tile.vectors + j)];
      sum = b.Fma(u, v[static_cast<size_t>(j)], sum);
    }
  }
  return sums;
}

Sums AddTerms(KernelBuilder& b, const TileShape& tile, const TileOperands& o, Val terms, const Sums& sums,
              int64_t unroll) {
  // Term t + k: addresses of a round differ by constants.
  const auto add = [&](Val t, int64_t k, Sums acc) {
    const auto at = [&](Val base, int64_t step) { return b.Add(b.Add(base, b.Mul(t, step)), b.I64(k * step)); };
    for (const TileOperands::Fetch& fetch : o.fetches) {
      // Terms of a round that would fetch the line of the term before don't.
      const int64_t every = std::max<int64_t>(1, fetch.line / std::max<int64_t>(1, fetch.step));
      if (k % every == 0) b.Prefetch(fetch.buffer, at(fetch.at, fetch.step), fetch.to_first);
    }
    const Val column = at(o.column, o.column_step);
    for (int64_t j = 0; o.ahead > 0 && j < tile.vectors; ++j) {
      b.Prefetch(o.column_buffer, b.Add(column, b.I64(o.ahead * o.column_step + j * kLanes)));
    }
    return AddTerm(b, tile, o, at(o.row, o.row_step), column, std::move(acc));
  };
  const auto single = [&](Val t, const Sums& acc) { return add(t, 0, acc); };
  if (unroll == 1) return b.For(b.I64(0), terms, 1, sums, single);
  const Val whole = b.Mul(b.Div(terms, unroll), unroll);
  const Sums most = b.For(b.I64(0), whole, unroll, sums, [&](Val t, Sums acc) {
    for (int64_t k = 0; k < unroll; ++k) acc = add(t, k, std::move(acc));
    return acc;
  });
  if (b.IsConst(terms) && b.ConstBits(terms) % unroll == 0) return most;
  return b.For(whole, terms, 1, most, single);
}

Sums LoadSums(KernelBuilder& b, const TileShape& tile, int buffer, Val at, int64_t pitch,
              const std::vector<Val>& counts) {
  Sums sums;
  for (int64_t i = 0; i < tile.rows; ++i) {
    for (int64_t j = 0; j < tile.vectors; ++j) {
      const Val index = b.Add(at, b.I64(i * pitch + j * kLanes));
      sums.push_back(b.Load(buffer, index, kLanes, counts.empty() ? kNoVal : counts[static_cast<size_t>(j)]));
    }
  }
  return sums;
}
void StoreSums(KernelBuilder& b, const TileShape& tile, const Sums& sums, int buffer, Val at, int64_t pitch,
               const std::vector<Val>& counts) {
  for (int64_t i = 0; i < tile.rows; ++i) {
    for (int64_t j = 0; j < tile.vectors; ++j) {
      const Val index = b.Add(at, b.I64(i * pitch + j * kLanes));
      b.Store(buffer, sums[static_cast<size_t>(i * tile.vectors + j)], index,
              counts.empty() ? kNoVal : counts[static_cast<size_t>(j)]);
    }
  }
}

std::vector<Val> ColumnCounts(KernelBuilder& b, const TileShape& tile, Val column, int64_t columns) {
  std::vector<Val> counts(static_cast<size_t>(tile.vectors), kNoVal);
  if (columns % tile.width() == 0) return counts;
  for (int64_t j = 0; j < tile.vectors; ++j) {
    counts[static_cast<size_t>(j)] = b.Binary(IrOp::kSub, b.I64(columns - j * kLanes), column);
  }
  return counts;
}

void PackPanels(KernelBuilder& b, const TileShape& tile, const PanelPack& p) {
  b.Loop(b.I64(0), p.terms, 1, [&](Val t) {
    const Val from = b.Add(p.from, b.Mul(t, p.pitch)), to = b.Add(p.to, b.Mul(t, tile.width()));
    b.Loop(p.begin, p.end, tile.width(), [&](Val c) {
      const std::vector<Val> counts = ColumnCounts(b, tile, c, p.columns);
      const Val panel = b.Add(to, b.Mul(b.Binary(IrOp::kSub, c, p.begin), p.panel_terms));
      for (int64_t j = 0; j < tile.vectors; ++j) {
        const Val index = b.Add(b.Add(from, c), b.I64(j * kLanes));
        if (p.ahead > 0) b.Prefetch(p.src, b.Add(index, b.I64(p.ahead * p.pitch)), /*to_first=*/false);
        b.Store(p.dst, b.Load(p.src, index, kLanes, counts[static_cast<size_t>(j)]), b.Add(panel, b.I64(j * kLanes)));
      }
    });
  });
}

void PackTransposed(KernelBuilder& b, const TileShape& tile, const PanelPack& p, bool whole) {
  const bool all_columns = p.columns % tile.width() == 0;
  const int64_t size = kLanes / tile.parts;
  b.Loop(p.begin, p.end, tile.width(), [&](Val c) {
    const Val panel = b.Add(p.to, b.Mul(b.Binary(IrOp::kSub, c, p.begin), p.panel_terms));
    b.Loop(b.I64(0), b.I64(tile.width()), size, [&](Val j) {
      const Val column = b.Add(c, j), from = b.Add(p.from, b.Mul(column, p.pitch));
      b.Loop(b.I64(0), p.terms, size, [&](Val t) {
        const Val left = whole ? b.I64(size) : b.Binary(IrOp::kSub, p.terms, t);
        std::vector<Val> block;
        for (int64_t i = 0; i < size; ++i) {
          Val count = whole ? kNoVal : left;
          if (!all_columns) count = b.Select(b.Binary(IrOp::kLt, column, b.I64(p.columns - i)), left, b.I64(0));
          block.push_back(b.Load(p.src, b.Add(b.Add(from, t), b.I64(i * p.pitch)), static_cast<int>(size), count));
        }
        block = Transposed(b, std::move(block));
        const Val to = b.Add(b.Add(panel, j), b.Mul(t, tile.width()));
        for (int64_t i = 0; i < size; ++i) {
          b.Store(p.dst, block[static_cast<size_t>(i)], b.Add(to, b.I64(i * tile.width())));
        }
      });
    });
  });
}

// Dealing two halves in turn moves the highest bit of a position to its end: after as many rounds as a lane's index has
// bits, vector and lane have changed places.
std::vector<Val> Transposed(KernelBuilder& b, std::vector<Val> rows) {
  const size_t half = rows.size() / 2;
  for (size_t round = 1; round < rows.size(); round *= 2) {
    std::vector<Val> next;
    for (size_t i = 0; i < half; ++i) {
      for (bool high : {false, true}) next.push_back(b.Zip(rows[i], rows[i + half], high));
    }
    rows = std::move(next);
  }
  return rows;
}

void EmitRange(KernelBuilder& b, ClusterIr& epilogue, const EpilogueRange& range) {
  const auto point = [&](Val i, int64_t offset, bool mask) {
    const auto at = [&](Val base) { return b.Add(b.Add(base, i), b.I64(offset)); };
    return Point{.flat = at(range.flat),
                 .count = mask ? b.Binary(IrOp::kSub, range.count, b.Add(i, b.I64(offset))) : kNoVal,
                 .aligned = range.aligned,
                 .in_row = range.column != kNoVal,
                 .column = range.column == kNoVal ? kNoVal : at(range.column)};
  };
  const auto value = [&](Val i, int64_t offset, Val count) {
    return b.Load(range.buffer, b.Add(b.Add(range.base, i), b.I64(offset)), kLanes, count);
  };
  Val begin = b.I64(0);
  if (epilogue.has_counter() && range.blocks) {
    const Val whole = b.Mul(b.Div(range.count, kRandomBlock), kRandomBlock);
    b.Loop(begin, whole, kRandomBlock, [&](Val i) {
      std::vector<Point> points;
      std::vector<Val> values;
      for (int64_t offset = 0; offset < kRandomBlock; offset += kLanes) {
        points.push_back(point(i, offset, false));
        values.push_back(value(i, offset, kNoVal));
      }
      epilogue.Emit(points, values, /*block=*/true);
    });
    if (b.IsConst(range.count) && b.ConstBits(range.count) % kRandomBlock == 0) return;
    begin = whole;
  }
  b.Loop(begin, range.count, kLanes, [&](Val i) {
    const Point p = point(i, 0, !range.whole);
    const Val v = value(i, 0, p.count);
    epilogue.Emit({&p, 1}, {&v, 1});
  });
}

bool HasShortEpilogue(const Cluster& cluster) {
  KernelBuilder b("probe");
  ClusterIr epilogue(b, cluster);
  if (epilogue.has_counter()) return false;
  const Val flat = b.Task(), sum = b.F32(0, kLanes);
  const int64_t before = b.size();
  const Point point{.flat = flat, .aligned = true, .in_row = true, .column = flat};
  epilogue.Emit({&point, 1}, {&sum, 1});
  return b.size() - before <= kShortEpilogue;
}

bool IsLight(const Cluster& cluster, const TileShape& tile) {
  int64_t nodes = 0;
  for (NodeId id : cluster.nodes) {
    if (cluster.anchor == id) continue;
    const OpKind kind = cluster.node(id).op->kind;
    if (kind == OpKind::kCounter) return false;
    nodes += kind == OpKind::kElementwise;
  }
  return nodes * tile.rows * tile.vectors <= kLightWork;
}

Stage CombineParts(const Cluster& cluster, int64_t parts, int64_t count) {
  KernelBuilder b(StrCat(Describe(cluster), ", parts together"));
  const Val task = b.Task();
  ClusterIr epilogue(b, cluster);
  const int workspace = b.Buffer({IrBuffer::Kind::kWorkspace, 0, Elem::kF32, 0});
  const int64_t per_task =
      TaskSize(count, std::max<int64_t>(kRandomBlock, kCombineTask / std::max<int64_t>(1, parts)), kRandomBlock);
  const int64_t whole = count / kRandomBlock * kRandomBlock;
  const auto add = [&](Val flat, int64_t vectors, bool mask) {
    const Val left = mask ? b.Binary(IrOp::kSub, b.I64(count), flat) : kNoVal;
    const auto load = [&](Val base, int64_t j) {
      return b.Load(workspace, b.Add(base, b.I64(j * kLanes)), kLanes, left);
    };
    std::vector<Val> totals;
    std::vector<Point> points;
    for (int64_t j = 0; j < vectors; ++j) {
      totals.push_back(load(flat, j));
      points.push_back({.flat = b.Add(flat, b.I64(j * kLanes)), .count = left, .aligned = true});
    }
    totals = b.For(b.I64(1), b.I64(parts), 1, totals, [&](Val part, std::vector<Val> sums) {
      const Val base = b.Add(b.Mul(part, count), flat);
      for (int64_t j = 0; j < vectors; ++j) {
        Val& sum = sums[static_cast<size_t>(j)];
        sum = b.Binary(IrOp::kAdd, sum, load(base, j));
      }
      return sums;
    });
    epilogue.Emit(points, totals, /*block=*/vectors > 1);
  };
  const Val begin = b.Mul(task, per_task), end = b.Add(begin, b.I64(per_task));
  if (whole > 0)
    b.Loop(begin, b.Min(end, b.I64(whole)), kRandomBlock, [&](Val flat) { add(flat, kRandomBlock / kLanes, false); });
  if (whole < count) {
    b.Loop(b.I64(whole), b.Min(end, b.I64(count)), kLanes, [&](Val flat) { add(flat, 1, count % kLanes != 0); });
  }
  return MakeStage(b.Take(), CeilDiv(count, per_task));
}

}  // namespace weir::jit
