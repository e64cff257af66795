// The tables of kernels, one a target, and which targets there are.
#include <cstdint>
#include <string>
#include <vector>

#include "weir/backends/highway/kernels/targets.h"

#include "weir/backends/highway/kernels/dispatch.h"

namespace weir::highway {
namespace {

struct Tables {
  std::vector<std::string> targets;
  std::vector<KernelTable> tables;

  Tables() {
    // A lower bit is a better target.
    for (int64_t left = hwy::SupportedTargets() & HWY_TARGETS; left != 0; left &= left - 1) {
      const int64_t target = left & -left;
      targets.push_back(hwy::TargetName(target));
      tables.push_back({.target = targets.back(),
                        .lanes = LanesFor(target),
                        .product = ProductKernelsFor(target),
                        .depthwise = DepthwiseKernelsFor(target),
                        .block = BlockKernelsFor(target),
                        .pool = PoolKernelsFor(target),
                        .reduce = ReduceKernelsFor(target),
                        .softmax = SoftmaxKernelsFor(target),
                        .move = MoveKernelsFor(target),
                        .winograd = WinogradKernelsFor(target)});
    }
  }
};

const Tables& AllTables() {
  static const Tables* const tables = new Tables;
  return *tables;
}

}  // namespace

std::vector<std::string> SupportedTargets() { return AllTables().targets; }

const KernelTable* FindKernels(const std::string& target) {
  for (const KernelTable& table : AllTables().tables) {
    if (table.target == target) return &table;
  }
  return nullptr;
}

}  // namespace weir::highway
