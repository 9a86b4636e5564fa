// SPDX-License-Identifier: Apache-2.0
// The pool: when arenas are made and given back to the system; guard zones.
#include "base/arena.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <list>
#include <memory>
#include <mutex>
#include <set>
#include <stdexcept>
#include <utility>

#include <pthread.h>

#include "base/checked.h"
#include "base/clock.h"

namespace lamella::base {

SmallArenas small_arenas;

namespace {

// Part of a signalling NaN in every float format, so that reading a zone shows as well.
constexpr int kPattern = 0xFB;

constexpr std::size_t kUndamaged = SIZE_MAX;
std::size_t damaged = kUndamaged;

// A new arena for a burst of calls costs its page faults, 0.1 ms a MB: seldom often enough. A very large
// one is not left lying about: its runs take so long that its faults are a small part of them.
constexpr std::int64_t kIdleNs = 5'000'000'000, kVeryLargeIdleNs = 1'000'000'000;
constexpr std::size_t kVeryLarge = std::size_t{64} << 20;
// Calls between two looks at the clock, which costs 20 ns.
constexpr std::uint32_t kCallsPerLook = 1024;
// An arena many times too large would never become idle.
constexpr std::size_t kMostTimesTooLarge = 8;

struct LargeArena {
  LargeArena(Block memory, std::size_t size) : block(std::move(memory)), bytes(size) {}
  ~LargeArena() { make_usable(block.get(), bytes); }
  LargeArena(const LargeArena&) = delete;
  LargeArena& operator=(const LargeArena&) = delete;

  const Block block;
  const std::size_t bytes;
  std::int64_t last_use = 0;
};
using LargeArenas = std::list<LargeArena>;  // nodes change lists without allocating

// Guarded by the mutex, which nobody holds while he waits for something. Never destroyed: programs may
// outlive the destructors of static objects.
std::mutex mutex;
LargeArenas& idle = *new LargeArenas;
LargeArenas& lent = *new LargeArenas;
std::multiset<std::size_t>& demands = *new std::multiset<std::size_t>;

void lock() { mutex.lock(); }
void unlock() { mutex.unlock(); }
[[maybe_unused]] const int fork_handlers = pthread_atfork(lock, unlock, unlock);

// Some room to grow: lengths that become longer call by call would ask for a new arena each time.
std::size_t size_for(std::size_t bytes) {
  constexpr std::size_t kMostRoom = std::size_t{16} << 20, kPage = 4096;
  return checked_round_up(checked_add(bytes, std::min(bytes / 8, kMostRoom)), kPage);
}

// With the mutex held: takes out what nobody has used for long, or could use.
LargeArenas take_superfluous() {
  LargeArenas found;
  if (idle.empty()) return found;
  const std::int64_t now = now_ns();
  const std::size_t most = demands.empty() ? 0 : size_for(*demands.rbegin());
  for (auto it = idle.begin(); it != idle.end();) {
    const auto arena = it++;
    const std::int64_t limit = arena->bytes < kVeryLarge ? kIdleNs : kVeryLargeIdleNs;
    if (arena->bytes > most || now - arena->last_use > limit) {
      found.splice(found.begin(), idle, arena);
    }
  }
  return found;
}

void give_back_superfluous() {
  LargeArenas old;  // freed when the mutex is given back
  const std::lock_guard guard(mutex);
  old = take_superfluous();
}

// Under the callers' common lock: gives the small ones back that were idle all the time.
void look_through() {
  SmallArenas& small = small_arenas;
  small.until_look = kCallsPerLook;
  static std::int64_t last = now_ns();
  const std::int64_t now = now_ns();
  if (now - last < kVeryLargeIdleNs) return;
  give_back_superfluous();
  if (now - last < kIdleNs) return;
  last = now;
  for (std::size_t i = 0; i < small.least; ++i) {
    make_usable(small.idle[i], kSmallArena);
    FreeBlock{}(small.idle[i]);
  }
  std::copy(small.idle + small.least, small.idle + small.count, small.idle);
  small.count -= small.least;
  small.made -= small.least;
  small.least = small.count;
}

}  // namespace

std::byte* find_small_arena() {
  SmallArenas& small = small_arenas;
  if (--small.until_look == 0) look_through();
  if (small.count == 0) {
    if (small.made == small.room) {
      const std::size_t room = 2 * small.room + 4;
      count_allocation();
      auto longer = std::make_unique<std::byte*[]>(room);
      delete[] std::exchange(small.idle, longer.release());
      small.room = room;
    }
    std::byte* arena = allocate(kSmallArena).release();
    make_unusable(arena, kSmallArena);
    ++small.made;
    small.idle[small.count++] = arena;
  }
  small.least = std::min(small.least, small.count - 1);
  return small.idle[--small.count];
}

std::byte* lend_large_arena(std::size_t bytes) {
  LargeArenas made, outgrown, old;
  {
    const std::lock_guard guard(mutex);
    auto best = idle.end(), smaller = idle.end();
    for (auto it = idle.begin(); it != idle.end(); ++it) {
      if (it->bytes >= bytes) {
        const bool near = it->bytes / kMostTimesTooLarge <= bytes;
        if (near && (best == idle.end() || it->bytes < best->bytes)) best = it;
      } else if (bytes / kMostTimesTooLarge <= it->bytes) {
        if (smaller == idle.end() || it->bytes > smaller->bytes) smaller = it;
      }
    }
    if (best != idle.end()) {
      std::byte* arena = best->block.get();
      lent.splice(lent.begin(), idle, best);
      make_usable(arena, bytes);
      old = take_superfluous();
      return arena;
    }
    if (smaller != idle.end()) outgrown.splice(outgrown.begin(), idle, smaller);
    old = take_superfluous();
  }
  // Before the larger one is made, so that the two need no memory together.
  outgrown.clear();
  old.clear();
  const std::size_t size = size_for(bytes);
  std::byte* arena = made.emplace_back(allocate(size), size).block.get();
  make_unusable(arena + bytes, size - bytes);
  const std::lock_guard guard(mutex);
  lent.splice(lent.begin(), made);
  return arena;
}

void take_back_large_arena(std::byte* arena) noexcept {
  LargeArenas old;  // freed when the mutex is given back
  const std::int64_t now = now_ns();
  const std::lock_guard guard(mutex);
  const auto found = std::find_if(lent.begin(), lent.end(), [arena](const LargeArena& one) {
    return one.block.get() == arena;
  });
  make_unusable(arena, found->bytes);
  found->last_use = now;
  idle.splice(idle.begin(), lent, found);
  old = take_superfluous();
}

ArenaDemand::ArenaDemand(std::size_t bytes) : bytes_(bytes) {
  LargeArenas old;
  const std::lock_guard guard(mutex);
  if (bytes_ > kSmallArena) demands.insert(bytes_);
  old = take_superfluous();
}

ArenaDemand::~ArenaDemand() {
  if (bytes_ <= kSmallArena) return;
  LargeArenas old;
  const std::lock_guard guard(mutex);
  demands.erase(demands.find(bytes_));
  old = take_superfluous();
}

std::size_t guard_bytes() {
  static const std::size_t bytes = [] {
    const char* text = std::getenv("LAMELLA_GUARD_BYTES");
    const bool on = text != nullptr && *text != '\0' && std::strcmp(text, "0") != 0;
    return on ? kAlignment : std::size_t{0};
  }();
  return bytes;
}

std::vector<ArenaRange> guard_zones(std::span<const ArenaRange> ranges, std::size_t arena_bytes) {
  const std::size_t width = guard_bytes();
  std::vector<ArenaRange> zones;
  if (width == 0) return zones;
  const auto covered = [&](std::size_t begin, std::size_t end) {
    return std::any_of(ranges.begin(), ranges.end(), [&](const ArenaRange& range) {
      return range.offset < end && begin < range.offset + range.bytes;
    });
  };
  for (const ArenaRange& range : ranges) {
    const std::size_t end = checked_add(range.offset, range.bytes);
    if (range.offset < width || checked_add(end, width) > arena_bytes) {
      throw std::out_of_range("guard: no room for zones around bytes " +
                              std::to_string(range.offset) + ".." + std::to_string(end) +
                              " of an arena of " + std::to_string(arena_bytes));
    }
    if (!covered(range.offset - width, range.offset))
      zones.push_back({range.offset - width, width});
    if (!covered(end, end + width)) zones.push_back({end, width});
  }
  return zones;
}

void fill_zones(std::byte* arena, std::span<const ArenaRange> zones) {
  for (const ArenaRange& zone : zones) std::memset(arena + zone.offset, kPattern, zone.bytes);
}

void damage_arena(std::size_t offset) { damaged = offset; }

void verify_zones(const std::byte* arena, std::span<const ArenaRange> zones) {
  const std::size_t damage = std::exchange(damaged, kUndamaged);
  if (damage != kUndamaged) const_cast<std::byte*>(arena)[damage] ^= std::byte{1};
  for (const ArenaRange& zone : zones) {
    for (std::size_t i = zone.offset; i < zone.offset + zone.bytes; ++i) {
      if (arena[i] == static_cast<std::byte>(kPattern)) continue;
      throw std::logic_error("guard: byte " + std::to_string(i) +
                             " of the arena, outside every array, was written");
    }
  }
}

}  // namespace lamella::base
