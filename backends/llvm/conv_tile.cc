#include "weir/backends/llvm/conv_tile.h"

#include <algorithm>
#include <utility>

namespace weir::jit {
namespace {

constexpr int64_t kStraightTerms = 8;      // sums this short need no loop; longer blocks make LLVM's scheduler spill
constexpr int64_t kUnroll = 4;             // terms of a round of longer ones
// Panels of the filter that don't stay in the first-level cache, and how many terms ahead they are fetched to it. Of
// halves of a vector, loads are what limits already: only what comes from farther away is worth one more.
struct Far {
  int64_t bytes, ahead;
};
constexpr Far kFar{24 * 1024, 12}, kFarOfHalves{256 * 1024, 40};

int64_t TermsAhead(const FilterLayout& layout) {
  const Far& far = layout.parts == 1 ? kFar : kFarOfHalves;
  return layout.panel_bytes() > far.bytes ? far.ahead : 0;
}

}  // namespace

ConvTile::ConvTile(KernelBuilder& builder, const ConvProblem& problem, const FilterLayout& layout,
                   const ConvSource& source, int src, int filter)
    : b_(builder),
      p_(problem),
      layout_(layout),
      source_(source),
      src_(src),
      filter_(filter),
      ahead_(problem.depthwise ? 0 : TermsAhead(layout)) {}

std::vector<Val> ConvTile::Sums(const ConvClass& c, const ConvPanel& panel, Val src, std::vector<int64_t> src_offset) {
  panel_ = panel;
  src_offset_ = std::move(src_offset);
  std::vector<Val> sums(src_offset_.size() * static_cast<size_t>(panel.vectors), b_.F32(0, kLanes));
  if (c.empty()) return sums;
  int64_t position = 0;
  for (int a = 0; a < 3; ++a) position = position * p_.axis[a].window + c.phase[a]->position;
  // A filter in place that is read backwards begins with its last tap.
  if (p_.depthwise && p_.transposed) position -= p_.taps() - 1;
  const std::vector<TermLoop> loops = TermsOf(c);
  int64_t terms = 1;
  for (const TermLoop& loop : loops) terms *= loop.count;
  return Terms(loops, terms, {src, 0}, {panel.filter, position * TapFloats()}, std::move(sums));
}

// Floats from one position of the filter to the next.
int64_t ConvTile::TapFloats() const {
  if (!p_.depthwise) return p_.group_src * layout_.row(panel_.vectors);
  return p_.transposed ? -p_.src_channels : p_.dst_channels;
}

std::vector<TermLoop> ConvTile::TermsOf(const ConvClass& c) const {
  std::vector<TermLoop> loops;
  int64_t tap = TapFloats();
  for (int a = 2; a >= 0; --a) {
    loops.insert(loops.begin(), {c.phase[a]->taps, c.phase[a]->delta * source_.stride(a), c.phase[a]->period * tap});
    tap *= p_.axis[a].window;
  }
  if (!p_.depthwise) loops.push_back({p_.group_src, 1, layout_.row(panel_.vectors)});
  if (p_.depthwise && p_.transposed) loops.push_back({p_.multiplier, source_.part_floats(), 1});
  return Joined(loops);
}

// Adds `terms` terms: those of the loops given, outermost first.
std::vector<Val> ConvTile::Terms(std::span<const TermLoop> loops, int64_t terms, At src, At filter,
                                 std::vector<Val> sums) {
  if (loops.empty()) {
    return p_.depthwise ? DepthwiseTerm(src, filter, std::move(sums)) : Term(src, filter, std::move(sums));
  }
  const TermLoop& loop = loops.front();
  const int64_t inner = terms / loop.count;
  const int64_t unroll = terms <= kStraightTerms ? loop.count : inner > 1 ? 1 : std::min(kUnroll, loop.count);
  const auto straight = [&](At s, At f, int64_t count, std::vector<Val> acc) {
    for (int64_t i = 0; i < count; ++i) {
      acc = Terms(loops.subspan(1), inner, s + i * loop.src, f + i * loop.filter, std::move(acc));
    }
    return acc;
  };
  const int64_t whole = unroll == loop.count ? 0 : loop.count / unroll * unroll;
  if (whole > 0) {
    sums = b_.For(b_.I64(0), b_.I64(whole), unroll, sums, [&](Val i, const std::vector<Val>& acc) {
      const At s{b_.Add(src.base, b_.Mul(i, loop.src)), src.plus};
      const At f{b_.Add(filter.base, b_.Mul(i, loop.filter)), filter.plus};
      return straight(s, f, unroll, acc);
    });
  }
  return straight(src + whole * loop.src, filter + whole * loop.filter, loop.count - whole, std::move(sums));
}

std::vector<Val> ConvTile::Term(At src, At filter, std::vector<Val> sums) {
  std::vector<Val> w;
  for (int64_t v = 0; v < panel_.vectors; ++v) {
    if (ahead_ > 0) b_.Prefetch(filter_, Index(filter + (ahead_ * layout_.row(panel_.vectors) + v * kLanes)));
    w.push_back(b_.Load(filter_, Index(filter + v * kLanes), kLanes));
  }
  size_t k = 0;
  for (int64_t offset : src_offset_) {
    const Val x = b_.Splat(b_.Load(src_, Index(src + offset), 1), kLanes);
    for (Val row : w) {
      sums[k] = b_.Fma(x, row, sums[k]);
      ++k;
    }
  }
  return sums;
}

std::vector<Val> ConvTile::DepthwiseTerm(At src, At filter, std::vector<Val> sums) {
  const int64_t step = p_.filter_step();
  for (int64_t v = 0; v < panel_.vectors; ++v) {
    const Val count = panel_.Count(b_, v);
    Val w;
    if (step == 1) {
      w = b_.Load(filter_, Index(filter + v * kLanes), kLanes, count);
    } else {
      const IrType type{Elem::kI32, kLanes};
      const Val first = b_.Splat(b_.Convert(Index(filter + v * kLanes * step), Elem::kI32), kLanes);
      const Val lanes = b_.Binary(IrOp::kMul, b_.Iota(type), b_.Const(type, step));
      w = b_.Gather(filter_, b_.Binary(IrOp::kAdd, first, lanes), count);
    }
    for (size_t p = 0; p < src_offset_.size(); ++p) {
      // A copy has whole vectors.
      const At at = src + (src_offset_[p] + v * kLanes);
      Val& sum = sums[p * static_cast<size_t>(panel_.vectors) + static_cast<size_t>(v)];
      sum = b_.Fma(b_.Load(src_, Index(at), kLanes, source_.copied() ? kNoVal : count), w, sum);
    }
  }
  return sums;
}

}  // namespace weir::jit
