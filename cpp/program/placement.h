// SPDX-License-Identifier: Apache-2.0
// Where in the arena each range of a program lies.
//
// A range is in use from the first step that touches it to the last; a step's scratch while it runs.
// First fit, at multiples of 64 bytes, in the order of the steps. With guard bytes nothing shares
// memory, and a zone lies on either side of everything.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/arena.h"

namespace lamella::program {

// first > last: no step touches it.
struct Lifetime {
  std::size_t bytes = 0;
  std::uint32_t first = 1, last = 0;
};

struct Placement {
  std::vector<std::size_t> ranges, scratch;  // offsets; of scratch, by step
  std::vector<base::ArenaRange> guarded;     // all of them, when zones surround them
  std::size_t bytes = 0;
};

// scratch: bytes of each step. Throws std::bad_alloc when no memory is so large.
Placement place(std::span<const Lifetime> ranges, std::span<const std::size_t> scratch);

}  // namespace lamella::program
