// Pooling and its gradients: channels across lanes, the cells of a window unrolled where all windows are alike.
#include <functional>

#include "weir/backends/llvm/lowering.h"
#include "weir/backends/llvm/pool_ir.h"
#include "weir/core/strings.h"
#include "weir/ops/attrs.h"
#include "weir/ops/conv_geometry.h"

namespace weir::jit {
namespace {

constexpr int64_t kTaskFloats = 128 * 1024;  // of cells read: about 40 us

class PoolLowering {
  // Averages and their gradients; maxima; what an index is given to, gathered or spread.
  enum class Kind : uint8_t { kAverage, kMax, kIndexed };

 public:
  PoolLowering(const Cluster& cluster, const Shape& input)
      : cluster_(cluster),
        anchor_(cluster.node(*cluster.anchor)),
        g_(PoolGeometryOf(anchor_.attrs, input)),
        b_(Describe(cluster)),
        task_(b_.Task()),
        operand_(b_, cluster) {
    const std::string_view op = anchor_.op->name;
    if (op == "average_pool" || op == "average_pool_gradient") return;
    kind_ = op == "max_pool" ? Kind::kMax : Kind::kIndexed;
    const Ref index = kind_ == Kind::kMax ? Ref{*cluster.anchor, 1} : anchor_.inputs[1];
    index_elem_ = ElemOf(cluster.type(index).dtype);
    if (kind_ == Kind::kIndexed) {
      index_ = b_.Buffer({IrBuffer::Kind::kInput, cluster.input_index(index), index_elem_, 0});
    } else if (cluster.output_index(index) >= 0) {
      index_ = b_.Buffer({IrBuffer::Kind::kOutput, cluster.output_index(index), index_elem_, 0});
    }
  }

  bool Tiles() const { return WindowsTile(g_); }

  Lowering Forward() {
    return Windows([&](const Window& window) {
      const bool unrolled = WindowsInside(g_) && g_.taps() <= kUnrolledCells;
      const Pooled y = unrolled ? Unrolled(window) : Looped(window);
      const Point point = PointAt(window.output, window.channel);
      epilogue_->Emit({&point, 1}, {&y.value, 1});
      if (y.index != kNoVal) b_.Store(index_, b_.Convert(y.index, index_elem_), point.flat, point.count);
    });
  }

  Lowering Gradient() {
    return Windows([&](const Window& window) {
      const IrMath math = Math();
      const Val zero = math.Const(0);
      Val share = operand_.At(PointAt(window.output, window.channel));
      if (kind_ == Kind::kAverage) share = math.Div(share, math.Const(static_cast<double>(g_.taps())));
      share = math.Add(zero, share);  // the canonical order adds to 0: that makes a -0 a 0
      const Val index = Index(window);
      std::vector<Point> points;
      std::vector<Val> values;
      for (int64_t k = 0; k < g_.taps(); ++k) {
        points.push_back(PointAt(Position(window, CellOf(window, k)), window.channel));
        values.push_back(index == kNoVal ? share : b_.Select(Names(index, k), share, zero));
      }
      epilogue_->Emit(points, values);
    });
  }

  // Windows that overlap, or leave cells out: an image's cells of 16 channels lie in scratch until all windows have
  // added to them, in order.
  Lowering ScatteredGradient() {
    const int sums = b_.Buffer({IrBuffer::Kind::kScratch, 0, Elem::kF32, 0});
    ClusterIr epilogue(b_, cluster_);
    const int64_t cells = g_.in_positions(), vectors = CeilDiv(g_.in_channels, kLanes), units = g_.batch * vectors;
    const int64_t cost = (cells + g_.out_positions() * g_.most_cells()) * kLanes;
    const int64_t per_task = TaskSize(units, std::max<int64_t>(1, kTaskFloats / cost), 1),
                  tasks = CeilDiv(units, per_task);
    const Val begin = b_.Mul(task_, per_task);
    b_.Loop(begin, b_.Min(b_.Add(begin, b_.I64(per_task)), b_.I64(units)), 1, [&](Val unit) {
      Window window;
      window.channel = b_.Mul(b_.Rem(unit, vectors), kLanes);
      const Val image = b_.Div(unit, vectors);
      window.image = b_.Mul(image, cells);
      b_.Loop(b_.I64(0), b_.I64(cells), 1, [&](Val cell) { b_.Store(sums, Math().Const(0), b_.Mul(cell, kLanes)); });
      ForEachWindow(window, b_.Mul(image, g_.out_positions()), [&](const Window& w) { Scatter(w, sums); });
      b_.Loop(b_.I64(0), b_.I64(cells), 1, [&](Val cell) {
        const Val value = b_.Load(sums, b_.Mul(cell, kLanes), kLanes);
        const Point point = PointAt(b_.Add(window.image, cell), window.channel);
        epilogue.Emit({&point, 1}, {&value, 1});
      });
    });
    Lowering lowering;
    lowering.kernel = StrCat("jit, ", anchor_.op->name, ", windows in order, ", tasks, " tasks");
    lowering.in_place = PointwisePairs(cluster_);
    lowering.stages.push_back(MakeStage(b_.Take(), tasks, cells * kLanes * BytesOf(Elem::kF32)));
    return lowering;
  }

 private:
  struct Window {
    Val output;     // position in the output, without channels
    Val origin[3];  // first cell per axis, in the padding or not
    Val low[3];     // first cell inside of the input
    Val high[3];    // one behind the last
    Val image;      // position of the image's first cell in the input
    Val cells;      // how many
    Val channel;
  };

  // A cell of the input, by its coordinates.
  struct Cell {
    Val at[3];
  };
  using Pooled = Winner;

  IrMath Math() { return {&b_, Elem::kF32, kLanes}; }
  Val Count(Val channel) {
    return g_.in_channels % kLanes == 0 ? kNoVal : b_.Binary(IrOp::kSub, b_.I64(g_.in_channels), channel);
  }
  Point PointAt(Val position, Val channel) {
    return {.flat = b_.Add(b_.Mul(position, g_.in_channels), channel),
            .count = Count(channel),
            .aligned = g_.in_channels % kLanes == 0,
            .in_row = true};
  }
  // Cell k of a window that lies inside.
  Cell CellOf(const Window& window, int64_t k) {
    const int64_t w1 = g_.axis[1].window, w2 = g_.axis[2].window, at[3] = {k / (w1 * w2), k / w2 % w1, k % w2};
    Cell cell;
    for (int a = 0; a < 3; ++a) cell.at[a] = b_.Add(window.low[a], b_.I64(at[a]));
    return cell;
  }
  Val Position(const Window& window, const Cell& cell) {
    const Val row = b_.Add(b_.Mul(cell.at[0], g_.axis[1].input), cell.at[1]);
    return b_.Add(window.image, b_.Add(b_.Mul(row, g_.axis[2].input), cell.at[2]));
  }
  // Which of a window's cells it is, in i32 lanes.
  Val IndexOf(const Window& window, const Cell& cell) {
    Val index = b_.I64(0);
    for (int a = 0; a < 3; ++a) {
      const Val offset = b_.Binary(IrOp::kSub, cell.at[a], window.origin[a]);
      index = b_.Add(b_.Mul(index, g_.axis[a].window), offset);
    }
    return b_.Splat(b_.Convert(index, Elem::kI32), kLanes);
  }
  // The index that was found for a window, in i32 lanes; none for averages.
  Val Index(const Window& window) {
    if (kind_ != Kind::kIndexed) return kNoVal;
    const Point point = PointAt(window.output, window.channel);
    return b_.Convert(b_.Load(index_, point.flat, kLanes, point.count), Elem::kI32);
  }
  Val Names(Val index, int64_t k) { return b_.Binary(IrOp::kEq, index, b_.Const({Elem::kI32, kLanes}, k)); }
  Val Operand(const Window& window, const Cell& cell) {
    return operand_.At(PointAt(Position(window, cell), window.channel));
  }

  // The output of a window of few cells, all inside.
  Pooled Unrolled(const Window& window) {
    std::vector<Val> cells;
    for (int64_t k = 0; k < g_.taps(); ++k) cells.push_back(Operand(window, CellOf(window, k)));
    if (kind_ == Kind::kAverage) return {.value = AverageOf(Math(), cells)};
    if (kind_ == Kind::kMax) return index_ < 0 ? Pooled{.value = MaxOf(Math(), cells)} : WinnerOf(Math(), cells);
    const Val index = Index(window);
    Val gathered = Math().Const(0);
    for (int64_t k = 0; k < g_.taps(); ++k) {
      gathered = b_.Select(Names(index, k), cells[static_cast<size_t>(k)], gathered);
    }
    return {.value = gathered};
  }
  Pooled Looped(const Window& window) {
    const Val index = Index(window);
    std::vector<Val> first = {Math().Const(0)};
    if (kind_ == Kind::kMax) {
      const Cell cell = {{window.low[0], window.low[1], window.low[2]}};
      first = {Operand(window, cell)};
      if (index_ >= 0) first.push_back(IndexOf(window, cell));
    }
    const std::vector<Val> last = OverCells(window, first, [&](const std::vector<Val>& state, const Cell& cell) {
      const Val x = Operand(window, cell);
      if (kind_ == Kind::kAverage) return std::vector<Val>{Math().Add(state[0], x)};
      const bool max = kind_ == Kind::kMax;
      const Val taken = max ? Beats(Math(), x, state[0]) : b_.Binary(IrOp::kEq, index, IndexOf(window, cell));
      std::vector<Val> next = {b_.Select(taken, x, state[0])};
      if (state.size() > 1) next.push_back(b_.Select(taken, IndexOf(window, cell), state[1]));
      return next;
    });
    if (kind_ == Kind::kAverage) {
      return {.value = Math().Div(last[0], b_.Splat(b_.Convert(window.cells, Elem::kF32), kLanes))};
    }
    return {.value = last[0], .index = last.size() > 1 ? last[1] : kNoVal};
  }

  // body(window) for every window of an image whose first output is `output`, in order.
  void ForEachWindow(Window window, Val output, const std::function<void(const Window&)>& body) {
    b_.Loop(b_.I64(0), b_.I64(g_.axis[0].output), 1, [&](Val a) {
      Bounds(window, 0, a, false);
      b_.Loop(b_.I64(0), b_.I64(g_.axis[1].output), 1, [&](Val b) {
        Bounds(window, 1, b, false);
        b_.Loop(b_.I64(0), b_.I64(g_.axis[2].output), 1, [&](Val c) {
          Bounds(window, 2, c, false);
          window.output = b_.Add(output, b_.Add(b_.Mul(b_.Add(b_.Mul(a, g_.axis[1].output), b), g_.axis[2].output), c));
          window.cells = CellsOf(window);
          body(window);
        });
      });
    });
  }
  Val CellsOf(const Window& window) {
    const auto size = [&](int a) { return b_.Binary(IrOp::kSub, window.high[a], window.low[a]); };
    return b_.Binary(IrOp::kMul, b_.Binary(IrOp::kMul, size(0), size(1)), size(2));
  }
  // fold(state, cell) over the cells of a window, in order.
  std::vector<Val> OverCells(const Window& window, const std::vector<Val>& first,
                             const std::function<std::vector<Val>(const std::vector<Val>&, const Cell&)>& fold) {
    return b_.For(window.low[0], window.high[0], 1, first, [&](Val a, const std::vector<Val>& outer) {
      return b_.For(window.low[1], window.high[1], 1, outer, [&](Val b, const std::vector<Val>& middle) {
        return b_.For(window.low[2], window.high[2], 1, middle, [&](Val c, const std::vector<Val>& state) {
          return fold(state, Cell{{a, b, c}});
        });
      });
    });
  }
  // Adds a window's share to the cells in `sums` that it is due to: all, or the winner.
  void Scatter(const Window& window, int sums) {
    const IrMath math = Math();
    Val share = operand_.At(PointAt(window.output, window.channel));
    if (kind_ == Kind::kAverage) share = math.Div(share, b_.Splat(b_.Convert(window.cells, Elem::kF32), kLanes));
    const Val index = Index(window);
    OverCells(window, {}, [&](const std::vector<Val>&, const Cell& cell) {
      const Val at = b_.Mul(b_.Binary(IrOp::kSub, Position(window, cell), window.image), kLanes);
      const Val sum = b_.Load(sums, at, kLanes);
      Val more = math.Add(sum, share);
      if (index != kNoVal) more = b_.Select(b_.Binary(IrOp::kEq, index, IndexOf(window, cell)), more, sum);
      b_.Store(sums, more, at);
      return std::vector<Val>();
    });
  }

  // body(window) for every window, image by image, and vector of channels; tasks are rows of windows.
  Lowering Windows(const std::function<void(const Window&)>& body) {
    ClusterIr epilogue(b_, cluster_);
    epilogue_ = &epilogue;
    const int64_t rows = g_.batch * g_.axis[0].output * g_.axis[1].output;
    const int64_t cost = g_.axis[2].output * RoundUp(g_.in_channels, kLanes) * g_.most_cells() * (1 + operand_.cost() / 4);
    const int64_t per_task = TaskSize(rows, std::max<int64_t>(1, kTaskFloats / cost), 1),
                  tasks = CeilDiv(rows, per_task);
    const bool inside = WindowsInside(g_);
    const Val begin = b_.Mul(task_, per_task);
    b_.Loop(begin, b_.Min(b_.Add(begin, b_.I64(per_task)), b_.I64(rows)), 1, [&](Val row) {
      Window window;
      const Val rest = b_.Div(row, g_.axis[1].output);
      window.image = b_.Mul(b_.Div(rest, g_.axis[0].output), g_.in_positions());
      const Val out[2] = {b_.Rem(rest, g_.axis[0].output), b_.Rem(row, g_.axis[1].output)};
      for (int a = 0; a < 2; ++a) Bounds(window, a, out[a], inside);
      b_.Loop(b_.I64(0), b_.I64(g_.axis[2].output), 1, [&](Val column) {
        Bounds(window, 2, column, inside);
        window.output = b_.Add(b_.Mul(row, g_.axis[2].output), column);
        window.cells = b_.I64(g_.taps());
        if (!inside) window.cells = CellsOf(window);
        const int64_t channels = g_.in_channels;
        if (channels <= 4 * kLanes) {
          for (int64_t c = 0; c < channels; c += kLanes) {
            window.channel = b_.I64(c);
            body(window);
          }
        } else {
          b_.Loop(b_.I64(0), b_.I64(channels), kLanes, [&](Val channel) {
            window.channel = channel;
            body(window);
          });
        }
      });
    });
    Lowering lowering;
    lowering.kernel = StrCat("jit, ", anchor_.op->name, inside ? ", windows alike, " : ", ", tasks, " tasks");
    lowering.in_place = PointwisePairs(cluster_);
    lowering.stages.push_back(MakeStage(b_.Take(), tasks));
    return lowering;
  }
  void Bounds(Window& window, int a, Val out, bool inside) {
    const SpatialAxis& axis = g_.axis[a];
    const Val start = b_.Add(b_.Mul(out, axis.stride), b_.I64(-axis.pad_before));
    window.origin[a] = window.low[a] = start;
    window.high[a] = b_.Add(start, b_.I64(axis.window));
    if (inside) return;
    window.low[a] = b_.Select(b_.Binary(IrOp::kLt, start, b_.I64(0)), b_.I64(0), start);
    window.high[a] = b_.Min(window.high[a], b_.I64(axis.input));
  }

  const Cluster& cluster_;
  const Node& anchor_;
  const ConvGeometry g_;
  KernelBuilder b_;
  const Val task_;
  AnchorOperand operand_;  // x, what is gathered from, or dy
  ClusterIr* epilogue_ = nullptr;
  Kind kind_ = Kind::kAverage;
  int index_ = -1;  // the buffer of where winners are, if they are asked for or known
  Elem index_elem_ = Elem::kU8;
};

}  // namespace

bool PoolReadsOnce(const Node& anchor, const Shape& input) { return WindowsTile(PoolGeometryOf(anchor.attrs, input)); }

LowerResult LowerPool(const Cluster& cluster, const TileLimits&) {
  return PoolLowering(cluster, cluster.type(cluster.node(*cluster.anchor).inputs[0]).shape).Forward();
}

LowerResult LowerPoolGradient(const Cluster& cluster, const TileLimits&) {
  PoolLowering lowering(cluster, cluster.node(*cluster.anchor).outputs[0].shape);
  if (lowering.Tiles()) return lowering.Gradient();
  return lowering.ScatteredGradient();
}

}  // namespace weir::jit
