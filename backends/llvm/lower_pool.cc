// Pooling and its gradients: channels across lanes, the cells of a window unrolled where all windows are alike.
#include <functional>
#include <limits>

#include "weir/backends/llvm/lowering.h"
#include "weir/backends/llvm/pool_ir.h"
#include "weir/core/strings.h"
#include "weir/ops/attrs.h"
#include "weir/ops/conv_geometry.h"

namespace weir::jit {
namespace {

constexpr int64_t kTaskFloats = 128 * 1024;  // of cells read: about 40 us

class PoolLowering {
 public:
  PoolLowering(const Cluster& cluster, const Shape& input)
      : cluster_(cluster),
        anchor_(cluster.node(*cluster.anchor)),
        g_(PoolGeometryOf(anchor_.attrs, input)),
        b_(Describe(cluster)),
        task_(b_.Task()),
        x_(b_, cluster) {}

  bool Tiles() const { return WindowsTile(g_); }
  bool TooLarge() const { return g_.in_positions() > std::numeric_limits<int32_t>::max(); }

  Lowering Forward() {
    const std::string_view op = anchor_.op->name;
    max_ = op != "average_pool";
    other_ = op == "max_pool_gather" ? Input(1) : -1;
    return Windows([&](const Window& window) {
      const Val y = WindowsInside(g_) && g_.taps() <= kUnrolledCells ? Unrolled(window) : Looped(window);
      const Point point = PointAt(window.output, window.channel);
      epilogue_->Emit({&point, 1}, {&y, 1});
    });
  }

  Lowering Gradient() {
    max_ = anchor_.op->name == "max_pool_gradient";
    const int dy = Input(max_ ? 1 : 0);
    return Windows([&](const Window& window) {
      const IrMath math = Math();
      const Val share =
          b_.Load(dy, b_.Add(b_.Mul(window.output, g_.in_channels), window.channel), kLanes, Count(window.channel));
      const Val zero = math.Const(0);
      // The canonical order adds to 0: that makes a -0 a 0.
      const Val value = math.Add(zero, max_ ? share : math.Div(share, math.Const(static_cast<double>(g_.taps()))));
      const std::vector<Val> wins = max_ ? Winners(window) : std::vector<Val>();
      std::vector<Point> points;
      std::vector<Val> values;
      for (int64_t k = 0; k < g_.taps(); ++k) {
        points.push_back(PointAt(Cell(window, k), window.channel));
        values.push_back(max_ ? b_.Select(wins[static_cast<size_t>(k)], value, zero) : value);
      }
      epilogue_->Emit(points, values);
    });
  }

  // Windows that overlap, or leave cells out: an image's cells of 16 channels lie in scratch until all windows have
  // added to them, in order.
  Lowering ScatteredGradient() {
    max_ = anchor_.op->name == "max_pool_gradient";
    const int dy = Input(max_ ? 1 : 0);
    const int sums = b_.Buffer({IrBuffer::Kind::kScratch, 0, Elem::kF32, 0});
    ClusterIr epilogue(b_, cluster_);
    const int64_t cells = g_.in_positions(), vectors = CeilDiv(g_.in_channels, kLanes), units = g_.batch * vectors;
    const int64_t cost = (cells + g_.out_positions() * g_.taps() * (max_ ? 2 : 1)) * kLanes;
    const int64_t per_task = TaskSize(units, std::max<int64_t>(1, kTaskFloats / cost), 1),
                  tasks = CeilDiv(units, per_task);
    const Val begin = b_.Mul(task_, per_task);
    b_.Loop(begin, b_.Min(b_.Add(begin, b_.I64(per_task)), b_.I64(units)), 1, [&](Val unit) {
      Window window;
      window.channel = b_.Mul(b_.Rem(unit, vectors), kLanes);
      const Val image = b_.Div(unit, vectors);
      window.image = b_.Mul(image, cells);
      b_.Loop(b_.I64(0), b_.I64(cells), 1, [&](Val cell) { b_.Store(sums, Math().Const(0), b_.Mul(cell, kLanes)); });
      ForEachWindow(window, b_.Mul(image, g_.out_positions()), [&](const Window& w) { Scatter(w, dy, sums); });
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
    Val output;   // position in the output, without channels
    Val low[3];   // first cell inside of the input, per axis
    Val high[3];  // one behind the last
    Val image;    // position of the image's first cell in the input
    Val cells;    // how many
    Val channel;
  };

  IrMath Math() { return {&b_, Elem::kF32, kLanes}; }
  int Input(int operand) {
    const Ref ref = anchor_.inputs[static_cast<size_t>(operand)];
    return b_.Buffer({IrBuffer::Kind::kInput, cluster_.input_index(ref), Elem::kF32, 0});
  }
  Val Count(Val channel) {
    return g_.in_channels % kLanes == 0 ? kNoVal : b_.Binary(IrOp::kSub, b_.I64(g_.in_channels), channel);
  }
  Point PointAt(Val position, Val channel) {
    return {.flat = b_.Add(b_.Mul(position, g_.in_channels), channel),
            .count = Count(channel),
            .aligned = g_.in_channels % kLanes == 0,
            .in_row = true};
  }
  // Position of cell k of a window that lies inside.
  Val Cell(const Window& window, int64_t k) {
    const int64_t w1 = g_.axis[1].window, w2 = g_.axis[2].window;
    const Val row = b_.Add(window.low[0], b_.I64(k / (w1 * w2)));
    const Val column = b_.Add(window.low[1], b_.I64(k / w2 % w1));
    return Position(window, row, column, b_.Add(window.low[2], b_.I64(k % w2)));
  }
  Val Position(const Window& window, Val a, Val b, Val c) {
    return b_.Add(window.image, b_.Add(b_.Mul(b_.Add(b_.Mul(a, g_.axis[1].input), b), g_.axis[2].input), c));
  }
  Val Operand(const Window& window, Val position) { return x_.At(PointAt(position, window.channel)); }
  Val Load(int buffer, const Window& window, Val position) {
    return b_.Load(buffer, b_.Add(b_.Mul(position, g_.in_channels), window.channel), kLanes, Count(window.channel));
  }
  std::vector<Val> Fold(const Window& window, const std::vector<Val>& state, Val position) {
    const Val x = Operand(window, position);
    if (!max_) return {Math().Add(state[0], x)};
    const Val wins = Beats(Math(), x, state[0]);
    std::vector<Val> next = {b_.Select(wins, x, state[0])};
    if (other_ >= 0) next.push_back(b_.Select(wins, Load(other_, window, position), state[1]));
    return next;
  }
  std::vector<Val> First(const Window& window) {
    if (!max_) return {Math().Const(0)};
    const Val position = Position(window, window.low[0], window.low[1], window.low[2]);
    std::vector<Val> state = {Operand(window, position)};
    if (other_ >= 0) state.push_back(Load(other_, window, position));
    return state;
  }
  // The output of a window.
  Val Unrolled(const Window& window) {
    if (other_ >= 0) {
      std::vector<Val> state = First(window);
      for (int64_t k = 1; k < g_.taps(); ++k) state = Fold(window, state, Cell(window, k));
      return state[1];
    }
    std::vector<Val> cells;
    for (int64_t k = 0; k < g_.taps(); ++k) cells.push_back(Operand(window, Cell(window, k)));
    return max_ ? MaxOf(Math(), cells) : AverageOf(Math(), cells);
  }
  Val Looped(const Window& window) {
    const std::vector<Val> state = OverCells(window, First(window), [&](const std::vector<Val>& last, Val position) {
      return Fold(window, last, position);
    });
    if (!max_) return Math().Div(state[0], b_.Splat(b_.Convert(window.cells, Elem::kF32), kLanes));
    return other_ >= 0 ? state[1] : state[0];
  }
  // Of each cell of a window: whether it is the winner. A cell wins if it beats the best before it and none after
  // it does.
  std::vector<Val> Winners(const Window& window) {
    const IrMath math = Math();
    Val best = Operand(window, Cell(window, 0));
    std::vector<Val> wins = {b_.Const({Elem::kBool, kLanes}, 1)};
    for (int64_t k = 1; k < g_.taps(); ++k) {
      const Val x = Operand(window, Cell(window, k));
      wins.push_back(Beats(Math(), x, best));
      best = b_.Select(wins.back(), x, best);
    }
    Val later = wins.back();
    for (size_t k = wins.size() - 1; k-- > 0;) {
      const Val beats = wins[k];
      wins[k] = math.And(beats, math.Not(later));
      later = math.Or(later, beats);
    }
    return wins;
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
  // fold(state, position) over the cells of a window, in order.
  std::vector<Val> OverCells(const Window& window, const std::vector<Val>& first,
                             const std::function<std::vector<Val>(const std::vector<Val>&, Val)>& fold) {
    return b_.For(window.low[0], window.high[0], 1, first, [&](Val a, const std::vector<Val>& outer) {
      return b_.For(window.low[1], window.high[1], 1, outer, [&](Val b, const std::vector<Val>& middle) {
        return b_.For(window.low[2], window.high[2], 1, middle,
                      [&](Val c, const std::vector<Val>& state) { return fold(state, Position(window, a, b, c)); });
      });
    });
  }
  // Adds a window's share to the cells in `sums` that it is due to: all, or the winner.
  void Scatter(const Window& window, int dy, int sums) {
    const IrMath math = Math();
    const auto cell_of = [&](Val position) { return b_.Binary(IrOp::kSub, position, window.image); };
    const auto lanes_of = [&](Val cell) { return b_.Splat(b_.Convert(cell, Elem::kI32), kLanes); };
    Val share =
        b_.Load(dy, b_.Add(b_.Mul(window.output, g_.in_channels), window.channel), kLanes, Count(window.channel));
    Val winner = kNoVal;
    if (max_) {
      const Val first = Position(window, window.low[0], window.low[1], window.low[2]);
      winner = OverCells(
          window, {Operand(window, first), lanes_of(cell_of(first))}, [&](const std::vector<Val>& best, Val position) {
            const Val x = Operand(window, position), wins = Beats(Math(), x, best[0]);
            return std::vector<Val>{b_.Select(wins, x, best[0]), b_.Select(wins, lanes_of(cell_of(position)), best[1])};
          })[1];
    } else {
      share = math.Div(share, b_.Splat(b_.Convert(window.cells, Elem::kF32), kLanes));
    }
    OverCells(window, {}, [&](const std::vector<Val>&, Val position) {
      const Val cell = cell_of(position), at = b_.Mul(cell, kLanes), sum = b_.Load(sums, at, kLanes);
      Val more = math.Add(sum, share);
      if (max_) more = b_.Select(b_.Binary(IrOp::kEq, winner, lanes_of(cell)), more, sum);
      b_.Store(sums, more, at);
      return std::vector<Val>();
    });
  }

  // body(window) for every window, image by image, and vector of channels; tasks are rows of windows.
  Lowering Windows(const std::function<void(const Window&)>& body) {
    ClusterIr epilogue(b_, cluster_);
    epilogue_ = &epilogue;
    const int64_t rows = g_.batch * g_.axis[0].output * g_.axis[1].output;
    const int64_t cost = g_.axis[2].output * RoundUp(g_.in_channels, kLanes) * g_.taps() * (1 + x_.cost() / 4);
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
    window.low[a] = b_.Mul(out, axis.stride);
    if (inside) {
      window.high[a] = b_.Add(window.low[a], b_.I64(axis.window));
      return;
    }
    const Val start = b_.Add(window.low[a], b_.I64(-axis.pad_before));
    const Val negative = b_.Binary(IrOp::kLt, start, b_.I64(0));
    window.low[a] = b_.Select(negative, b_.I64(0), start);
    window.high[a] = b_.Min(b_.Add(start, b_.I64(axis.window)), b_.I64(axis.input));
  }

  const Cluster& cluster_;
  const Node& anchor_;
  const ConvGeometry g_;
  KernelBuilder b_;
  const Val task_;
  AnchorOperand x_;
  ClusterIr* epilogue_ = nullptr;
  int other_ = -1;
  bool max_ = false;
};

}  // namespace

bool PoolReadsOnce(const Node& anchor, const Shape& input) { return WindowsTile(PoolGeometryOf(anchor.attrs, input)); }

LowerResult LowerPool(const Cluster& cluster, const TileLimits&) {
  return PoolLowering(cluster, cluster.type(cluster.node(*cluster.anchor).inputs[0]).shape).Forward();
}

LowerResult LowerPoolGradient(const Cluster& cluster, const TileLimits&) {
  PoolLowering lowering(cluster, cluster.node(*cluster.anchor).outputs[0].shape);
  if (lowering.Tiles()) return lowering.Gradient();
  if (lowering.TooLarge()) return Decline{"an image beyond 32 bits of index"};
  return lowering.ScatteredGradient();
}

}  // namespace weir::jit
