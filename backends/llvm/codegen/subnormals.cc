#include "weir/backends/llvm/codegen/subnormals.h"

#include <bit>

namespace weir::jit {
namespace {

const Inst& At(const Kernel& kernel, Val v) { return kernel.insts[static_cast<size_t>(v)]; }

bool MayBeSubnormal(const Kernel& kernel, Val v) {
  const Inst& inst = At(kernel, v);
  switch (inst.op) {
    case IrOp::kConst: return (inst.imm & 0x7F800000) == 0 && (inst.imm & 0x007FFFFF) != 0;
    case IrOp::kAdd:
    case IrOp::kSub:
    case IrOp::kMul:
    case IrOp::kDiv:
    case IrOp::kFma:
    case IrOp::kSqrt:
    case IrOp::kRoundEven:
    case IrOp::kConvert: return false;
    case IrOp::kNeg:
    case IrOp::kAbs:
    case IrOp::kCopySign: return MayBeSubnormal(kernel, inst.args[0]);
    default: return true;
  }
}

// Whether LLVM may take the two for one value: it sees that loads are.
bool MayBeEqual(const Kernel& kernel, Val a, Val b) {
  const Inst &x = At(kernel, a), &y = At(kernel, b);
  if (a == b) return true;
  if (x.op != y.op) return false;
  const bool known = x.op == IrOp::kConst || x.op == IrOp::kLoad || x.op == IrOp::kGather;
  return !known || x.imm == y.imm || (IsNumber(kernel, a, 0) && IsNumber(kernel, b, 0));
}

// A search for a NaN where there is none.
bool LooksForNanInNumber(const Kernel& kernel, Val v) {
  const Inst* i = &At(kernel, v);
  while (i->op == IrOp::kNot) i = &At(kernel, i->args[0]);
  return i->op == IrOp::kEq && i->args[0] == i->args[1] && At(kernel, i->args[0]).op == IrOp::kConst;
}

// Whether a comparison in the condition is of the two between which it chooses. `strict`: it stands beside a search for a
// NaN, as in a Maximum. Where neither is a number other than 0 the signs of zeros forbid that to LLVM.
bool Compares(const Kernel& kernel, Val condition, Val a, Val b, bool strict = false) {
  const Inst& i = At(kernel, condition);
  const auto number = [&](Val v) { return At(kernel, v).op == IrOp::kConst && !IsNumber(kernel, v, 0); };
  switch (i.op) {
    case IrOp::kNot: return Compares(kernel, i.args[0], a, b);
    case IrOp::kAnd:
    case IrOp::kOr:
      for (const int k : {0, 1}) {
        const bool alone = LooksForNanInNumber(kernel, i.args[1 - k]);
        if (Compares(kernel, i.args[k], a, b, /*strict=*/!alone)) return true;
      }
      return false;
    case IrOp::kLt:
      if (strict && !number(a) && !number(b)) return false;
      [[fallthrough]];
    case IrOp::kLe:
      return (MayBeEqual(kernel, i.args[0], a) && MayBeEqual(kernel, i.args[1], b)) ||
             (MayBeEqual(kernel, i.args[0], b) && MayBeEqual(kernel, i.args[1], a));
    default: return false;
  }
}

}  // namespace

bool IsNumber(const Kernel& kernel, Val v, float magnitude) {
  const Inst& inst = At(kernel, v);
  return inst.op == IrOp::kConst && inst.type.elem == Elem::kF32 &&
         (static_cast<uint32_t>(inst.imm) & 0x7FFFFFFFu) == std::bit_cast<uint32_t>(magnitude);
}

bool MayBecomeExtreme(const Kernel& kernel, const Inst& select) {
  const Val a = select.args[1], b = select.args[2];
  if (select.type.elem != Elem::kF32 || select.imm != 0) return false;
  if (!MayBeSubnormal(kernel, a) && !MayBeSubnormal(kernel, b)) return false;
  return Compares(kernel, select.args[0], a, b);
}

}  // namespace weir::jit
