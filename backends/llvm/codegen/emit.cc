#include "weir/backends/llvm/codegen/emit.h"

#include <cstddef>
#include <initializer_list>
#include <string_view>
#include <vector>

#include "weir/backends/llvm/codegen/subnormals.h"
#include "weir/backends/llvm/plugin.h"
#include "weir/core/backend.h"
#include "weir/core/error.h"

namespace weir::jit {
namespace {

using Type = LLVMTypeRef;
using Value = LLVMValueRef;
using Block = LLVMBasicBlockRef;

constexpr char kNoName[] = "";

class Emitter {
 public:
  Emitter(const Kernel& kernel, const std::string& symbol, LLVMModuleRef module, LLVMContextRef context)
      : kernel_(kernel),
        module_(module),
        context_(context),
        b_(LLVMCreateBuilderInContext(context)),
        values_(kernel.insts.size()) {
    function_ = LLVMAddFunction(module, symbol.c_str(), FunctionType({pointer_}));
    AddAttribute(function_, "nounwind");
    // The host decides at run time whether denormals are flushed: constants must not be folded as if it did not.
    AddAttribute(function_, "denormal-fp-math", "dynamic,dynamic");
    AddAttribute(function_, "prefer-vector-width", "512");
    // Vectors that registers have no room for are spilled to whole cache lines.
    AddAttribute(function_, "alignstack", 64);
    AddAttribute(function_, "stackrealign", "");
    call_ = LLVMGetParam(function_, 0);
    LLVMPositionBuilderAtEnd(b_, NewBlock("entry"));
  }
  ~Emitter() { LLVMDisposeBuilder(b_); }
  Emitter(const Emitter&) = delete;
  Emitter& operator=(const Emitter&) = delete;

  void Run() {
    LoadBases();
    EmitRegion(kernel_.regions[0]);
    LLVMBuildRetVoid(b_);
  }

 private:
  // ---- Functions and blocks -----------------------------------------------------------------------------------------
  Type FunctionType(std::vector<Type> parameters) {
    return LLVMFunctionType(LLVMVoidTypeInContext(context_), parameters.data(),
                              static_cast<unsigned>(parameters.size()), false);
  }
  // An attribute of LLVM's own, with a number where it has one; and one of code generation, with a text.
  void AddAttribute(Value function, std::string_view name, uint64_t number = 0) {
    const unsigned kind = LLVMGetEnumAttributeKindForName(name.data(), name.size());
    LLVMAddAttributeAtIndex(function, kFunctionIndex, LLVMCreateEnumAttribute(context_, kind, number));
  }
  void AddAttribute(Value function, std::string_view name, std::string_view text) {
    LLVMAddAttributeAtIndex(function, kFunctionIndex,
                              LLVMCreateStringAttribute(context_, name.data(), static_cast<unsigned>(name.size()),
                                                          text.data(), static_cast<unsigned>(text.size())));
  }
  Block NewBlock(const char* name) { return LLVMAppendBasicBlockInContext(context_, function_, name); }
  Value Call(Value function, std::initializer_list<Value> args) {
    std::vector<Value> list(args);
    return LLVMBuildCall2(b_, LLVMGlobalGetValueType(function), function, list.data(),
                            static_cast<unsigned>(list.size()), kNoName);
  }
  // `types` are those that the name leaves open.
  Value Intrinsic(std::string_view name, std::vector<Type> types, std::initializer_list<Value> args) {
    const unsigned id = LLVMLookupIntrinsicID(name.data(), name.size());
    WEIR_CHECK(id != 0, "LLVM has no ", name);
    return Call(LLVMGetIntrinsicDeclaration(module_, id, types.data(), types.size()), args);
  }
  Value Intrinsic(std::string_view name, std::initializer_list<Value> args) {
    return Intrinsic(name, {LLVMTypeOf(*args.begin())}, args);
  }

  // ---- Types and constants ------------------------------------------------------------------------------------------
  Type Scalar(Elem elem) {
    switch (elem) {
      case Elem::kBool: return LLVMInt1TypeInContext(context_);
      case Elem::kU8: return LLVMInt8TypeInContext(context_);
      case Elem::kI32: return i32_;
      case Elem::kI64: return i64_;
      case Elem::kF32: break;
    }
    return LLVMFloatTypeInContext(context_);
  }
  Type TypeOf(IrType type) {
    Type scalar = Scalar(type.elem);
    return type.lanes == 1 ? scalar : LLVMVectorType(scalar, static_cast<unsigned>(type.lanes));
  }
  Value I32(int64_t number) { return LLVMConstInt(i32_, static_cast<uint64_t>(number), true); }
  Value I64(int64_t number) { return LLVMConstInt(i64_, static_cast<uint64_t>(number), true); }
  Value Vector(std::vector<Value> lanes) {
    return LLVMConstVector(lanes.data(), static_cast<unsigned>(lanes.size()));
  }
  Value ConstantOf(const Inst& inst) {
    Value scalar;
    if (inst.type.elem == Elem::kF32) {
      scalar = LLVMConstBitCast(LLVMConstInt(i32_, static_cast<uint32_t>(inst.imm), false), Scalar(Elem::kF32));
    } else {
      scalar = LLVMConstInt(Scalar(inst.type.elem), static_cast<uint64_t>(inst.imm), true);
    }
    if (inst.type.lanes == 1) return scalar;
    return Vector(std::vector<Value>(static_cast<size_t>(inst.type.lanes), scalar));
  }
  const Inst& inst(Val v) const { return kernel_.insts[static_cast<size_t>(v)]; }
  Value Get(Val v) {
    Value& value = values_[static_cast<size_t>(v)];
    if (value == nullptr) {
      WEIR_CHECK(inst(v).op == IrOp::kConst, "%", v, " of ", kernel_.name, " is used before it is made");
      value = ConstantOf(inst(v));
    }
    return value;
  }

  // ---- Memory -------------------------------------------------------------------------------------------------------
  Value LoadOf(Type type, Value at) { return LLVMBuildLoad2(b_, type, at, kNoName); }
  Value At(Type elem, Value base, Value index) { return LLVMBuildGEP2(b_, elem, base, &index, 1, kNoName); }
  Value Inside(Type elem, Value base, Value index) {
    return LLVMBuildInBoundsGEP2(b_, elem, base, &index, 1, kNoName);
  }
  Value CallField(size_t offset, Type type) {
    return LoadOf(type, Inside(i8_, call_, I64(static_cast<int64_t>(offset))));
  }
  void LoadBases() {
    for (const IrBuffer& buffer : kernel_.buffers) {
      Value base = nullptr;
      switch (buffer.kind) {
        case IrBuffer::Kind::kInput: base = Operand(offsetof(KernelCall, inputs), buffer.index); break;
        case IrBuffer::Kind::kOutput: base = Operand(offsetof(KernelCall, outputs), buffer.index); break;
        case IrBuffer::Kind::kWorkspace: base = CallField(offsetof(KernelCall, workspace), pointer_); break;
        case IrBuffer::Kind::kScratch: base = CallField(offsetof(KernelCall, scratch), pointer_); break;
      }
      bases_.push_back(At(i8_, base, I64(buffer.offset)));
    }
  }
  Value Operand(size_t list, int index) {
    return LoadOf(pointer_, Inside(pointer_, CallField(list, pointer_), I64(index)));
  }
  Value Address(int64_t buffer, Val index) {
    Type elem = Scalar(kernel_.buffers[static_cast<size_t>(buffer)].elem);
    Value base = bases_[static_cast<size_t>(buffer)];
    // A constant is added last: it becomes part of the instruction, and neighbours share the rest.
    const Inst& sum = inst(index);
    if (sum.op == IrOp::kAdd && sum.type.lanes == 1 && inst(sum.args[1]).op == IrOp::kConst) {
      return At(elem, At(elem, base, Get(sum.args[0])), Get(sum.args[1]));
    }
    return At(elem, base, Get(index));
  }
  // Lanes below `count`.
  Value MaskOf(Val count, int lanes) {
    Value limit = LLVMBuildTrunc(b_, Get(count), i32_, kNoName);
    return LLVMBuildICmp(b_, LLVMIntSLT, IotaOf({Elem::kI32, lanes}), SplatOf(limit, lanes), kNoName);
  }
  Value SplatOf(Value scalar, int lanes) {
    const Type type = LLVMVectorType(LLVMTypeOf(scalar), static_cast<unsigned>(lanes));
    Value first = LLVMBuildInsertElement(b_, LLVMGetPoison(type), scalar, I64(0), kNoName);
    return Shuffle(first, LLVMGetPoison(type), std::vector<int>(static_cast<size_t>(lanes), 0));
  }
  Value IotaOf(IrType type) {
    if (type.lanes == 1) return LLVMConstNull(Scalar(type.elem));
    std::vector<Value> lanes;
    for (int i = 0; i < type.lanes; ++i)
      lanes.push_back(LLVMConstInt(Scalar(type.elem), static_cast<uint64_t>(i), false));
    return Vector(std::move(lanes));
  }
  static unsigned AlignOf(Elem elem) { return static_cast<unsigned>(BytesOf(elem)); }

  Value Load(const Inst& i) {
    Type type = TypeOf(i.type);
    Value at = Address(i.imm, i.args[0]);
    const bool gather = i.op == IrOp::kGather && i.type.lanes > 1;
    if (!gather && i.args[1] == kNoVal) {
      Value loaded = LoadOf(type, at);
      LLVMSetAlignment(loaded, AlignOf(i.type.elem));
      return loaded;
    }
    Type mask_type = LLVMVectorType(Scalar(Elem::kBool), static_cast<unsigned>(i.type.lanes));
    Value mask = i.args[1] == kNoVal ? LLVMConstAllOnes(mask_type) : MaskOf(i.args[1], i.type.lanes);
    return Intrinsic(gather ? "llvm.masked.gather" : "llvm.masked.load", {type, LLVMTypeOf(at)},
                     {at, I32(AlignOf(i.type.elem)), mask, LLVMConstNull(type)});
  }
  void Store(const Inst& i) {
    Value at = Address(i.imm, i.args[1]), value = Get(i.args[0]);
    if (i.args[2] == kNoVal) {
      LLVMSetAlignment(LLVMBuildStore(b_, value, at), AlignOf(i.type.elem));
    } else {
      Value mask = MaskOf(i.args[2], i.type.lanes);
      Intrinsic("llvm.masked.store", {LLVMTypeOf(value), pointer_}, {value, at, I32(AlignOf(i.type.elem)), mask});
    }
  }

  // Non-temporal stores need their alignment promised.
  void Stream(const Inst& i) {
    Value store = LLVMBuildStore(b_, Get(i.args[0]), Address(i.imm, i.args[1]));
    LLVMSetAlignment(store, static_cast<unsigned>(i.type.lanes * BytesOf(i.type.elem)));
    LLVMMetadataRef one = LLVMValueAsMetadata(I32(1));
    constexpr std::string_view kKind = "nontemporal";
    LLVMSetMetadata(store, LLVMGetMDKindIDInContext(context_, kKind.data(), kKind.size()),
                      LLVMMetadataAsValue(context_, LLVMMDNodeInContext2(context_, &one, 1)));
  }
  Value MayStream(const Inst& i) {
    Value base = bases_[static_cast<size_t>(i.imm)];
    Value low = LLVMBuildAnd(b_, LLVMBuildPtrToInt(b_, base, i64_, kNoName), I64(63), kNoName);
    Value may = LLVMBuildICmp(b_, LLVMIntEQ, low, I64(0), kNoName);
    for (size_t b = 0; b < bases_.size(); ++b) {
      if (kernel_.buffers[b].kind != IrBuffer::Kind::kInput) continue;
      may = LLVMBuildAnd(b_, may, LLVMBuildICmp(b_, LLVMIntNE, base, bases_[b], kNoName), kNoName);
    }
    return may;
  }
  // Streaming stores are ordered by nothing else, not even by an atomic store that releases.
  void Fence() { Intrinsic("llvm.x86.sse.sfence", std::vector<Type>(), {}); }
  void Prefetch(const Inst& i) {
    Value at = Address(i.imm, i.args[0]);
    // For reading, to a cache, of data.
    const int locality = i.op == IrOp::kPrefetch ? 3 : 2;
    Intrinsic("llvm.prefetch", {at, I32(0), I32(locality), I32(1)});
  }

  // ---- Control ------------------------------------------------------------------------------------------------------
  void EmitRegion(const Region& region) {
    for (Val v : region.code) values_[static_cast<size_t>(v)] = EmitInst(v, inst(v));
  }

  Value Phi(Type type, Value value, Block from) {
    Value phi = LLVMBuildPhi(b_, type, kNoName);
    LLVMAddIncoming(phi, &value, &from, 1);
    return phi;
  }
  void For(const Inst& loop) {
    const Region& body = kernel_.regions[static_cast<size_t>(loop.region)];
    Value begin = Get(loop.args[0]), end = Get(loop.args[1]);
    Block before = LLVMGetInsertBlock(b_), round = NewBlock("loop"), after = NewBlock("done");
    std::vector<Value> inits;
    for (Val init : body.inits) inits.push_back(Get(init));
    LLVMBuildCondBr(b_, LLVMBuildICmp(b_, LLVMIntSLT, begin, end, kNoName), round, after);
    LLVMPositionBuilderAtEnd(b_, round);
    Value index = Phi(i64_, begin, before);
    values_[static_cast<size_t>(body.params[0])] = index;
    std::vector<Value> carried;
    for (size_t k = 0; k < inits.size(); ++k) {
      carried.push_back(Phi(LLVMTypeOf(inits[k]), inits[k], before));
      values_[static_cast<size_t>(body.params[k + 1])] = carried.back();
    }
    EmitRegion(body);
    Block last = LLVMGetInsertBlock(b_);
    Value next = LLVMBuildAdd(b_, index, I64(loop.imm), kNoName);
    LLVMSetNUW(next, true);
    LLVMSetNSW(next, true);
    LLVMAddIncoming(index, &next, &last, 1);
    std::vector<Value> yields;
    for (size_t k = 0; k < inits.size(); ++k) {
      yields.push_back(Get(body.yields[k]));
      LLVMAddIncoming(carried[k], &yields.back(), &last, 1);
    }
    LLVMBuildCondBr(b_, LLVMBuildICmp(b_, LLVMIntSLT, next, end, kNoName), round, after);
    LLVMPositionBuilderAtEnd(b_, after);
    // What a loop hands out is read through its region's parameters.
    for (size_t k = 0; k < inits.size(); ++k) {
      Value result = Phi(LLVMTypeOf(inits[k]), inits[k], before);
      LLVMAddIncoming(result, &yields[k], &last, 1);
      values_[static_cast<size_t>(body.params[k + 1])] = result;
    }
  }

  void If(const Inst& i) {
    Block then = NewBlock("then"), after = NewBlock("after");
    LLVMBuildCondBr(b_, Get(i.args[0]), then, after);
    LLVMPositionBuilderAtEnd(b_, then);
    EmitRegion(kernel_.regions[static_cast<size_t>(i.region)]);
    LLVMBuildBr(b_, after);
    LLVMPositionBuilderAtEnd(b_, after);
  }

  void ReportLabel(const Inst& i) {
    Value host = LLVMGetNamedFunction(module_, kReportLabelSymbol);
    if (host == nullptr) {
      host = LLVMAddFunction(module_, kReportLabelSymbol, FunctionType({pointer_, pointer_, i64_, i64_, i64_}));
      AddAttribute(host, "nounwind");
    }
    Value text = LLVMBuildGlobalString(b_, kernel_.label_error.c_str(), kNoName);
    Call(host, {CallField(offsetof(KernelCall, errors), pointer_), text, Get(i.args[0]), Get(i.args[1]), I64(i.imm)});
  }

  // ---- Operations ---------------------------------------------------------------------------------------------------
  Value Shuffle(Value a, Value b, const std::vector<int>& from) {
    std::vector<Value> lanes;
    for (int lane : from) lanes.push_back(I32(lane));
    return LLVMBuildShuffleVector(b_, a, b, Vector(std::move(lanes)), kNoName);
  }
  Value Extract(Value vector, int64_t lane) { return LLVMBuildExtractElement(b_, vector, I64(lane), kNoName); }
  Value Half(const Inst& i) {
    Value whole = Get(i.args[0]);
    const int first = i.op == IrOp::kHigh ? i.type.lanes : 0;
    if (i.type.lanes == 1) return Extract(whole, first);
    std::vector<int> lanes;
    for (int k = 0; k < i.type.lanes; ++k) lanes.push_back(first + k);
    return Shuffle(whole, LLVMGetPoison(LLVMTypeOf(whole)), lanes);
  }
  Value Zip(const Inst& i) {
    std::vector<int> lanes;
    const int first = i.op == IrOp::kZipHigh ? i.type.lanes / 2 : 0;
    for (int k = 0; k < i.type.lanes; ++k) {
      lanes.push_back((i.op == IrOp::kZipEven ? k / 2 * 2 : first + k / 2) + (k % 2 == 0 ? 0 : i.type.lanes));
    }
    return Shuffle(Get(i.args[0]), Get(i.args[1]), lanes);
  }
  Value Blend(const Inst& i) {
    std::vector<int> lanes;
    for (int k = 0; k < i.type.lanes; ++k) lanes.push_back(k % 2 == 0 ? k : k + i.type.lanes);
    return Shuffle(Get(i.args[0]), Get(i.args[1]), lanes);
  }
  Value Convert(const Inst& i) {
    const Elem from = inst(i.args[0]).type.elem, to = i.type.elem;
    Value a = Get(i.args[0]);
    Type type = TypeOf(i.type);
    const bool is_signed = from != Elem::kBool && from != Elem::kU8;
    if (to == Elem::kF32) {
      return is_signed ? LLVMBuildSIToFP(b_, a, type, kNoName) : LLVMBuildUIToFP(b_, a, type, kNoName);
    }
    if (from == Elem::kF32) {
      // A NaN gives 0, what is outside of the type its nearest number.
      return Intrinsic(to == Elem::kU8 ? "llvm.fptoui.sat" : "llvm.fptosi.sat", {type, LLVMTypeOf(a)}, {a});
    }
    return LLVMBuildIntCast2(b_, a, type, is_signed, kNoName);
  }
  Value Compare(const Inst& i) {
    Value a = Get(i.args[0]), b = Get(i.args[1]);
    const Elem elem = inst(i.args[0]).type.elem;
    const bool lt = i.op == IrOp::kLt, le = i.op == IrOp::kLe;
    if (elem == Elem::kF32)
      return LLVMBuildFCmp(b_, lt ? LLVMRealOLT : le ? LLVMRealOLE : LLVMRealOEQ, a, b, kNoName);
    if (i.op == IrOp::kEq) return LLVMBuildICmp(b_, LLVMIntEQ, a, b, kNoName);
    if (elem == Elem::kU8) return LLVMBuildICmp(b_, lt ? LLVMIntULT : LLVMIntULE, a, b, kNoName);
    return LLVMBuildICmp(b_, lt ? LLVMIntSLT : LLVMIntSLE, a, b, kNoName);
  }

  // ---- Subnormal numbers ----------------------------------------------------------------------------------------------
  // See subnormals.h. A fence hides a number from LLVM's folding and is no instruction.
  Value Fence(Value value) { return Intrinsic("llvm.arithmetic.fence", {value}); }
  Value Select(const Inst& i) {
    Value if_true = Get(i.args[1]), if_false = Get(i.args[2]);
    if (MayBecomeExtreme(kernel_, i)) {
      Value& number = inst(i.args[1]).op == IrOp::kConst ? if_false : if_true;
      number = Fence(number);
    }
    return LLVMBuildSelect(b_, Get(i.args[0]), if_true, if_false, kNoName);
  }
  // An operand of arithmetic; `neutral` is the magnitude of the number that would make LLVM leave the operation out.
  Value Computed(const Inst& i, int k, float neutral) {
    return IsNumber(kernel_, i.args[k], neutral) ? Fence(Get(i.args[k])) : Get(i.args[k]);
  }

  using BinaryBuild = decltype(&LLVMBuildAdd);
  Value Binary(const Inst& i, BinaryBuild build) { return build(b_, Get(i.args[0]), Get(i.args[1]), kNoName); }
  // Of numbers, by what they are.
  Value Binary(const Inst& i, BinaryBuild floating, BinaryBuild integer, float neutral) {
    if (i.type.elem != Elem::kF32) return Binary(i, integer);
    return floating(b_, Computed(i, 0, neutral), Computed(i, 1, neutral), kNoName);
  }
  Value Shift(const Inst& i, BinaryBuild build) {
    const Inst by = {.op = IrOp::kConst, .type = i.type, .imm = i.imm};
    return build(b_, Get(i.args[0]), ConstantOf(by), kNoName);
  }

  Value EmitInst(Val v, const Inst& i) {
    const auto arg = [&](int k) { return Get(i.args[k]); };
    switch (i.op) {
      case IrOp::kFor: For(i); return nullptr;
      case IrOp::kIf: If(i); return nullptr;
      case IrOp::kResult:
        return values_[static_cast<size_t>(
            kernel_.regions[static_cast<size_t>(inst(i.args[0]).region)].params[static_cast<size_t>(i.imm) + 1])];
      case IrOp::kReportLabel: ReportLabel(i); return nullptr;
      case IrOp::kLoad:
      case IrOp::kGather: return Load(i);
      case IrOp::kStore: Store(i); return nullptr;
      case IrOp::kStream: Stream(i); return nullptr;
      case IrOp::kMayStream: return MayStream(i);
      case IrOp::kFence: Fence(); return nullptr;
      case IrOp::kPrefetch:
      case IrOp::kPrefetchNear: Prefetch(i); return nullptr;
      case IrOp::kTask: return CallField(offsetof(KernelCall, task), i64_);
      case IrOp::kIota: return IotaOf(i.type);
      case IrOp::kSplat: return SplatOf(arg(0), i.type.lanes);
      case IrOp::kLow:
      case IrOp::kHigh: return Half(i);
      case IrOp::kZipLow:
      case IrOp::kZipHigh:
      case IrOp::kZipEven: return Zip(i);
      case IrOp::kBlend: return Blend(i);
      case IrOp::kLane: return Extract(arg(0), i.imm);
      case IrOp::kAdd: return Binary(i, LLVMBuildFAdd, LLVMBuildAdd, 0);
      case IrOp::kSub: return Binary(i, LLVMBuildFSub, LLVMBuildSub, 0);
      case IrOp::kMul: return Binary(i, LLVMBuildFMul, LLVMBuildMul, 1);
      case IrOp::kDiv: return Binary(i, LLVMBuildFDiv, LLVMBuildUDiv, 1);
      case IrOp::kRem: return Binary(i, LLVMBuildURem);
      case IrOp::kFma: return Intrinsic("llvm.fma", {arg(0), arg(1), arg(2)});
      case IrOp::kSqrt: return Intrinsic("llvm.sqrt", {arg(0)});
      case IrOp::kNeg: return LLVMBuildFNeg(b_, arg(0), kNoName);
      case IrOp::kAbs: return Intrinsic("llvm.fabs", {arg(0)});
      case IrOp::kCopySign: return Intrinsic("llvm.copysign", {arg(0), arg(1)});
      case IrOp::kRoundEven: return Intrinsic("llvm.roundeven", {arg(0)});
      case IrOp::kShl: return Shift(i, LLVMBuildShl);
      case IrOp::kShr: return Shift(i, LLVMBuildLShr);
      case IrOp::kBitAnd:
      case IrOp::kAnd: return Binary(i, LLVMBuildAnd);
      case IrOp::kBitOr:
      case IrOp::kOr: return Binary(i, LLVMBuildOr);
      case IrOp::kBitXor: return Binary(i, LLVMBuildXor);
      case IrOp::kNot: return LLVMBuildNot(b_, arg(0), kNoName);
      case IrOp::kMin: return Intrinsic("llvm.smin", {arg(0), arg(1)});
      case IrOp::kLt:
      case IrOp::kLe:
      case IrOp::kEq: return Compare(i);
      case IrOp::kSelect: return Select(i);
      case IrOp::kBits: return LLVMBuildBitCast(b_, arg(0), TypeOf(i.type), kNoName);
      case IrOp::kConvert: return Convert(i);
      case IrOp::kConst:
      case IrOp::kIndex:
      case IrOp::kCarried: break;
    }
    WEIR_CHECK(false, "%", v, " of ", kernel_.name, " can't stand in a region's code");
    return nullptr;
  }

  static constexpr LLVMAttributeIndex kFunctionIndex = static_cast<LLVMAttributeIndex>(LLVMAttributeFunctionIndex);

  const Kernel& kernel_;
  const LLVMModuleRef module_;
  const LLVMContextRef context_;
  const LLVMBuilderRef b_;
  const Type i8_ = LLVMInt8TypeInContext(context_), i32_ = LLVMInt32TypeInContext(context_),
             i64_ = LLVMInt64TypeInContext(context_), pointer_ = LLVMPointerTypeInContext(context_, 0);
  Value function_ = nullptr, call_ = nullptr;
  std::vector<Value> values_;
  std::vector<Value> bases_;
};

}  // namespace

void Emit(const Kernel& kernel, const std::string& symbol, LLVMModuleRef module, LLVMContextRef context) {
  Emitter(kernel, symbol, module, context).Run();
}

}  // namespace weir::jit
