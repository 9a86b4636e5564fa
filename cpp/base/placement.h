// SPDX-License-Identifier: Apache-2.0
// Members of a team on processors of their own.
//
// Linux often queues a thread that is woken on the processor of the one that wakes it, also where
// others are idle: the thread then waits until the caller's share of the work is done, and wakes the
// caller on its own processor in turn, at every call. The caller therefore gives way once to threads
// that it has woken, and each of them leaves a processor that another member has noted before it.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace lamella::base {

// Where the members of one team run, each noted when it begins. Processors beyond the first 1024 are
// not watched.
class Placement {
 public:
  // The leader notes its processor, before it wakes the others.
  Placement();

  // What every member does first, once the others are woken; nothing but a look where they were awake.
  void settle(int index, int team_size, bool members_awake);

 private:
  static constexpr std::size_t kWords = 16;
  std::atomic<std::uint64_t> taken_[kWords];

  bool is_taken(std::size_t processor) const;
  void leave();
};

}  // namespace lamella::base
