// Memory that runs need while they run: arenas and scratch. A runtime's executables share it, so that it is as large as
// what runs at one time, not as the sum of all that has ever run.
#ifndef WEIR_CORE_BLOCK_POOL_H_
#define WEIR_CORE_BLOCK_POOL_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

namespace weir {

// Bytes held by the caches of one runtime: see Runtime::cached_bytes.
using ByteAccount = std::atomic<int64_t>;

class BlockPool {
 public:
  struct Block {
    std::shared_ptr<std::byte> memory;  // 64-byte aligned
    int64_t bytes = 0;
  };

  explicit BlockPool(std::shared_ptr<ByteAccount> account) : account_(std::move(account)) {}
  BlockPool(const BlockPool&) = delete;
  BlockPool& operator=(const BlockPool&) = delete;

  // The smallest idle block of at least `bytes` bytes; if all are smaller, a new one in the place of the largest.
  // Contents are whatever was there. Throws Error(kResourceExhausted) if there is no memory.
  Block Acquire(int64_t bytes);
  void Release(Block block);
  // Frees idle blocks, the smallest first, until `keep` are left. False if there was nothing to free.
  bool Trim(size_t keep);

 private:
  const std::shared_ptr<ByteAccount> account_;
  std::mutex mutex_;
  std::vector<Block> idle_;  // by size
};

}  // namespace weir

#endif  // WEIR_CORE_BLOCK_POOL_H_
