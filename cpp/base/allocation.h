// SPDX-License-Identifier: Apache-2.0
// Aligned memory, and the hook that makes the n-th allocation fail.
//
// Everything the library allocates for arrays comes from here, so that tests can walk a failure
// through every one of them. Blocks of huge-page size and more come from the kernel, which is asked for
// huge pages, and go back to it at once.
#pragma once

#include <cstddef>
#include <memory>

namespace lamella::base {

// One cache line, and the alignment of every array the library lays out itself.
inline constexpr std::size_t kAlignment = 64;

// Counts one allocation and throws std::bad_alloc when it is the one that has to fail. For
// allocations made by others on our behalf (NumPy arrays, containers).
void count_allocation();

// The n-th counted allocation from now fails, 1 being the next; 0 switches the hook off.
void fail_allocation(long n);

struct FreeBlock {
  std::size_t mapped = 0;  // bytes, for a block that came from the kernel
  void operator()(std::byte* block) const;
};
using Block = std::unique_ptr<std::byte[], FreeBlock>;

// `bytes` bytes at a multiple of kAlignment, uninitialised; null for 0 bytes. Throws std::bad_alloc.
Block allocate(std::size_t bytes);

}  // namespace lamella::base
