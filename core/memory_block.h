// Memory for tensors, arenas and scratch.
#ifndef WEIR_CORE_MEMORY_BLOCK_H_
#define WEIR_CORE_MEMORY_BLOCK_H_

#include <cstddef>
#include <memory>

namespace weir {

inline constexpr size_t kHugePageBytes = size_t{2} << 20;

// `bytes` bytes, 64-byte aligned, with room up to the end of the cache line of the last: a kernel may read it. Blocks of
// a huge page and more lie on huge pages where the system has them: walks through weights then miss the address cache
// 512 times less. Zeros if `zero`; pages that are not touched cost nothing. Null if memory is exhausted.
std::shared_ptr<std::byte> AllocateBlock(size_t bytes, bool zero);

}  // namespace weir

#endif  // WEIR_CORE_MEMORY_BLOCK_H_
