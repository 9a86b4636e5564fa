// SPDX-License-Identifier: Apache-2.0
// Aligned memory from the C library, huge pages from the kernel.
#include "base/allocation.h"

#include <atomic>
#include <cstdlib>
#include <new>

#include <sys/mman.h>

#include "base/checked.h"

namespace lamella::base {
namespace {

// Transparent huge pages have this size on x86-64 and on arm64 with 4 KB pages.
constexpr std::size_t kHugePage = std::size_t{2} << 20;

std::atomic<long> allocations_until_failure{0};

}  // namespace

void fail_allocation(long n) { allocations_until_failure.store(n, std::memory_order_relaxed); }

void count_allocation() {
  if (allocations_until_failure.load(std::memory_order_relaxed) == 0) return;
  if (allocations_until_failure.fetch_sub(1, std::memory_order_relaxed) == 1)
    throw std::bad_alloc();
}

void FreeBlock::operator()(std::byte* block) const { std::free(block); }

Block allocate(std::size_t bytes) {
  if (bytes == 0) return nullptr;
  count_allocation();
  const std::size_t alignment = bytes >= kHugePage ? kHugePage : kAlignment;
  const std::size_t rounded = checked_round_up(bytes, alignment);
  void* block = std::aligned_alloc(alignment, rounded);
  if (block == nullptr) throw std::bad_alloc();
  // Only advice: without huge pages the block is as good, with more TLB misses.
  if (alignment == kHugePage) madvise(block, rounded, MADV_HUGEPAGE);
  return Block(static_cast<std::byte*>(block));
}

}  // namespace lamella::base
