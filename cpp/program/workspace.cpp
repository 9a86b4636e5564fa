// SPDX-License-Identifier: Apache-2.0
// Makes workspaces, lends them, and keeps prepared arrays up to date.
#include "program/workspace.h"

#include <algorithm>

#include "base/fp_environment.h"

namespace lamella::program {

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
      current_(std::make_shared<PreparedSet>()) {
  current_->items.resize(prepared_.size());
}

// The new one is idle at first.
Workspace* WorkspacePool::make() {
  base::count_allocation();
  auto workspace = std::make_unique<Workspace>(arena_bytes_, zones_, first_extra_ + extras_.size());
  idle_.reserve(all_.size() + 1);
  all_.push_back(std::move(workspace));
  idle_.push_back(all_.back().get());
  return idle_.back();
}

std::vector<std::int64_t> WorkspacePool::source_versions(std::size_t index) const {
  std::vector<std::int64_t> versions;
  for (const Slot source : prepared_[index].sources) {
    const std::int64_t* cell = constants_[extras_[source.buffer - first_extra_].index].version;
    versions.push_back(cell == nullptr ? 0 : __atomic_load_n(cell, __ATOMIC_ACQUIRE));
  }
  return versions;
}

bool WorkspacePool::stale(std::size_t index) const {
  const PreparedSet::Item& item = current_->items[index];
  return item.memory == nullptr || item.versions != source_versions(index);
}

void WorkspacePool::fill(std::size_t index, std::byte* target) const {
  std::vector<const std::byte*> sources;
  for (const Slot source : prepared_[index].sources) {
    sources.push_back(constants_[extras_[source.buffer - first_extra_].index].data + source.offset);
  }
  const base::FpEnvironment environment;
  prepared_[index].prepare(sources.data(), target);
}

// Fills what is stale, in the memory it has or in new memory. The versions are read before the
// sources: a change in between makes the array stale again.
void WorkspacePool::refill(bool in_place) {
  auto next = in_place ? current_ : std::make_shared<PreparedSet>(*current_);
  for (std::size_t i = 0; i < prepared_.size(); ++i) {
    if (!stale(i)) continue;
    PreparedSet::Item& item = next->items[i];
    auto versions = source_versions(i);
    auto memory = item.memory;
    if (!in_place || memory == nullptr) {
      base::Block block = base::allocate(std::max<std::size_t>(prepared_[i].bytes, 1));
      memory = std::shared_ptr<std::byte[]>(std::move(block));
    }
    fill(i, memory.get());
    item.memory = std::move(memory);
    item.versions = std::move(versions);
  }
  current_ = std::move(next);
}

void WorkspacePool::refresh(Workspace* workspace) {
  const std::uint64_t epoch = parameter_epoch.load(std::memory_order_acquire);
  if (epoch != checked_epoch_) {
    bool any = false;
    for (std::size_t i = 0; i < prepared_.size() && !any; ++i) any = stale(i);
    const bool nobody_runs = idle_.size() == all_.size();
    if (any) refill(nobody_runs);
    checked_epoch_ = epoch;
  }
  workspace->prepared = current_;
  for (std::size_t i = 0; i < extras_.size(); ++i) {
    const ExtraBuffer extra = extras_[i];
    workspace->buffers[first_extra_ + i] =
        extra.prepared ? current_->items[extra.index].memory.get() : constants_[extra.index].data;
  }
  workspace->epoch = epoch;
}

}  // namespace lamella::program
