// Preloaded into a program: once the file that WEIR_TEST_REFUSE_WHEN names is there, the next large block of memory is
// refused, and the file removed. What a program does when its memory is at an end can't be brought about otherwise at a
// moment of choice.
#include <dlfcn.h>
#include <unistd.h>

#include <cstdlib>

namespace {

constexpr size_t kLarge = 64 << 10;

bool Refused() {
  const char* file = std::getenv("WEIR_TEST_REFUSE_WHEN");
  return file != nullptr && unlink(file) == 0;
}

}  // namespace

extern "C" void* aligned_alloc(size_t alignment, size_t size) {
  using Function = void* (*)(size_t, size_t);
  static const auto real = reinterpret_cast<Function>(dlsym(RTLD_NEXT, "aligned_alloc"));
  return size >= kLarge && Refused() ? nullptr : real(alignment, size);
}
