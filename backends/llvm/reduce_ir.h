// The canonical order of reductions (ops/canonical_order.h) as kernel_ir: shared by reductions, softmax and losses.
#ifndef WEIR_BACKENDS_LLVM_REDUCE_IR_H_
#define WEIR_BACKENDS_LLVM_REDUCE_IR_H_

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "weir/backends/llvm/ir_math.h"
#include "weir/backends/llvm/kernel_ir.h"

namespace weir::jit {

enum class ReduceKind : uint8_t { kSum, kSumSquares, kMax, kMin };

class ReduceIr {
 public:
  ReduceIr(KernelBuilder& builder, ReduceKind kind) : b_(builder), kind_(kind) {}

  Val Init(int lanes) const;
  Val Op(Val acc, Val x) const;
  Val Combine(Val a, Val b) const;
  // lane[i] = combine(lane[i], lane[i + w]), w = 8, 4, 2, 1.
  Val Lanes(Val lanes) const;

  // Elements j .. j + 15 of row `row`; those from `count` on don't exist. `vector` is j / 16 if that is known, else -1.
  using RowLoader = std::function<Val(size_t row, Val j, Val count, int vector)>;
  // Folds `size` neighbours (at most one canonical block) of each of `rows` rows, which then run side by side.
  std::vector<Val> RowBlock(size_t rows, Val begin, int64_t size, const RowLoader& load) const;
  // Folds a run of `size` neighbours, cut into canonical blocks, onto `totals`.
  std::vector<Val> Run(std::vector<Val> totals, int64_t size, const RowLoader& load) const;

 private:
  KernelBuilder& b_;
  const ReduceKind kind_;
};

}  // namespace weir::jit

#endif  // WEIR_BACKENDS_LLVM_REDUCE_IR_H_
