// SPDX-License-Identifier: Apache-2.0
// Makes workspaces, lends them, and keeps prepared arrays up to date.
#include "program/workspace.h"

#include <algorithm>
#include <cmath>

#include "base/parallel.h"
#include "program/folding.h"

namespace lamella::program {
namespace {

// Of what steps read themselves, and access so.
std::vector<const std::int64_t*> versions_of(const std::vector<ConstantArray>& constants,
                                             Access access) {
  std::vector<const std::int64_t*> versions;
  for (const ConstantArray& constant : constants) {
    const bool wanted = constant.access == access && constant.read_by_steps;
    if (constant.version != nullptr && wanted) versions.push_back(constant.version);
  }
  return versions;
}

std::vector<StorageNeed> needs_of(const std::vector<ConstantArray>& constants) {
  std::vector<StorageNeed> needs;
  needs.reserve(constants.size());
  for (const ConstantArray& constant : constants) {
    const bool in_place = constant.read_by_steps || constant.access != Access::read;
    if (constant.storage != nullptr && in_place) needs.emplace_back(constant.storage);
  }
  return needs;
}

}  // namespace

WorkspacePool::WorkspacePool(std::size_t arena_bytes, std::vector<base::ArenaRange> zones,
                             std::size_t first_extra, std::vector<ConstantArray> constants,
                             std::vector<PreparedArray> prepared, std::vector<ExtraBuffer> extras)
    : arena_bytes_(arena_bytes),
      demand_(arena_bytes),
      zones_(std::move(zones)),
      first_extra_(first_extra),
      constants_(std::move(constants)),
      prepared_(std::move(prepared)),
      extras_(std::move(extras)),
      reads_(versions_of(constants_, Access::read)),
      holds_(versions_of(constants_, Access::hold)),
      in_place_(needs_of(constants_)) {
  shares_.reserve(prepared_.size());
  for (const PreparedArray& item : prepared_) {
    PreparedKey key{item.kind, {}};
    for (const Slot slot : item.sources) {
      const ConstantArray& constant = source(slot);
      key.sources.push_back({constant.data + slot.offset, constant.version});
    }
    std::shared_ptr<const steps::Reversible> packing;
    Storage* storage = nullptr;
    if (item.sources.size() == 1) {
      const ConstantArray& constant = source(item.sources[0]);
      packing = std::dynamic_pointer_cast<const steps::Reversible>(item.prepare);
      const bool whole = packing != nullptr && item.folding == nullptr &&
                         item.sources[0].offset == 0 && packing->source_bytes() == constant.bytes;
      if (whole) storage = constant.storage.get();
    }
    shares_.emplace_back(key, item.bytes, *this, std::move(packing), storage);
  }
}

// The new one is idle at first.
Workspace* WorkspacePool::make() {
  base::count_allocation();
  auto workspace = std::make_unique<Workspace>(first_extra_ + extras_.size());
  workspace->versions.resize(reads_.size());
  workspace->held_counts.resize(holds_.size());
  workspace->prepared.resize(prepared_.size());
  workspace->renewed.resize(prepared_.size());
  workspace->claims.reserve(prepared_.size());
  idle_.reserve(all_.size() + 1);
  all_.push_back(std::move(workspace));
  idle_.push_back(all_.back().get());
  return idle_.back();
}

std::size_t WorkspacePool::nbytes() const {
  std::size_t bytes = constants_.size() * sizeof(ConstantArray) +
                      extras_.size() * sizeof(ExtraBuffer) + reads_.size() * sizeof(reads_[0]);
  for (const PreparedArray& one : prepared_) {
    bytes +=
        sizeof(one) + one.kind.size() + one.sources.size() * sizeof(Slot) + sizeof(PreparedShare);
  }
  constexpr std::size_t kPrepared = 2 * sizeof(Workspace::prepared[0]) + sizeof(Claim);
  const std::size_t one = sizeof(Workspace) + (first_extra_ + extras_.size()) * sizeof(void*) +
                          reads_.size() * sizeof(std::int64_t) + prepared_.size() * kPrepared;
  return bytes + all_.size() * one;
}

bool WorkspacePool::unchanged(const Workspace& workspace) const {
  std::atomic_thread_fence(std::memory_order_acquire);
  for (std::size_t i = 0; i < reads_.size(); ++i) {
    if (read_version(reads_[i]) != workspace.versions[i]) return false;
  }
  return true;
}

bool WorkspacePool::unchanged_while_held(const Workspace& workspace) const {
  for (std::size_t i = 0; i < reads_.size(); ++i) {
    if (count_of(read_version(reads_[i])) != workspace.versions[i]) return false;
  }
  return true;
}

bool WorkspacePool::held_unchanged(const Workspace& workspace) const {
  for (std::size_t i = 0; i < holds_.size(); ++i) {
    if (count_of(read_version(holds_[i])) != workspace.held_counts[i]) return false;
  }
  return true;
}

bool WorkspacePool::any_held() const {
  return std::any_of(constants_.begin(), constants_.end(), [](const ConstantArray& constant) {
    return constant.version != nullptr && is_held(read_version(constant.version));
  });
}

const ConstantArray& WorkspacePool::source(Slot slot) const {
  return constants_[extras_[slot.buffer - first_extra_].index];
}

std::int64_t WorkspacePool::version_of(Slot slot) const {
  const std::int64_t* cell = source(slot).version;
  return cell == nullptr ? 0 : read_version(cell);
}

std::vector<std::int64_t> WorkspacePool::source_versions(std::size_t index) const {
  std::vector<std::int64_t> versions;
  for (const Slot slot : prepared_[index].sources) versions.push_back(version_of(slot));
  return versions;
}

bool WorkspacePool::stale(std::size_t index) const {
  const PreparedShare& item = shares_[index];
  const std::vector<Slot>& sources = prepared_[index].sources;
  if (item->memory == nullptr || item->versions.size() != sources.size()) return true;
  for (std::size_t i = 0; i < sources.size(); ++i) {
    if (item->versions[i] != version_of(sources[i])) return true;
  }
  return false;
}

// Whether nobody reads it any more: the only run of this program is the one that claims.
bool WorkspacePool::may_refill(std::size_t index) const {
  return shares_[index]->memory != nullptr && shares_[index]->pins == 0 &&
         idle_.size() + 1 == all_.size() && !shares_[index].read_by_others();
}

// With the lock held: whether all that steps read or write in place is there.
bool WorkspacePool::is_here() const {
  return std::all_of(in_place_.begin(), in_place_.end(),
                     [](const StorageNeed& one) { return one->lies_here(); });
}

bool WorkspacePool::claim(Workspace& workspace, double limit_ns) const {
  const PreparedLock lock;
  // What is being changed is not read meanwhile: of frozen storage it may be all that there is.
  const auto being_changed = [this](std::size_t i) {
    const std::vector<Slot>& slots = prepared_[i].sources;
    return std::any_of(slots.begin(), slots.end(),
                       [this](const Slot slot) { return is_held(version_of(slot)); });
  };
  const auto lies_here = [this](Slot slot) {
    return source(slot).storage == nullptr || source(slot).storage->lies_here();
  };
  double work_ns = is_here() ? 0 : INFINITY;
  for (std::size_t i = 0; i < prepared_.size(); ++i) {
    if (!stale(i)) continue;
    const std::vector<Slot>& slots = prepared_[i].sources;
    work_ns += prepared_[i].cost();
    if (shares_[i]->is_claimed() || being_changed(i) ||
        !std::all_of(slots.begin(), slots.end(), lies_here)) {
      work_ns = INFINITY;
    }
    if (work_ns > limit_ns) return false;
  }
  for (std::size_t i = 0; i < prepared_.size(); ++i) {
    if (!stale(i) || shares_[i]->is_claimed() || being_changed(i)) continue;
    Claim& claim = workspace.claims.emplace_back();
    claim.index = i;
    if (may_refill(i)) claim.memory = std::move(shares_[i]->memory);
    shares_[i]->versions.clear();
    shares_[i]->claim();
    for (const Slot slot : prepared_[i].sources) {
      if (source(slot).storage != nullptr) source(slot).storage->need_locked();
    }
  }
  return work_ns <= limit_ns;
}

namespace {

// What fills one array.
struct Filling {
  const PreparedArray* item;
  std::vector<std::byte*> buffers;  // of its step: sources and the array
  std::vector<std::byte*> folding;  // of what comes before
};

// The same scratch serves one after the other: all members meet before it changes hands.
void fill_all(std::span<const Filling> fillings, const base::Team& team) {
  for (const Filling& one : fillings) {
    const Folding* const folding = one.item->folding.get();
    if (folding != nullptr) folding->run(one.folding.data(), team);
    if (one.item->prepare == nullptr) continue;
    steps::Failure failure;
    one.item->prepare->run({one.buffers.data(), &failure, 0, 0}, team);
    if (folding != nullptr) team.barrier();
  }
}

}  // namespace

// What was claimed, by the team.
void WorkspacePool::fill(Workspace& workspace) const {
  double work_ns = 0;
  std::size_t scratch_bytes = 0;
  for (Claim& claim : workspace.claims) {
    const PreparedArray& item = prepared_[claim.index];
    if (claim.memory == nullptr) {
      base::Block block = base::allocate(std::max<std::size_t>(item.bytes, 1));
      base::count_allocation();
      claim.memory = std::shared_ptr<std::byte[]>(std::move(block));
    }
    work_ns += item.cost();
    scratch_bytes = std::max(scratch_bytes, item.scratch_bytes());
    for (const Slot slot : item.sources) {
      if (source(slot).storage != nullptr) source(slot).storage->bring_back();
    }
  }
  // The versions are noted before anything is read, so that a change from then on shows.
  for (Claim& claim : workspace.claims) claim.versions = source_versions(claim.index);
  base::Block scratch = base::allocate(scratch_bytes);
  std::vector<Filling> fillings;
  for (const Claim& claim : workspace.claims) {
    const PreparedArray& item = prepared_[claim.index];
    Filling& one = fillings.emplace_back(Filling{&item, {}, {}});
    for (const Slot slot : item.sources) one.buffers.push_back(source(slot).data + slot.offset);
    if (item.folding != nullptr) {
      // What is packed then lies behind the folding's own scratch.
      std::byte* const value =
          item.prepare ? scratch.get() + item.folding->arena_bytes() : claim.memory.get();
      one.folding = item.folding->buffers(one.buffers, value, scratch.get());
      one.buffers.assign(1, value);
    }
    one.buffers.push_back(claim.memory.get());
  }
  const auto member = [](void* given, const base::Team& team) {
    fill_all(*static_cast<const std::vector<Filling>*>(given), team);
  };
  base::run_team(base::team_worth(work_ns), member, &fillings);
  std::atomic_thread_fence(std::memory_order_acquire);
  for (Claim& claim : workspace.claims) {
    const bool held = std::any_of(claim.versions.begin(), claim.versions.end(), is_held);
    if (held || claim.versions != source_versions(claim.index)) claim.versions.clear();
  }
}

// Hands over what is claimed, filled or not; of that, what is whole has versions.
void WorkspacePool::publish(Workspace& workspace) const noexcept {
  {
    const PreparedLock lock;
    for (Claim& claim : workspace.claims) {
      Prepared& item = *shares_[claim.index].operator->();
      item.unclaim();
      // Memory comes back behind the lock.
      item.memory.swap(claim.memory);
      item.versions.swap(claim.versions);
      for (const Slot slot : prepared_[claim.index].sources) {
        if (source(slot).storage != nullptr) source(slot).storage->release_locked();
      }
    }
  }
  announce_publication();
  for (const Claim& claim : workspace.claims) {
    for (const Slot slot : prepared_[claim.index].sources) {
      if (source(slot).storage != nullptr) source(slot).storage->give_up();
    }
  }
  workspace.claims.clear();
}

void WorkspacePool::await_others() const {
  for (;;) {
    const std::uint32_t seen = publications();
    {
      const PreparedLock lock;
      const auto awaited = [](const PreparedShare& item) { return item->is_claimed(); };
      if (std::none_of(shares_.begin(), shares_.end(), awaited)) return;
    }
    await_publication(seen);
  }
}

void WorkspacePool::prepare(Workspace& workspace) const {
  for (const StorageNeed& one : in_place_) one->bring_back();
  if (!workspace.claims.empty()) {
    try {
      fill(workspace);
    } catch (...) {
      for (Claim& claim : workspace.claims) claim.versions.clear();
      publish(workspace);
      throw;
    }
    publish(workspace);
  }
  await_others();
}

// The versions are noted before anything is read, so that a change from then on shows.
bool WorkspacePool::make_ready(Workspace& workspace) const noexcept {
  workspace.epoch = 0;
  const std::uint64_t epoch = parameter_epoch.load(std::memory_order_acquire);
  for (std::size_t i = 0; i < reads_.size(); ++i) {
    workspace.versions[i] = read_version(reads_[i]);
    if (is_held(workspace.versions[i])) return false;
  }
  for (std::size_t i = 0; i < holds_.size(); ++i) {
    workspace.held_counts[i] = count_of(read_version(holds_[i]));
  }
  if (!prepared_.empty() || !in_place_.empty()) {
    const PreparedLock lock;
    if (!is_here()) return false;
    // Those of one change belong together.
    for (std::size_t i = 0; i < prepared_.size(); ++i) {
      if (stale(i)) return false;
    }
    for (std::size_t i = 0; i < prepared_.size(); ++i) {
      if (workspace.prepared[i] != shares_[i]->memory) workspace.renewed[i] = shares_[i]->memory;
    }
  }
  for (std::size_t i = 0; i < prepared_.size(); ++i) {
    if (workspace.renewed[i] != nullptr) workspace.prepared[i] = std::move(workspace.renewed[i]);
  }
  for (std::size_t i = 0; i < extras_.size(); ++i) {
    const ExtraBuffer extra = extras_[i];
    std::byte*& buffer = workspace.buffers[first_extra_ + i];
    if (extra.kind == ExtraBuffer::Kind::constant) buffer = constants_[extra.index].data;
    if (extra.kind == ExtraBuffer::Kind::prepared) buffer = workspace.prepared[extra.index].get();
  }
  workspace.epoch = epoch;
  return true;
}

}  // namespace lamella::program
