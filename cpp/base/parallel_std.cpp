// SPDX-License-Identifier: Apache-2.0
// Teams made by std::thread: one pool for the whole process, its workers asleep between runs.
//
// One team runs at a time: callers that come meanwhile compute alone. Each worker has a mailbox, so
// a small team wakes only the workers it needs. A forked child has none of its parent's threads and
// makes a pool of its own when it needs one. Workers are never joined: at exit they are asleep.
#include <algorithm>
#include <climits>
#include <cstdint>
#include <memory>
#include <thread>
#include <vector>

#include <pthread.h>
#include <system_error>

#include "base/barrier.h"
#include "base/clock.h"
#include "base/fp_environment.h"
#include "base/parallel.h"
#include "base/placement.h"
#include "base/team.h"

namespace lamella::base {
namespace {

struct Job {
  void (*body)(void* context, const Team& team);
  void* context;
  int members;
  Barrier barrier;
  std::atomic<int> running;
  Placement placement;
};

struct Worker {
  std::atomic<std::uint32_t> letters{0};  // how many jobs were posted
  Job* job = nullptr;
  int index = 0;

  void post(Job* next) {
    job = next;
    letters.fetch_add(1, std::memory_order_release);
    letters.notify_one();
  }

  // Spins about 20 us for the next job, then sleeps.
  [[noreturn]] void serve() {
    constexpr int kSpins = 1000;
    for (std::uint32_t seen = 0;; ++seen) {
      for (int spins = 0; spins < kSpins && letters.load(std::memory_order_acquire) == seen;
           ++spins) {
        pause_briefly();
      }
      letters.wait(seen, std::memory_order_acquire);
      job->placement.settle(index, job->members, true);
      const FpEnvironment environment;
      job->body(job->context, Team{index, job->members, &job->barrier});
      job->running.fetch_sub(1, std::memory_order_release);
    }
  }
};

std::atomic<bool> busy{false};
std::vector<Worker*>* workers = nullptr;  // guarded by `busy`; never freed
thread_local bool inside_team = false;

// With `busy` held: makes workers until there are `count`, or fewer when the system has no more.
int ensure_workers(int count) {
  if (workers == nullptr) workers = new std::vector<Worker*>;
  while (static_cast<int>(workers->size()) < count) {
    auto worker = std::make_unique<Worker>();
    worker->index = static_cast<int>(workers->size()) + 1;
    try {
      std::thread([self = worker.get()] {
        inside_team = true;
        self->serve();
      }).detach();
    } catch (const std::system_error&) {
      break;
    }
    workers->push_back(worker.release());
  }
  return std::min(count, static_cast<int>(workers->size()));
}

void after_fork_in_child() {
  workers = nullptr;
  busy.store(false, std::memory_order_release);
}

[[maybe_unused]] const int fork_handlers = pthread_atfork(nullptr, nullptr, after_fork_in_child);

}  // namespace

int backend_limit() { return INT_MAX; }

TeamEnd run_team(int wanted, void (*body)(void* context, const Team& team), void* context,
                 bool members_awake) {
  if (wanted > 1) wanted = std::min(wanted, num_threads());
  const FpEnvironment environment;
  if (wanted <= 1 || inside_team || busy.exchange(true, std::memory_order_acquire)) {
    body(context, Team{});
    return {};
  }
  const int helpers = ensure_workers(wanted - 1);
  Job job{body, context, helpers + 1, {}, {helpers}, {}};
  for (int i = 0; i < helpers; ++i) (*workers)[static_cast<std::size_t>(i)]->post(&job);
  job.placement.settle(0, helpers + 1, members_awake);
  inside_team = true;
  body(context, Team{0, helpers + 1, &job.barrier});
  inside_team = false;
  const std::int64_t last =
      spin_until([&] { return job.running.load(std::memory_order_acquire) == 0; });
  busy.store(false, std::memory_order_release);
  return {now_ns(), job.barrier.leader_waited_ns + last};
}

const char* backend_name() { return "std"; }

}  // namespace lamella::base
