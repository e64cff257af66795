// Softmax, log-softmax and sparse cross-entropy: rows of the last axis, short ones in registers from end to end.
#include "weir/backends/llvm/lowering.h"
#include "weir/backends/llvm/reduce_ir.h"
#include "weir/core/strings.h"

namespace weir::jit {
namespace {

constexpr int64_t kTaskFloats = 32 * 1024;    // an exponential costs a few cycles a lane
constexpr int64_t kInRegisters = 4 * kLanes;  // classes
constexpr char kLabelError[] = "SparseCrossEntropy: label";

class SoftmaxLowering {
 public:
  explicit SoftmaxLowering(const Cluster& cluster)
      : cluster_(cluster),
        anchor_(cluster.node(*cluster.anchor)),
        b_(Describe(cluster)),
        task_(b_.Task()),
        x_(b_, cluster) {
    const Shape& shape = cluster.type(anchor_.inputs[0]).shape;
    classes_ = shape.dim(-1);
    rows_ = shape.size() / classes_;
    scratch_ = b_.Buffer({IrBuffer::Kind::kScratch, 0, Elem::kF32, 0});
  }

  Lowering Lower() {
    ClusterIr epilogue(b_, cluster_);
    epilogue_ = &epilogue;
    const int64_t per_task = TaskSize(rows_, std::max<int64_t>(1, kTaskFloats / std::max<int64_t>(classes_, 32)), 1);
    const int64_t tasks = CeilDiv(rows_, per_task);
    const Val begin = b_.Mul(task_, per_task);
    b_.Loop(begin, b_.Min(b_.Add(begin, b_.I64(per_task)), b_.I64(rows_)), 1, [&](Val row) { Row(row); });
    Lowering lowering;
    lowering.kernel =
        StrCat("jit, rows of ", classes_, classes_ <= kInRegisters ? " in registers, " : ", ", tasks, " tasks");
    lowering.in_place = PointwisePairs(cluster_);
    lowering.stages.push_back(MakeStage(b_.Take(), tasks, classes_ <= kInRegisters ? 0 : RoundUp(classes_ * 4, 64)));
    return lowering;
  }

 private:
  Point PointAt(Val base, Val j, Val count) {
    return {.flat = b_.Add(base, j), .count = count, .aligned = classes_ % kLanes == 0, .in_row = true};
  }
  static IrMath Math(KernelBuilder& b, int lanes) { return {&b, Elem::kF32, lanes}; }

  void Row(Val row) {
    const Val base = b_.Mul(row, classes_);
    const bool registers = classes_ <= kInRegisters;
    std::vector<Val> held(static_cast<size_t>(CeilDiv(classes_, kLanes)), kNoVal);
    const ReduceIr largest(b_, ReduceKind::kMax), sum(b_, ReduceKind::kSum);
    // A long row that is computed first is kept; one in memory is read again.
    const bool kept = !registers && x_.computed();
    const auto again = [&](Val j, Val count, int vector) {
      if (registers) return held[static_cast<size_t>(vector)];
      return kept ? b_.Load(scratch_, j, kLanes, count) : x_.At(PointAt(base, j, count));
    };
    const Val max = largest.Run({largest.Init(1)}, classes_, [&](size_t, Val j, Val count, int vector) {
      const Val x = x_.At(PointAt(base, j, count));
      if (registers) held[static_cast<size_t>(vector)] = x;
      if (kept) b_.Store(scratch_, x, j, count);
      return x;
    })[0];
    const Val max_lanes = b_.Splat(max, kLanes);
    const IrMath math = Math(b_, kLanes);
    const bool log = anchor_.op->name == "log_softmax", loss = anchor_.op->name == "sparse_cross_entropy";
    std::vector<Val> powers(held.size(), kNoVal);
    const Val total = sum.Run({sum.Init(1)}, classes_, [&](size_t, Val j, Val count, int vector) {
      const Val power = ScalarMath<IrMath>::Exp(math, math.Sub(again(j, count, vector), max_lanes));
      if (registers) {
        powers[static_cast<size_t>(vector)] = power;
      } else if (!log && !loss) {
        b_.Store(scratch_, power, j, count);
      }
      return power;
    })[0];
    if (loss) {
      Loss(row, base, max, total);
      return;
    }
    const Val divisor = b_.Splat(log ? ScalarMath<IrMath>::Log(Math(b_, 1), total) : total, kLanes);
    const auto finish = [&](Val j, Val count, int vector) {
      Val y;
      if (log) {
        y = math.Sub(math.Sub(again(j, count, vector), max_lanes), divisor);
      } else {
        y = math.Div(registers ? powers[static_cast<size_t>(vector)] : b_.Load(scratch_, j, kLanes, count), divisor);
      }
      const Point point = PointAt(base, j, count);
      epilogue_->Emit({&point, 1}, {&y, 1});
    };
    const int64_t whole = classes_ / kLanes * kLanes;
    if (registers) {
      for (int64_t j = 0; j < whole; j += kLanes) finish(b_.I64(j), kNoVal, static_cast<int>(j / kLanes));
    } else {
      b_.Loop(b_.I64(0), b_.I64(whole), kLanes, [&](Val j) { finish(j, kNoVal, -1); });
    }
    if (whole < classes_) finish(b_.I64(whole), b_.I64(classes_ - whole), static_cast<int>(whole / kLanes));
  }

  // log(total) - (x[label] - max); a label that is none is reported, and its loss is a NaN.
  void Loss(Val row, Val base, Val max, Val total) {
    const Ref labels = anchor_.inputs[1];
    const Elem elem = ElemOf(cluster_.type(labels).dtype);
    const int buffer = b_.Buffer({IrBuffer::Kind::kInput, cluster_.input_index(labels), elem, 0});
    const Val label = b_.Convert(b_.Load(buffer, row, 1), Elem::kI64);
    const IrMath integers{&b_, Elem::kI64, 1}, math = Math(b_, 1);
    const Val wrong = integers.Or(integers.Lt(label, b_.I64(0)), integers.Le(b_.I64(classes_), label));
    b_.If(wrong, [&] { b_.ReportLabel(kLabelError, row, label, classes_); });
    const Val safe = b_.Select(wrong, b_.I64(0), label);
    const Val shifted = math.Sub(x_.At({.flat = b_.Add(base, safe), .lanes = 1}, /*again=*/true), max);
    const Val loss = math.Sub(ScalarMath<IrMath>::Log(math, total), shifted);
    const Val y = b_.Select(wrong, ScalarMath<IrMath>::Nan(math), loss);
    const Point point{.flat = row, .lanes = 1};
    epilogue_->Emit({&point, 1}, {&y, 1});
  }

  const Cluster& cluster_;
  const Node& anchor_;
  KernelBuilder b_;
  const Val task_;
  AnchorOperand x_;
  ClusterIr* epilogue_ = nullptr;
  int64_t classes_ = 0, rows_ = 0;
  int scratch_ = 0;
};

}  // namespace

LowerResult LowerSoftmax(const Cluster& cluster, const TileLimits&) { return SoftmaxLowering(cluster).Lower(); }

}  // namespace weir::jit
