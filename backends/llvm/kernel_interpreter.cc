#include "weir/backends/llvm/kernel_interpreter.h"

#include <bit>
#include <cmath>
#include <cstring>

#include "weir/ops/scalar_float.h"

namespace weir::jit {
namespace {

// Lanes as bits: floats in the low half, integers extended by their sign (u8 with zeros), truth as 0 or 1.
using Lanes = std::vector<int64_t>;

float AsFloat(int64_t bits) { return std::bit_cast<float>(static_cast<uint32_t>(bits)); }
int64_t FromFloat(float number) { return std::bit_cast<uint32_t>(number); }

int64_t Wrapped(Elem elem, uint64_t number) {
  switch (elem) {
    case Elem::kBool: return number & 1;
    case Elem::kU8: return static_cast<uint8_t>(number);
    case Elem::kI32: return static_cast<int32_t>(static_cast<uint32_t>(number));
    case Elem::kI64: return static_cast<int64_t>(number);
    case Elem::kF32: return static_cast<uint32_t>(number);
  }
  return 0;
}
uint64_t Unsigned(Elem elem, int64_t number) {
  return elem == Elem::kI32 ? static_cast<uint32_t>(number) : static_cast<uint64_t>(number);
}

class Machine {
 public:
  Machine(const Kernel& kernel, const KernelCall& call) : kernel_(kernel), call_(call), values_(kernel.insts.size()) {
    for (size_t v = 0; v < kernel.insts.size(); ++v) {
      const Inst& inst = kernel.insts[v];
      if (inst.op == IrOp::kConst)
        values_[v].assign(static_cast<size_t>(inst.type.lanes),
                          Wrapped(inst.type.elem, static_cast<uint64_t>(inst.imm)));
    }
  }

  void RunRegion(const Region& region) {
    for (Val v : region.code) Step(v, kernel_.insts[static_cast<size_t>(v)]);
  }

 private:
  Lanes& value(Val v) { return values_[static_cast<size_t>(v)]; }
  Elem elem(Val v) const { return kernel_.insts[static_cast<size_t>(v)].type.elem; }

  std::byte* Address(int64_t buffer, int64_t index) const {
    const IrBuffer& b = kernel_.buffers[static_cast<size_t>(buffer)];
    std::byte* base = nullptr;
    switch (b.kind) {
      case IrBuffer::Kind::kInput: base = const_cast<std::byte*>(call_.inputs[b.index]); break;
      case IrBuffer::Kind::kOutput: base = call_.outputs[b.index]; break;
      case IrBuffer::Kind::kWorkspace: base = call_.workspace; break;
      case IrBuffer::Kind::kScratch: base = call_.scratch; break;
    }
    return base + b.offset + index * BytesOf(b.elem);
  }
  int64_t LoadOne(int64_t buffer, int64_t index) const {
    const Elem elem = kernel_.buffers[static_cast<size_t>(buffer)].elem;
    uint64_t bits = 0;
    std::memcpy(&bits, Address(buffer, index), static_cast<size_t>(BytesOf(elem)));
    return Wrapped(elem, bits);
  }

  bool MayStream(int64_t buffer) const {
    const std::byte* base = Address(buffer, 0);
    bool apart = reinterpret_cast<uintptr_t>(base) % 64 == 0;
    for (const IrBuffer& other : kernel_.buffers) {
      apart &= other.kind != IrBuffer::Kind::kInput || call_.inputs[other.index] != base;
    }
    return apart;
  }

  void For(const Inst& loop) {
    const Region& body = kernel_.regions[static_cast<size_t>(loop.region)];
    const int64_t begin = value(loop.args[0])[0], end = value(loop.args[1])[0];
    std::vector<Lanes> carried;
    for (Val init : body.inits) carried.push_back(value(init));
    for (int64_t i = begin; i < end; i += loop.imm) {
      value(body.params[0]) = {i};
      for (size_t k = 0; k < carried.size(); ++k) value(body.params[k + 1]) = carried[k];
      RunRegion(body);
      for (size_t k = 0; k < carried.size(); ++k) carried[k] = value(body.yields[k]);
    }
    // Results are read from the parameters.
    for (size_t k = 0; k < carried.size(); ++k) value(body.params[k + 1]) = carried[k];
  }

  void Memory(Val v, const Inst& i) {
    const bool store = i.op == IrOp::kStore || i.op == IrOp::kStream;
    const Val count_value = store ? i.args[2] : i.args[1];
    const int64_t lanes = i.type.lanes, count = count_value == kNoVal ? lanes : std::min(lanes, value(count_value)[0]);
    if (store) {
      const int64_t index = value(i.args[1])[0], bytes = BytesOf(i.type.elem);
      for (int64_t k = 0; k < count; ++k) {
        std::memcpy(Address(i.imm, index + k), &value(i.args[0])[static_cast<size_t>(k)], static_cast<size_t>(bytes));
      }
      return;
    }
    Lanes result(static_cast<size_t>(lanes), 0);
    for (int64_t k = 0; k < count; ++k) {
      const int64_t at = i.op == IrOp::kGather ? value(i.args[0])[static_cast<size_t>(k)] : value(i.args[0])[0] + k;
      result[static_cast<size_t>(k)] = LoadOne(i.imm, at);
    }
    value(v) = std::move(result);
  }

  int64_t Number(const Inst& i, int64_t a, int64_t b, int64_t c) const {
    const Elem e = i.type.elem;
    if (e == Elem::kF32) {
      const float x = AsFloat(a), y = AsFloat(b), z = AsFloat(c);
      switch (i.op) {
        case IrOp::kAdd: return FromFloat(x + y);
        case IrOp::kSub: return FromFloat(x - y);
        case IrOp::kMul: return FromFloat(x * y);
        case IrOp::kDiv: return FromFloat(x / y);
        case IrOp::kFma: return FromFloat(std::fma(x, y, z));
        case IrOp::kSqrt: return FromFloat(std::sqrt(x));
        case IrOp::kNeg: return a ^ 0x80000000;
        case IrOp::kAbs: return a & 0x7FFFFFFF;
        case IrOp::kCopySign: return FromFloat(std::copysign(x, y));
        default: return FromFloat(std::nearbyint(x));
      }
    }
    const uint64_t x = Unsigned(e, a), y = Unsigned(e, b);
    switch (i.op) {
      case IrOp::kAdd: return Wrapped(e, x + y);
      case IrOp::kSub: return Wrapped(e, x - y);
      case IrOp::kMul: return Wrapped(e, x * y);
      case IrOp::kDiv: return Wrapped(e, x / y);
      case IrOp::kRem: return Wrapped(e, x % y);
      case IrOp::kShl: return Wrapped(e, x << i.imm);
      case IrOp::kShr: return Wrapped(e, x >> i.imm);
      case IrOp::kBitAnd: return Wrapped(e, x & y);
      case IrOp::kBitOr: return Wrapped(e, x | y);
      case IrOp::kBitXor: return Wrapped(e, x ^ y);
      default: return std::min(a, b);
    }
  }

  static int64_t Converted(Elem from, Elem to, int64_t a) {
    if (to == Elem::kF32)
      return from == Elem::kI64 || from == Elem::kI32 || from == Elem::kU8 || from == Elem::kBool
                 ? FromFloat(static_cast<float>(a))
                 : a;
    if (from != Elem::kF32) return Wrapped(to, static_cast<uint64_t>(a));
    const float x = AsFloat(a);
    if (x != x) return 0;
    switch (to) {
      case Elem::kU8: return IntegerMath<uint8_t>::Const(x);
      case Elem::kI32: return IntegerMath<int32_t>::Const(x);
      default: return IntegerMath<int64_t>::Const(x);
    }
  }

  static Lanes Reinterpreted(Elem from, IrType to, const Lanes& lanes) {
    const int bytes = BytesOf(from), wanted = BytesOf(to.elem);
    std::vector<std::byte> memory(lanes.size() * static_cast<size_t>(bytes));
    for (size_t k = 0; k < lanes.size(); ++k)
      std::memcpy(&memory[k * static_cast<size_t>(bytes)], &lanes[k], static_cast<size_t>(bytes));
    Lanes result(static_cast<size_t>(to.lanes));
    for (size_t k = 0; k < result.size(); ++k) {
      uint64_t bits = 0;
      std::memcpy(&bits, &memory[k * static_cast<size_t>(wanted)], static_cast<size_t>(wanted));
      result[k] = Wrapped(to.elem, bits);
    }
    return result;
  }

  int64_t Compared(IrOp op, Elem e, int64_t a, int64_t b) const {
    if (e == Elem::kF32) {
      const float x = AsFloat(a), y = AsFloat(b);
      return op == IrOp::kLt ? x < y : op == IrOp::kLe ? x <= y : x == y;
    }
    return op == IrOp::kLt ? a < b : op == IrOp::kLe ? a <= b : a == b;
  }

  void Step(Val v, const Inst& i) {
    switch (i.op) {
      case IrOp::kFor: For(i); return;
      case IrOp::kIf:
        if (value(i.args[0])[0] != 0) RunRegion(kernel_.regions[static_cast<size_t>(i.region)]);
        return;
      case IrOp::kResult: {
        const Region& body = kernel_.regions[static_cast<size_t>(kernel_.insts[static_cast<size_t>(i.args[0])].region)];
        value(v) = value(body.params[static_cast<size_t>(i.imm) + 1]);
        return;
      }
      case IrOp::kReportLabel:
        call_.errors->OutOfRange(kernel_.label_error.c_str(), value(i.args[0])[0], value(i.args[1])[0], 0, i.imm);
        return;
      case IrOp::kLoad:
      case IrOp::kGather:
      case IrOp::kStore:
      case IrOp::kStream: Memory(v, i); return;
      case IrOp::kMayStream: value(v) = {MayStream(i.imm)}; return;
      case IrOp::kFence: return;
      case IrOp::kPrefetch:
      case IrOp::kPrefetchNear: return;
      case IrOp::kTask: value(v) = {call_.task}; return;
      case IrOp::kBits: value(v) = Reinterpreted(elem(i.args[0]), i.type, value(i.args[0])); return;
      case IrOp::kLane: value(v) = {value(i.args[0])[static_cast<size_t>(i.imm)]}; return;
      default: break;
    }
    Lanes result(static_cast<size_t>(i.type.lanes));
    for (size_t k = 0; k < result.size(); ++k) {
      const auto arg = [&](int n) -> int64_t {
        if (i.args[n] == kNoVal) return 0;
        const Lanes& lanes = value(i.args[n]);
        if (i.op == IrOp::kZipLow || i.op == IrOp::kZipHigh) {
          return lanes[k / 2 + (i.op == IrOp::kZipHigh ? result.size() / 2 : 0)];
        }
        if (i.op == IrOp::kZipEven) return lanes[k / 2 * 2];
        return lanes[i.op == IrOp::kSplat ? 0 : i.op == IrOp::kHigh ? k + result.size() : k];
      };
      const int64_t a = arg(0), b = arg(1), c = arg(2);
      switch (i.op) {
        case IrOp::kIota: result[k] = static_cast<int64_t>(k); break;
        case IrOp::kSplat:
        case IrOp::kLow:
        case IrOp::kHigh: result[k] = a; break;
        case IrOp::kZipLow:
        case IrOp::kZipHigh:
        case IrOp::kZipEven:
        case IrOp::kBlend: result[k] = k % 2 == 0 ? a : b; break;
        case IrOp::kLt:
        case IrOp::kLe:
        case IrOp::kEq: result[k] = Compared(i.op, elem(i.args[0]), a, b); break;
        case IrOp::kAnd: result[k] = a & b; break;
        case IrOp::kOr: result[k] = a | b; break;
        case IrOp::kNot: result[k] = a ^ 1; break;
        case IrOp::kSelect: result[k] = a != 0 ? b : c; break;
        case IrOp::kConvert: result[k] = Converted(elem(i.args[0]), i.type.elem, a); break;
        default: result[k] = Number(i, a, b, c); break;
      }
    }
    value(v) = std::move(result);
  }

  const Kernel& kernel_;
  const KernelCall& call_;
  std::vector<Lanes> values_;
};

}  // namespace

void Interpret(const Kernel& kernel, const KernelCall& call) { Machine(kernel, call).RunRegion(kernel.regions[0]); }

}  // namespace weir::jit
