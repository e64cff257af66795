// Checks a kernel before it is handed to LLVM: what the builder can't see and an emitter must be able to rely on.
#include <vector>

#include "weir/backends/llvm/kernel_ir.h"
#include "weir/core/error.h"

namespace weir::jit {
namespace {

class Verifier {
 public:
  explicit Verifier(const Kernel& kernel) : kernel_(kernel), known_(kernel.insts.size(), false) {}

  absl::Status Run() {
    for (size_t v = 0; v < kernel_.insts.size(); ++v) {
      if (kernel_.insts[v].op == IrOp::kConst) known_[v] = true;
    }
    if (kernel_.regions.empty()) return Fail(kNoVal, "no code");
    return CheckRegion(kernel_.regions[0]);
  }

 private:
  absl::Status Fail(Val v, const std::string& what) const {
    return absl::InternalError(StrCat("kernel ", kernel_.name, ": %", v, ": ", what));
  }
  const Inst& inst(Val v) const { return kernel_.insts[static_cast<size_t>(v)]; }

  absl::Status CheckRegion(const Region& region) {
    std::vector<Val> defined = region.params;
    for (Val v : region.params) known_[static_cast<size_t>(v)] = true;
    for (Val v : region.code) {
      for (Val arg : inst(v).args) {
        if (arg == kNoVal) continue;
        if (arg < 0 || arg >= static_cast<Val>(kernel_.insts.size()) || !known_[static_cast<size_t>(arg)]) {
          return Fail(v, StrCat("operand %", arg, " is not known here"));
        }
      }
      WEIR_RETURN_IF_ERROR(CheckInst(v, inst(v)));
      known_[static_cast<size_t>(v)] = true;
      defined.push_back(v);
    }
    for (Val v : region.yields) {
      if (!known_[static_cast<size_t>(v)]) return Fail(v, "is carried on but not known in its loop");
    }
    for (Val v : defined) known_[static_cast<size_t>(v)] = false;
    return absl::OkStatus();
  }

  absl::Status CheckFor(Val v, const Inst& loop) {
    if (loop.imm <= 0) return Fail(v, StrCat("step ", loop.imm));
    const Region& region = kernel_.regions[static_cast<size_t>(loop.region)];
    if (region.params.size() != region.inits.size() + 1 || region.yields.size() != region.inits.size()) {
      return Fail(v, StrCat(region.inits.size(), " values go in, ", region.yields.size(), " come back"));
    }
    for (size_t i = 0; i < region.inits.size(); ++i) {
      if (!known_[static_cast<size_t>(region.inits[i])])
        return Fail(v, StrCat("operand %", region.inits[i], " is not known here"));
      if (inst(region.inits[i]).type != inst(region.yields[i]).type) {
        return Fail(v, StrCat("carries ", ToText(inst(region.inits[i]).type), " in and ",
                              ToText(inst(region.yields[i]).type), " back"));
      }
    }
    return CheckRegion(region);
  }

  absl::Status CheckMemory(Val v, const Inst& i) {
    if (i.imm < 0 || i.imm >= static_cast<int64_t>(kernel_.buffers.size())) return Fail(v, StrCat("no buffer ", i.imm));
    const IrBuffer& buffer = kernel_.buffers[static_cast<size_t>(i.imm)];
    if (buffer.elem == Elem::kBool) return Fail(v, "a truth value has no place in memory");
    if (buffer.elem != i.type.elem)
      return Fail(v, StrCat(ToText(i.type), " in a buffer of ", ToText(IrType{buffer.elem})));
    const bool stores = i.op == IrOp::kStore || i.op == IrOp::kStream;
    if (stores && buffer.kind == IrBuffer::Kind::kInput) return Fail(v, "stores to an input");
    const Val index = stores ? i.args[1] : i.args[0];
    const Val count = stores ? i.args[2] : i.args[1];
    const IrType wanted = i.op == IrOp::kGather ? IrType{Elem::kI32, i.type.lanes} : IrType{Elem::kI64, 1};
    if (inst(index).type != wanted) return Fail(v, StrCat("index of type ", ToText(inst(index).type)));
    if (count != kNoVal && inst(count).type != IrType{Elem::kI64, 1}) return Fail(v, "count is not i64");
    if (count != kNoVal && i.type.lanes == 1) return Fail(v, "a scalar has no count");
    return absl::OkStatus();
  }

  absl::Status Same(Val v, const Inst& i, int args, bool result) const {
    for (int k = 0; k < args; ++k) {
      if (i.args[k] == kNoVal) return Fail(v, "an operand is missing");
      if (inst(i.args[k]).type != inst(i.args[0]).type) {
        return Fail(v,
                    StrCat("operands of types ", ToText(inst(i.args[0]).type), " and ", ToText(inst(i.args[k]).type)));
      }
    }
    if (result && i.type != inst(i.args[0]).type) return Fail(v, "result of another type");
    return absl::OkStatus();
  }
  absl::Status Float(Val v, const Inst& i) const {
    return i.type.elem == Elem::kF32 ? absl::OkStatus() : Fail(v, StrCat("not defined for ", ToText(i.type)));
  }
  absl::Status Integer(Val v, const Inst& i) const {
    return i.type.elem != Elem::kF32 && i.type.elem != Elem::kBool
               ? absl::OkStatus()
               : Fail(v, StrCat("not defined for ", ToText(i.type)));
  }
  absl::Status Truth(Val v, const Inst& i) const {
    return i.type.elem == Elem::kBool ? absl::OkStatus() : Fail(v, StrCat("not defined for ", ToText(i.type)));
  }

  absl::Status CheckInst(Val v, const Inst& i) {
    const auto arg = [&](int k) -> const Inst& { return inst(i.args[k]); };
    switch (i.op) {
      case IrOp::kFor: return CheckFor(v, i);
      case IrOp::kIf:
        if (arg(0).type != IrType{Elem::kBool, 1}) return Fail(v, "condition is not a scalar truth value");
        return CheckRegion(kernel_.regions[static_cast<size_t>(i.region)]);
      case IrOp::kLoad:
      case IrOp::kGather:
      case IrOp::kStore:
      case IrOp::kStream:
      case IrOp::kPrefetch:
      case IrOp::kPrefetchNear: return CheckMemory(v, i);
      case IrOp::kMayStream:
        if (i.imm < 0 || i.imm >= static_cast<int64_t>(kernel_.buffers.size()))
          return Fail(v, StrCat("no buffer ", i.imm));
        if (kernel_.buffers[static_cast<size_t>(i.imm)].kind != IrBuffer::Kind::kOutput)
          return Fail(v, "asks about no output");
        return i.type == IrType{Elem::kBool, 1} ? absl::OkStatus() : Fail(v, "a question gives a truth value");
      case IrOp::kAdd:
      case IrOp::kSub:
      case IrOp::kMul:
        if (i.type.elem == Elem::kBool) return Truth(v, {.type = {Elem::kF32}});
        return Same(v, i, 2, true);
      case IrOp::kDiv:
      case IrOp::kRem:
        WEIR_RETURN_IF_ERROR(Same(v, i, 2, true));
        if (i.op == IrOp::kRem || i.type.elem != Elem::kF32) {
          WEIR_RETURN_IF_ERROR(Integer(v, i));
          if (arg(1).op != IrOp::kConst || arg(1).imm == 0) return Fail(v, "the divisor is no constant, or 0");
        }
        return absl::OkStatus();
      case IrOp::kFma: WEIR_RETURN_IF_ERROR(Float(v, i)); return Same(v, i, 3, true);
      case IrOp::kCopySign: WEIR_RETURN_IF_ERROR(Float(v, i)); return Same(v, i, 2, true);
      case IrOp::kSqrt:
      case IrOp::kNeg:
      case IrOp::kAbs:
      case IrOp::kRoundEven: WEIR_RETURN_IF_ERROR(Float(v, i)); return Same(v, i, 1, true);
      case IrOp::kBitAnd:
      case IrOp::kBitOr:
      case IrOp::kBitXor:
      case IrOp::kMin: WEIR_RETURN_IF_ERROR(Integer(v, i)); return Same(v, i, 2, true);
      case IrOp::kShl:
      case IrOp::kShr:
        WEIR_RETURN_IF_ERROR(Integer(v, i));
        if (i.imm < 0 || i.imm >= 8 * BytesOf(i.type.elem)) return Fail(v, StrCat("shift by ", i.imm));
        return Same(v, i, 1, true);
      case IrOp::kLt:
      case IrOp::kLe:
      case IrOp::kEq:
        if (i.type != IrType{Elem::kBool, arg(0).type.lanes}) return Fail(v, "a comparison gives truth values");
        return Same(v, i, 2, false);
      case IrOp::kAnd:
      case IrOp::kOr: WEIR_RETURN_IF_ERROR(Truth(v, i)); return Same(v, i, 2, true);
      case IrOp::kNot: WEIR_RETURN_IF_ERROR(Truth(v, i)); return Same(v, i, 1, true);
      case IrOp::kSelect:
        if (arg(0).type != IrType{Elem::kBool, i.type.lanes}) return Fail(v, "condition of another type or width");
        if (arg(1).type != i.type || arg(2).type != i.type) return Fail(v, "branches of different types");
        if (i.imm != 0 && (i.imm != 1 || i.type.elem != Elem::kF32)) return Fail(v, "only f32 can be flushed");
        return absl::OkStatus();
      case IrOp::kSplat:
        return arg(0).type == IrType{i.type.elem, 1} ? absl::OkStatus()
                                                     : Fail(v, "of something that is no such scalar");
      case IrOp::kLow:
      case IrOp::kHigh:
        return arg(0).type == IrType{i.type.elem, 2 * i.type.lanes} ? absl::OkStatus()
                                                                    : Fail(v, "not half of its operand");
      case IrOp::kZipLow:
      case IrOp::kZipHigh:
      case IrOp::kZipEven:
        if (i.type.lanes < 2 || i.type.lanes % 2 != 0) return Fail(v, StrCat("no halves of ", i.type.lanes, " lanes"));
        return Same(v, i, 2, true);
      case IrOp::kBlend: return Same(v, i, 2, true);
      case IrOp::kLane:
        return i.imm >= 0 && i.imm < arg(0).type.lanes ? absl::OkStatus() : Fail(v, StrCat("no lane ", i.imm));
      case IrOp::kConvert:
        return arg(0).type.lanes == i.type.lanes && i.type.elem != Elem::kBool ? absl::OkStatus()
                                                                               : Fail(v, "no such conversion");
      case IrOp::kBits:
        return arg(0).type.lanes * BytesOf(arg(0).type.elem) == i.type.lanes * BytesOf(i.type.elem)
                   ? absl::OkStatus()
                   : Fail(v, "types of different sizes");
      case IrOp::kResult: return arg(0).op == IrOp::kFor ? absl::OkStatus() : Fail(v, "of something that is no loop");
      default: return absl::OkStatus();
    }
  }

  const Kernel& kernel_;
  std::vector<bool> known_;
};

}  // namespace

absl::Status Verify(const Kernel& kernel) { return Verifier(kernel).Run(); }

}  // namespace weir::jit
