# Builds under WEIR_SANITIZE. They are run where they are made and compile slowly, so they leave out what costs time and
# finds nothing more: optimisation beyond -O1, any at all where nothing is computed (above the backends, but for tests
# that compute by themselves), and SIMD targets other than the baseline and this machine's best.
include(CheckCXXSourceRuns)

set(CMAKE_CXX_FLAGS_RELEASE "-O1")
set(WEIR_SANITIZE_COLD -O0)
set(WEIR_SANITIZE_HOT -O1)

set(WEIR_SANITIZE_FLAGS -fsanitize=${WEIR_SANITIZE})
if(WEIR_SANITIZE MATCHES undefined)
  list(APPEND WEIR_SANITIZE_FLAGS -fno-sanitize-recover=undefined)
  if(WEIR_SANITIZE MATCHES address)
    # Checks at every access through a pointer are more than a third of what compiling takes. The address sanitizer sees the same
    # faults, but for misaligned accesses and casts to a wrong class; the preset "ubsan" has them all.
    list(APPEND WEIR_SANITIZE_FLAGS -fno-sanitize=null,object-size,alignment,vptr)
  endif()
endif()

# WEIR_LEFT_OUT_TARGETS: the targets of Highway that are not compiled; see backends/highway/kernels/targets.h.
foreach(feature avx512bw avx2)
  check_cxx_source_runs("int main() { return __builtin_cpu_supports(\"${feature}\") ? 0 : 1; }" WEIR_MACHINE_HAS_${feature})
endforeach()
if(WEIR_FUZZ)
  # What is fuzzed reads files; the kernels, whose compiling takes longest, only have to be there.
  set(WEIR_LEFT_OUT_TARGETS "(HWY_SSE4|HWY_AVX2|HWY_AVX3)")
elseif(WEIR_MACHINE_HAS_avx512bw)
  set(WEIR_LEFT_OUT_TARGETS "(HWY_SSE4|HWY_AVX2)")
elseif(WEIR_MACHINE_HAS_avx2)
  set(WEIR_LEFT_OUT_TARGETS "(HWY_SSE4|HWY_AVX3)")
endif()
