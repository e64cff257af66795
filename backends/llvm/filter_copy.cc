#include "weir/backends/llvm/filter_copy.h"

#include <algorithm>

namespace weir::jit {

int64_t FilterCopy::InsideOf(int a) const {
  return std::max<int64_t>(0, std::min(p_.g.axis[a].input, p_.low[a] + p_.box[a]));
}

void FilterCopy::Image(Val image, int dst, Val at) {
  const Val src = b_.Mul(image, p_.x_floats());
  b_.Loop(b_.I64(0), b_.I64(p_.box[0]), 1, [&](Val i0) {
    b_.Loop(b_.I64(0), b_.I64(p_.box[1]), 1, [&](Val i1) {
      const Val to = b_.Add(at, b_.Add(b_.Mul(i0, p_.strides[0]), b_.Mul(i1, p_.strides[1])));
      const Val from[2] = {b_.Add(i0, b_.I64(p_.low[0])), b_.Add(i1, b_.I64(p_.low[1]))};
      Val inside = kNoVal;
      for (int a = 0; a < 2; ++a) {
        const Val low = b_.Binary(IrOp::kLe, b_.I64(0), from[a]),
                  high = b_.Binary(IrOp::kLt, from[a], b_.I64(p_.g.axis[a].input));
        const Val both = b_.Binary(IrOp::kAnd, low, high);
        inside = inside == kNoVal ? both : b_.Binary(IrOp::kAnd, inside, both);
      }
      const Val row = b_.Add(b_.Mul(from[0], p_.g.axis[1].input), from[1]);
      const Val pixels = b_.Add(src, b_.Mul(row, p_.g.axis[2].input * p_.g.in_channels));
      b_.If(inside, [&] { Row(pixels, dst, to); });
      b_.If(b_.Unary(IrOp::kNot, inside), [&] { Fill(dst, to, 0, p_.box[2] * p_.pixel); });
    });
  });
}

void FilterCopy::Fill(int dst, Val at, int64_t begin, int64_t end) {
  b_.Loop(b_.I64(begin), b_.I64(end), kLanes, [&](Val i) { b_.Store(dst, b_.F32(0, kLanes), b_.Add(at, i)); });
}

void FilterCopy::Row(Val src, int dst, Val at) {
  const int64_t before = -p_.low[2] * p_.pixel, pixels = InsideOf(2), behind = before + pixels * p_.pixel;
  Fill(dst, at, 0, std::min(before, p_.box[2] * p_.pixel));
  if (p_.multiplier > 1) {
    b_.Loop(b_.I64(0), b_.I64(pixels * p_.g.in_channels), 1, [&](Val i) {
      const Val value = b_.Load(x_, b_.Add(src, i), 1),
                to = b_.Add(b_.Add(at, b_.I64(before)), b_.Mul(i, p_.multiplier));
      for (int64_t copy = 0; copy < p_.multiplier; ++copy) b_.Store(dst, value, b_.Add(to, b_.I64(copy)));
    });
  } else {
    const int64_t floats = pixels * p_.pixel;
    b_.Loop(b_.I64(0), b_.I64(floats), kLanes, [&](Val i) {
      const Val count = floats % kLanes == 0 ? kNoVal : b_.Binary(IrOp::kSub, b_.I64(floats), i);
      b_.Store(dst, b_.Load(x_, b_.Add(src, i), kLanes, count), b_.Add(b_.Add(at, i), b_.I64(before)));
    });
  }
  if (behind < p_.box[2] * p_.pixel) Fill(dst, at, behind, p_.box[2] * p_.pixel);
}

}  // namespace weir::jit
