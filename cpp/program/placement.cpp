// SPDX-License-Identifier: Apache-2.0
#include "program/placement.h"

#include <algorithm>
#include <new>
#include <numeric>

namespace lamella::program {
namespace {

constexpr std::size_t kAlignment = 64, kLimit = PTRDIFF_MAX;

class TooLarge : public std::bad_alloc {
 public:
  const char* what() const noexcept override { return "plan: the arena is larger than any memory"; }
};

std::size_t aligned(std::size_t bytes) {
  if (bytes > kLimit - kAlignment) throw TooLarge();
  return std::max<std::size_t>((bytes + kAlignment - 1) / kAlignment, 1) * kAlignment;
}

class Arena {
 public:
  explicit Arena(Placement& result) : result_(result) {}

  std::size_t take(std::size_t bytes) {
    const std::size_t size = aligned(bytes);
    if (guard_ > 0) {
      const std::size_t offset = aligned(result_.bytes + guard_);
      grow(offset, bytes + guard_);
      result_.guarded.push_back({offset, bytes});
      return offset;
    }
    std::size_t offset = 0;
    auto at = live_.begin();
    for (; at != live_.end() && offset + size > at->offset; ++at) {
      offset = std::max(offset, at->end);
    }
    live_.insert(at, {offset, offset + size});
    grow(offset, size);
    return offset;
  }

  void give_back(std::size_t offset) {
    if (guard_ > 0) return;
    live_.erase(std::find_if(live_.begin(), live_.end(),
                             [offset](const Piece& piece) { return piece.offset == offset; }));
  }

 private:
  struct Piece {
    std::size_t offset, end;
  };

  void grow(std::size_t offset, std::size_t bytes) {
    if (bytes > kLimit - offset) throw TooLarge();
    result_.bytes = std::max(result_.bytes, offset + bytes);
  }

  const std::size_t guard_ = base::guard_bytes();
  Placement& result_;
  std::vector<Piece> live_;  // ascending
};

}  // namespace

Placement place(std::span<const Lifetime> ranges, std::span<const std::size_t> scratch) {
  Placement result;
  result.ranges.resize(ranges.size());
  result.scratch.resize(scratch.size());
  std::vector<std::uint32_t> beginning(ranges.size());
  std::iota(beginning.begin(), beginning.end(), 0U);
  std::vector<std::uint32_t> ending = beginning;
  std::stable_sort(beginning.begin(), beginning.end(), [&](std::uint32_t a, std::uint32_t b) {
    return ranges[a].first < ranges[b].first;
  });
  std::stable_sort(ending.begin(), ending.end(), [&](std::uint32_t a, std::uint32_t b) {
    return ranges[a].last < ranges[b].last;
  });
  Arena arena(result);
  std::size_t begun = 0, ended = 0;
  const auto used = [&](std::uint32_t range) { return ranges[range].first <= ranges[range].last; };
  for (std::size_t step = 0; step < scratch.size(); ++step) {
    for (; begun < beginning.size() && ranges[beginning[begun]].first <= step; ++begun) {
      const std::uint32_t range = beginning[begun];
      if (used(range)) result.ranges[range] = arena.take(ranges[range].bytes);
    }
    if (scratch[step] > 0) {
      result.scratch[step] = arena.take(scratch[step]);
      arena.give_back(result.scratch[step]);
    }
    for (; ended < ending.size() && ranges[ending[ended]].last <= step; ++ended) {
      const std::uint32_t range = ending[ended];
      if (used(range)) arena.give_back(result.ranges[range]);
    }
  }
  return result;
}

}  // namespace lamella::program
