// SPDX-License-Identifier: Apache-2.0
// The scratch memory of one run, and guard zones that tell when a kernel wrote beside its array.
//
// With LAMELLA_GUARD_BYTES=1 in the environment, programs leave guard_bytes() free bytes before and
// behind every planned range; the arena fills them with a pattern and checks it after each run.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "base/allocation.h"

namespace lamella::base {

// A range of the arena that one array occupies.
struct ArenaRange {
  std::size_t offset = 0;
  std::size_t bytes = 0;
};

// Width of a guard zone: 64 when LAMELLA_GUARD_BYTES is set and not 0, else 0. Read once.
std::size_t guard_bytes();

// The zones around the given ranges that no range covers: memory is reused in the course of a run,
// so a zone of one array may be the inside of a later one. Throws std::out_of_range when a zone
// does not fit into the arena.
std::vector<ArenaRange> guard_zones(std::span<const ArenaRange> ranges, std::size_t arena_bytes);

class Arena {
 public:
  // The zones must outlive the arena.
  Arena(std::size_t bytes, std::span<const ArenaRange> zones);

  std::byte* data() const { return block_.get(); }

  // Throws std::logic_error naming the first damaged byte, and repairs the pattern.
  void verify() const {
    if (!zones_.empty()) verify_zones();
  }

 private:
  void fill_zones() const;
  void verify_zones() const;

  Block block_;
  std::span<const ArenaRange> zones_;
};

}  // namespace lamella::base
