// The elementwise nodes of a cluster as kernel_ir, at a point of their index space: one vector of neighbours, or one
// element. One object computes an elementwise cluster or the epilogue of any anchor, whose value it is handed in a
// register; another the prologue, whose value an anchor asks for in place of its operand. All operands of a point are
// read before any of its results is written.
#ifndef WEIR_BACKENDS_LLVM_CLUSTER_IR_H_
#define WEIR_BACKENDS_LLVM_CLUSTER_IR_H_

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "weir/backends/llvm/ir_math.h"
#include "weir/backends/llvm/kernel_ir.h"
#include "weir/core/backend.h"

namespace weir::jit {

// As many as the canonical order's lanes and a random block's words; LLVM cuts vectors up where registers are shorter.
inline constexpr int kLanes = 16;
inline constexpr int64_t kRandomBlock = 64;  // elements that one round of random numbers gives

Elem ElemOf(DType dtype);  // of a value in a register
bool IsIrType(DType dtype);

struct Point {
  Val flat = kNoVal;  // position of lane 0
  int lanes = kLanes;
  Val count = kNoVal;    // lanes that exist, or none if all do
  bool aligned = false;  // `flat` is a multiple of kLanes
  bool in_row = false;   // all lanes lie in one run of the last axis
  Val column = kNoVal;   // position of lane 0 in the last axis, where it is known
};

class ClusterIr {
 public:
  // What comes before the anchor, or all the rest.
  enum class Part : uint8_t { kPrologue, kEpilogue };

  // Why the node can't be computed in this cluster; nullopt if it can.
  static std::optional<Decline> NodeDecline(const Cluster& cluster, const Node& node);
  static std::optional<Decline> ClusterDecline(const Cluster& cluster);

  // To be made before the kernel's loops: loads what is the same everywhere.
  ClusterIr(KernelBuilder& builder, const Cluster& cluster, Part part = Part::kEpilogue);

  // Appends the computation at `points`, one after the other; `anchor` has the anchor's value at each (empty without an
  // anchor). Four aligned points in a row from a multiple of kRandomBlock on share their random numbers if `block`.
  void Emit(std::span<const Point> points, std::span<const Val> anchor, bool block = false);

  // The prologue's value at a point: the anchor's operand. What of the prologue is wanted in memory is stored, unless
  // the point has been computed before.
  Val Operand(const Point& point, bool again = false) { return Operands({&point, 1}, /*block=*/false, again)[0]; }
  // Likewise at several points, which share random numbers if `block`, as those of Emit.
  std::vector<Val> Operands(std::span<const Point> points, bool block, bool again);

  // From here on `ref`, a float32 value of the epilogue, is also stored to `buffer`, `base` elements before its position:
  // what a tail reads.
  void Keep(Ref ref, int buffer, Val base) { kept_ = {ref, buffer, base}; }

  // Whether outputs may be written past the caches, for points of whole vectors that begin at multiples of kLanes: a
  // scalar truth value. From SetStreaming(true) on they are; a fence has to follow.
  Val MayStream();
  void SetStreaming(bool streaming) { streaming_ = streaming; }

  // How random numbers are computed: fewer vectors at a time and some more instructions, or the other way round.
  void SetPackedDraws(bool packed) { packed_draws_ = packed; }

  // Buffers of float32 operands that have an element for each point, and of such results.
  std::vector<int> FullOperands() const;
  std::vector<int> FullOutputs();

  bool has_counter() const { return has_counter_; }
  bool has_outputs() const { return !outputs_.empty(); }
  const Shape& shape() const { return shape_; }
  int64_t elementwise_nodes() const { return elementwise_nodes_; }

 private:
  struct Kept {
    Ref ref;
    int buffer = -1;
    Val base = kNoVal;
  };
  struct Source {
    int buffer = -1;
    bool full = false;
    Val scalar = kNoVal;                 // of an operand with one element
    std::vector<int64_t> dims, strides;  // of other broadcasts, neighbouring axes merged
    DType dtype = DType::kFloat32;
  };

  void CollectNodes(Part part);
  Source DescribeInput(int input);
  Val FromMemory(Val loaded, DType dtype);
  Val Read(const Source& source, const Point& point);
  Val ValueOf(Ref ref, const Point& point);
  Val Compute(NodeId id, const Point& point);
  Val Random(NodeId id, const Point& point, int word);
  Val RandomInteger(NodeId id, const Point& point, int word);
  bool IsDraw(Ref ref) const;
  bool IsConstant(Ref ref) const;
  Val IsKept(const Node& comparison, const Point& point);
  std::vector<Val> Words(const Node& node, std::span<const Val> lows, int lanes);
  std::vector<Val> PackedWords(const Node& node, std::span<const Val> lows, int lanes);
  Val Step(const Node& node) const;
  Val ScalarOffset(const Source& source, const Point& point);
  Val VectorOffset(const std::vector<int64_t>& dims, const std::vector<int64_t>& strides, const Point& point);
  void BeginPoints(size_t points, bool block);
  void StoreOutputs(const Point& point);
  int OutputBuffer(size_t output);

  KernelBuilder& b_;
  const Cluster& cluster_;
  const Shape shape_;            // of the index space
  std::vector<NodeId> nodes_;    // to compute at every point, in order; constants and random numbers when asked for
  std::vector<size_t> outputs_;  // of the cluster that this part stores
  std::map<Ref, Source> sources_;
  std::map<Ref, Val> values_;                 // at the current point
  std::map<NodeId, std::vector<Val>> words_;  // of the current block
  bool block_ = false, has_counter_ = false, streaming_ = false, packed_draws_ = false;
  int word_ = 0;
  int64_t groups_ = 1;  // of random numbers, in a block
  std::optional<Kept> kept_;
  int64_t elementwise_nodes_ = 0;
};

// Operand 0 of a cluster's anchor, of type float32: loaded, or computed by the prologue.
class AnchorOperand {
 public:
  AnchorOperand(KernelBuilder& builder, const Cluster& cluster);

  Val At(const Point& point, bool again = false);
  // See ClusterIr::Operands.
  std::vector<Val> At(std::span<const Point> points, bool block, bool again);
  bool computed() const { return prologue_.has_value(); }
  // Brings the line of an element that lies in memory to the second-level cache.
  void Fetch(Val flat);
  bool has_counter() const { return prologue_ && prologue_->has_counter(); }
  bool has_outputs() const { return prologue_ && prologue_->has_outputs(); }
  // Work at a point, in elementwise operations.
  int64_t cost() const { return prologue_ ? prologue_->elementwise_nodes() : 0; }

 private:
  KernelBuilder& b_;
  int buffer_ = -1;
  std::optional<ClusterIr> prologue_;
};

}  // namespace weir::jit

#endif  // WEIR_BACKENDS_LLVM_CLUSTER_IR_H_
