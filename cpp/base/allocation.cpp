// SPDX-License-Identifier: Apache-2.0
// Aligned memory from the C library, huge pages from the kernel.
#include "base/allocation.h"

#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <new>

#include <sys/mman.h>

#include "base/checked.h"

namespace lamella::base {
namespace {

// Transparent huge pages have this size on x86-64 and on arm64 with 4 KB pages.
constexpr std::size_t kHugePage = std::size_t{2} << 20;

std::atomic<long> allocations_until_failure{0};

// Begins at a huge page and ends at a page: the kernel fills a huge page as a whole, and half an empty
// one behind each array would be much. Asking for them is only advice.
Block map_pages(std::size_t bytes) {
  constexpr std::size_t kPage = 4096;
  const std::size_t size = checked_round_up(bytes, kPage);
  const std::size_t whole = checked_add(size, kHugePage - kPage);
  void* found = mmap(nullptr, whole, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (found == MAP_FAILED) throw std::bad_alloc();
  auto* const begin = static_cast<std::byte*>(found);
  const std::size_t before = -reinterpret_cast<std::uintptr_t>(begin) % kHugePage;
  if (before > 0) munmap(begin, before);
  if (before + size < whole) munmap(begin + before + size, whole - before - size);
  madvise(begin + before, size, MADV_HUGEPAGE);
  return Block(begin + before, FreeBlock{size});
}

}  // namespace

void fail_allocation(long n) { allocations_until_failure.store(n, std::memory_order_relaxed); }

void count_allocation() {
  if (allocations_until_failure.load(std::memory_order_relaxed) == 0) return;
  if (allocations_until_failure.fetch_sub(1, std::memory_order_relaxed) == 1)
    throw std::bad_alloc();
}

void FreeBlock::operator()(std::byte* block) const {
  if (mapped > 0) {
    munmap(block, mapped);
  } else {
    std::free(block);
  }
}

Block allocate(std::size_t bytes) {
  if (bytes == 0) return nullptr;
  count_allocation();
  if (bytes >= kHugePage) return map_pages(bytes);
  void* block = std::aligned_alloc(kAlignment, checked_round_up(bytes, kAlignment));
  if (block == nullptr) throw std::bad_alloc();
  return Block(static_cast<std::byte*>(block));
}

}  // namespace lamella::base
