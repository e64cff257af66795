// Data movement: transpose, slice, pad, concatenate and reverse as copies of strided boxes, moved as bits of their size.
#include <algorithm>
#include <bit>
#include <limits>

#include "weir/backends/llvm/lowering.h"
#include "weir/backends/llvm/product_ir.h"
#include "weir/core/strings.h"
#include "weir/ops/attrs.h"
#include "weir/ops/scalar_float.h"

namespace weir::jit {
namespace {

constexpr int64_t kTaskBytes = 512 * 1024;  // written: about 40 us

struct CopyAxis {
  int64_t size = 0, src = 0, dst = 0;  // strides in elements
};

// dst[dst_offset + i . dst] = src[src_offset + i . src] over axes, outermost first.
struct BoxCopy {
  int input = 0;
  int64_t src_offset = 0, dst_offset = 0;
  std::vector<CopyAxis> axes;  // at least one
  bool tiles = false;          // the last two axes are contiguous on one side each: moved as squares of kLanes

  size_t inner_axes() const { return tiles ? 2 : 1; }
  int64_t outer() const {
    int64_t count = 1;
    for (size_t i = 0; i + inner_axes() < axes.size(); ++i) count *= axes[i].size;
    return count;
  }
};

// Drops axes of size 1 and merges neighbours that are contiguous on both sides.
void MergeNeighbours(std::vector<CopyAxis>& axes) {
  std::vector<CopyAxis> merged;
  for (const CopyAxis& axis : axes) {
    if (axis.size == 1) continue;
    if (!merged.empty() && merged.back().src == axis.src * axis.size && merged.back().dst == axis.dst * axis.size) {
      merged.back() = {merged.back().size * axis.size, axis.src, axis.dst};
    } else {
      merged.push_back(axis);
    }
  }
  if (merged.empty()) merged.push_back({1, 1, 1});
  axes = std::move(merged);
}

// Splits an axis into pieces of equal size, the largest divisor of its size that is at most `piece`; the pieces become
// the outermost axis.
void CutAxis(BoxCopy& copy, size_t index, int64_t piece) {
  const CopyAxis axis = copy.axes[index];
  if (axis.size <= piece) return;
  int64_t size = piece;
  while (axis.size % size != 0) --size;
  if (size < piece / 4) return;
  copy.axes[index].size = size;
  copy.axes.insert(copy.axes.begin(), {axis.size / size, axis.src * size, axis.dst * size});
}

// Boxes of each op, from its attributes.
class BoxesOf {
 public:
  explicit BoxesOf(const Cluster& cluster)
      : cluster_(cluster), node_(cluster.node(cluster.nodes[0])), shape_(node_.outputs[0].shape), out_(shape_.Strides()) {}

  // False if the op moves data in no such way.
  bool Describe() {
    const std::string_view op = node_.op->name;
    if (op == "transpose") {
      Transpose();
    } else if (op == "slice") {
      Slice();
    } else if (op == "pad") {
      Pad();
    } else if (op == "concatenate") {
      Concatenate();
    } else if (op == "reverse") {
      Reverse();
    } else {
      return false;
    }
    return true;
  }
  std::vector<BoxCopy> copies;

 private:
  const Shape& Input(size_t i) const { return cluster_.type(node_.inputs[i]).shape; }
  BoxCopy NewCopy(size_t operand) const { return {.input = cluster_.input_index(node_.inputs[operand]), .axes = {}}; }
  void Add(BoxCopy copy) {
    for (const CopyAxis& axis : copy.axes) {
      if (axis.size == 0) return;
    }
    MergeNeighbours(copy.axes);
    copies.push_back(std::move(copy));
  }

  void Transpose() {
    const Dims strides = Input(0).Strides();
    const Dims& permutation = node_.attrs.Ints(kPermutation);
    BoxCopy copy = NewCopy(0);
    for (size_t i = 0; i < permutation.size(); ++i) {
      copy.axes.push_back({shape_.dim(static_cast<int>(i)), strides[static_cast<size_t>(permutation[i])], out_[i]});
    }
    Add(std::move(copy));
  }
  void Slice() {
    const Dims strides = Input(0).Strides();
    const Dims &begin = node_.attrs.Ints(kBegin), &steps = node_.attrs.Ints(kSteps);
    BoxCopy copy = NewCopy(0);
    for (size_t i = 0; i < strides.size(); ++i) {
      copy.src_offset += begin[i] * strides[i];
      copy.axes.push_back({shape_.dim(static_cast<int>(i)), strides[i] * steps[i], out_[i]});
    }
    Add(std::move(copy));
  }
  void Pad() {
    const Dims strides = Input(0).Strides();
    const Dims &before = node_.attrs.Ints(kBefore), &interior = node_.attrs.Ints(kInterior);
    BoxCopy copy = NewCopy(0);
    for (size_t i = 0; i < strides.size(); ++i) {
      copy.dst_offset += before[i] * out_[i];
      copy.axes.push_back({Input(0).dim(static_cast<int>(i)), strides[i], out_[i] * (interior[i] + 1)});
    }
    Add(std::move(copy));
  }
  void Concatenate() {
    const size_t axis = static_cast<size_t>(node_.attrs.Int(kAxis));
    int64_t offset = 0;
    for (size_t operand = 0; operand < node_.inputs.size(); ++operand) {
      const Shape& shape = Input(operand);
      const Dims strides = shape.Strides();
      BoxCopy copy = NewCopy(operand);
      copy.dst_offset = offset;
      for (size_t i = 0; i < strides.size(); ++i) {
        copy.axes.push_back({shape.dim(static_cast<int>(i)), strides[i], out_[i]});
      }
      offset += shape.dim(static_cast<int>(axis)) * out_[axis];
      Add(std::move(copy));
    }
  }
  void Reverse() {
    const Dims& axes = node_.attrs.Ints(kAxes);
    BoxCopy copy = NewCopy(0);
    for (size_t i = 0; i < out_.size(); ++i) {
      const int64_t size = shape_.dim(static_cast<int>(i));
      const bool reversed = std::find(axes.begin(), axes.end(), static_cast<int64_t>(i)) != axes.end();
      if (reversed) copy.src_offset += (size - 1) * out_[i];
      copy.axes.push_back({size, reversed ? -out_[i] : out_[i], out_[i]});
    }
    Add(std::move(copy));
  }

  const Cluster& cluster_;
  const Node& node_;
  const Shape& shape_;
  const Dims out_;
};

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
      : cluster_(cluster), node_(cluster.node(cluster.nodes[0])), type_(node_.outputs[0]), copies_(std::move(copies)) {
    const int64_t size = SizeOf(type_.dtype);
    elem_ = size == 1 ? Elem::kU8 : size == 4 ? Elem::kI32 : Elem::kI64;
  }

  Lowering Lower() {
    Lowering lowering;
    if (node_.op->name == "pad") lowering.stages.push_back(Fill());
    int64_t tasks = 0;
    bool tiles = false;
    KernelBuilder b(Describe(cluster_));
    const Val task = b.Task();
    for (BoxCopy& copy : copies_) {
      Arrange(copy);
      tiles |= copy.tiles;
      int64_t inner = 1;
      for (size_t i = copy.axes.size() - copy.inner_axes(); i < copy.axes.size(); ++i) inner *= copy.axes[i].size;
      const int64_t cost = std::max<int64_t>(inner * BytesOf(elem_), 64);
      const int64_t outer = copy.outer(), per_task = TaskSize(outer, std::max<int64_t>(1, kTaskBytes / cost), 1);
      const int64_t own = CeilDiv(outer, per_task);
      const auto run = [&, first = tasks] {
        const Val begin = b.Mul(b.Add(task, b.I64(-first)), per_task);
        b.Loop(begin, b.Min(b.Add(begin, b.I64(per_task)), b.I64(outer)), 1, [&](Val flat) { Tuple(b, copy, flat); });
      };
      if (copies_.size() == 1) {
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
  int Source(KernelBuilder& b, const BoxCopy& copy) const { return b.Buffer({IrBuffer::Kind::kInput, copy.input, elem_, 0}); }
  int Target(KernelBuilder& b) const { return b.Buffer({IrBuffer::Kind::kOutput, 0, elem_, 0}); }

  // A transposition has the axis contiguous in src and the one contiguous in dst innermost together. Long rows are
  // cut, so that there are outer tuples to share out.
  void Arrange(BoxCopy& copy) const {
    if (elem_ == Elem::kI32 && copy.axes.size() >= 2 && copy.axes.back().dst == 1 && copy.axes.back().src != 1) {
      for (size_t i = 0; i + 1 < copy.axes.size(); ++i) {
        if (copy.axes[i].src != 1 || copy.axes[i].size < 4 || copy.axes.back().size < 4) continue;
        const CopyAxis columns = copy.axes[i];
        copy.axes.erase(copy.axes.begin() + static_cast<std::ptrdiff_t>(i));
        copy.axes.insert(copy.axes.end() - 1, columns);
        copy.tiles = true;
        CutAxis(copy, copy.axes.size() - 2, 4 * kLanes);
        return;
      }
    }
    CutAxis(copy, copy.axes.size() - 1, kTaskBytes / 4 / BytesOf(elem_));
  }

  // One tuple of the outer axes.
  void Tuple(KernelBuilder& b, const BoxCopy& copy, Val flat) const {
    Val src = b.I64(copy.src_offset), dst = b.I64(copy.dst_offset);
    for (size_t a = copy.axes.size() - copy.inner_axes(); a-- > 0;) {
      const CopyAxis& axis = copy.axes[a];
      const Val index = a == 0 ? flat : b.Rem(flat, axis.size);
      src = b.Add(src, b.Mul(index, axis.src));
      dst = b.Add(dst, b.Mul(index, axis.dst));
      if (a > 0) flat = b.Div(flat, axis.size);
    }
    if (copy.tiles) {
      Square(b, copy, src, dst);
    } else {
      Row(b, copy, src, dst);
    }
  }

  void Row(KernelBuilder& b, const BoxCopy& copy, Val src, Val dst) const {
    const CopyAxis& axis = copy.axes.back();
    const int from = Source(b, copy), to = Target(b);
    const Shape& shape = cluster_.type(cluster_.inputs[static_cast<size_t>(copy.input)]).shape;
    const bool gather = elem_ == Elem::kI32 && shape.size() <= std::numeric_limits<int32_t>::max() && axis.dst == 1;
    if (!gather && (axis.src != 1 || axis.dst != 1)) {
      b.Loop(b.I64(0), b.I64(axis.size), 1, [&](Val i) {
        b.Store(to, b.Load(from, b.Add(src, b.Mul(i, axis.src)), 1), b.Add(dst, b.Mul(i, axis.dst)));
      });
      return;
    }
    const auto move = [&](Val i, Val count) {
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
    b.Loop(b.I64(0), b.I64(whole), kLanes, [&](Val i) { move(i, kNoVal); });
    if (whole < axis.size) move(b.I64(whole), b.I64(axis.size - whole));
  }

  // Rows along the last axis (contiguous in dst), columns along the one before (contiguous in src), kLanes of each at
  // a time. Of rows that are missing at the end, the last one is read again.
  void Square(KernelBuilder& b, const BoxCopy& copy, Val src, Val dst) const {
    const CopyAxis &rows = copy.axes.back(), &columns = copy.axes[copy.axes.size() - 2];
    const int from = Source(b, copy), to = Target(b);
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
      b.Loop(b.I64(whole), b.Min(end, b.I64(count)), kLanes, [&](Val i) { b.Store(to, number, i, b.I64(count - whole)); });
    }
    return MakeStage(b.Take(), CeilDiv(count, per_task));
  }

  const Cluster& cluster_;
  const Node& node_;
  const TensorType& type_;
  std::vector<BoxCopy> copies_;
  Elem elem_ = Elem::kI32;
};

}  // namespace

LowerResult LowerMove(const Cluster& cluster) {
  const Node& node = cluster.node(cluster.nodes[0]);
  if (SizeOf(node.outputs[0].dtype) > 8) return Decline{StrCat(node.op->name, " of ", node.outputs[0].dtype, " is the reference's")};
  BoxesOf boxes(cluster);
  if (!boxes.Describe()) return Decline{StrCat("no lowering for ", node.op->name)};
  return MoveLowering(cluster, std::move(boxes.copies)).Lower();
}

}  // namespace weir::jit
