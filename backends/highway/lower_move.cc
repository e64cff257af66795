// Data movement: transpose, pad, slice, concatenate, reverse, gather and one_hot as copies of strided blocks. Any
// element type but complex; nothing is computed.
#include <cstring>
#include <optional>

#include "weir/backends/highway/lowering.h"
#include "weir/ops/attrs.h"
#include "weir/ops/scalar_float.h"

namespace weir::highway {
namespace {

constexpr int64_t kTaskBytes = 512 * 1024;  // written: about 40 us
constexpr int64_t kTileRows = 64;           // of a transposition: 64 x 64 elements stay in the first-level cache

struct CopyAxis {
  int64_t size = 0, src = 0, dst = 0;  // strides in elements
};

// dst[i . dst] = src[i . src] over axes, outermost first.
struct StridedCopy {
  int input = 0;
  int64_t src_offset = 0, dst_offset = 0;  // elements
  std::vector<CopyAxis> axes;              // at least one
  int64_t outer = 1;                       // index tuples of all axes but the last (two, in a transposition)
  bool transposition = false;              // the last two axes are contiguous on one side each
};

// Drops axes of size 1 and merges neighbours that are contiguous on both sides.
void Simplify(std::vector<CopyAxis>& axes) {
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

// One task: some of the outer index tuples of one copy.
struct MoveTask {
  size_t copy = 0;
  int64_t begin = 0, end = 0;
};

struct MoveState {
  std::vector<StridedCopy> copies;
  std::vector<MoveTask> tasks;
  int64_t size = 4;  // bytes of an element
  const KernelTable* kernels = nullptr;

  void Run(const KernelCall& call) const {
    const MoveTask& task = tasks[static_cast<size_t>(call.task)];
    const StridedCopy& copy = copies[task.copy];
    const int inner_axes = copy.transposition ? 2 : 1;
    const int outer_axes = static_cast<int>(copy.axes.size()) - inner_axes;
    for (int64_t flat = task.begin; flat < task.end; ++flat) {
      int64_t src = copy.src_offset, dst = copy.dst_offset, rest = flat;
      for (int a = outer_axes - 1; a >= 0; --a) {
        const CopyAxis& axis = copy.axes[static_cast<size_t>(a)];
        src += rest % axis.size * axis.src;
        dst += rest % axis.size * axis.dst;
        rest /= axis.size;
      }
      const std::byte* from = call.inputs[copy.input] + src * size;
      std::byte* to = call.outputs[0] + dst * size;
      if (copy.transposition) {
        CopyTransposed(copy.axes[copy.axes.size() - 2], copy.axes.back(), from, to);
      } else {
        CopyRow(copy.axes.back(), from, to);
      }
    }
  }

  // Source rows along `rows` (contiguous in dst), source columns along `columns` (contiguous in src).
  void CopyTransposed(const CopyAxis& first, const CopyAxis& second, const std::byte* from, std::byte* to) const {
    const CopyAxis &rows = first.dst == 1 ? first : second, &columns = first.dst == 1 ? second : first;
    const float* src = reinterpret_cast<const float*>(from);
    float* dst = reinterpret_cast<float*>(to);
    for (int64_t r = 0; r < rows.size; r += kTileRows) {
      for (int64_t c = 0; c < columns.size; c += kTileRows) {
        kernels->move.transpose(src + r * rows.src + c, rows.src, std::min(kTileRows, rows.size - r),
                                std::min(kTileRows, columns.size - c), dst + c * columns.dst + r, columns.dst);
      }
    }
  }

  void CopyRow(const CopyAxis& axis, const std::byte* from, std::byte* to) const {
    if (axis.src == 1 && axis.dst == 1) {
      std::memcpy(to, from, static_cast<size_t>(axis.size * size));
      return;
    }
    switch (size) {
      case 1: CopyElements<uint8_t>(axis, from, to); break;
      case 4: CopyElements<uint32_t>(axis, from, to); break;
      default: CopyElements<uint64_t>(axis, from, to); break;
    }
  }
  template <class T>
  static void CopyElements(const CopyAxis& axis, const std::byte* from, std::byte* to) {
    const T* src = reinterpret_cast<const T*>(from);
    T* dst = reinterpret_cast<T*>(to);
    for (int64_t i = 0; i < axis.size; ++i) dst[i * axis.dst] = src[i * axis.src];
  }
};

// Fills the output with one number: the first stage of a pad.
struct FillState {
  int64_t count = 0, per_task = 0, size = 4;
  uint64_t bits = 0;

  void Run(const KernelCall& call) const {
    const int64_t begin = call.task * per_task, n = std::min(per_task, count - begin);
    std::byte* dst = call.outputs[0] + begin * size;
    switch (size) {
      case 1: std::memset(dst, static_cast<int>(bits), static_cast<size_t>(n)); break;
      case 4: std::fill_n(reinterpret_cast<uint32_t*>(dst), n, static_cast<uint32_t>(bits)); break;
      default: std::fill_n(reinterpret_cast<uint64_t*>(dst), n, bits); break;
    }
  }
};

uint64_t BitsOf(double number, DType dtype) {
  return VisitDType(dtype, [&]<class T>(T) -> uint64_t {
    uint64_t bits = 0;
    if constexpr (std::is_same_v<T, bool>) {
      bits = number != 0;
    } else if constexpr (sizeof(T) <= sizeof(bits)) {
      const T value = MathOf<T>::Const(number);
      std::memcpy(&bits, &value, sizeof(value));
    }
    return bits;
  });
}

class MoveLowering {
 public:
  MoveLowering(const Cluster& cluster, const KernelTable& kernels)
      : cluster_(cluster),
        node_(cluster.node(cluster.nodes[0])),
        type_(node_.outputs[0]),
        state_(std::make_shared<MoveState>()) {
    state_->size = SizeOf(type_.dtype);
    state_->kernels = &kernels;
  }

  LowerResult Lower() {
    const std::string_view op = node_.op->name;
    if (type_.dtype == DType::kComplex128) return Decline{StrCat(op, " of ", type_.dtype, " is the reference's")};
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
      return Decline{StrCat("no lowering for ", op)};
    }
    Finish();
    return std::move(lowering_);
  }

 private:
  const Shape& Input(int i) const { return cluster_.type(node_.inputs[static_cast<size_t>(i)]).shape; }
  int InputIndex(int i) const { return cluster_.input_index(node_.inputs[static_cast<size_t>(i)]); }

  StridedCopy NewCopy(int operand) const {
    StridedCopy copy;
    copy.input = InputIndex(operand);
    return copy;
  }
  void Add(StridedCopy copy) {
    for (const CopyAxis& axis : copy.axes) {
      if (axis.size == 0) return;
    }
    Simplify(copy.axes);
    state_->copies.push_back(std::move(copy));
  }

  void Transpose() {
    const Dims strides = Input(0).Strides(), out = type_.shape.Strides();
    const Dims& permutation = node_.attrs.Ints(kPermutation);
    StridedCopy copy = NewCopy(0);
    for (size_t i = 0; i < permutation.size(); ++i) {
      copy.axes.push_back({type_.shape.dim(static_cast<int>(i)), strides[static_cast<size_t>(permutation[i])], out[i]});
    }
    Add(std::move(copy));
  }

  void Slice() {
    const Dims strides = Input(0).Strides(), out = type_.shape.Strides();
    const Dims &begin = node_.attrs.Ints(kBegin), &steps = node_.attrs.Ints(kSteps);
    StridedCopy copy = NewCopy(0);
    for (size_t i = 0; i < strides.size(); ++i) {
      copy.src_offset += begin[i] * strides[i];
      copy.axes.push_back({type_.shape.dim(static_cast<int>(i)), strides[i] * steps[i], out[i]});
    }
    Add(std::move(copy));
  }

  void Pad() {
    const Dims strides = Input(0).Strides(), out = type_.shape.Strides();
    const Dims &before = node_.attrs.Ints(kBefore), &interior = node_.attrs.Ints(kInterior);
    StridedCopy copy = NewCopy(0);
    for (size_t i = 0; i < strides.size(); ++i) {
      copy.dst_offset += before[i] * out[i];
      copy.axes.push_back({Input(0).dim(static_cast<int>(i)), strides[i], out[i] * (interior[i] + 1)});
    }
    Add(std::move(copy));
    auto fill = std::make_shared<FillState>();
    fill->count = type_.shape.size();
    fill->size = state_->size;
    fill->bits = BitsOf(node_.attrs.Double(kValue), type_.dtype);
    fill->per_task = TaskSize(fill->count, kTaskBytes / fill->size, 64);
    lowering_.stages.push_back(MakeStage<FillState>(fill, CeilDiv(fill->count, fill->per_task), 0));
  }

  void Concatenate() {
    const size_t axis = static_cast<size_t>(node_.attrs.Int(kAxis));
    const Dims out = type_.shape.Strides();
    int64_t offset = 0;
    for (size_t operand = 0; operand < node_.inputs.size(); ++operand) {
      const Shape& shape = Input(static_cast<int>(operand));
      const Dims strides = shape.Strides();
      StridedCopy copy = NewCopy(static_cast<int>(operand));
      copy.dst_offset = offset;
      for (size_t i = 0; i < strides.size(); ++i) {
        copy.axes.push_back({shape.dim(static_cast<int>(i)), strides[i], out[i]});
      }
      offset += shape.dim(static_cast<int>(axis)) * out[axis];
      Add(std::move(copy));
    }
  }

  void Reverse() {
    const Dims strides = type_.shape.Strides();
    const Dims& axes = node_.attrs.Ints(kAxes);
    StridedCopy copy = NewCopy(0);
    for (size_t i = 0; i < strides.size(); ++i) {
      const int64_t size = type_.shape.dim(static_cast<int>(i));
      const bool reversed = std::find(axes.begin(), axes.end(), static_cast<int64_t>(i)) != axes.end();
      if (reversed) copy.src_offset += (size - 1) * strides[i];
      copy.axes.push_back({size, reversed ? -strides[i] : strides[i], strides[i]});
    }
    Add(std::move(copy));
  }

  // Long rows are cut so that there are outer tuples to share out; then the tasks.
  void Finish() {
    for (size_t c = 0; c < state_->copies.size(); ++c) {
      StridedCopy& copy = state_->copies[c];
      Arrange(copy);
      const size_t inner_axes = copy.transposition ? 2 : 1;
      int64_t inner = 1;
      for (size_t i = 0; i < copy.axes.size(); ++i) {
        (i + inner_axes < copy.axes.size() ? copy.outer : inner) *= copy.axes[i].size;
      }
      const int64_t cost = std::max<int64_t>(inner * state_->size, 64);
      const int64_t per_task = TaskSize(copy.outer, std::max<int64_t>(1, kTaskBytes / cost), 1);
      for (int64_t begin = 0; begin < copy.outer; begin += per_task) {
        state_->tasks.push_back({c, begin, std::min(copy.outer, begin + per_task)});
      }
    }
    const int64_t tasks = static_cast<int64_t>(state_->tasks.size());
    const bool transposition = !state_->copies.empty() && state_->copies[0].transposition;
    lowering_.kernel = StrCat(node_.op->name, transposition ? " by tiles, " : " by rows, ", tasks, " tasks");
    lowering_.stages.push_back(MakeStage<MoveState>(std::move(state_), tasks, 0));
  }

  void Arrange(StridedCopy& copy) const {
    // A transposition: the axis contiguous in src and the one contiguous in dst, innermost together.
    if (state_->size == 4 && copy.axes.size() >= 2 && copy.axes.back().dst == 1 && copy.axes.back().src != 1) {
      for (size_t i = 0; i + 1 < copy.axes.size(); ++i) {
        if (copy.axes[i].src != 1 || copy.axes[i].size < 4 || copy.axes.back().size < 4) continue;
        const CopyAxis columns = copy.axes[i];
        copy.axes.erase(copy.axes.begin() + static_cast<std::ptrdiff_t>(i));
        copy.axes.insert(copy.axes.end() - 1, columns);
        copy.transposition = true;
        // The columns are cut into strips, which become outer tuples.
        CutAxis(copy, copy.axes.size() - 2, kTileRows);
        return;
      }
    }
    CutAxis(copy, copy.axes.size() - 1, kTaskBytes / 4 / state_->size);
  }

  // Splits an axis into pieces of equal size, the largest divisor of its size that is at most `piece`.
  static void CutAxis(StridedCopy& copy, size_t index, int64_t piece) {
    const CopyAxis axis = copy.axes[index];
    if (axis.size <= piece) return;
    int64_t size = piece;
    while (axis.size % size != 0) --size;
    if (size < piece / 4) return;
    copy.axes[index].size = size;
    copy.axes.insert(copy.axes.begin(), {axis.size / size, axis.src * size, axis.dst * size});
  }

  const Cluster& cluster_;
  const Node& node_;
  const TensorType& type_;
  std::shared_ptr<MoveState> state_;
  Lowering lowering_;
};

}  // namespace

LowerResult LowerMove(const Cluster& cluster, const KernelTable& kernels) {
  return MoveLowering(cluster, kernels).Lower();
}

}  // namespace weir::highway
