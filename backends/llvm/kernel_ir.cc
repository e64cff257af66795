// Building kernel_ir and printing it; kernel_verify.cc checks it, kernel_interpreter.cc runs it.
#include "weir/backends/llvm/kernel_ir.h"

#include <algorithm>
#include <bit>

#include "weir/core/error.h"

namespace weir::jit {

int64_t BytesOf(Elem elem) {
  switch (elem) {
    case Elem::kBool: return 0;
    case Elem::kU8: return 1;
    case Elem::kI64: return 8;
    default: return 4;
  }
}

KernelBuilder::KernelBuilder(std::string name) {
  kernel_.name = std::move(name);
  kernel_.regions.emplace_back();
}

Val KernelBuilder::Append(Inst inst, bool constant) {
  kernel_.insts.push_back(inst);
  const Val v = static_cast<Val>(kernel_.insts.size()) - 1;
  if (!constant) kernel_.regions[static_cast<size_t>(open_.back())].code.push_back(v);
  return v;
}

int KernelBuilder::Buffer(IrBuffer buffer) {
  const auto found = std::find(kernel_.buffers.begin(), kernel_.buffers.end(), buffer);
  if (found != kernel_.buffers.end()) return static_cast<int>(found - kernel_.buffers.begin());
  kernel_.buffers.push_back(buffer);
  return static_cast<int>(kernel_.buffers.size()) - 1;
}

Val KernelBuilder::Const(IrType type, int64_t bits) {
  const auto [found, added] = constants_.try_emplace({type.elem, type.lanes, bits}, kNoVal);
  if (added) found->second = Append({.op = IrOp::kConst, .type = type, .imm = bits}, /*constant=*/true);
  return found->second;
}
Val KernelBuilder::F32(float number, int lanes) { return Const({Elem::kF32, lanes}, std::bit_cast<uint32_t>(number)); }

Val KernelBuilder::Task() {
  WEIR_CHECK(open_.size() == 1 || task_ != kNoVal, "the task is asked for outside of loops first");
  if (task_ == kNoVal) task_ = Append({.op = IrOp::kTask, .type = {Elem::kI64, 1}});
  return task_;
}
Val KernelBuilder::Iota(IrType type) { return Append({.op = IrOp::kIota, .type = type}); }
Val KernelBuilder::Splat(Val scalar, int lanes) {
  if (lanes == 1) return scalar;
  const IrType type{this->type(scalar).elem, lanes};
  if (IsConst(scalar)) return Const(type, ConstBits(scalar));
  return Append({.op = IrOp::kSplat, .type = type, .args = {scalar, kNoVal, kNoVal}});
}
Val KernelBuilder::Unary(IrOp op, Val a, int64_t imm) {
  return Append({.op = op, .type = type(a), .args = {a, kNoVal, kNoVal}, .imm = imm});
}
Val KernelBuilder::Binary(IrOp op, Val a, Val b) {
  IrType result = type(a);
  if (op == IrOp::kLt || op == IrOp::kLe || op == IrOp::kEq) result.elem = Elem::kBool;
  return Append({.op = op, .type = result, .args = {a, b, kNoVal}});
}
Val KernelBuilder::Fma(Val a, Val b, Val c) { return Append({.op = IrOp::kFma, .type = type(a), .args = {a, b, c}}); }
Val KernelBuilder::Select(Val condition, Val if_true, Val if_false, bool flushed) {
  return Append({.op = IrOp::kSelect,
                 .type = type(if_true),
                 .args = {condition, if_true, if_false},
                 .imm = flushed ? 1 : 0});
}
Val KernelBuilder::Convert(Val a, Elem elem) {
  if (type(a).elem == elem) return a;
  return Append({.op = IrOp::kConvert, .type = {elem, type(a).lanes}, .args = {a, kNoVal, kNoVal}});
}
Val KernelBuilder::Bits(Val a, Elem elem) {
  const IrType result{elem, static_cast<int>(type(a).lanes * BytesOf(type(a).elem) / BytesOf(elem))};
  return Append({.op = IrOp::kBits, .type = result, .args = {a, kNoVal, kNoVal}});
}
Val KernelBuilder::Half(Val a, bool high) {
  const IrType result{type(a).elem, type(a).lanes / 2};
  return Append({.op = high ? IrOp::kHigh : IrOp::kLow, .type = result, .args = {a, kNoVal, kNoVal}});
}
Val KernelBuilder::Zip(Val a, Val b, bool high) {
  return Append({.op = high ? IrOp::kZipHigh : IrOp::kZipLow, .type = type(a), .args = {a, b, kNoVal}});
}
Val KernelBuilder::ZipEven(Val a, Val b) {
  return Append({.op = IrOp::kZipEven, .type = type(a), .args = {a, b, kNoVal}});
}
Val KernelBuilder::Blend(Val even, Val odd) {
  return Append({.op = IrOp::kBlend, .type = type(even), .args = {even, odd, kNoVal}});
}
Val KernelBuilder::Lane(Val a, int lane) {
  if (type(a).lanes == 1) return a;
  return Append({.op = IrOp::kLane, .type = {type(a).elem, 1}, .args = {a, kNoVal, kNoVal}, .imm = lane});
}
Val KernelBuilder::Load(int buffer, Val index, int lanes, Val count) {
  const IrType type{kernel_.buffers[static_cast<size_t>(buffer)].elem, lanes};
  return Append({.op = IrOp::kLoad, .type = type, .args = {index, count, kNoVal}, .imm = buffer});
}
Val KernelBuilder::Gather(int buffer, Val indices, Val count) {
  const IrType result{kernel_.buffers[static_cast<size_t>(buffer)].elem, type(indices).lanes};
  return Append({.op = IrOp::kGather, .type = result, .args = {indices, count, kNoVal}, .imm = buffer});
}
void KernelBuilder::Store(int buffer, Val value, Val index, Val count) {
  Append({.op = IrOp::kStore, .type = type(value), .args = {value, index, count}, .imm = buffer});
}
void KernelBuilder::Stream(int buffer, Val value, Val index) {
  Append({.op = IrOp::kStream, .type = type(value), .args = {value, index, kNoVal}, .imm = buffer});
}
Val KernelBuilder::MayStream(int buffer) {
  return Append({.op = IrOp::kMayStream, .type = {Elem::kBool, 1}, .imm = buffer});
}
void KernelBuilder::Fence() { Append({.op = IrOp::kFence}); }
void KernelBuilder::Prefetch(int buffer, Val index, bool to_first) {
  const IrType type{kernel_.buffers[static_cast<size_t>(buffer)].elem, 1};
  Append({.op = to_first ? IrOp::kPrefetch : IrOp::kPrefetchNear,
          .type = type,
          .args = {index, kNoVal, kNoVal},
          .imm = buffer});
}
void KernelBuilder::ReportLabel(const std::string& what, Val row, Val label, int64_t classes) {
  kernel_.label_error = what;
  Append({.op = IrOp::kReportLabel, .args = {row, label, kNoVal}, .imm = classes});
}

Val KernelBuilder::Add(Val a, Val b) {
  if (IsConst(a) && IsConst(b)) return I64(ConstBits(a) + ConstBits(b));
  if (IsConst(b) && ConstBits(b) == 0) return a;
  if (IsConst(a) && ConstBits(a) == 0) return b;
  return Binary(IrOp::kAdd, a, b);
}
Val KernelBuilder::Mul(Val a, int64_t factor) {
  if (IsConst(a)) return I64(ConstBits(a) * factor);
  if (factor == 0) return I64(0);
  return factor == 1 ? a : Binary(IrOp::kMul, a, I64(factor));
}
Val KernelBuilder::Div(Val a, int64_t divisor) {
  if (IsConst(a)) return I64(ConstBits(a) / divisor);
  return divisor == 1 ? a : Binary(IrOp::kDiv, a, I64(divisor));
}
Val KernelBuilder::Rem(Val a, int64_t divisor) {
  if (IsConst(a)) return I64(ConstBits(a) % divisor);
  return divisor == 1 ? I64(0) : Binary(IrOp::kRem, a, I64(divisor));
}
Val KernelBuilder::Min(Val a, Val b) {
  if (IsConst(a) && IsConst(b)) return I64(std::min(ConstBits(a), ConstBits(b)));
  return Binary(IrOp::kMin, a, b);
}

Val KernelBuilder::OpenFor(Val begin, Val end, int64_t step, const std::vector<Val>& inits) {
  const int region = static_cast<int>(kernel_.regions.size());
  const Val loop = Append({.op = IrOp::kFor, .args = {begin, end, kNoVal}, .imm = step, .region = region});
  kernel_.regions.emplace_back();
  Region opened;
  opened.inits = inits;
  opened.params.push_back(Append({.op = IrOp::kIndex, .type = {Elem::kI64, 1}}, true));
  for (size_t i = 0; i < inits.size(); ++i) {
    opened.params.push_back(
        Append({.op = IrOp::kCarried, .type = type(inits[i]), .imm = static_cast<int64_t>(i)}, true));
  }
  kernel_.regions[static_cast<size_t>(region)] = std::move(opened);
  open_.push_back(region);
  return loop;
}
std::vector<Val> KernelBuilder::CloseFor(Val loop, const std::vector<Val>& yields) {
  kernel_.regions[static_cast<size_t>(open_.back())].yields = yields;
  open_.pop_back();
  std::vector<Val> results;
  for (size_t i = 0; i < yields.size(); ++i) {
    results.push_back(Append({.op = IrOp::kResult,
                              .type = type(yields[i]),
                              .args = {loop, kNoVal, kNoVal},
                              .imm = static_cast<int64_t>(i)}));
  }
  return results;
}
void KernelBuilder::OpenIf(Val condition) {
  const int region = static_cast<int>(kernel_.regions.size());
  Append({.op = IrOp::kIf, .args = {condition, kNoVal, kNoVal}, .region = region});
  kernel_.regions.emplace_back();
  open_.push_back(region);
}

// ---- Printing --------------------------------------------------------------------------------------------------------
namespace {

constexpr const char* kElemNames[] = {"bool", "u8", "i32", "i64", "f32"};
constexpr const char* kOpNames[] = {
    "const",    "task",     "index",         "carried", "result", "iota",        "splat",      "low",    "high",
    "zip_low",  "zip_high", "zip_even",      "blend",   "lane",   "add",         "sub",        "mul",    "div",
    "rem",      "fma",      "sqrt",          "neg",     "abs",    "copysign",    "round_even", "shl",    "shr",
    "and_bits", "or_bits",  "xor_bits",      "min",     "lt",     "le",          "eq",         "and",    "or",
    "not",      "select",   "bits",          "convert", "load",   "gather",      "store",      "stream", "may_stream",
    "fence",    "prefetch", "prefetch_near", "for",     "if",     "report_label"};

class Printer {
 public:
  explicit Printer(const Kernel& kernel) : kernel_(kernel) {}

  std::string Print() {
    for (size_t i = 0; i < kernel_.buffers.size(); ++i) {
      const IrBuffer& b = kernel_.buffers[i];
      static constexpr const char* kKinds[] = {"input ", "output ", "workspace ", "scratch "};
      Add("buffer ", i, ": ", kElemNames[static_cast<int>(b.elem)], " at ", kKinds[static_cast<int>(b.kind)], b.index,
          " + ", b.offset, "\n");
    }
    if (!kernel_.label_error.empty()) Add("label error: ", kernel_.label_error, "\n");
    PrintRegion(kernel_.regions[0], 0);
    return std::move(out_);
  }

 private:
  template <class... Args>
  void Add(const Args&... args) {
    (Append(args), ...);
  }
  void Append(const std::string& text) { out_ += text; }
  void Append(const char* text) { out_ += text; }
  template <class T>
  requires std::is_integral_v<T>
  void Append(T number) { out_ += std::to_string(number); }

  void Operand(Val v) {
    const Inst& inst = kernel_.insts[static_cast<size_t>(v)];
    if (inst.op != IrOp::kConst) {
      Add("%", v);
    } else if (inst.type.elem == Elem::kF32) {
      char text[48];
      std::snprintf(text, sizeof(text), "%.9g",
                    static_cast<double>(std::bit_cast<float>(static_cast<uint32_t>(inst.imm))));
      Append(text);
    } else {
      Append(inst.imm);
    }
  }
  void List(const std::vector<Val>& values) {
    for (size_t i = 0; i < values.size(); ++i) {
      if (i > 0) Append(", ");
      Operand(values[i]);
    }
  }

  void PrintRegion(const Region& region, int depth) {
    for (Val v : region.code) {
      const Inst& inst = kernel_.insts[static_cast<size_t>(v)];
      out_.append(static_cast<size_t>(2 * depth), ' ');
      if (inst.op == IrOp::kFor) {
        const Region& body = kernel_.regions[static_cast<size_t>(inst.region)];
        Add("%", v, " = for %", body.params[0], " in ");
        Operand(inst.args[0]);
        Append(" .. ");
        Operand(inst.args[1]);
        Add(" step ", inst.imm);
        for (size_t i = 0; i < body.inits.size(); ++i) {
          Add(i == 0 ? " carrying %" : ", %", body.params[i + 1], " = ");
          Operand(body.inits[i]);
        }
        Append(" {\n");
        PrintRegion(body, depth + 1);
        if (!body.yields.empty()) {
          out_.append(static_cast<size_t>(2 * depth + 2), ' ');
          Append("yield ");
          List(body.yields);
          Append("\n");
        }
        out_.append(static_cast<size_t>(2 * depth), ' ');
        Append("}\n");
        continue;
      }
      const bool stores = inst.op == IrOp::kStore || inst.op == IrOp::kStream;
      const bool value = !stores && inst.op != IrOp::kIf && inst.op != IrOp::kReportLabel && inst.op != IrOp::kFence &&
                         inst.op != IrOp::kPrefetch && inst.op != IrOp::kPrefetchNear;
      if (value) Add("%", v, " = ");
      Add(kOpNames[static_cast<int>(inst.op)]);
      if (value || stores) Add(" ", ToText(inst.type));
      for (int i = 0; i < 3; ++i) {
        if (inst.args[i] == kNoVal) continue;
        Append(i == 0 ? " " : ", ");
        Operand(inst.args[i]);
      }
      switch (inst.op) {
        case IrOp::kLoad:
        case IrOp::kGather:
        case IrOp::kStore:
        case IrOp::kStream:
        case IrOp::kMayStream:
        case IrOp::kPrefetch:
        case IrOp::kPrefetchNear: Add(" buffer ", inst.imm); break;
        case IrOp::kShl:
        case IrOp::kShr:
        case IrOp::kLane:
        case IrOp::kResult:
        case IrOp::kReportLabel: Add(" # ", inst.imm); break;
        case IrOp::kSelect:
          if (inst.imm != 0) Append(" flushed");
          break;
        default: break;
      }
      if (inst.op == IrOp::kIf) {
        Append(" {\n");
        PrintRegion(kernel_.regions[static_cast<size_t>(inst.region)], depth + 1);
        out_.append(static_cast<size_t>(2 * depth), ' ');
        Append("}");
      }
      Append("\n");
    }
  }

  const Kernel& kernel_;
  std::string out_;
};

}  // namespace

std::string ToText(IrType type) {
  std::string text = kElemNames[static_cast<int>(type.elem)];
  if (type.lanes > 1) text += "x" + std::to_string(type.lanes);
  return text;
}
std::string ToText(const Kernel& kernel) { return Printer(kernel).Print(); }

}  // namespace weir::jit
