// SPDX-License-Identifier: Apache-2.0
// Teams apart from how their threads are made: barrier and size.
#include "base/team.h"

#include <algorithm>
#include <stdexcept>
#include <string>

#include "base/barrier.h"
#include "base/parallel.h"
#include "base/thread_count.h"

namespace lamella::base {
namespace {

// 0 until somebody asks: looking at the control group reads files.
std::atomic<int> requested{0};

}  // namespace

void Team::barrier() const {
  if (size > 1) barrier_state->arrive_and_wait(size);
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
