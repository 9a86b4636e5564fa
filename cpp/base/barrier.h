// SPDX-License-Identifier: Apache-2.0
// A barrier for teams that meet many times within microseconds.
//
// Central counter and phase (Mellor-Crummey and Scott 1991, "sense-reversing"). Waiting members
// spin briefly, then give their processor away at each look: with more threads than processors the
// one everybody waits for has to get on.
#pragma once

#include <atomic>
#include <cstdint>

#include <sched.h>

#include "base/clock.h"

namespace lamella::base {

inline void pause_briefly() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ volatile("yield");
#endif
}

// Spins some microseconds, then yields, until done() is true. Returns the nanoseconds that it yielded.
template <class Done>
std::int64_t spin_until(Done done) {
  constexpr int kSpins = 200;  // about 4 us on Zen 3: ten times what an undisturbed barrier takes
  for (int spins = 0; spins < kSpins; ++spins) {
    if (done()) return 0;
    pause_briefly();
  }
  const std::int64_t start = now_ns();
  while (!done()) sched_yield();
  return now_ns() - start;
}

class Barrier {
 public:
  // Returns how long it had to wait, in nanoseconds beyond the first few microseconds.
  std::int64_t arrive_and_wait(int members) {
    const std::uint32_t phase = phase_.load(std::memory_order_relaxed);
    if (arrived_.fetch_add(1, std::memory_order_acq_rel) + 1 == members) {
      arrived_.store(0, std::memory_order_relaxed);
      phase_.store(phase + 1, std::memory_order_release);
      return 0;
    }
    return spin_until([&] { return phase_.load(std::memory_order_acquire) != phase; });
  }

  // The sum of the leader's waits.
  std::int64_t leader_waited_ns = 0;

 private:
  alignas(64) std::atomic<int> arrived_{0};
  alignas(64) std::atomic<std::uint32_t> phase_{0};
};

}  // namespace lamella::base
