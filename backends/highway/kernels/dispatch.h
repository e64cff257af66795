// Picks the function for one target out of the table that HWY_EXPORT makes: each backend has its own target, so the
// global choice of HWY_DYNAMIC_DISPATCH won't do. Included by kernel files, used in their HWY_ONCE part.
#ifndef WEIR_BACKENDS_HIGHWAY_KERNELS_DISPATCH_H_
#define WEIR_BACKENDS_HIGHWAY_KERNELS_DISPATCH_H_

#include <cstddef>
#include <cstdint>

#include "hwy/highway.h"
#include "weir/backends/highway/kernels/kernels.h"

namespace weir::highway {

template <class Function, size_t kEntries>
Function ForTarget(Function const (&table)[kEntries], int64_t target) {
  if constexpr (kEntries == 1) {
    return table[0];
  } else {
    hwy::ChosenTarget chosen;
    chosen.Update(target);
    return table[chosen.GetIndex()];
  }
}

// One a kernel file; `target` is a bit of HWY_TARGETS.
ProductKernels ProductKernelsFor(int64_t target);
DepthwiseKernels DepthwiseKernelsFor(int64_t target);
BlockKernels BlockFunctionsFor(int64_t target);  // only the scalar functions
BlockKernels BlockKernelsFor(int64_t target);
PoolKernels PoolKernelsFor(int64_t target);
ReduceKernels ReduceKernelsFor(int64_t target);
SoftmaxKernels SoftmaxKernelsFor(int64_t target);
MoveKernels MoveKernelsFor(int64_t target);
WinogradKernels WinogradKernelsFor(int64_t target);
int64_t LanesFor(int64_t target);

}  // namespace weir::highway

#endif  // WEIR_BACKENDS_HIGHWAY_KERNELS_DISPATCH_H_
