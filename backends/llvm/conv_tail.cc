#include "weir/backends/llvm/conv_tail.h"

#include <vector>

#include "weir/backends/llvm/pool_ir.h"

namespace weir::jit {
namespace {

constexpr int64_t kUnrolledLoads = 16;  // of a window; its vectors of channels are a loop if there are more

}  // namespace

ConvTail::ConvTail(KernelBuilder& builder, const Cluster& cluster, const ConvProblem& problem, int unit_level)
    : b_(builder),
      p_(problem),
      unit_level_(unit_level),
      operand_(cluster.node(*cluster.tail).inputs[0]),
      output_(cluster.output_index(operand_)),
      max_(cluster.node(*cluster.tail).op->name == "max_pool") {
  const auto wanted = [&](Ref ref, Elem elem) {
    const int output = cluster.output_index(ref);
    return output < 0 ? -1 : b_.Buffer({IrBuffer::Kind::kOutput, output, elem, 0});
  };
  dst_ = wanted({*cluster.tail, 0}, Elem::kF32);
  if (max_) {
    index_elem_ = ElemOf(cluster.type({*cluster.tail, 1}).dtype);
    index_ = wanted({*cluster.tail, 1}, index_elem_);
  }
  if (!kept()) src_ = b_.Buffer({IrBuffer::Kind::kOutput, output_, Elem::kF32, 0});
}

int64_t ConvTail::Step(int level) const {
  int64_t step = p_.dst_channels;
  for (int a = level; a < 3; ++a) step *= p_.axis[a].pooled();
  return step;
}

void ConvTail::Pool(Val image, Range range, Range channels, int scratch, Val begin) {
  channels_ = channels;
  if (kept()) src_ = scratch;
  const auto of_image = [&](int64_t step) { return image == kNoVal ? b_.I64(0) : b_.Mul(image, step); };
  Val src = of_image(p_.DstStep(0));
  if (kept()) src = b_.Add(src, b_.Mul(begin, -1));
  const int64_t window = p_.Pool(unit_level_);
  Level(unit_level_, {b_.Div(range.begin, window), b_.Div(range.end, window)}, src, of_image(Step(0)));
}

void ConvTail::Level(int level, Range range, Val src, Val dst) {
  const int64_t window = p_.Pool(level);
  b_.Loop(range.begin, range.end, 1, [&](Val i) {
    const Val from = b_.Add(src, b_.Mul(i, window * p_.DstStep(level)));
    const Val to = b_.Add(dst, b_.Mul(i, Step(level)));
    if (level == 3) {
      Window(from, to);
    } else {
      Level(level + 1, {b_.I64(0), b_.I64(p_.axis[level].pooled())}, from, to);
    }
  });
}

void ConvTail::Window(Val src, Val dst) {
  const IrMath math{&b_, Elem::kF32, kLanes};
  const auto vector = [&](Val channel) {
    const Val count = p_.dst_channels % kLanes == 0 ? kNoVal : b_.Add(channels_.end, b_.Mul(channel, -1));
    const Val at = b_.Add(src, channel);
    std::vector<Val> cells;
    for (int64_t a = 0; a < p_.axis[0].pool; ++a) {
      for (int64_t b = 0; b < p_.axis[1].pool; ++b) {
        for (int64_t c = 0; c < p_.axis[2].pool; ++c) {
          const int64_t offset = a * p_.DstStep(1) + b * p_.DstStep(2) + c * p_.DstStep(3);
          cells.push_back(b_.Load(src_, b_.Add(at, b_.I64(offset)), kLanes, count));
        }
      }
    }
    const Val to = b_.Add(dst, channel);
    const Winner pooled = index_ >= 0 ? WinnerOf(math, cells)
                          : max_      ? Winner{.value = MaxOf(math, cells)}
                                      : Winner{.value = AverageOf(math, cells)};
    if (dst_ >= 0) b_.Store(dst_, pooled.value, to, count);
    if (index_ >= 0) b_.Store(index_, b_.Convert(pooled.index, index_elem_), to, count);
  };
  const bool known = b_.IsConst(channels_.begin) && b_.IsConst(channels_.end);
  const int64_t cells = p_.axis[0].pool * p_.axis[1].pool * p_.axis[2].pool;
  if (known && cells * CeilDiv(p_.dst_channels, kLanes) <= kUnrolledLoads) {
    for (int64_t c = 0; c < p_.dst_channels; c += kLanes) vector(b_.I64(c));
  } else {
    b_.Loop(channels_.begin, channels_.end, kLanes, vector);
  }
}

}  // namespace weir::jit
