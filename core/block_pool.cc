#include "weir/core/block_pool.h"

#include <algorithm>

#include "weir/core/error.h"
#include "weir/core/memory_block.h"

namespace weir {
namespace {

// From here on worth a huge page: kernels jump about in it.
constexpr int64_t kJumpy = int64_t{256} << 10;

}  // namespace

BlockPool::Block BlockPool::Acquire(int64_t bytes) {
  const int64_t room = std::max(bytes >= kJumpy ? std::max(bytes, int64_t{kHugePageBytes}) : bytes, int64_t{64});
  Block replaced;  // freed outside of the lock, and before more is asked for
  {
    const std::lock_guard lock(mutex_);
    const auto found = std::find_if(idle_.begin(), idle_.end(), [&](const Block& b) { return b.bytes >= room; });
    if (found != idle_.end()) {
      Block block = std::move(*found);
      idle_.erase(found);
      return block;
    }
    if (!idle_.empty()) {
      replaced = std::move(idle_.back());
      idle_.pop_back();
    }
  }
  replaced = {};
  std::shared_ptr<std::byte> memory = AllocateBlock(static_cast<size_t>(room), /*zero=*/true);
  if (memory == nullptr) {
    throw Error(absl::StatusCode::kResourceExhausted, StrCat("no memory for an arena of ", bytes, " bytes"));
  }
  // Counted for as long as anybody holds it.
  account_->fetch_add(room, std::memory_order_relaxed);
  std::byte* const begin = memory.get();
  return {{begin, [memory = std::move(memory), account = account_, room](std::byte*) {
             account->fetch_sub(room, std::memory_order_relaxed);
           }},
          room};
}

void BlockPool::Release(Block block) {
  const std::lock_guard lock(mutex_);
  const auto place =
      std::find_if(idle_.begin(), idle_.end(), [&](const Block& b) { return b.bytes >= block.bytes; });
  idle_.insert(place, std::move(block));
}

bool BlockPool::Trim(size_t keep) {
  std::vector<Block> freed;
  {
    const std::lock_guard lock(mutex_);
    if (idle_.size() <= keep) return false;
    const auto end = idle_.end() - static_cast<ptrdiff_t>(keep);
    freed.assign(std::make_move_iterator(idle_.begin()), std::make_move_iterator(end));
    idle_.erase(idle_.begin(), end);
  }
  return true;
}

}  // namespace weir
