// SPDX-License-Identifier: Apache-2.0
// The memory of runs: one workspace per run in flight, and the prepared arrays they read.
//
// A workspace holds the arena and the whole pointer table of a Frame, constants and prepared arrays
// filled in, so that a run only adds its inputs and outputs. Prepared arrays (packed weights) follow
// the version cells of their sources: they are filled again in place when no run of any program is
// using them, else into new memory that later runs take over.
// Taking and giving back happens under one lock of the callers (the GIL), never while running; that
// is why there is none in here.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "base/arena.h"
#include "program/builder.h"
#include "program/changes.h"
#include "program/epochs.h"
#include "program/prepared.h"
#include "program/random_state.h"
#include "steps/step.h"

namespace lamella::program {

struct Workspace {
  Workspace(std::size_t arena_bytes, std::span<const base::ArenaRange> zones, std::size_t buffers);

  base::Arena arena;
  std::vector<std::byte*> buffers;
  std::vector<std::shared_ptr<std::byte[]>> prepared;  // kept alive while it runs
  // The parameter epoch it was made ready in; 0 while it is not, since a constant is being changed.
  std::uint64_t epoch = 0;
  std::vector<std::int64_t> versions;  // of the constants its steps only read, as they were then
  RandomState random;
  steps::Failure failure;
  std::atomic<int> failed_step{-1};
  std::atomic<bool> disturbed{false};  // another thread changed what this run has read
  bool holds_all = false;              // nobody can
  std::int64_t* times = nullptr;       // see TimedRun

  void forget_failure() {
    failed_step.store(-1);
    failure.raised.store(0);
  }
  // What the run found, failures too, was made of values that do not belong together.
  void discard() {
    forget_failure();
    epoch = 0;
  }
};

// All workspaces of one program.
class WorkspacePool {
 public:
  WorkspacePool(const WorkspacePool&) = delete;
  WorkspacePool& operator=(const WorkspacePool&) = delete;
  WorkspacePool(std::size_t arena_bytes, std::vector<base::ArenaRange> zones,
                std::size_t first_extra, std::vector<ConstantArray> constants,
                std::vector<PreparedArray> prepared, std::vector<ExtraBuffer> extras);

  // A workspace nobody else uses, up to date with the parameters unless one of them is being changed
  // just now. Throws std::bad_alloc.
  Workspace* acquire() {
    Workspace* workspace = idle_.empty() ? make() : idle_.back();
    if (workspace->epoch != parameter_epoch.load(std::memory_order_acquire)) {
      refresh(*workspace, all_idle());
    }
    idle_.pop_back();
    return workspace;
  }
  // Another try to bring a workspace up to date that was acquired and is not running.
  void refresh_lent(Workspace& workspace) { refresh(workspace, idle_.size() + 1 == all_.size()); }

  // Whether the constants that steps only read are what they were when the workspace was made ready.
  bool unchanged(const Workspace& workspace) const;
  // The same while the caller holds them all.
  bool unchanged_while_held(const Workspace& workspace) const;
  // Whether somebody holds the version of a constant.
  bool any_held() const;
  // Whether there are any that may change.
  bool reads_versions() const { return !reads_.empty(); }

  void release(Workspace* workspace) noexcept { idle_.push_back(workspace); }
  // Whether none of its workspaces is in use.
  bool all_idle() const { return idle_.size() == all_.size(); }

  const std::vector<ConstantArray>& constants() const { return constants_; }

 private:
  Workspace* make();
  void refresh(Workspace& workspace, bool nobody_runs);
  bool refill(bool nobody_runs);
  bool stale(std::size_t index) const;
  const ConstantArray& source(Slot slot) const;
  std::int64_t version_of(Slot slot) const;
  std::vector<std::int64_t> source_versions(std::size_t index) const;
  void fill(std::size_t index, std::byte* target) const;

  const std::size_t arena_bytes_;
  const std::vector<base::ArenaRange> zones_;
  const std::size_t first_extra_;
  const std::vector<ConstantArray> constants_;
  const std::vector<PreparedArray> prepared_;
  const std::vector<ExtraBuffer> extras_;
  const std::vector<const std::int64_t*> reads_;  // versions of the constants steps only read

  std::vector<std::unique_ptr<Workspace>> all_;
  std::vector<Workspace*> idle_;       // capacity for all of them, so that giving back cannot fail
  std::vector<PreparedShare> shares_;  // of prepared_, in their order
  std::uint64_t checked_epoch_ = 0;
};

}  // namespace lamella::program
