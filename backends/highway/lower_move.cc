// Data movement: transpose, pad, slice, concatenate, reverse, gather and one_hot as copies of strided blocks. Any
// element type but complex; nothing is computed.
#include <cstring>
#include <optional>

#include "weir/backends/highway/lowering.h"
#include "weir/ops/attrs.h"
#include "weir/ops/box_copy.h"
#include "weir/ops/scalar_float.h"

namespace weir::highway {
namespace {

constexpr int64_t kTaskBytes = 512 * 1024;  // written: about 40 us
constexpr int64_t kTileRows = 64;           // of a transposition: 64 x 64 elements stay in the first-level cache

struct Move {
  BoxCopy box;
  int input = 0;
  int64_t outer = 1;           // index tuples of all axes but the last (two, in a transposition)
  bool transposition = false;  // the last two axes are contiguous on one side each
};

// One task: some of the outer index tuples of one copy.
struct MoveTask {
  size_t move = 0;
  int64_t begin = 0, end = 0;
};

struct MoveState {
  std::vector<Move> moves;
  std::vector<MoveTask> tasks;
  int64_t size = 4;  // bytes of an element
  const KernelTable* kernels = nullptr;

  void Run(const KernelCall& call) const {
    const MoveTask& task = tasks[static_cast<size_t>(call.task)];
    const Move& move = moves[task.move];
    const BoxCopy& copy = move.box;
    const int inner_axes = move.transposition ? 2 : 1;
    const int outer_axes = static_cast<int>(copy.axes.size()) - inner_axes;
    for (int64_t flat = task.begin; flat < task.end; ++flat) {
      int64_t src = copy.src_offset, dst = copy.dst_offset, rest = flat;
      for (int a = outer_axes - 1; a >= 0; --a) {
        const CopyAxis& axis = copy.axes[static_cast<size_t>(a)];
        src += rest % axis.size * axis.src;
        dst += rest % axis.size * axis.dst;
        rest /= axis.size;
      }
      const std::byte* from = call.inputs[move.input] + src * size;
      std::byte* to = call.outputs[0] + dst * size;
      if (move.transposition) {
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
    std::vector<Shape> inputs;
    for (Ref ref : node_.inputs) inputs.push_back(cluster_.type(ref).shape);
    auto copies = BoxCopiesOf(op, node_.attrs, inputs, type_.shape);
    if (!copies) return Decline{StrCat("no lowering for ", op)};
    if (op == "pad") Fill();
    for (BoxCopy& copy : *copies) {
      const int input = cluster_.input_index(node_.inputs[static_cast<size_t>(copy.operand)]);
      state_->moves.push_back({.box = std::move(copy), .input = input});
    }
    Finish();
    return std::move(lowering_);
  }

 private:
  void Fill() {
    auto fill = std::make_shared<FillState>();
    fill->count = type_.shape.size();
    fill->size = state_->size;
    fill->bits = BitsOf(node_.attrs.Double(kValue), type_.dtype);
    fill->per_task = TaskSize(fill->count, kTaskBytes / fill->size, 64);
    lowering_.stages.push_back(MakeStage<FillState>(fill, CeilDiv(fill->count, fill->per_task), 0));
  }

  // Long rows are cut so that there are outer tuples to share out; then the tasks.
  void Finish() {
    for (size_t m = 0; m < state_->moves.size(); ++m) {
      Move& move = state_->moves[m];
      Arrange(move);
      const std::vector<CopyAxis>& axes = move.box.axes;
      const size_t inner_axes = move.transposition ? 2 : 1;
      int64_t inner = 1;
      for (size_t i = 0; i < axes.size(); ++i) (i + inner_axes < axes.size() ? move.outer : inner) *= axes[i].size;
      const int64_t cost = std::max<int64_t>(inner * state_->size, 64);
      const int64_t per_task = TaskSize(move.outer, std::max<int64_t>(1, kTaskBytes / cost), 1);
      for (int64_t begin = 0; begin < move.outer; begin += per_task) {
        state_->tasks.push_back({m, begin, std::min(move.outer, begin + per_task)});
      }
    }
    const int64_t tasks = static_cast<int64_t>(state_->tasks.size());
    const bool transposition = !state_->moves.empty() && state_->moves[0].transposition;
    lowering_.kernel = StrCat(node_.op->name, transposition ? " by tiles, " : " by rows, ", tasks, " tasks");
    lowering_.stages.push_back(MakeStage<MoveState>(std::move(state_), tasks, 0));
  }

  void Arrange(Move& move) const {
    move.transposition = state_->size == 4 && ArrangeTransposition(move.box, 4);
    const size_t last = move.box.axes.size() - 1;
    if (move.transposition) {
      CutAxis(move.box, last - 1, kTileRows);  // strips, which become outer tuples
    } else {
      CutAxis(move.box, last, kTaskBytes / 4 / state_->size);
    }
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
