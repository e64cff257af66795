// Which Highway targets are compiled. Include before any header of Highway, in every kernel file.
//
// SSSE3 lies between SSE4 and the baseline and is worth no code of its own; the AVX-512 refinements bring instructions
// (bf16, VNNI, VBMI) that no kernel here uses. What remains on x86: the baseline (SSE2, EMU128 or SCALAR, as Highway
// and the compiler have it), SSE4, AVX2 and AVX3. Kernels keep vectors in arrays, which vectors of a size unknown at
// compile time can't be: so no SVE. Results are the same bits on all of them.
#ifndef WEIR_BACKENDS_HIGHWAY_KERNELS_TARGETS_H_
#define WEIR_BACKENDS_HIGHWAY_KERNELS_TARGETS_H_

// A build that is not shipped may leave out more (tools/cmake/sanitizers.cmake).
#ifndef WEIR_LEFT_OUT_TARGETS
#define WEIR_LEFT_OUT_TARGETS 0
#endif
#ifndef HWY_DISABLED_TARGETS
#define HWY_DISABLED_TARGETS                                                                                 \
  (HWY_SSSE3 | HWY_AVX3_DL | HWY_AVX3_ZEN4 | HWY_AVX3_SPR | HWY_AVX10_2 | HWY_SVE | HWY_SVE2 | HWY_SVE_256 | \
   HWY_SVE2_128 | WEIR_LEFT_OUT_TARGETS)
#endif

#include "hwy/base.h"
#include "hwy/detect_targets.h"

// Older Highway knows fewer of them.
#ifndef HWY_AVX3_ZEN4
#define HWY_AVX3_ZEN4 0
#endif
#ifndef HWY_AVX3_SPR
#define HWY_AVX3_SPR 0
#endif
#ifndef HWY_AVX10_2
#define HWY_AVX10_2 0
#endif

#endif  // WEIR_BACKENDS_HIGHWAY_KERNELS_TARGETS_H_
