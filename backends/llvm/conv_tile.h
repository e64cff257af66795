// A register tile of a convolution: some pixels by a panel's vectors of output channels, whose sums are carried by
// loops over taps and channels.
#ifndef WEIR_BACKENDS_LLVM_CONV_TILE_H_
#define WEIR_BACKENDS_LLVM_CONV_TILE_H_

#include <cstdint>
#include <span>
#include <vector>

#include "weir/backends/llvm/conv_filter.h"
#include "weir/backends/llvm/conv_ir.h"
#include "weir/backends/llvm/conv_plan.h"
#include "weir/backends/llvm/conv_source.h"

namespace weir::jit {

// Where a panel of output channels lies.
struct ConvPanel {
  int64_t vectors = 0;
  Val column = kNoVal;  // its first channel, of the whole output
  Val filter = kNoVal;  // its first element
  Val left = kNoVal;    // channels from its first to the group's end, or none if vectors are whole

  // Lanes of a vector that exist.
  Val Count(KernelBuilder& b, int64_t v) const { return left == kNoVal ? kNoVal : b.Add(left, b.I64(-v * kLanes)); }
};

class ConvTile {
 public:
  // `src` and `filter` are the kernel's buffers.
  ConvTile(KernelBuilder& builder, const ConvProblem& problem, const FilterLayout& layout, const ConvSource& source,
           int src, int filter);

  // Sums of pixels whose sources begin `src_offset` behind `src`; those of a pixel are neighbours.
  std::vector<Val> Sums(const ConvClass& c, const ConvPanel& panel, Val src, std::vector<int64_t> src_offset);

 private:
  // An index and a constant to add to it: addresses of a tile differ by constants.
  struct At {
    Val base;
    int64_t plus;
    At operator+(int64_t more) const { return {base, plus + more}; }
  };

  std::vector<TermLoop> TermsOf(const ConvClass& c) const;
  int64_t TapFloats() const;
  Val Index(At at) { return b_.Add(at.base, b_.I64(at.plus)); }
  std::vector<Val> Terms(std::span<const TermLoop> loops, int64_t terms, At src, At filter, std::vector<Val> sums);
  std::vector<Val> Term(At src, At filter, std::vector<Val> sums);
  std::vector<Val> DepthwiseTerm(At src, At filter, std::vector<Val> sums);

  KernelBuilder& b_;
  const ConvProblem& p_;
  const FilterLayout& layout_;
  const ConvSource& source_;
  const int src_, filter_;
  const int64_t ahead_;  // terms of the filter that are fetched, or none
  ConvPanel panel_;
  std::vector<int64_t> src_offset_;  // of each pixel
};

}  // namespace weir::jit

#endif  // WEIR_BACKENDS_LLVM_CONV_TILE_H_
