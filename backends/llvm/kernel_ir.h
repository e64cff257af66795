// kernel_ir: what a generated kernel does, as loops and scalar or vector operations over the buffers of a KernelCall.
// Lowerings build it, emit turns it into LLVM IR one to one, an interpreter runs it in tests, and its text is what
// Explain prints and what the object cache is keyed by. Nothing here knows LLVM, ops or clusters.
//
// A kernel is a tree of regions. A value is an instruction's index; it may be used after its definition, inside the
// region that defines it and the regions within. Constants are usable everywhere. Floating-point operations round
// once and are never reordered or contracted.
#ifndef WEIR_BACKENDS_LLVM_KERNEL_IR_H_
#define WEIR_BACKENDS_LLVM_KERNEL_IR_H_

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <tuple>
#include <vector>

#include "absl/status/status.h"

namespace weir::jit {

using Val = int32_t;
inline constexpr Val kNoVal = -1;

// kBool is a truth value in a register; in memory truth is a kU8 that is 0 or 1.
enum class Elem : uint8_t { kBool, kU8, kI32, kI64, kF32 };
int64_t BytesOf(Elem elem);  // in memory; kBool has none

struct IrType {
  Elem elem = Elem::kI64;
  int lanes = 1;  // 1: a scalar
  friend bool operator==(const IrType&, const IrType&) = default;
};
std::string ToText(IrType type);  // "f32", "f32x16"

enum class IrOp : uint8_t {
  kConst,   // imm: the bits, in every lane
  kTask,    // i64: KernelCall::task
  kIndex,   // the counter of the loop whose region it is a parameter of
  kCarried, // a value handed from one round of a loop to the next, and out of it: parameter imm of the region
  kResult,  // carried value imm of the loop arg 0, after its last round
  kIota,    // 0, 1, 2, ... in the lanes
  kSplat,   // a scalar in every lane
  kLow,     // the lower, the upper half of the lanes
  kHigh,
  kZipLow,  // lanes of arg 0 and arg 1 in turn, of their lower, their upper halves
  kZipHigh,
  kZipEven, // the even lanes of arg 0 and arg 1 in turn
  kBlend,   // the even lanes of arg 0, the odd lanes of arg 1, each in its place
  kLane,    // scalar: lane imm of arg 0
  // Numbers. Integers wrap; kDiv and kRem of integers are unsigned, by a constant other than 0.
  kAdd, kSub, kMul, kDiv, kRem,
  kFma, kSqrt, kNeg, kAbs, kCopySign, kRoundEven,
  kShl, kShr, kBitAnd, kBitOr, kBitXor,  // shifts by imm, kShr with zeros
  kMin,      // signed integers
  // Comparisons (f32: false if either is a NaN; u8 unsigned, other integers signed) and truth values.
  kLt, kLe, kEq, kAnd, kOr, kNot,
  kSelect,   // arg 0 ? arg 1 : arg 2, every bit of it; imm 1: f32 that only arithmetic reads, flushed or not
  kBits,     // the same bits as lanes of another type, of another size too: the first lanes are the lowest bits
  kConvert,  // to `type`: integers wrap or extend (u8 with zeros, others with their sign), integer to f32 rounds,
             // f32 to integer as canonical_order.h's cast, bool to 0 or 1
  // Memory. imm: the buffer. Indices count elements of the buffer's type; kLoad and kStore of vectors move neighbours.
  kLoad,     // args: index, count (of lanes that exist: others are 0 and not touched; or none)
  kGather,   // args: i32 vector of indices, count or none
  kStore,    // args: value, index, count or none
  kStream,   // args: value, index: a store past the caches, of a whole vector at a multiple of its size
  kMayStream,  // scalar truth: the buffer begins at a multiple of 64 bytes and is none of the call's inputs
  kFence,    // what was streamed is visible to whoever is told of it afterwards
  kPrefetch, // args: index, which may lie outside of the buffer. Brings its cache line to the first-level cache
  kPrefetchNear,  // the same, to the second-level cache
  // Control.
  kFor,      // args: begin, end; imm: step, which is positive. Runs its region for begin, begin + step, ... < end.
  kIf,       // args: a scalar truth value. Runs its region, which hands nothing out.
  kReportLabel,  // args: row, label, both i64: KernelErrors::OutOfRange(text, row, label, 0, imm)
};

// A piece of memory of the call, seen as elements of one type.
struct IrBuffer {
  enum class Kind : uint8_t { kInput, kOutput, kWorkspace, kScratch };
  Kind kind = Kind::kInput;
  int index = 0;           // which input or output
  Elem elem = Elem::kF32;
  int64_t offset = 0;      // bytes from the operand's (workspace's, scratch's) begin
  friend auto operator<=>(const IrBuffer&, const IrBuffer&) = default;
};

struct Inst {
  IrOp op = IrOp::kConst;
  IrType type = {};
  Val args[3] = {kNoVal, kNoVal, kNoVal};
  int64_t imm = 0;
  int region = -1;  // kFor, kIf
};

struct Region {
  std::vector<Val> params;  // of a loop: the index, then what is carried
  std::vector<Val> inits;   // first values of what is carried
  std::vector<Val> code;
  std::vector<Val> yields;  // values for the next round
};

struct Kernel {
  std::string name;              // what a plan calls it
  std::vector<Inst> insts;
  std::vector<Region> regions;   // 0: the whole
  std::vector<IrBuffer> buffers;
  std::string label_error;       // text of kReportLabel
};

// Readable, and complete: equal texts are equal kernels. The name is no part of it.
std::string ToText(const Kernel& kernel);

// Types, scopes and bounds of a kernel; an error names the instruction and what is wrong with it.
absl::Status Verify(const Kernel& kernel);

// Appends instructions to the innermost open region.
class KernelBuilder {
 public:
  explicit KernelBuilder(std::string name);

  int Buffer(IrBuffer buffer);
  Val Const(IrType type, int64_t bits);
  Val F32(float number, int lanes = 1);
  Val I64(int64_t number) { return Const({Elem::kI64, 1}, number); }
  Val Task();
  Val Iota(IrType type);
  Val Splat(Val scalar, int lanes);
  Val Unary(IrOp op, Val a, int64_t imm = 0);
  Val Binary(IrOp op, Val a, Val b);
  Val Fma(Val a, Val b, Val c);
  Val Select(Val condition, Val if_true, Val if_false, bool flushed = false);
  Val Convert(Val a, Elem elem);
  Val Bits(Val a, Elem elem);
  Val ZipEven(Val a, Val b);
  Val Blend(Val even, Val odd);
  Val Half(Val a, bool high);
  Val Zip(Val a, Val b, bool high);
  Val Lane(Val a, int lane);
  Val Load(int buffer, Val index, int lanes, Val count = kNoVal);
  Val Gather(int buffer, Val indices, Val count = kNoVal);
  void Store(int buffer, Val value, Val index, Val count = kNoVal);
  void Stream(int buffer, Val value, Val index);
  Val MayStream(int buffer);
  void Fence();
  // To the first-level cache, or to the second.
  void Prefetch(int buffer, Val index, bool to_first = true);
  void ReportLabel(const std::string& what, Val row, Val label, int64_t classes);

  // Scalar index arithmetic, folded where operands are constants.
  Val Add(Val a, Val b);
  Val Mul(Val a, int64_t factor);
  Val Div(Val a, int64_t divisor);
  Val Rem(Val a, int64_t divisor);
  Val Min(Val a, Val b);

  // body(index, carried) returns what is carried to the next round; the result is what the last one returned.
  template <class Body>
  std::vector<Val> For(Val begin, Val end, int64_t step, const std::vector<Val>& inits, const Body& body) {
    const Val loop = OpenFor(begin, end, step, inits);
    const Region& region = kernel_.regions[static_cast<size_t>(kernel_.insts[static_cast<size_t>(loop)].region)];
    const Val index = region.params[0];
    const std::vector<Val> carried(region.params.begin() + 1, region.params.end());
    return CloseFor(loop, body(index, carried));
  }
  template <class Body>
  void Loop(Val begin, Val end, int64_t step, const Body& body) {
    For(begin, end, step, {}, [&](Val index, const std::vector<Val>&) {
      body(index);
      return std::vector<Val>();
    });
  }
  template <class Body>
  void If(Val condition, const Body& body) {
    OpenIf(condition);
    body();
    open_.pop_back();
  }

  IrType type(Val v) const { return kernel_.insts[static_cast<size_t>(v)].type; }
  bool IsConst(Val v) const { return kernel_.insts[static_cast<size_t>(v)].op == IrOp::kConst; }
  int64_t ConstBits(Val v) const { return kernel_.insts[static_cast<size_t>(v)].imm; }
  int64_t size() const { return static_cast<int64_t>(kernel_.insts.size()); }
  Kernel Take() { return std::move(kernel_); }

 private:
  Val Append(Inst inst, bool constant = false);
  Val OpenFor(Val begin, Val end, int64_t step, const std::vector<Val>& inits);
  std::vector<Val> CloseFor(Val loop, const std::vector<Val>& yields);
  void OpenIf(Val condition);

  Kernel kernel_;
  std::vector<int> open_ = {0};
  std::map<std::tuple<Elem, int, int64_t>, Val> constants_;
  Val task_ = kNoVal;
};

}  // namespace weir::jit

#endif  // WEIR_BACKENDS_LLVM_KERNEL_IR_H_
