// SPDX-License-Identifier: Apache-2.0
// Makes workspaces, lends them, and keeps prepared arrays up to date.
#include "program/workspace.h"

#include <algorithm>

#include "base/fp_environment.h"

namespace lamella::program {
namespace {

std::vector<const std::int64_t*> versions_read(const std::vector<ConstantArray>& constants) {
  std::vector<const std::int64_t*> versions;
  for (const ConstantArray& constant : constants) {
    const bool only_read = constant.access == Access::read && constant.read_by_steps;
    if (constant.version != nullptr && only_read) {
      versions.push_back(constant.version);
    }
  }
  return versions;
}

}  // namespace

Workspace::Workspace(std::size_t arena_bytes, std::span<const base::ArenaRange> zones,
                     std::size_t buffer_count)
    : arena(arena_bytes, zones), buffers(buffer_count) {
  buffers[0] = arena.data();
}

WorkspacePool::WorkspacePool(std::size_t arena_bytes, std::vector<base::ArenaRange> zones,
                             std::size_t first_extra, std::vector<ConstantArray> constants,
                             std::vector<PreparedArray> prepared, std::vector<ExtraBuffer> extras)
    : arena_bytes_(arena_bytes),
      zones_(std::move(zones)),
      first_extra_(first_extra),
      constants_(std::move(constants)),
      prepared_(std::move(prepared)),
      extras_(std::move(extras)),
      reads_(versions_read(constants_)) {
  shares_.reserve(prepared_.size());
  for (const PreparedArray& item : prepared_) {
    PreparedKey key{item.kind, {}};
    for (const Slot slot : item.sources) {
      const ConstantArray& constant = source(slot);
      key.sources.push_back({constant.data + slot.offset, constant.version});
    }
    shares_.emplace_back(key, *this);
  }
}

// The new one is idle at first.
Workspace* WorkspacePool::make() {
  base::count_allocation();
  auto workspace = std::make_unique<Workspace>(arena_bytes_, zones_, first_extra_ + extras_.size());
  workspace->versions.resize(reads_.size());
  workspace->prepared.resize(prepared_.size());
  idle_.reserve(all_.size() + 1);
  all_.push_back(std::move(workspace));
  idle_.push_back(all_.back().get());
  return idle_.back();
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

void WorkspacePool::fill(std::size_t index, std::byte* target) const {
  std::vector<const std::byte*> sources;
  for (const Slot slot : prepared_[index].sources) {
    sources.push_back(source(slot).data + slot.offset);
  }
  const base::FpEnvironment environment;
  prepared_[index].prepare(sources.data(), target);
}

// Fills what is stale, in the memory it has or in new memory. False when a source was changed
// meanwhile: what was filled from it is then stale.
bool WorkspacePool::refill(bool nobody_runs) {
  bool whole = true;
  for (std::size_t i = 0; i < prepared_.size(); ++i) {
    if (!stale(i)) continue;
    const PreparedShare& item = shares_[i];
    auto versions = source_versions(i);
    auto memory = item->memory;
    if (memory == nullptr || !nobody_runs || item.read_by_others()) {
      base::Block block = base::allocate(std::max<std::size_t>(prepared_[i].bytes, 1));
      memory = std::shared_ptr<std::byte[]>(std::move(block));
    }
    fill(i, memory.get());
    std::atomic_thread_fence(std::memory_order_acquire);
    if (std::any_of(versions.begin(), versions.end(), is_held) || versions != source_versions(i)) {
      versions.clear();
      whole = false;
    }
    item->memory = std::move(memory);
    item->versions = std::move(versions);
  }
  // Those of one change belong together.
  for (std::size_t i = 0; i < prepared_.size() && whole; ++i) whole = !stale(i);
  return whole;
}

// The versions are noted before anything is read, so that a change from then on shows.
void WorkspacePool::refresh(Workspace& workspace, bool nobody_runs) {
  workspace.epoch = 0;
  const std::uint64_t epoch = parameter_epoch.load(std::memory_order_acquire);
  for (std::size_t i = 0; i < reads_.size(); ++i) {
    workspace.versions[i] = read_version(reads_[i]);
    if (is_held(workspace.versions[i])) return;
  }
  if (epoch != checked_epoch_) {
    bool any = false;
    for (std::size_t i = 0; i < prepared_.size() && !any; ++i) any = stale(i);
    if (any && !refill(nobody_runs)) return;
    checked_epoch_ = epoch;
  }
  for (std::size_t i = 0; i < prepared_.size(); ++i) {
    if (workspace.prepared[i] != shares_[i]->memory) workspace.prepared[i] = shares_[i]->memory;
  }
  for (std::size_t i = 0; i < extras_.size(); ++i) {
    const ExtraBuffer extra = extras_[i];
    workspace.buffers[first_extra_ + i] =
        extra.prepared ? workspace.prepared[extra.index].get() : constants_[extra.index].data;
  }
  workspace.epoch = epoch;
}

}  // namespace lamella::program
