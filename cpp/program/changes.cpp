// SPDX-License-Identifier: Apache-2.0
// Holding version cells, and keeping everybody from holding any.
#include "program/changes.h"

#include <atomic>
#include <chrono>
#include <limits>
#include <thread>

#include "program/epochs.h"

namespace lamella::program {
namespace {

constexpr std::int64_t kHeld = std::numeric_limits<std::int64_t>::min();

// Who holds cells, and who wants that nobody does. Each adds to his own counter before he looks at
// the other's (sequentially consistent), so that of two who come at once at least one gives way.
std::atomic<int> holders{0};
std::atomic<int> suspensions{0};

}  // namespace

void suspend_changes() noexcept {
  suspensions.fetch_add(1);
  for (int round = 0; holders.load() != 0; ++round) wait_a_little(round);
}

void resume_changes() noexcept { suspensions.fetch_sub(1); }

void forget_changes() noexcept {
  holders.store(0);
  suspensions.store(0);
}

void wait_a_little(int round) noexcept {
  // Most changes take some microseconds; a step of training with its team takes milliseconds.
  constexpr int kYields = 32;
  if (round < kYields) {
    std::this_thread::yield();
  } else {
    std::this_thread::sleep_for(std::chrono::microseconds(50));
  }
}

bool try_hold(std::span<const Cell> cells) noexcept {
  holders.fetch_add(1);
  std::size_t taken = 0;
  if (suspensions.load() == 0) {
    for (; taken < cells.size(); ++taken) {
      std::int64_t version = read_version(cells[taken].version);
      if (is_held(version) ||
          !__atomic_compare_exchange_n(cells[taken].version, &version, version | kHeld, false,
                                       __ATOMIC_ACQUIRE, __ATOMIC_RELAXED)) {
        break;
      }
    }
    if (taken == cells.size()) {
      // Before the first write: whoever sees what is written sees at his end that the epoch moved.
      parameter_epoch.fetch_add(1);
      std::atomic_thread_fence(std::memory_order_release);
      return true;
    }
  }
  give_back(cells.first(taken), false);
  return false;
}

void give_back(std::span<const Cell> cells, bool done) noexcept {
  for (const Cell& cell : cells) {
    const std::int64_t count = count_of(__atomic_load_n(cell.version, __ATOMIC_RELAXED));
    __atomic_store_n(cell.version, done && cell.changes ? count + 1 : count, __ATOMIC_RELEASE);
  }
  holders.fetch_sub(1);
}

void hold(std::span<const Cell> cells) noexcept {
  for (int round = 0; !try_hold(cells); ++round) wait_a_little(round);
}

ChangesSuspended::ChangesSuspended() noexcept { suspend_changes(); }
ChangesSuspended::~ChangesSuspended() { resume_changes(); }

}  // namespace lamella::program
