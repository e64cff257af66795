// BlockProgram: the elementwise part of a cluster as a short list of instructions over blocks that stay in the
// first-level cache. The same object is a whole elementwise cluster and the epilogue of every anchor: after a task has
// computed a contiguous range of the anchor's output, it runs the program over that flat range.
//
// Operands that lie contiguously in memory are read where they are, results are written where they belong; only
// broadcast rows and columns are laid out in scratch first. No SIMD here: instructions are kernels.
#ifndef WEIR_BACKENDS_HIGHWAY_BLOCK_PROGRAM_H_
#define WEIR_BACKENDS_HIGHWAY_BLOCK_PROGRAM_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "weir/backends/highway/kernels/kernels.h"
#include "weir/core/backend.h"

namespace weir::highway {

class BlockProgram {
 public:
  // Compiles the cluster's nodes except its anchor.
  static std::variant<std::shared_ptr<const BlockProgram>, Decline> Compile(const Cluster& cluster,
                                                                            const KernelTable& kernels);

  // Computes elements [begin, begin + count) of the cluster's index space. `anchor` points to the anchor's element
  // `begin` (null without an anchor). scratch: scratch_bytes(), 64-byte aligned.
  void Run(const KernelCall& call, int64_t begin, int64_t count, const void* anchor, std::byte* scratch) const;

  // Nothing to compute beyond the anchor.
  bool empty() const { return instructions_.empty(); }
  // The cluster output that is the anchor's own value, or -1: the anchor's task may compute right into it.
  int anchor_output() const { return anchor_output_; }
  // The first cluster output that instructions write with four bytes an element, or -1.
  int first_output() const;
  int64_t scratch_bytes() const { return scratch_bytes_; }
  // A range of this many elements is worth a call.
  int64_t block() const { return block_; }
  int64_t instructions() const { return static_cast<int64_t>(instructions_.size()); }
  // Outputs that may be written over inputs, given the order in which this program reads and writes.
  const std::vector<InPlacePair>& in_place() const { return in_place_; }

 private:
  friend class BlockCompiler;

  // Where an operand's memory is: entry `base` of a table of pointers made by each Run.
  struct Instruction {
    BlockFn run = nullptr;
    int src[3] = {-1, -1, -1};
    int dst = -1;
    BlockArgs args = {};     // all but pointers and count
    int fetch = -1;          // an operand in memory, of which the next block is fetched meanwhile
    int counter_input = -1;  // random_uniform: the cluster input that holds the step
  };
  enum class BaseKind : uint8_t { kInput, kOutput, kAnchor, kSlot, kConstant, kSplat, kTile, kPeriodic, kExpand };
  struct Base {
    BaseKind kind = BaseKind::kSlot;
    int index = 0;        // of the cluster input or output, or the constant
    int64_t advance = 0;  // bytes an element
    int64_t offset = 0;   // in scratch: slots, splats, tiles, expansions
    DType dtype = DType::kFloat32;
    int64_t period = 0;  // tiles, periodic operands
    // Expansions: the operand's strides over the cluster's shape, neighbouring axes merged.
    std::vector<int64_t> dims = {}, strides = {};
  };
  struct alignas(64) Splat {
    uint32_t copies[kSplat];
  };

  void PrepareBlocks(const KernelCall& call, int64_t begin, int64_t count, std::byte* scratch,
                     const std::byte** pointers) const;
  // How an epilogue operand is read: all of Base but its place in scratch.
  static Base ClassifyOperand(const Cluster& cluster, int input);
  static void Expand(const Base& base, const std::byte* src, int64_t begin, int64_t count, uint32_t* dst);

  std::vector<Instruction> instructions_;
  std::vector<Base> bases_;
  std::vector<Splat> constants_;
  std::vector<int> periodic_, expand_;  // bases that change with each block
  std::vector<InPlacePair> in_place_;
  int anchor_output_ = -1;
  int64_t block_ = 0;
  int64_t scratch_bytes_ = 0;
};

// Element types that a block program computes with: float32, int32, bool, uint8.
bool IsBlockType(DType dtype);
inline bool IsByte(DType dtype) { return SizeOf(dtype) == 1; }

// Why `node` can't be computed by a block program in a cluster of this shape; nullopt if it can.
std::optional<Decline> BlockNodeDecline(const Cluster& cluster, const Node& node);

// The shorter of the two lengths of a block; longer rows that repeat are read where they are.
inline constexpr int64_t kShortBlockElements = 512;
// Limits of one program.
inline constexpr size_t kMaxBlockNodes = 96;
inline constexpr size_t kMaxBlockOperands = 40;  // cluster inputs, and likewise outputs
inline constexpr int kMaxBlockRank = 16;

}  // namespace weir::highway

#endif  // WEIR_BACKENDS_HIGHWAY_BLOCK_PROGRAM_H_
