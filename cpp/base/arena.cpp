// SPDX-License-Identifier: Apache-2.0
// Guard zones: where they lie, their pattern, and the check.
#include "base/arena.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <stdexcept>

#include "base/checked.h"

namespace lamella::base {
namespace {

// Part of a signalling NaN in every float format, so that reading a zone shows as well.
constexpr int kPattern = 0xFB;

}  // namespace

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

Arena::Arena(std::size_t bytes, std::span<const ArenaRange> zones)
    : block_(allocate(bytes)), zones_(zones) {
  fill_zones();
}

void Arena::fill_zones() const {
  for (const ArenaRange& zone : zones_) std::memset(data() + zone.offset, kPattern, zone.bytes);
}

void Arena::verify_zones() const {
  for (const ArenaRange& zone : zones_) {
    for (std::size_t i = zone.offset; i < zone.offset + zone.bytes; ++i) {
      if (data()[i] != static_cast<std::byte>(kPattern)) {
        fill_zones();
        throw std::logic_error("guard: byte " + std::to_string(i) +
                               " of the arena, outside every array, was written");
      }
    }
  }
}

}  // namespace lamella::base
