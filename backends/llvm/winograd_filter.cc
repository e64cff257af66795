#include "weir/backends/llvm/winograd_filter.h"

#include <algorithm>
#include <utility>

#include "weir/backends/llvm/product_ir.h"
#include "weir/backends/llvm/winograd_ir.h"

namespace weir::jit {
namespace {

constexpr int64_t kFilterTask = 8 * 1024;  // pairs of channels that a task transforms the taps of

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
      PackTransposed(b_, {.parts = plan_.product.parts}, one, /*whole=*/p_.src_channels % kLanes == 0);
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
