// SPDX-License-Identifier: Apache-2.0
// The memory of runs: one workspace per run in flight, and the prepared arrays they read.
//
// A workspace holds the whole pointer table of a Frame, constants and prepared arrays filled in, so
// that a run only adds its arena, inputs and outputs. Prepared arrays (packed weights) follow the version
// cells of their sources: whoever needs one that is stale fills it as step zero of his run, in place
// when no run of any program is using it, else in new memory that later runs take over.
// Lending, giving back and claiming happen under one lock of the callers (the GIL), never while running
// or preparing; what programs share is guarded by a mutex (prepared.h).
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "base/arena.h"
#include "program/changes.h"
#include "program/epochs.h"
#include "program/prepared.h"
#include "program/random_state.h"
#include "program/recording.h"
#include "program/storage.h"
#include "steps/step.h"

namespace lamella::program {

// A prepared array that a run has undertaken to fill.
struct Claim {
  std::size_t index = 0;                // among the program's
  std::shared_ptr<std::byte[]> memory;  // null: to be allocated
  std::vector<std::int64_t> versions;   // of the sources, as they were before it was filled
};

struct Workspace {
  explicit Workspace(std::size_t buffer_count) : buffers(buffer_count) {}

  std::vector<std::byte*> buffers;  // the first one is the arena, while it is lent
  std::vector<std::shared_ptr<std::byte[]>> prepared;  // kept alive while it runs
  std::vector<std::shared_ptr<std::byte[]>> renewed;   // of those, what takes their place
  std::vector<Claim> claims;                           // has room for all
  // The parameter epoch it was made ready in; 0 while it is not, since a constant is being changed or
  // something has to be prepared.
  std::uint64_t epoch = 0;
  std::vector<std::int64_t> versions;     // of the constants its steps only read, as they were then
  std::vector<std::int64_t> held_counts;  // of the changes of those it holds while it runs
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
  // Needs no lock. Throws std::bad_alloc.
  WorkspacePool(std::size_t arena_bytes, std::vector<base::ArenaRange> zones,
                std::size_t first_extra, std::vector<ConstantArray> constants,
                std::vector<PreparedArray> prepared, std::vector<ExtraBuffer> extras);

  // A workspace nobody else uses, ready unless a parameter is being changed just now or something has to
  // be prepared. Throws std::bad_alloc.
  Workspace* acquire() {
    Workspace* workspace = idle_.empty() ? make() : idle_.back();
    workspace->buffers[0] = base::lend_arena(arena_bytes_);
    if (!zones_.empty()) base::fill_zones(workspace->buffers[0], zones_);
    if (workspace->epoch != parameter_epoch.load(std::memory_order_acquire)) {
      make_ready(*workspace);
    }
    idle_.pop_back();
    return workspace;
  }
  void release(Workspace* workspace) noexcept {
    base::take_back_arena(workspace->buffers[0], arena_bytes_);
    idle_.push_back(workspace);
  }

  // For a workspace that was acquired and is not running. First, under the callers' lock: claims what is
  // stale and claimed by nobody. With a limit, all of it or, when that is more work (in nanoseconds) or
  // somebody else is at it, nothing; says whether nothing more is to be done.
  bool claim(Workspace& workspace, double limit_ns) const;
  // Then, without: fills it, or waits for those who do. Throws std::bad_alloc.
  void prepare(Workspace& workspace) const;
  // At last: notes versions and fills in pointers. False when something is stale or being changed.
  bool make_ready(Workspace& workspace) const noexcept;

  // Whether the constants that steps only read are what they were when the workspace was made ready.
  bool unchanged(const Workspace& workspace) const;
  // The same while the caller holds them all.
  bool unchanged_while_held(const Workspace& workspace) const;
  // Whether those that a run holds, and now does, are what they were then: prepared ones are.
  bool held_unchanged(const Workspace& workspace) const;
  // Whether somebody holds the version of a constant.
  bool any_held() const;
  // Whether there are any that may change.
  bool reads_versions() const { return !reads_.empty(); }

  // Whether none of its workspaces is in use.
  bool all_idle() const { return idle_.size() == all_.size(); }

  // Throws std::logic_error when something beside the arena's arrays was written.
  void verify(const Workspace& workspace) const {
    if (!zones_.empty()) base::verify_zones(workspace.buffers[0], zones_);
  }

  const std::vector<ConstantArray>& constants() const { return constants_; }

  // What it holds beside itself, without arenas and prepared arrays; under the callers' common lock.
  std::size_t nbytes() const;

 private:
  Workspace* make();
  bool stale(std::size_t index) const;
  bool may_refill(std::size_t index) const;
  bool is_here() const;
  const ConstantArray& source(Slot slot) const;
  std::int64_t version_of(Slot slot) const;
  std::vector<std::int64_t> source_versions(std::size_t index) const;
  void fill(Workspace& workspace) const;
  void publish(Workspace& workspace) const noexcept;
  void await_others() const;

  const std::size_t arena_bytes_;
  const base::ArenaDemand demand_;
  const std::vector<base::ArenaRange> zones_;
  const std::size_t first_extra_;
  const std::vector<ConstantArray> constants_;
  const std::vector<PreparedArray> prepared_;
  const std::vector<ExtraBuffer> extras_;
  // Versions of the constants that steps only read, and of those held for them.
  const std::vector<const std::int64_t*> reads_, holds_;
  const std::vector<StorageNeed> in_place_;  // storage of what steps read or write where it lies

  std::vector<std::unique_ptr<Workspace>> all_;
  std::vector<Workspace*> idle_;       // capacity for all of them, so that giving back cannot fail
  std::vector<PreparedShare> shares_;  // of prepared_, in their order
};

}  // namespace lamella::program
