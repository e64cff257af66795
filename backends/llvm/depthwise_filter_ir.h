// What the kernels of depthwise filter gradients share: a task's channels and taps, and their sums in memory.
#ifndef WEIR_BACKENDS_LLVM_DEPTHWISE_FILTER_IR_H_
#define WEIR_BACKENDS_LLVM_DEPTHWISE_FILTER_IR_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "weir/backends/llvm/depthwise_filter_plan.h"
#include "weir/backends/llvm/lowering.h"

namespace weir::jit {

class DepthwiseFilterIr {
 public:
  // Where sums of a task lie: tap after tap, from its first channel on.
  struct Place {
    int buffer = -1;
    Val at = kNoVal;
    int64_t pitch = 0;
  };
  // A vector of channels, or a half of one.
  struct Channels {
    Val first = kNoVal;    // channel
    Val of_task = kNoVal;  // relative to the task's first
    Val left = kNoVal;     // lanes that exist, or none if all do
    int lanes = kLanes;
  };

  DepthwiseFilterIr(KernelBuilder& builder, const DepthwiseFilterPlan& plan, int x_input, int dy_input);

  int x() const { return x_; }
  int dy() const { return dy_; }
  Val chunk() const { return chunk_; }  // of a task by chunks
  Val group() const { return group_; }  // of rows of the window, of a task by groups
  Val first() const { return first_; }  // channel
  Val channels() const { return Sub(end_, first_); }
  int64_t most_channels() const { return p_.task_vectors * kLanes; }

  ScratchSpace& scratch() { return scratch_; }
  Val Sub(Val a, Val c) const { return b_.Add(a, b_.Mul(c, -1)); }

  // The taps of the task.
  template <class Body>
  void EachTap(const Body& body) const {
    const int64_t taps = p_.by_groups ? p_.columns : p_.taps();
    b_.Loop(b_.I64(0), b_.I64(taps), 1,
            [&](Val tap) { body(p_.by_groups ? b_.Add(tap, b_.Mul(group_, p_.columns)) : tap); });
  }
  template <class Body>
  void EachVector(const Body& body) const {
    const bool masked = p_.g.out_channels % kLanes != 0;
    const auto vector = [&](Val c) {
      body(Channels{c, Sub(c, first_), masked ? Sub(b_.I64(p_.g.out_channels), c) : kNoVal});
    };
    if (p_.vectors() == 1) {
      vector(b_.I64(0));
    } else {
      b_.Loop(first_, end_, kLanes, vector);
    }
  }

  // The sums of all taps, zero.
  void Clear(const Place& sums) const;
  // The sums of `rows` rows of the window from `window_row` on, for one vector.
  std::vector<Val> LoadTaps(const Place& place, Val window_row, int64_t rows, const Channels& c) const;
  void StoreTaps(const std::vector<Val>& sums, const Place& place, Val window_row, const Channels& c) const;

 private:
  Val At(const Place& place, Val window_row, int64_t tap, const Channels& c) const;

  KernelBuilder& b_;
  ScratchSpace scratch_{b_};
  const DepthwiseFilterPlan& p_;
  const int x_, dy_;
  Val chunk_ = kNoVal, group_ = kNoVal;
  Val first_ = kNoVal, end_ = kNoVal;  // channels
};

// Computes the task's sums.
class DepthwiseFilterSums {
 public:
  virtual ~DepthwiseFilterSums() = default;
  // Those of `images` images, which are a chunk.
  virtual void Emit(Val first_image, Val images, const DepthwiseFilterIr::Place& sums) = 0;
};
std::unique_ptr<DepthwiseFilterSums> SumsByTiles(KernelBuilder& b, const DepthwiseFilterPlan& plan,
                                                 const DepthwiseFilterIr& task);
std::unique_ptr<DepthwiseFilterSums> SumsByRows(KernelBuilder& b, const DepthwiseFilterPlan& plan,
                                                DepthwiseFilterIr& task);
std::unique_ptr<DepthwiseFilterSums> SumsByWalk(KernelBuilder& b, const DepthwiseFilterPlan& plan,
                                                DepthwiseFilterIr& task);

}  // namespace weir::jit

#endif  // WEIR_BACKENDS_LLVM_DEPTHWISE_FILTER_IR_H_
