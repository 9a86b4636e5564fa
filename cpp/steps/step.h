// SPDX-License-Identifier: Apache-2.0
// One step of a program: a kernel family applied to whole arrays.
//
// A step knows sizes, blocking and how its work is shared among a team, not graphs or Python. It
// is built once (all look-ups by name, all size arithmetic, all checks happen in its constructor)
// and then run many times, by every member of a team at once and from several callers at once:
// run() is const, allocates nothing and checks nothing. Work is split by output element only.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "base/parallel.h"

namespace lamella::steps {

// Where an array lives: a buffer of the frame and a byte offset in it.
struct Slot {
  std::uint32_t buffer = 0;
  std::size_t offset = 0;
  bool operator==(const Slot&) const = default;
};

// A data-dependent failure found while running (an index out of range). The first one wins.
struct Failure {
  std::atomic<int> raised{0};
  std::int64_t value = 0;  // the offending index
  std::int64_t first = 0;  // it had to be in [first, limit)
  std::int64_t limit = 0;
  bool raise(std::int64_t bad_value, std::int64_t bad_first, std::int64_t bad_limit) {
    int expected = 0;
    if (!raised.compare_exchange_strong(expected, 1)) return false;
    value = bad_value;
    first = bad_first;
    limit = bad_limit;
    return true;
  }
};

// What one run of a program sees: buffer 0 is the arena; inputs, outputs and constants follow.
struct Frame {
  std::byte* const* buffers;
  Failure* failure;
  std::uint64_t random_key;   // the generator's seed
  std::uint64_t random_call;  // which draw of the generator this run is
  template <class T>
  T* at(Slot slot) const {
    return reinterpret_cast<T*>(buffers[slot.buffer] + slot.offset);
  }
};

class Step {
 public:
  virtual ~Step() = default;
  Step() = default;
  Step(const Step&) = delete;
  Step& operator=(const Step&) = delete;

  // Does this member's share. The program puts a barrier between steps.
  virtual void run(const Frame& frame, const base::Team& team) const = 0;

  // Estimated single-thread time in nanoseconds: decides the team's size and the GIL.
  virtual double cost() const = 0;

  // For listings: the kind of step.
  virtual const char* name() const = 0;

  // For listings: how it computes, where it has a choice; empty elsewhere.
  virtual std::string way() const { return {}; }

  // Its own memory, with what it holds elsewhere.
  virtual std::size_t nbytes() const = 0;

  // Whether it reads frame.random_call: only runs of programs with such a step advance the
  // generator.
  virtual bool draws() const { return false; }
};

// What a vector of plain things holds beside itself.
template <class T>
std::size_t heap_of(const std::vector<T>& items) {
  return items.capacity() * sizeof(T);
}

}  // namespace lamella::steps
