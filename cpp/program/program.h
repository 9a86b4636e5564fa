// SPDX-License-Identifier: Apache-2.0
// A program: ordered steps over numbered buffers, immutable once built.
//
// Any number of callers may run it at once, each through a Run of its own. Making and ending a Run
// happens under the callers' common lock (the bindings hold the GIL), as is said of some functions;
// making and destroying a Program needs no lock. An attempt allocates and looks up nothing, once what it
// reads is prepared. All steps of a run share one parallel region. A run that changes constants holds
// their version cells (changes.h), one that only reads them is repeated if they moved.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "base/parallel.h"
#include "program/changes.h"
#include "program/recording.h"
#include "program/workspace.h"

namespace lamella::program {

class Text;

class Program {
 public:
  explicit Program(Recording recording);
  // Made by a text for these extents; keeps no recording of its own.
  Program(Recording& recording, std::shared_ptr<const Text> text,
          std::vector<std::int64_t> extents);

  // What it is made of, as it was recorded.
  std::shared_ptr<const Recording> recorded() const;
  // Where the ranges of its arena lie, computed again.
  Placement placement() const { return place_ranges(*recorded()); }
  // Its own memory, without packed weights and arenas; under the callers' common lock.
  std::size_t nbytes() const;

  const std::vector<ArraySpec>& inputs() const { return inputs_; }
  const std::vector<ArraySpec>& outputs() const { return outputs_; }
  const std::vector<ConstantArray>& constants() const { return workspaces_.constants(); }
  const std::vector<std::unique_ptr<steps::Step>>& steps() const { return steps_; }
  std::size_t arena_bytes() const { return arena_bytes_; }
  const char* isa() const { return isa_; }

  // Estimated single-thread time of a run.
  double cost_ns() const { return cost_ns_; }
  // Long enough that other Python threads should get on meanwhile.
  bool is_long() const { return is_long_; }
  // The most members that a run has when it closely follows another.
  int team() const { return std::min(awake_team_, base::num_threads()); }
  // Whether its runs change constants.
  bool updates() const { return !cells_.empty(); }

 private:
  friend class Run;

  Program(const Recording& recording, Made made);

  bool attempt(Workspace& workspace, bool insist) const {
    if (workspace.epoch == 0) return false;
    if (!cells_.empty()) return attempt_update(workspace, insist);
    run_steps(workspace);
    std::atomic_thread_fence(std::memory_order_acquire);
    if (parameter_epoch.load(std::memory_order_relaxed) != workspace.epoch &&
        !workspaces_.unchanged(workspace)) {
      workspace.discard();
      return false;
    }
    conclude(workspace);
    return true;
  }
  bool attempt_update(Workspace& workspace, bool insist) const;
  bool prepare_shortly(Workspace& workspace) const;
  void plan_team();
  void run_steps(Workspace& workspace) const;
  void conclude(Workspace& workspace) const {
    if (workspace.failure.raised.load(std::memory_order_relaxed) != 0) throw_failure(workspace);
    workspaces_.verify(workspace);
  }
  [[noreturn]] void throw_failure(Workspace& workspace) const;
  bool still_valid(Workspace& workspace, const base::Team& team) const;
  template <bool kTimed>
  static void run_member(void* context, const base::Team& team);

  const std::vector<ArraySpec> inputs_, outputs_;
  const std::size_t arena_bytes_;
  const char* const isa_;
  const std::vector<std::unique_ptr<steps::Step>> steps_;
  const std::vector<Cell> cells_;      // held while it runs, in the order of their addresses
  const std::vector<Cell> all_cells_;  // with those of what it only reads
  std::int64_t* const random_;         // (key, calls) of its own generator, or null
  mutable WorkspacePool workspaces_;
  // Before this step what has been read so far is checked, since nothing written later can be undone;
  // -1: nothing to check, or after all steps.
  int check_at_ = -1;
  double cost_ns_ = 0;
  std::vector<char> shared_, meets_;  // of each step: see plan_team
  // The most members worth their cost, while they are asleep and while they are still awake.
  int sleeping_team_ = 1, awake_team_ = 1;
  bool is_long_ = false;
  bool draws_ = false;
  // Where it comes from: a recording of its own, or a text.
  std::shared_ptr<Recording> recording_;
  std::shared_ptr<const Text> text_;
  std::vector<std::int64_t> extents_;
};

// One run: set every input and output, then attempt() until it succeeds.
class Run {
 public:
  explicit Run(const Program& program)
      : program_(program), workspace_(program.workspaces_.acquire()) {
    if (program_.draws_) workspace_->random = next_random_call();
  }
  ~Run() { program_.workspaces_.release(workspace_); }
  Run(const Run&) = delete;
  Run& operator=(const Run&) = delete;

  void set_input(std::size_t index, const void* data) {
    workspace_->buffers[1 + index] = static_cast<std::byte*>(const_cast<void*>(data));
  }
  void set_output(std::size_t index, void* data) {
    workspace_->buffers[1 + program_.inputs_.size() + index] = static_cast<std::byte*>(data);
  }

  // False when another thread was changing a constant of this program, or when there is more to prepare
  // than a short run would: nothing has then happened, but the outputs are unspecified. Under the callers'
  // lock. Throws std::bad_alloc while preparing, std::out_of_range for an index outside its table,
  // std::logic_error for a damaged guard zone; the outputs are then unspecified, and no constant has
  // changed.
  bool attempt() {
    if (workspace_->epoch == 0 && !program_.prepare_shortly(*workspace_)) return false;
    return program_.attempt(*workspace_, false);
  }
  // The same, whatever there is to prepare: first the one function under the callers' lock, then the other
  // without. insist: a run that updates keeps others from changing what it only reads, too.
  void claim();
  bool attempt_claimed(bool insist);
  bool updates() const { return program_.updates(); }
  // Whether the version of a constant says that somebody is changing it.
  bool meets_held() const { return program_.workspaces_.any_held(); }

 protected:
  const Program& program_;
  Workspace* workspace_;
};

// A run that notes the time, in nanoseconds: times[i] before step i, and one more behind the last.
// The first member of the team reads the clock, when all have passed the step's barrier.
class TimedRun : public Run {
 public:
  TimedRun(const Program& program, std::int64_t* times) : Run(program) {
    workspace_->times = times;
  }
  ~TimedRun() { workspace_->times = nullptr; }
};

// The time of each step of one program by itself, in nanoseconds: what the clock costs is taken off.
class StepTimes {
 public:
  explicit StepTimes(const Program& program)
      : times_(program.steps().size() + 1), best_(program.steps().size(), kNone) {}
  std::int64_t* times() { return times_.data(); }
  // After a run that noted its times: keeps the least of each step.
  void keep_least();
  std::vector<double> least() const;

 private:
  static constexpr std::int64_t kNone = INT64_MAX;
  std::vector<std::int64_t> times_, best_;
};

}  // namespace lamella::program
