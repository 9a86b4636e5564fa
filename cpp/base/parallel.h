// SPDX-License-Identifier: Apache-2.0
// The one seam to threads: a team of members runs one function, each with its index.
//
// parallel.cpp is the only file that includes omp.h; building with LAMELLA_THREADS=std replaces it
// by parallel_std.cpp behind the same functions (ThreadSanitizer understands that one).
// Every member runs with the default floating-point environment (fp_environment.h).
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace lamella::base {

class Barrier;

struct Team {
  int index = 0;
  int size = 1;
  Barrier* barrier_state = nullptr;

  // Waits until every member of the team has arrived. Free for a team of one.
  void barrier() const;

  // This member's contiguous part of [0, total), split evenly at multiples of `grain`.
  struct Range {
    std::size_t begin, end;
  };
  Range share(std::size_t total, std::size_t grain = 1) const {
    const std::size_t units = (total + grain - 1) / grain;
    const std::size_t n = static_cast<std::size_t>(size), i = static_cast<std::size_t>(index);
    const std::size_t begin = units * i / n * grain, end = units * (i + 1) / n * grain;
    return {begin < total ? begin : total, end < total ? end : total};
  }
};

// Shared work that pays for one more member: waking a sleeping worker takes 5 to 50 us.
inline constexpr double kWakeNs = 20e3;
// The most members that so much shared work is worth, where one more has to save member_ns.
constexpr int team_worth(double work_ns, double member_ns = kWakeNs) {
  constexpr double kMost = 1e6;
  const double more = work_ns / member_ns;
  return 1 + static_cast<int>(more < 0 ? 0 : more < kMost ? more : kMost);
}

// What is known before a team is made.
struct TeamCall {
  std::int64_t start;
  // So is the last call: it pays to have a team that stays awake from one to the next. Joining members
  // that are awake costs about a microsecond, waking them 5 to 50.
  bool follows_closely;
  // The members of the last team are awake.
  bool members_awake;
  // A team waited long for a member a short while ago.
  bool crowded;
};
TeamCall note_call();

struct TeamEnd {
  std::int64_t time;
  // How long the caller waited for other members; waits of a few microseconds may count as none.
  std::int64_t waited_ns;
};

// Runs body(context, team) once per member of a team of at most `wanted` members: fewer when the
// limits say so, when the caller is itself inside a team, when another caller is using the pool, or
// in a child forked while the pool was busy. body must not throw.
TeamEnd run_team(int wanted, void (*body)(void* context, const Team& team), void* context,
                 bool members_awake = false);

// After the team of a call.
void note_team(const TeamCall& call, const TeamEnd& end);

// The number of threads a large program uses; never below 1.
int num_threads();
void set_num_threads(int count);

// Name of the back end: "openmp" or "std".
const char* backend_name();

}  // namespace lamella::base
