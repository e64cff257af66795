#include "weir/backends/llvm/emit.h"

#include <cstddef>

#include "llvm/IR/IRBuilder.h"
#include "llvm/IR/Intrinsics.h"
#include "llvm/IR/IntrinsicsX86.h"
#include "llvm/IR/Module.h"
#include "weir/core/backend.h"
#include "weir/core/error.h"

namespace weir::jit {
namespace {

using ::llvm::ArrayRef;
using ::llvm::BasicBlock;
using ::llvm::Constant;
using ::llvm::Type;
using ::llvm::Value;

class Emitter {
 public:
  Emitter(const Kernel& kernel, const std::string& symbol, ::llvm::Module& module)
      : kernel_(kernel),
        module_(module),
        context_(module.getContext()),
        builder_(context_),
        values_(kernel.insts.size()) {
    auto* type = ::llvm::FunctionType::get(builder_.getVoidTy(), {builder_.getPtrTy()}, false);
    function_ = ::llvm::Function::Create(type, ::llvm::GlobalValue::ExternalLinkage, symbol, module);
    function_->addFnAttr(::llvm::Attribute::NoUnwind);
    // The host decides at run time whether denormals are flushed: constants must not be folded as if it did not.
    function_->addFnAttr("denormal-fp-math", "dynamic,dynamic");
    function_->addFnAttr("prefer-vector-width", "512");
    // Vectors that registers have no room for are spilled to whole cache lines.
    function_->addFnAttr(::llvm::Attribute::getWithStackAlignment(context_, ::llvm::Align(64)));
    function_->addFnAttr("stackrealign");
    builder_.SetInsertPoint(BasicBlock::Create(context_, "entry", function_));
  }

  void Run() {
    LoadBases();
    EmitRegion(kernel_.regions[0]);
    builder_.CreateRetVoid();
  }

 private:
  // ---- Types and constants ---------------------------------------------------------------------------------------------
  Type* Scalar(Elem elem) {
    switch (elem) {
      case Elem::kBool: return builder_.getInt1Ty();
      case Elem::kU8: return builder_.getInt8Ty();
      case Elem::kI32: return builder_.getInt32Ty();
      case Elem::kI64: return builder_.getInt64Ty();
      case Elem::kF32: break;
    }
    return builder_.getFloatTy();
  }
  Type* TypeOf(IrType type) {
    Type* scalar = Scalar(type.elem);
    return type.lanes == 1 ? scalar : ::llvm::FixedVectorType::get(scalar, static_cast<unsigned>(type.lanes));
  }
  Value* ConstantOf(const Inst& inst) {
    Constant* scalar;
    if (inst.type.elem == Elem::kF32) {
      const ::llvm::APInt bits(32, static_cast<uint32_t>(inst.imm));
      scalar = ::llvm::ConstantFP::get(context_, ::llvm::APFloat(::llvm::APFloat::IEEEsingle(), bits));
    } else {
      scalar = ::llvm::ConstantInt::get(Scalar(inst.type.elem), static_cast<uint64_t>(inst.imm), true);
    }
    if (inst.type.lanes == 1) return scalar;
    return ::llvm::ConstantVector::getSplat(::llvm::ElementCount::getFixed(static_cast<unsigned>(inst.type.lanes)),
                                            scalar);
  }
  const Inst& inst(Val v) const { return kernel_.insts[static_cast<size_t>(v)]; }
  Value* Get(Val v) {
    Value*& value = values_[static_cast<size_t>(v)];
    if (value == nullptr) {
      WEIR_CHECK(inst(v).op == IrOp::kConst, "%", v, " of ", kernel_.name, " is used before it is made");
      value = ConstantOf(inst(v));
    }
    return value;
  }

  // ---- Memory ----------------------------------------------------------------------------------------------------------
  Value* CallField(size_t offset, Type* type) {
    Value* at = builder_.CreateConstInBoundsGEP1_64(builder_.getInt8Ty(), function_->getArg(0), offset);
    return builder_.CreateLoad(type, at);
  }
  void LoadBases() {
    Type* pointer = builder_.getPtrTy();
    for (const IrBuffer& buffer : kernel_.buffers) {
      Value* base = nullptr;
      switch (buffer.kind) {
        case IrBuffer::Kind::kInput: base = Operand(offsetof(KernelCall, inputs), buffer.index); break;
        case IrBuffer::Kind::kOutput: base = Operand(offsetof(KernelCall, outputs), buffer.index); break;
        case IrBuffer::Kind::kWorkspace: base = CallField(offsetof(KernelCall, workspace), pointer); break;
        case IrBuffer::Kind::kScratch: base = CallField(offsetof(KernelCall, scratch), pointer); break;
      }
      bases_.push_back(builder_.CreateConstGEP1_64(builder_.getInt8Ty(), base, static_cast<uint64_t>(buffer.offset)));
    }
  }
  Value* Operand(size_t list, int index) {
    Value* pointers = CallField(list, builder_.getPtrTy());
    Value* at = builder_.CreateConstInBoundsGEP1_64(builder_.getPtrTy(), pointers, static_cast<uint64_t>(index));
    return builder_.CreateLoad(builder_.getPtrTy(), at);
  }
  Value* Address(int64_t buffer, Val index) {
    Type* elem = Scalar(kernel_.buffers[static_cast<size_t>(buffer)].elem);
    Value* base = bases_[static_cast<size_t>(buffer)];
    // A constant is added last: it becomes part of the instruction, and neighbours share the rest.
    const Inst& sum = inst(index);
    if (sum.op == IrOp::kAdd && sum.type.lanes == 1 && inst(sum.args[1]).op == IrOp::kConst) {
      return builder_.CreateGEP(elem, builder_.CreateGEP(elem, base, Get(sum.args[0])), Get(sum.args[1]));
    }
    return builder_.CreateGEP(elem, base, Get(index));
  }
  // Lanes below `count`.
  Value* MaskOf(Val count, int lanes) {
    Value* limit = builder_.CreateTrunc(Get(count), builder_.getInt32Ty());
    return builder_.CreateICmpSLT(IotaOf({Elem::kI32, lanes}),
                                  builder_.CreateVectorSplat(static_cast<unsigned>(lanes), limit));
  }
  Value* IotaOf(IrType type) {
    if (type.lanes == 1) return ::llvm::ConstantInt::get(Scalar(type.elem), 0);
    std::vector<Constant*> lanes;
    for (int i = 0; i < type.lanes; ++i)
      lanes.push_back(::llvm::ConstantInt::get(Scalar(type.elem), static_cast<uint64_t>(i)));
    return ::llvm::ConstantVector::get(lanes);
  }
  ::llvm::Align AlignOf(Elem elem) const { return ::llvm::Align(static_cast<uint64_t>(BytesOf(elem))); }

  Value* Load(const Inst& i) {
    Type* type = TypeOf(i.type);
    const ::llvm::Align align = AlignOf(i.type.elem);
    if (i.op == IrOp::kGather) {
      Value* mask = i.args[1] == kNoVal ? nullptr : MaskOf(i.args[1], i.type.lanes);
      if (i.type.lanes == 1) return builder_.CreateAlignedLoad(type, Address(i.imm, i.args[0]), align);
      return builder_.CreateMaskedGather(type, Address(i.imm, i.args[0]), align, mask, Constant::getNullValue(type));
    }
    Value* at = Address(i.imm, i.args[0]);
    if (i.args[1] == kNoVal) return builder_.CreateAlignedLoad(type, at, align);
    return builder_.CreateMaskedLoad(type, at, align, MaskOf(i.args[1], i.type.lanes), Constant::getNullValue(type));
  }
  void Store(const Inst& i) {
    Value* at = Address(i.imm, i.args[1]);
    const ::llvm::Align align = AlignOf(i.type.elem);
    if (i.args[2] == kNoVal) {
      builder_.CreateAlignedStore(Get(i.args[0]), at, align);
    } else {
      builder_.CreateMaskedStore(Get(i.args[0]), at, align, MaskOf(i.args[2], i.type.lanes));
    }
  }

  // Non-temporal stores need their alignment promised.
  void Stream(const Inst& i) {
    const uint64_t bytes = static_cast<uint64_t>(i.type.lanes * BytesOf(i.type.elem));
    ::llvm::StoreInst* store =
        builder_.CreateAlignedStore(Get(i.args[0]), Address(i.imm, i.args[1]), ::llvm::Align(bytes));
    ::llvm::Metadata* one = ::llvm::ConstantAsMetadata::get(builder_.getInt32(1));
    store->setMetadata(::llvm::LLVMContext::MD_nontemporal, ::llvm::MDNode::get(context_, one));
  }
  Value* MayStream(const Inst& i) {
    Value* base = bases_[static_cast<size_t>(i.imm)];
    Value* low = builder_.CreateAnd(builder_.CreatePtrToInt(base, builder_.getInt64Ty()), 63);
    Value* may = builder_.CreateICmpEQ(low, builder_.getInt64(0));
    for (size_t b = 0; b < bases_.size(); ++b) {
      if (kernel_.buffers[b].kind != IrBuffer::Kind::kInput) continue;
      may = builder_.CreateAnd(may, builder_.CreateICmpNE(base, bases_[b]));
    }
    return may;
  }
  void Fence() {
#if defined(__x86_64__)
    // Streaming stores are ordered by nothing else, not even by an atomic store that releases.
    builder_.CreateIntrinsic(::llvm::Intrinsic::x86_sse_sfence, {}, {});
#else
    builder_.CreateFence(::llvm::AtomicOrdering::Release);
#endif
  }
  void Prefetch(const Inst& i) {
    Value* at = Address(i.imm, i.args[0]);
    // For reading, to a cache, of data.
    const uint32_t locality = i.op == IrOp::kPrefetch ? 3 : 2;
    builder_.CreateIntrinsic(::llvm::Intrinsic::prefetch, {at->getType()},
                             {at, builder_.getInt32(0), builder_.getInt32(locality), builder_.getInt32(1)});
  }

  // ---- Control ---------------------------------------------------------------------------------------------------------
  void EmitRegion(const Region& region) {
    for (Val v : region.code) values_[static_cast<size_t>(v)] = EmitInst(v, inst(v));
  }

  void For(const Inst& loop) {
    const Region& body = kernel_.regions[static_cast<size_t>(loop.region)];
    Value *begin = Get(loop.args[0]), *end = Get(loop.args[1]);
    BasicBlock* before = builder_.GetInsertBlock();
    BasicBlock* round = BasicBlock::Create(context_, "loop", function_);
    BasicBlock* after = BasicBlock::Create(context_, "done", function_);
    std::vector<Value*> inits;
    for (Val init : body.inits) inits.push_back(Get(init));
    builder_.CreateCondBr(builder_.CreateICmpSLT(begin, end), round, after);
    builder_.SetInsertPoint(round);
    ::llvm::PHINode* index = builder_.CreatePHI(builder_.getInt64Ty(), 2);
    index->addIncoming(begin, before);
    values_[static_cast<size_t>(body.params[0])] = index;
    std::vector<::llvm::PHINode*> carried;
    for (size_t k = 0; k < inits.size(); ++k) {
      carried.push_back(builder_.CreatePHI(inits[k]->getType(), 2));
      carried.back()->addIncoming(inits[k], before);
      values_[static_cast<size_t>(body.params[k + 1])] = carried.back();
    }
    EmitRegion(body);
    BasicBlock* last = builder_.GetInsertBlock();
    Value* next = builder_.CreateAdd(index, builder_.getInt64(static_cast<uint64_t>(loop.imm)), "", true, true);
    index->addIncoming(next, last);
    std::vector<Value*> yields;
    for (size_t k = 0; k < inits.size(); ++k) {
      yields.push_back(Get(body.yields[k]));
      carried[k]->addIncoming(yields.back(), last);
    }
    builder_.CreateCondBr(builder_.CreateICmpSLT(next, end), round, after);
    builder_.SetInsertPoint(after);
    // What a loop hands out is read through its region's parameters.
    for (size_t k = 0; k < inits.size(); ++k) {
      ::llvm::PHINode* result = builder_.CreatePHI(inits[k]->getType(), 2);
      result->addIncoming(inits[k], before);
      result->addIncoming(yields[k], last);
      values_[static_cast<size_t>(body.params[k + 1])] = result;
    }
  }

  void If(const Inst& i) {
    BasicBlock* then = BasicBlock::Create(context_, "then", function_);
    BasicBlock* after = BasicBlock::Create(context_, "after", function_);
    builder_.CreateCondBr(Get(i.args[0]), then, after);
    builder_.SetInsertPoint(then);
    EmitRegion(kernel_.regions[static_cast<size_t>(i.region)]);
    builder_.CreateBr(after);
    builder_.SetInsertPoint(after);
  }

  void ReportLabel(const Inst& i) {
    Type *pointer = builder_.getPtrTy(), *integer = builder_.getInt64Ty();
    auto* type = ::llvm::FunctionType::get(builder_.getVoidTy(), {pointer, pointer, integer, integer, integer}, false);
    auto* host = ::llvm::cast<::llvm::Function>(module_.getOrInsertFunction(kReportLabelSymbol, type).getCallee());
    host->addFnAttr(::llvm::Attribute::NoUnwind);
    Value* text = builder_.CreateGlobalString(kernel_.label_error);
    builder_.CreateCall(type, host,
                        {CallField(offsetof(KernelCall, errors), pointer), text, Get(i.args[0]), Get(i.args[1]),
                         builder_.getInt64(static_cast<uint64_t>(i.imm))});
  }

  // ---- Operations ------------------------------------------------------------------------------------------------------
  Value* Intrinsic(::llvm::Intrinsic::ID id, ArrayRef<Value*> args) {
    return builder_.CreateIntrinsic(args[0]->getType(), id, args);
  }
  Value* Half(const Inst& i) {
    ::llvm::SmallVector<int, 16> lanes;
    const int first = i.op == IrOp::kHigh ? i.type.lanes : 0;
    for (int k = 0; k < i.type.lanes; ++k) lanes.push_back(first + k);
    if (i.type.lanes == 1) return builder_.CreateExtractElement(Get(i.args[0]), static_cast<uint64_t>(first));
    return builder_.CreateShuffleVector(Get(i.args[0]), lanes);
  }
  Value* Zip(const Inst& i) {
    ::llvm::SmallVector<int, 16> lanes;
    const int first = i.op == IrOp::kZipHigh ? i.type.lanes / 2 : 0;
    for (int k = 0; k < i.type.lanes; ++k) {
      lanes.push_back((i.op == IrOp::kZipEven ? k / 2 * 2 : first + k / 2) + (k % 2 == 0 ? 0 : i.type.lanes));
    }
    return builder_.CreateShuffleVector(Get(i.args[0]), Get(i.args[1]), lanes);
  }
  Value* Blend(const Inst& i) {
    ::llvm::SmallVector<int, 16> lanes;
    for (int k = 0; k < i.type.lanes; ++k) lanes.push_back(k % 2 == 0 ? k : k + i.type.lanes);
    return builder_.CreateShuffleVector(Get(i.args[0]), Get(i.args[1]), lanes);
  }
  Value* Convert(const Inst& i) {
    const Elem from = inst(i.args[0]).type.elem, to = i.type.elem;
    Value* a = Get(i.args[0]);
    Type* type = TypeOf(i.type);
    if (to == Elem::kF32) {
      return from == Elem::kBool || from == Elem::kU8 ? builder_.CreateUIToFP(a, type) : builder_.CreateSIToFP(a, type);
    }
    if (from == Elem::kF32) {
      // A NaN gives 0, what is outside of the type its nearest number.
      const auto id = to == Elem::kU8 ? ::llvm::Intrinsic::fptoui_sat : ::llvm::Intrinsic::fptosi_sat;
      return builder_.CreateIntrinsic(id, {type, a->getType()}, {a});
    }
    if (from == Elem::kBool || from == Elem::kU8) return builder_.CreateZExtOrTrunc(a, type);
    return builder_.CreateSExtOrTrunc(a, type);
  }
  Value* Compare(const Inst& i) {
    Value *a = Get(i.args[0]), *b = Get(i.args[1]);
    const Elem elem = inst(i.args[0]).type.elem;
    if (elem == Elem::kF32) {
      return i.op == IrOp::kLt   ? builder_.CreateFCmpOLT(a, b)
             : i.op == IrOp::kLe ? builder_.CreateFCmpOLE(a, b)
                                 : builder_.CreateFCmpOEQ(a, b);
    }
    if (i.op == IrOp::kEq) return builder_.CreateICmpEQ(a, b);
    if (elem == Elem::kU8) return i.op == IrOp::kLt ? builder_.CreateICmpULT(a, b) : builder_.CreateICmpULE(a, b);
    return i.op == IrOp::kLt ? builder_.CreateICmpSLT(a, b) : builder_.CreateICmpSLE(a, b);
  }

  Value* EmitInst(Val v, const Inst& i) {
    const auto arg = [&](int k) { return Get(i.args[k]); };
    const bool floating = i.type.elem == Elem::kF32;
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
      case IrOp::kTask: return CallField(offsetof(KernelCall, task), builder_.getInt64Ty());
      case IrOp::kIota: return IotaOf(i.type);
      case IrOp::kSplat: return builder_.CreateVectorSplat(static_cast<unsigned>(i.type.lanes), arg(0));
      case IrOp::kLow:
      case IrOp::kHigh: return Half(i);
      case IrOp::kZipLow:
      case IrOp::kZipHigh:
      case IrOp::kZipEven: return Zip(i);
      case IrOp::kBlend: return Blend(i);
      case IrOp::kLane: return builder_.CreateExtractElement(arg(0), static_cast<uint64_t>(i.imm));
      case IrOp::kAdd: return floating ? builder_.CreateFAdd(arg(0), arg(1)) : builder_.CreateAdd(arg(0), arg(1));
      case IrOp::kSub: return floating ? builder_.CreateFSub(arg(0), arg(1)) : builder_.CreateSub(arg(0), arg(1));
      case IrOp::kMul: return floating ? builder_.CreateFMul(arg(0), arg(1)) : builder_.CreateMul(arg(0), arg(1));
      case IrOp::kDiv: return floating ? builder_.CreateFDiv(arg(0), arg(1)) : builder_.CreateUDiv(arg(0), arg(1));
      case IrOp::kRem: return builder_.CreateURem(arg(0), arg(1));
      case IrOp::kFma: return Intrinsic(::llvm::Intrinsic::fma, {arg(0), arg(1), arg(2)});
      case IrOp::kSqrt: return Intrinsic(::llvm::Intrinsic::sqrt, {arg(0)});
      case IrOp::kNeg: return builder_.CreateFNeg(arg(0));
      case IrOp::kAbs: return Intrinsic(::llvm::Intrinsic::fabs, {arg(0)});
      case IrOp::kCopySign: return Intrinsic(::llvm::Intrinsic::copysign, {arg(0), arg(1)});
      case IrOp::kRoundEven: return Intrinsic(::llvm::Intrinsic::roundeven, {arg(0)});
      case IrOp::kShl: return builder_.CreateShl(arg(0), static_cast<uint64_t>(i.imm));
      case IrOp::kShr: return builder_.CreateLShr(arg(0), static_cast<uint64_t>(i.imm));
      case IrOp::kBitAnd:
      case IrOp::kAnd: return builder_.CreateAnd(arg(0), arg(1));
      case IrOp::kBitOr:
      case IrOp::kOr: return builder_.CreateOr(arg(0), arg(1));
      case IrOp::kBitXor: return builder_.CreateXor(arg(0), arg(1));
      case IrOp::kNot: return builder_.CreateNot(arg(0));
      case IrOp::kMin: return Intrinsic(::llvm::Intrinsic::smin, {arg(0), arg(1)});
      case IrOp::kLt:
      case IrOp::kLe:
      case IrOp::kEq: return Compare(i);
      case IrOp::kSelect: return builder_.CreateSelect(arg(0), arg(1), arg(2));
      case IrOp::kBits: return builder_.CreateBitCast(arg(0), TypeOf(i.type));
      case IrOp::kConvert: return Convert(i);
      case IrOp::kConst:
      case IrOp::kIndex:
      case IrOp::kCarried: break;
    }
    WEIR_CHECK(false, "%", v, " of ", kernel_.name, " can't stand in a region's code");
    return nullptr;
  }

  const Kernel& kernel_;
  ::llvm::Module& module_;
  ::llvm::LLVMContext& context_;
  ::llvm::IRBuilder<> builder_;
  ::llvm::Function* function_ = nullptr;
  std::vector<Value*> values_;
  std::vector<Value*> bases_;
};

}  // namespace

void Emit(const Kernel& kernel, const std::string& symbol, ::llvm::Module& module) {
  Emitter(kernel, symbol, module).Run();
}

}  // namespace weir::jit
