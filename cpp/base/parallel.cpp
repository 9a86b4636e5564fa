// SPDX-License-Identifier: Apache-2.0
// Teams made by OpenMP; the only file that includes omp.h.
//
// One team runs at a time: callers that come meanwhile compute alone, which is the faster way on a
// machine with no more cores than threads. libgomp keeps a pool of sleeping workers for every thread
// that ever opened a region, so only kSeats threads at once may own one; a seat is handed on when
// its owner has not used it for a while.
// A forked child cannot use a pool of its parent (libgomp would wait for threads that no longer
// exist), so the pool is dissolved before a fork and made anew by whoever needs it.
#include "base/parallel.h"

#include <algorithm>
#include <chrono>
#include <climits>
#include <cstdint>
#include <thread>

#include <omp.h>
#include <pthread.h>
#include <system_error>

#include "base/barrier.h"
#include "base/clock.h"
#include "base/fp_environment.h"
#include "base/placement.h"
#include "base/team.h"

namespace lamella::base {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int kSeats = 2;
constexpr auto kIdle = std::chrono::seconds(1);

struct Seat {
  std::atomic<const void*> owner{nullptr};
  Clock::time_point last_use;  // guarded by `busy`
};

std::atomic<bool> busy{false};
Seat seats[kSeats];
std::atomic<bool> forked_while_busy{false};
bool fork_holds_pool = false;  // between the fork handlers, in the forking thread only

// What omp_set_num_threads() lowers; set_num_threads() may exceed it. It lowers the number of the
// thread that calls it alone, perhaps before this library was loaded, so a thread of its own is
// asked. Not while the library is loaded, when the loader's lock is held, and without a guard that
// a child forked meanwhile would wait for.
int initial_max_threads() {
  static std::atomic<int> known{0};
  int count = known.load(std::memory_order_relaxed);
  if (count == 0) {
    try {
      std::thread([&count] { count = omp_get_max_threads(); }).join();
    } catch (const std::system_error&) {  // no thread to be had
      count = omp_get_max_threads();
    }
    known.store(count, std::memory_order_relaxed);
  }
  return count;
}

// This thread's relation to libgomp; its address names the thread in a seat.
struct Membership {
  bool has_workers = false;
  ~Membership() {
    for (Seat& seat : seats) {
      const void* self = this;
      seat.owner.compare_exchange_strong(self, nullptr);
    }
  }
};
thread_local Membership membership;

// With `busy` held: whether this thread owns a seat, taking a free or abandoned one if need be.
bool take_seat() {
  const auto now = Clock::now();
  const auto take_if = [&](auto condition) {
    for (Seat& seat : seats) {
      if (!condition(seat, seat.owner.load())) continue;
      seat.owner.store(&membership);
      seat.last_use = now;
      return true;
    }
    return false;
  };
  return take_if([](const Seat&, const void* owner) { return owner == &membership; }) ||
         take_if([&](const Seat& seat, const void* owner) {
           return owner == nullptr || now - seat.last_use > kIdle;
         });
}

bool claim_pool() {
  if (busy.exchange(true, std::memory_order_acquire)) return false;
  if (take_seat()) return true;
  busy.store(false, std::memory_order_release);
  if (membership.has_workers) {
    omp_pause_resource_all(omp_pause_soft);
    membership.has_workers = false;
  }
  return false;
}

void before_fork() {
  fork_holds_pool = !busy.exchange(true, std::memory_order_acquire);
  if (!fork_holds_pool) return;
  if (omp_pause_resource_all(omp_pause_hard) == 0) {
    membership.has_workers = false;
  } else {
    fork_holds_pool = false;  // forked from inside somebody's parallel region
    busy.store(false, std::memory_order_release);
  }
}

void after_fork_in_parent() {
  if (fork_holds_pool) busy.store(false, std::memory_order_release);
}

void after_fork_in_child() {
  if (!fork_holds_pool) forked_while_busy.store(true, std::memory_order_relaxed);
  for (Seat& seat : seats) seat.owner.store(nullptr);
  busy.store(false, std::memory_order_release);
}

[[maybe_unused]] const int fork_handlers =
    pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child);

void run_alone(void (*body)(void*, const Team&), void* context) {
  const FpEnvironment environment;
  body(context, Team{});
}

}  // namespace

int backend_limit() {
  if (forked_while_busy.load(std::memory_order_relaxed)) return 1;
  const int allowed = omp_get_max_threads();
  return allowed < initial_max_threads() ? allowed : INT_MAX;
}

TeamEnd run_team(int wanted, void (*body)(void* context, const Team& team), void* context,
                 bool members_awake) {
  if (wanted > 1) wanted = std::min(wanted, num_threads());
  if (wanted <= 1 || omp_in_parallel() || !claim_pool()) {
    run_alone(body, context);
    return {};
  }
  Barrier barrier;
  Placement placement;
  std::int64_t leader_done = 0;
#pragma omp parallel num_threads(wanted)
  {
    const int index = omp_get_thread_num(), size = omp_get_num_threads();
    placement.settle(index, size, members_awake);
    const FpEnvironment environment;
    body(context, Team{index, size, &barrier});
    if (index == 0) leader_done = now_ns();
  }
  const std::int64_t end = now_ns();
  membership.has_workers = true;
  busy.store(false, std::memory_order_release);
  return {end, barrier.leader_waited_ns + (end - leader_done)};
}

const char* backend_name() { return "openmp"; }

}  // namespace lamella::base
