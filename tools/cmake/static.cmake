# WEIR_STATIC: programs without any shared library, from what distributions have as archives. Debian has none of
# Highway, of which only the choice of a target is compiled code: backends/highway/kernels/supported_targets.cc makes it.
# Left out are the data sets (libcurl can't be linked statically there) and what needs them, plots, tests, benchmarks
# and the JIT.
include(tools/cmake/archives.cmake)
if(WEIR_WITH_LLVM STREQUAL "ON")
  message(FATAL_ERROR "WEIR_STATIC has no JIT backend: WEIR_WITH_LLVM must be OFF or AUTO")
endif()
set(WEIR_WITH_LLVM OFF)
set(WEIR_BUILD_TESTS OFF)
set(WEIR_BUILD_BENCH OFF)
set(CMAKE_FIND_LIBRARY_SUFFIXES .a)
add_link_options(-static)
