// The elementwise nodes of a cluster as kernel_ir, at a point of the cluster's index space: one vector of neighbours,
// or one element. The same object computes an elementwise cluster and the epilogue of every anchor, whose value it is
// handed in a register. All operands of a point are read before any of its results is written.
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
  Val flat = kNoVal;    // position of lane 0
  int lanes = kLanes;
  Val count = kNoVal;   // lanes that exist, or none if all do
  bool aligned = false; // `flat` is a multiple of kLanes
  bool in_row = false;  // all lanes lie in one run of the last axis
  Val column = kNoVal;  // position of lane 0 in the last axis, where it is known
};

class ClusterIr {
 public:
  // Why the node can't be computed in this cluster; nullopt if it can.
  static std::optional<Decline> NodeDecline(const Cluster& cluster, const Node& node);
  static std::optional<Decline> ClusterDecline(const Cluster& cluster);

  // To be made before the kernel's loops: loads what is the same everywhere.
  ClusterIr(KernelBuilder& builder, const Cluster& cluster);

  // Appends the computation at `points`, one after the other; `anchor` has the anchor's value at each (empty without an
  // anchor). Four aligned points in a row from a multiple of kRandomBlock on share their random numbers if `block`.
  void Emit(std::span<const Point> points, std::span<const Val> anchor, bool block = false);

  bool has_counter() const { return has_counter_; }
  int64_t elementwise_nodes() const { return elementwise_nodes_; }

 private:
  struct Operand {
    int buffer = -1;
    bool full = false;
    Val scalar = kNoVal;               // of an operand with one element
    std::vector<int64_t> dims, strides;  // of other broadcasts, neighbouring axes merged
    DType dtype = DType::kFloat32;
  };

  void PrepareInputs();
  Operand Describe(int input);
  Val FromMemory(Val loaded, DType dtype);
  Val Read(const Operand& operand, const Point& point);
  Val ValueOf(Ref ref, const Point& point);
  Val Compute(NodeId id, const Point& point);
  Val Random(NodeId id, const Point& point, int word);
  std::vector<Val> Words(const Node& node, Val low, Val high, int lanes);
  Val ScalarOffset(const Operand& operand, const Point& point);
  Val VectorOffset(const std::vector<int64_t>& dims, const std::vector<int64_t>& strides, const Point& point);
  void StoreOutputs(const Point& point);

  KernelBuilder& b_;
  const Cluster& cluster_;
  std::map<Ref, Operand> operands_;
  std::map<Ref, Val> values_;                    // at the current point
  std::map<NodeId, std::vector<Val>> words_;     // of the current block
  bool block_ = false, has_counter_ = false;
  int word_ = 0;
  int64_t elementwise_nodes_ = 0;
};

}  // namespace weir::jit

#endif  // WEIR_BACKENDS_LLVM_CLUSTER_IR_H_
