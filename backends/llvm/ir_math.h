// IrMath: the policy of ops/scalar_math.h that records formulas as kernel_ir, so that every scalar function is
// written once for all backends and its polynomial reaches LLVM as plain multiply-adds.
#ifndef WEIR_BACKENDS_LLVM_IR_MATH_H_
#define WEIR_BACKENDS_LLVM_IR_MATH_H_

#include "weir/backends/llvm/kernel_ir.h"
#include "weir/ops/scalar_float.h"
#include "weir/ops/scalar_math.h"

namespace weir::jit {

// Numbers of one element type in `lanes` lanes; integers have only what integer ops need.
struct IrMath {
  using V = Val;
  using Mask = Val;
  static constexpr bool kOwnFunctions = false;

  KernelBuilder* builder = nullptr;
  Elem elem = Elem::kF32;
  int lanes = 1;

  bool floating() const { return elem == Elem::kF32; }
  V Const(double number) const {
    switch (elem) {
      case Elem::kF32: return builder->F32(FloatMath::Const(number), lanes);
      case Elem::kU8: return builder->Const({elem, lanes}, IntegerMath<uint8_t>::Const(number));
      case Elem::kI32: return builder->Const({elem, lanes}, IntegerMath<int32_t>::Const(number));
      case Elem::kI64: return builder->Const({elem, lanes}, IntegerMath<int64_t>::Const(number));
      case Elem::kBool: break;
    }
    return builder->Const({elem, lanes}, number != 0);
  }
  V Add(V a, V b) const { return builder->Binary(IrOp::kAdd, a, b); }
  V Sub(V a, V b) const { return builder->Binary(IrOp::kSub, a, b); }
  V Mul(V a, V b) const { return builder->Binary(IrOp::kMul, a, b); }
  V Div(V a, V b) const { return builder->Binary(IrOp::kDiv, a, b); }
  V Fma(V a, V b, V c) const { return floating() ? builder->Fma(a, b, c) : Add(Mul(a, b), c); }
  V Sqrt(V a) const { return builder->Unary(IrOp::kSqrt, a); }
  V Neg(V a) const { return floating() ? builder->Unary(IrOp::kNeg, a) : Sub(Const(0), a); }
  V Abs(V a) const { return floating() ? builder->Unary(IrOp::kAbs, a) : Select(Lt(a, Const(0)), Neg(a), a); }
  V CopySign(V magnitude, V sign) const { return builder->Binary(IrOp::kCopySign, magnitude, sign); }
  Mask Lt(V a, V b) const { return builder->Binary(IrOp::kLt, a, b); }
  Mask Le(V a, V b) const { return builder->Binary(IrOp::kLe, a, b); }
  Mask Eq(V a, V b) const { return builder->Binary(IrOp::kEq, a, b); }
  Mask IsNan(V a) const { return floating() ? Not(Eq(a, a)) : builder->Const({Elem::kBool, lanes}, 0); }
  Mask And(Mask a, Mask b) const { return builder->Binary(IrOp::kAnd, a, b); }
  Mask Or(Mask a, Mask b) const { return builder->Binary(IrOp::kOr, a, b); }
  Mask Not(Mask a) const { return builder->Unary(IrOp::kNot, a); }
  V Select(Mask mask, V if_true, V if_false) const { return builder->Select(mask, if_true, if_false); }
  V SelectFlushed(Mask mask, V if_true, V if_false) const {
    return builder->Select(mask, if_true, if_false, /*flushed=*/floating());
  }
  V RoundEven(V a) const { return builder->Unary(IrOp::kRoundEven, a); }
  // The low bits of n + 1.5 * 2^23 + 127 are the biased exponent.
  V Pow2(V n) const {
    return builder->Bits(
        builder->Unary(IrOp::kShl, builder->Bits(Add(n, builder->F32(12583039.0f, lanes)), Elem::kI32), 23),
        Elem::kF32);
  }
  V Exponent(V a) const {
    const V biased = builder->Unary(IrOp::kShr, builder->Bits(a, Elem::kI32), 23);
    return builder->Convert(builder->Binary(IrOp::kSub, biased, Int(127)), Elem::kF32);
  }
  V Mantissa(V a) const {
    const V bits = builder->Binary(IrOp::kBitAnd, builder->Bits(a, Elem::kI32), Int(0x007FFFFF));
    return builder->Bits(builder->Binary(IrOp::kBitOr, bits, Int(0x3F800000)), Elem::kF32);
  }

 private:
  V Int(int64_t number) const { return builder->Const({Elem::kI32, lanes}, number); }
};

// The function of an elementwise op over recorded operands.
Val ApplyScalarOp(const IrMath& math, ScalarOp op, const ScalarParams& params, const Val* args);

}  // namespace weir::jit

#endif  // WEIR_BACKENDS_LLVM_IR_MATH_H_
