// SPDX-License-Identifier: Apache-2.0
// Structures and those that follow them: what makes staleness one comparison per call.
//
// A structure is what programs are made for and what may change between calls: the attributes of one
// module, the storage of one parameter, the selected instruction set. Its state is a number; equal
// numbers of one structure mean that it is the same as it was. A follower, a thing to call, has noted the
// states its programs were made for. A change tells those that follow, and nobody else; a change
// back puts them where they were. Everything here but tracing() happens under the callers' common
// lock (the GIL).
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace lamella::program {

class Structure;
class Follower;

// That one follows the other. `at`: its place among the structure's links.
struct Link {
  Structure* structure = nullptr;  // null once the structure is gone
  Follower* follower = nullptr;
  std::uint64_t expected = 0;
  std::size_t at = 0;
};

class Structure {
 public:
  Structure() : state_(fresh_state()) {}
  ~Structure();
  Structure(const Structure&) = delete;
  Structure& operator=(const Structure&) = delete;

  // A number that no structure has had.
  static std::uint64_t fresh_state() noexcept;

  std::uint64_t state() const { return state_; }
  bool is_followed() const { return !links_.empty(); }
  void move_to(std::uint64_t state) noexcept;
  void touch() noexcept { move_to(fresh_state()); }

 private:
  friend class Follower;

  std::uint64_t state_;
  std::vector<Link*> links_;
};

class Follower {
 public:
  Follower() = default;
  ~Follower() { unlink(); }
  Follower(const Follower&) = delete;
  Follower& operator=(const Follower&) = delete;

  // Whether everything that it follows is in the state that it has noted.
  bool is_settled() const { return astray_ == 0; }
  bool follows_nothing() const { return links_.empty(); }

  // Follows these from now on, in these states, and nothing else. False where one of them is in another
  // state: then it follows nothing and is not settled. Throws std::bad_alloc, with the same effect.
  bool follow(std::span<Structure* const> structures, std::span<const std::uint64_t> states);

  // From here on, until it is asked: whether another thread than this one has moved what it follows.
  void watch_others() noexcept;
  bool was_disturbed() const { return disturbed_; }

 private:
  friend class Structure;

  void unlink() noexcept;

  std::size_t astray_ = 0;  // how many are in other states
  std::vector<Link> links_;
  const void* watcher_ = nullptr;  // the thread whose own changes do not disturb
  bool disturbed_ = false;
};

// Traces under way. While a thread traces, its calls run in the trace, and no program answers them.
inline std::atomic<int> tracing_threads{0};
// Of the calling thread, now `depth`.
void note_traces(int depth) noexcept;
int traces_of_thread() noexcept;
inline bool is_tracing() {
  return tracing_threads.load(std::memory_order_relaxed) != 0 && traces_of_thread() != 0;
}

}  // namespace lamella::program
