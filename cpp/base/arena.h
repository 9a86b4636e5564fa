// SPDX-License-Identifier: Apache-2.0
// The scratch memory of runs: one pool of arenas a process, which lends one to each run.
//
// Programs of many sizes cost as much as the runs under way at once want. Small arenas have one size, of
// which runs touch what they use; they are lent and taken back under the callers' common lock. Large
// ones are counted under a mutex. What has been idle for long, or is larger than any program wants, goes
// back to the system. With LAMELLA_GUARD_BYTES=1 in the environment, programs leave guard_bytes() free
// bytes before and behind every planned range: filled with a pattern, and checked after each run.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#endif

#include "base/allocation.h"

namespace lamella::base {

// A range of an arena that one array occupies.
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

// Writes the pattern into the zones of an arena.
void fill_zones(std::byte* arena, std::span<const ArenaRange> zones);
// Throws std::logic_error naming the first damaged byte.
void verify_zones(const std::byte* arena, std::span<const ArenaRange> zones);
// Test hook: this byte of the arena is changed before zones are verified the next time.
void damage_arena(std::size_t offset);

// Larger arenas are made to measure; it stays below the size of a huge page, which would be touched
// as a whole.
inline constexpr std::size_t kSmallArena = std::size_t{1} << 20;

// Small arenas that are lent to nobody.
struct SmallArenas {
  std::byte** idle = nullptr;        // a stack with room for all that were made
  std::size_t count = 0, least = 0;  // of idle ones, now and since they were last looked through
  std::uint32_t until_look = 1;
  std::size_t made = 0, room = 0;
};
extern SmallArenas small_arenas;

std::byte* find_small_arena();
std::byte* lend_large_arena(std::size_t bytes);
void take_back_large_arena(std::byte* arena) noexcept;

// For AddressSanitizer: what of an arena its run may touch.
inline void make_usable([[maybe_unused]] std::byte* at, [[maybe_unused]] std::size_t bytes) {
#if defined(__SANITIZE_ADDRESS__)
  __asan_unpoison_memory_region(at, bytes);
#endif
}
inline void make_unusable([[maybe_unused]] std::byte* at, [[maybe_unused]] std::size_t bytes) {
#if defined(__SANITIZE_ADDRESS__)
  __asan_poison_memory_region(at, bytes);
#endif
}

// At least so many bytes, 64-byte aligned and uninitialised, that nobody else uses until they are given
// back; null for 0. Under the callers' common lock. Throws std::bad_alloc.
inline std::byte* lend_arena(std::size_t bytes) {
  if (bytes == 0) return nullptr;
  if (bytes > kSmallArena) return lend_large_arena(bytes);
  SmallArenas& small = small_arenas;
  std::byte* arena = nullptr;
  if (small.count > 0 && small.until_look > 1) {
    --small.until_look;
    arena = small.idle[--small.count];
    if (small.count < small.least) small.least = small.count;
  } else {
    arena = find_small_arena();
  }
  make_usable(arena, bytes);
  return arena;
}

// bytes: as they were lent.
inline void take_back_arena(std::byte* arena, std::size_t bytes) noexcept {
  if (bytes == 0) return;
  if (bytes > kSmallArena) return take_back_large_arena(arena);
  make_unusable(arena, bytes);
  small_arenas.idle[small_arenas.count++] = arena;
}

// Tells that runs may want an arena of so many bytes, as long as this lives.
class ArenaDemand {
 public:
  // Throws std::bad_alloc.
  explicit ArenaDemand(std::size_t bytes);
  ~ArenaDemand();
  ArenaDemand(const ArenaDemand&) = delete;
  ArenaDemand& operator=(const ArenaDemand&) = delete;

 private:
  const std::size_t bytes_;
};

}  // namespace lamella::base
