#include "weir/core/memory_block.h"

#include <sys/mman.h>

#include <cstdint>
#include <cstdlib>

namespace weir {
namespace {

constexpr size_t kCacheLine = 64;

size_t RoundUp(size_t bytes, size_t multiple) { return (bytes + multiple - 1) / multiple * multiple; }

}  // namespace

std::shared_ptr<std::byte> AllocateBlock(size_t bytes, bool zero) {
  const size_t padded = RoundUp(bytes + kCacheLine - 1, kCacheLine), size = padded < kCacheLine ? kCacheLine : padded;
  const size_t alignment = size >= kHugePageBytes ? kHugePageBytes : kCacheLine;
  // A large block from calloc arrives as untouched zero pages, so zeroing is left to it and aligned by hand.
  std::byte* base = static_cast<std::byte*>(zero ? std::calloc(size + alignment, 1)
                                                 : std::aligned_alloc(alignment, RoundUp(size, alignment)));
  if (base == nullptr) return nullptr;
  auto* memory = reinterpret_cast<std::byte*>(RoundUp(reinterpret_cast<uintptr_t>(base), alignment));
#ifdef MADV_HUGEPAGE
  // What it can't have, it does without.
  if (alignment == kHugePageBytes) madvise(memory, size, MADV_HUGEPAGE);
#endif
  return {memory, [base](std::byte*) { std::free(base); }};
}

}  // namespace weir
