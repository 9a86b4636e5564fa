// SPDX-License-Identifier: Apache-2.0
// Teams apart from how their threads are made: barrier and size.
#include "base/team.h"

#include <algorithm>
#include <cstdint>
#include <stdexcept>
#include <string>

#include "base/barrier.h"
#include "base/clock.h"
#include "base/parallel.h"
#include "base/thread_count.h"

namespace lamella::base {
namespace {

// 0 until somebody asks: looking at the control group reads files.
std::atomic<int> requested{0};

// Members stay awake for about 0.1 ms after their team's end (python/lamella/loading.py).
constexpr std::int64_t kAwakeNs = 60'000;
// A member whose processor somebody else uses is waited for until it gets a turn, some 4 ms: work is
// not shared for a while then, longer every time that it happens again at once, so that a single
// hiccup costs little and a processor in use not a tenth of the time.
constexpr std::int64_t kLateNs = 1'000'000, kAgainNs = 20'000'000;
constexpr std::int64_t kLeastPauseNs = 10'000'000, kMostPauseNs = 160'000'000;
std::atomic<std::int64_t> last_call{0}, last_team{0}, crowded_until{0}, pause_ns{0};

}  // namespace

void Team::barrier() const {
  if (size <= 1) return;
  const std::int64_t waited = barrier_state->arrive_and_wait(size);
  if (index == 0) barrier_state->leader_waited_ns += waited;
}

TeamCall note_call() {
  const std::int64_t now = now_ns();
  const bool close = now - last_call.exchange(now, std::memory_order_relaxed) < kAwakeNs;
  const bool awake = now - last_team.load(std::memory_order_relaxed) < kAwakeNs;
  return {now, close, awake, now < crowded_until.load(std::memory_order_relaxed)};
}

// A leader that waited longer than members stay awake has slept itself: whoever woke it may be asleep.
// A member that has half a processor lets its leader wait for half of the time.
void note_team(const TeamCall& call, const TeamEnd& end) {
  last_team.store(end.waited_ns < kAwakeNs ? end.time : 0, std::memory_order_relaxed);
  if (end.waited_ns < kLateNs || 3 * end.waited_ns < end.time - call.start) return;
  const bool again = end.time - crowded_until.load(std::memory_order_relaxed) < kAgainNs;
  const std::int64_t longer = 2 * pause_ns.load(std::memory_order_relaxed);
  const std::int64_t pause = again ? std::min(longer, kMostPauseNs) : kLeastPauseNs;
  pause_ns.store(pause, std::memory_order_relaxed);
  crowded_until.store(end.time + pause, std::memory_order_relaxed);
}

int num_threads() {
  int count = requested.load(std::memory_order_relaxed);
  if (count == 0) {
    int expected = 0;
    const int chosen = thread_limits().chosen;
    count = requested.compare_exchange_strong(expected, chosen) ? chosen : expected;
  }
  return std::max(1, std::min(count, backend_limit()));
}

void set_num_threads(int count) {
  constexpr int kMost = 1024;
  if (count < 1 || count > kMost) {
    throw std::invalid_argument("set_num_threads: got " + std::to_string(count) +
                                "; expected a number from 1 to " + std::to_string(kMost));
  }
  requested.store(count, std::memory_order_relaxed);
}

}  // namespace lamella::base
