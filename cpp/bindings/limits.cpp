// SPDX-License-Identifier: Apache-2.0
// Measures what the machine can do at most: the figure that stands beside every speed.
//
// All members of a team work on their own part of the arrays between two barriers; member 0 holds
// the clock. The best of the rounds that fit into the given time counts, since everything else on
// the machine can only lower a rate.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <stdexcept>
#include <string>
#include <vector>

#include <pybind11/pybind11.h>

#include "base/allocation.h"
#include "base/barrier.h"
#include "base/parallel.h"
#include "bindings/register.h"
#include "dispatch/select.h"
#include "kernels/table.h"

namespace py = pybind11;

namespace lamella::bindings {

namespace {

using Clock = std::chrono::steady_clock;

enum class Kind { kMultiplyAdd, kMultiplyAddBytes, kRead, kWrite, kCopy, kUpdate };

// A round shorter than this is repeated more often.
constexpr double kShortestRound = 1e-3;

// Elements that every loop takes in whole groups, and a member's share consists of.
constexpr std::size_t kGrain = 1024;

struct Trial {
  const kernels::LimitKernels* kernels = nullptr;
  const kernels::IntegerGemmKernels* integer = nullptr;
  Kind kind = Kind::kMultiplyAdd;
  std::size_t way = 0;
  double seconds = 0.0;
  // Of the library's own memory, huge pages included: results of that size lie in such pages too.
  std::size_t count = 0;
  base::Block x, y;
  std::size_t repeats = 1;
  double best_rate = 0.0;
  Clock::time_point begin, end;
  bool done = false;
  // One cache line a member, or the sums would travel between the cores.
  struct alignas(64) Sum {
    float value = 0.0F;
  };
  std::vector<Sum> sums;
};

float* floats(const base::Block& block) { return reinterpret_cast<float*>(block.get()); }

// What one repeat of one member amounts to: operations, or bytes read and written.
double work_of(const Trial& trial, std::size_t count) {
  switch (trial.kind) {
    case Kind::kMultiplyAdd:
      return static_cast<double>(trial.kernels->operations_per_iteration) * 1024.0;
    case Kind::kMultiplyAddBytes:
      return static_cast<double>(trial.integer->operations_per_iteration) * 1024.0;
    case Kind::kRead:
    case Kind::kWrite:
      return static_cast<double>(count * sizeof(float));
    case Kind::kCopy:
    case Kind::kUpdate:
      return static_cast<double>(2 * count * sizeof(float));
  }
  return 0.0;
}

float repeat_work(Trial& trial, std::size_t first, std::size_t count) {
  float sum = 0.0F;
  for (std::size_t i = 0; i < trial.repeats; ++i) {
    switch (trial.kind) {
      case Kind::kMultiplyAdd:
        sum += trial.kernels->multiply_add(1024, 0.5F, 1.0F);
        break;
      case Kind::kMultiplyAddBytes:
        sum += static_cast<float>(trial.integer->multiply_add(1024, 1));
        break;
      case Kind::kRead:
        sum += trial.kernels->read[trial.way](floats(trial.x) + first, count);
        break;
      case Kind::kWrite:
        trial.kernels->write[trial.way](1.0F, floats(trial.x) + first, count);
        break;
      case Kind::kCopy:
        trial.kernels->copy[trial.way](floats(trial.x) + first, floats(trial.y) + first, count);
        break;
      case Kind::kUpdate:
        trial.kernels->update[trial.way](1.0F, floats(trial.x) + first, count);
        break;
    }
  }
  return sum;
}

// Whether it is a rate of the core alone, of every member by itself.
bool in_registers(Kind kind) {
  return kind == Kind::kMultiplyAdd || kind == Kind::kMultiplyAddBytes;
}

void measure(void* context, const base::Team& team) {
  Trial& trial = *static_cast<Trial*>(context);
  const auto [first, last] = team.share(trial.count, kGrain);
  const auto members = static_cast<double>(team.size);
  const double total =
      in_registers(trial.kind) ? members * work_of(trial, 0) : work_of(trial, trial.count);
  double spent = 0.0;
  while (!trial.done) {
    team.barrier();
    if (team.index == 0) trial.begin = Clock::now();
    team.barrier();
    trial.sums[static_cast<std::size_t>(team.index)].value +=
        repeat_work(trial, first, last - first);
    team.barrier();
    if (team.index == 0) {
      trial.end = Clock::now();
      const double elapsed = std::chrono::duration<double>(trial.end - trial.begin).count();
      spent += elapsed;
      if (elapsed < kShortestRound) {
        trial.repeats *= 2;
      } else {
        trial.best_rate =
            std::max(trial.best_rate, total * static_cast<double>(trial.repeats) / elapsed);
        trial.done = spent >= trial.seconds;
      }
    }
    team.barrier();
  }
}

Kind kind_named(const std::string& name) {
  if (name == "multiply_add") return Kind::kMultiplyAdd;
  if (name == "multiply_add_bytes") return Kind::kMultiplyAddBytes;
  if (name == "read") return Kind::kRead;
  if (name == "write") return Kind::kWrite;
  if (name == "copy") return Kind::kCopy;
  if (name == "update") return Kind::kUpdate;
  throw std::invalid_argument(
      "measure_limit: unknown kind '" + name +
      "'; expected multiply_add, multiply_add_bytes, read, write, copy or update");
}

// Every way has the same arrays and its share of the time, and so has every size of a team.
double measure_limit(const std::string& name, std::size_t bytes, int threads, double seconds) {
  if (threads < 1) throw std::invalid_argument("measure_limit: threads must be at least 1");
  Trial trial;
  trial.kind = kind_named(name);
  py::gil_scoped_release unlocked;
  trial.kernels = dispatch::selected().limits;
  trial.integer = dispatch::selected().integer_gemm;
  const auto members = static_cast<std::size_t>(threads);
  trial.sums.resize(members);
  std::size_t ways = 1;
  if (!in_registers(trial.kind)) {
    ways = kernels::LimitKernels::kWays;
    // A copy's two arrays share the bytes; no member is without work.
    const std::size_t arrays = trial.kind == Kind::kCopy ? 2 : 1;
    trial.count = std::max(bytes / arrays / sizeof(float) / kGrain, members) * kGrain;
    trial.x = base::allocate(trial.count * sizeof(float));
    std::fill_n(floats(trial.x), trial.count, 1.0F);
    if (arrays == 2) trial.y = base::allocate(trial.count * sizeof(float));
  }
  // One thread alone may be faster than a team whose members wait for each other.
  const std::vector<int> teams = threads > 1 ? std::vector<int>{threads, 1} : std::vector<int>{1};
  trial.seconds = seconds / static_cast<double>(ways * teams.size());
  for (const int team : teams) {
    for (trial.way = 0; trial.way < ways; ++trial.way) {
      trial.done = false;
      base::run_team(team, measure, &trial);
    }
  }
  return trial.best_rate;
}

// A cache line that goes from member 0 to member 1 and back; the best batch of trips counts.
struct Handshake {
  static constexpr int kTrips = 1000;
  // Whose turn it is, or kEnd.
  static constexpr int kEnd = 2;
  alignas(64) std::atomic<int> turn{0};
  double seconds = 0.0, best = 0.0;
};

void shake(void* context, const base::Team& team) {
  Handshake& hands = *static_cast<Handshake*>(context);
  if (team.size < 2) return;
  const auto await_turn = [&] {
    int found = 0;
    base::spin_until([&] {
      found = hands.turn.load(std::memory_order_acquire);
      return found == team.index || found == Handshake::kEnd;
    });
    return found != Handshake::kEnd;
  };
  if (team.index == 1) {
    while (await_turn()) hands.turn.store(0, std::memory_order_release);
    return;
  }
  const auto begin = Clock::now();
  for (double elapsed = 0.0; elapsed < hands.seconds || hands.best == 0.0;) {
    const auto start = Clock::now();
    for (int i = 0; i < Handshake::kTrips; ++i) {
      hands.turn.store(1, std::memory_order_release);
      await_turn();
    }
    const std::chrono::duration<double> batch = Clock::now() - start, all = Clock::now() - begin;
    const double trip = batch.count() / Handshake::kTrips;
    hands.best = hands.best == 0.0 ? trip : std::min(hands.best, trip);
    elapsed = all.count();
  }
  hands.turn.store(Handshake::kEnd, std::memory_order_release);
}

double measure_handshake(double seconds) {
  Handshake hands;
  hands.seconds = seconds;
  py::gil_scoped_release unlocked;
  base::run_team(2, shake, &hands);
  return hands.best;
}

}  // namespace

void register_limits(py::module_& module) {
  module.def("measure_limit", &measure_limit, py::arg("kind"), py::arg("bytes"), py::arg("threads"),
             py::arg("seconds"),
             "Measures a limit of the machine with at most that many threads: multiply_add of "
             "floats and multiply_add_bytes in operations a second; read, write, copy and update "
             "of so many bytes in bytes a second, "
             "those read and those written.");
  module.def("measure_handshake", &measure_handshake, py::arg("seconds"),
             "Seconds that a cache line takes to another thread and back; 0 on one thread.");
}

}  // namespace lamella::bindings
