// LLVM's C interface, out of its shared library and only when code has to be generated. Loading that library takes tens
// of milliseconds (hundreds of thousands of relocations) that a program whose kernels are all in the object cache does
// without; and a machine that has no such library still runs the program, on another backend. The library is the file
// that the build found, else what the system's loader finds by its name; or the file that the environment names,
// WEIR_LLVM_LIBRARY.
#ifndef WEIR_BACKENDS_LLVM_LLVM_API_H_
#define WEIR_BACKENDS_LLVM_LLVM_API_H_

#include "absl/status/statusor.h"
#include "llvm-c/Analysis.h"
#include "llvm-c/Core.h"
#include "llvm-c/Error.h"
#include "llvm-c/Target.h"
#include "llvm-c/TargetMachine.h"
#include "llvm-c/Transforms/PassBuilder.h"

namespace weir::jit {

// The functions used, without their prefix LLVM.
#define WEIR_LLVM_FUNCTIONS(F)                                                                                         \
  /* Processors and code generation. */                                                                                \
  F(InitializeX86TargetInfo) F(InitializeX86Target) F(InitializeX86TargetMC) F(InitializeX86AsmPrinter)                \
  F(GetVersion) F(GetDefaultTargetTriple) F(GetHostCPUName) F(GetHostCPUFeatures) F(GetTargetFromTriple)               \
  F(CreateTargetMachineOptions) F(DisposeTargetMachineOptions) F(TargetMachineOptionsSetCPU)                           \
  F(TargetMachineOptionsSetFeatures) F(TargetMachineOptionsSetCodeGenOptLevel) F(TargetMachineOptionsSetRelocMode)     \
  F(TargetMachineOptionsSetCodeModel) F(CreateTargetMachineWithOptions) F(DisposeTargetMachine)                        \
  F(CreateTargetDataLayout) F(DisposeTargetData) F(TargetMachineEmitToMemoryBuffer)                                    \
  F(GetBufferStart) F(GetBufferSize) F(DisposeMemoryBuffer) F(DisposeMessage)                                          \
  F(CreatePassBuilderOptions) F(DisposePassBuilderOptions) F(RunPasses) F(GetErrorMessage) F(DisposeErrorMessage)      \
  /* Modules and functions. */                                                                                         \
  F(ContextCreate) F(ContextDispose) F(ModuleCreateWithNameInContext) F(DisposeModule) F(SetTarget)                    \
  F(SetModuleDataLayout) F(VerifyModule) F(PrintModuleToString) F(AddFunction) F(GetNamedFunction) F(GetParam)         \
  F(GlobalGetValueType) F(LookupIntrinsicID) F(GetIntrinsicDeclaration) F(GetEnumAttributeKindForName)                 \
  F(CreateEnumAttribute) F(CreateStringAttribute) F(AddAttributeAtIndex)                                               \
  /* Types and constants. */                                                                                           \
  F(VoidTypeInContext) F(Int1TypeInContext) F(Int8TypeInContext) F(Int32TypeInContext) F(Int64TypeInContext)           \
  F(FloatTypeInContext) F(PointerTypeInContext) F(VectorType) F(FunctionType) F(TypeOf)                                \
  F(ConstInt) F(ConstBitCast) F(ConstNull) F(ConstAllOnes) F(ConstVector) F(GetPoison)                                 \
  /* Instructions. */                                                                                                  \
  F(CreateBuilderInContext) F(DisposeBuilder) F(AppendBasicBlockInContext) F(PositionBuilderAtEnd) F(GetInsertBlock)   \
  F(BuildRetVoid) F(BuildBr) F(BuildCondBr) F(BuildPhi) F(AddIncoming) F(BuildCall2) F(BuildGlobalString)              \
  F(BuildLoad2) F(BuildStore) F(SetAlignment) F(BuildGEP2) F(BuildInBoundsGEP2)                                        \
  F(GetMDKindIDInContext) F(ValueAsMetadata) F(MDNodeInContext2) F(MetadataAsValue) F(SetMetadata)                     \
  F(BuildAdd) F(BuildSub) F(BuildMul) F(BuildUDiv) F(BuildURem) F(BuildFAdd) F(BuildFSub) F(BuildFMul) F(BuildFDiv)    \
  F(BuildFNeg) F(BuildShl) F(BuildLShr) F(BuildAnd) F(BuildOr) F(BuildXor) F(BuildNot) F(BuildICmp) F(BuildFCmp)       \
  F(BuildSelect) F(BuildTrunc) F(BuildIntCast2) F(BuildUIToFP) F(BuildSIToFP) F(BuildPtrToInt) F(BuildBitCast)         \
  F(BuildInsertElement) F(BuildExtractElement) F(BuildShuffleVector) F(SetNUW) F(SetNSW)

struct LlvmApi {
#define WEIR_DECLARE(name) decltype(&::LLVM##name) name = nullptr;
  WEIR_LLVM_FUNCTIONS(WEIR_DECLARE)
#undef WEIR_DECLARE
};

// Loads the library when first called; it stays. kUnimplemented, naming the library and what is wrong with it.
absl::StatusOr<const LlvmApi*> LoadLlvm();

// Whether its file is in its place: costs next to nothing.
bool LlvmIsInPlace();

}  // namespace weir::jit

#endif  // WEIR_BACKENDS_LLVM_LLVM_API_H_
