// The door through which libFuzzer calls a target; WEIR_FUZZ_TARGET is its function.
#include <cstddef>
#include <cstdint>

#include "weir/tests/fuzz/targets.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  weir::fuzz::WEIR_FUZZ_TARGET({reinterpret_cast<const char*>(data), size});
  return 0;
}
