// Data movement: transpose, slice, pad, concatenate and reverse as copies of strided boxes, moved as bits of their size.
#include <algorithm>
#include <bit>
#include <limits>

#include "weir/backends/llvm/lowering.h"
#include "weir/backends/llvm/product_ir.h"
#include "weir/core/strings.h"
#include "weir/ops/attrs.h"
#include "weir/ops/box_copy.h"
#include "weir/ops/scalar_float.h"

namespace weir::jit {
namespace {

constexpr int64_t kTaskBytes = 512 * 1024;  // written: about 40 us

// A number's bits, as a signed number of its size.
int64_t BitsOf(double number, DType dtype) {
  return VisitDType(dtype, [&]<class T>(T) -> int64_t {
    if constexpr (std::is_same_v<T, bool>) {
      return number != 0;
    } else if constexpr (sizeof(T) == 1) {
      return MathOf<T>::Const(number);
    } else if constexpr (sizeof(T) == 4) {
      return std::bit_cast<int32_t>(MathOf<T>::Const(number));
    } else if constexpr (sizeof(T) == 8) {
      return std::bit_cast<int64_t>(MathOf<T>::Const(number));
    }
    return 0;
  });
}

class MoveLowering {
 public:
  MoveLowering(const Cluster& cluster, std::vector<BoxCopy> copies)
      : cluster_(cluster), node_(cluster.node(cluster.nodes[0])), type_(node_.outputs[0]) {
    const int64_t size = SizeOf(type_.dtype);
    elem_ = size == 1 ? Elem::kU8 : size == 4 ? Elem::kI32 : Elem::kI64;
    for (BoxCopy& copy : copies) moves_.push_back(Arranged(std::move(copy)));
  }

  Lowering Lower() {
    Lowering lowering;
    if (node_.op->name == "pad") lowering.stages.push_back(Fill());
    int64_t tasks = 0;
    bool tiles = false;
    KernelBuilder b(Describe(cluster_));
    const Val task = b.Task();
    for (const Move& move : moves_) {
      tiles |= move.tiles;
      const int64_t cost = std::max<int64_t>(move.inner() * BytesOf(elem_), 64);
      const int64_t outer = move.outer(), per_task = TaskSize(outer, std::max<int64_t>(1, kTaskBytes / cost), 1);
      const int64_t own = CeilDiv(outer, per_task);
      const auto run = [&, first = tasks] {
        const Val begin = b.Mul(b.Add(task, b.I64(-first)), per_task);
        b.Loop(begin, b.Min(b.Add(begin, b.I64(per_task)), b.I64(outer)), 1, [&](Val flat) { Tuple(b, move, flat); });
      };
      if (moves_.size() == 1) {
        run();
      } else {
        // Tasks of one operand after those of another.
        const IrMath integers{&b, Elem::kI64, 1};
        b.If(integers.And(integers.Le(b.I64(tasks), task), integers.Lt(task, b.I64(tasks + own))), run);
      }
      tasks += own;
    }
    lowering.kernel = StrCat("jit, ", node_.op->name, tiles ? " by tiles, " : " by rows, ", tasks, " tasks");
    if (tasks > 0) lowering.stages.push_back(MakeStage(b.Take(), tasks));
    return lowering;
  }

 private:
  struct Move {
    BoxCopy box;
    bool tiles = false;  // the last two axes are a transposition, moved as squares of kLanes

    size_t outer_axes() const { return box.axes.size() - (tiles ? 2 : 1); }
    int64_t outer() const { return Count(0, outer_axes()); }
    int64_t inner() const { return Count(outer_axes(), box.axes.size()); }
    int64_t Count(size_t begin, size_t end) const {
      int64_t count = 1;
      for (size_t i = begin; i < end; ++i) count *= box.axes[i].size;
      return count;
    }
  };

  const Shape& SourceShape(const Move& move) const {
    return cluster_.type(node_.inputs[static_cast<size_t>(move.box.operand)]).shape;
  }
  int Source(KernelBuilder& b, const Move& move) const {
    const int input = cluster_.input_index(node_.inputs[static_cast<size_t>(move.box.operand)]);
    return b.Buffer({IrBuffer::Kind::kInput, input, elem_, 0});
  }
  int Target(KernelBuilder& b) const { return b.Buffer({IrBuffer::Kind::kOutput, 0, elem_, 0}); }

  // Long rows are cut, so that there are outer tuples to share out.
  Move Arranged(BoxCopy copy) const {
    Move move{.box = std::move(copy), .tiles = false};
    move.tiles = elem_ == Elem::kI32 && ArrangeTransposition(move.box, 4);
    const size_t last = move.box.axes.size() - 1;
    if (move.tiles) {
      CutAxis(move.box, last - 1, 4 * kLanes);
    } else {
      CutAxis(move.box, last, kTaskBytes / 4 / BytesOf(elem_));
    }
    return move;
  }

  // One tuple of the outer axes.
  void Tuple(KernelBuilder& b, const Move& move, Val flat) const {
    const BoxCopy& copy = move.box;
    Val src = b.I64(copy.src_offset), dst = b.I64(copy.dst_offset);
    for (size_t a = move.outer_axes(); a-- > 0;) {
      const CopyAxis& axis = copy.axes[a];
      const Val index = a == 0 ? flat : b.Rem(flat, axis.size);
      src = b.Add(src, b.Mul(index, axis.src));
      dst = b.Add(dst, b.Mul(index, axis.dst));
      if (a > 0) flat = b.Div(flat, axis.size);
    }
    if (move.tiles) {
      Square(b, move, src, dst);
    } else {
      Row(b, move, src, dst);
    }
  }

  void Row(KernelBuilder& b, const Move& move, Val src, Val dst) const {
    const CopyAxis& axis = move.box.axes.back();
    const int from = Source(b, move), to = Target(b);
    const bool gather =
        elem_ == Elem::kI32 && SourceShape(move).size() <= std::numeric_limits<int32_t>::max() && axis.dst == 1;
    if (!gather && (axis.src != 1 || axis.dst != 1)) {
      b.Loop(b.I64(0), b.I64(axis.size), 1, [&](Val i) {
        b.Store(to, b.Load(from, b.Add(src, b.Mul(i, axis.src)), 1), b.Add(dst, b.Mul(i, axis.dst)));
      });
      return;
    }
    const auto vector = [&](Val i, Val count) {
      const Val first = b.Add(src, b.Mul(i, axis.src));
      Val moved;
      if (axis.src == 1) {
        moved = b.Load(from, first, kLanes, count);
      } else {
        const IrType index{Elem::kI32, kLanes};
        const Val steps = b.Binary(IrOp::kMul, b.Iota(index), b.Const(index, axis.src));
        moved = b.Gather(from, b.Binary(IrOp::kAdd, b.Splat(b.Convert(first, Elem::kI32), kLanes), steps), count);
      }
      b.Store(to, moved, b.Add(dst, i), count);
    };
    const int64_t whole = axis.size / kLanes * kLanes;
    b.Loop(b.I64(0), b.I64(whole), kLanes, [&](Val i) { vector(i, kNoVal); });
    if (whole < axis.size) vector(b.I64(whole), b.I64(axis.size - whole));
  }

  // Rows along the last axis (contiguous in dst), columns along the one before (contiguous in src), kLanes of each at
  // a time. Of rows that are missing at the end, the last one is read again.
  void Square(KernelBuilder& b, const Move& move, Val src, Val dst) const {
    const CopyAxis &rows = move.box.axes.back(), &columns = move.box.axes[move.box.axes.size() - 2];
    const int from = Source(b, move), to = Target(b);
    const auto square = [&](Val r, int64_t row_count, Val c, int64_t column_count) {
      std::vector<Val> tile;
      for (int64_t i = 0; i < kLanes; ++i) {
        const Val row = b.Add(r, b.I64(std::min(i, row_count - 1)));
        tile.push_back(b.Load(from, b.Add(b.Add(src, b.Mul(row, rows.src)), c), kLanes,
                              column_count < kLanes ? b.I64(column_count) : kNoVal));
      }
      tile = Transposed(b, std::move(tile));
      for (int64_t i = 0; i < column_count; ++i) {
        b.Store(to, tile[static_cast<size_t>(i)], b.Add(b.Add(dst, b.Mul(b.Add(c, b.I64(i)), columns.dst)), r),
                row_count < kLanes ? b.I64(row_count) : kNoVal);
      }
    };
    const auto over_columns = [&](Val r, int64_t row_count) {
      const int64_t whole = columns.size / kLanes * kLanes;
      if (whole > 0) b.Loop(b.I64(0), b.I64(whole), kLanes, [&](Val c) { square(r, row_count, c, kLanes); });
      if (whole < columns.size) square(r, row_count, b.I64(whole), columns.size - whole);
    };
    const int64_t whole = rows.size / kLanes * kLanes;
    if (whole > 0) b.Loop(b.I64(0), b.I64(whole), kLanes, [&](Val r) { over_columns(r, kLanes); });
    if (whole < rows.size) over_columns(b.I64(whole), rows.size - whole);
  }

  // The output all one number: the first stage of a pad.
  Stage Fill() const {
    KernelBuilder b(StrCat(Describe(cluster_), ", fill"));
    const Val task = b.Task();
    const int to = Target(b);
    const int64_t count = type_.shape.size(), whole = count / kLanes * kLanes;
    const int64_t per_task = TaskSize(count, kTaskBytes / BytesOf(elem_), kLanes);
    const Val number = b.Const({elem_, kLanes}, BitsOf(node_.attrs.Double(kValue), type_.dtype));
    const Val begin = b.Mul(task, per_task), end = b.Add(begin, b.I64(per_task));
    b.Loop(begin, b.Min(end, b.I64(whole)), kLanes, [&](Val i) { b.Store(to, number, i); });
    if (whole < count) {
      b.Loop(b.I64(whole), b.Min(end, b.I64(count)), kLanes,
             [&](Val i) { b.Store(to, number, i, b.I64(count - whole)); });
    }
    return MakeStage(b.Take(), CeilDiv(count, per_task));
  }

  const Cluster& cluster_;
  const Node& node_;
  const TensorType& type_;
  std::vector<Move> moves_;
  Elem elem_ = Elem::kI32;
};

}  // namespace

LowerResult LowerMove(const Cluster& cluster) {
  const Node& node = cluster.node(cluster.nodes[0]);
  if (SizeOf(node.outputs[0].dtype) > 8)
    return Decline{StrCat(node.op->name, " of ", node.outputs[0].dtype, " is the reference's")};
  std::vector<Shape> inputs;
  for (Ref ref : node.inputs) inputs.push_back(cluster.type(ref).shape);
  auto copies = BoxCopiesOf(node.op->name, node.attrs, inputs, node.outputs[0].shape);
  if (!copies) return Decline{StrCat("no lowering for ", node.op->name)};
  return MoveLowering(cluster, *std::move(copies)).Lower();
}

}  // namespace weir::jit
