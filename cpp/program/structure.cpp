// SPDX-License-Identifier: Apache-2.0
// Following structures, telling followers, and which threads trace.
#include "program/structure.h"

#include <utility>

#include <pthread.h>

#include "base/allocation.h"

namespace lamella::program {
namespace {

// Its address names the thread.
thread_local int traces = 0;

// Of the threads that were tracing, a child has at most the one that forked.
void start_child() { tracing_threads.store(traces != 0 ? 1 : 0); }

[[maybe_unused]] const int fork_handlers = pthread_atfork(nullptr, nullptr, start_child);

}  // namespace

Structure::~Structure() {
  for (Link* link : links_) {
    if (state_ == link->expected) ++link->follower->astray_;
    link->structure = nullptr;
  }
}

std::uint64_t Structure::fresh_state() noexcept {
  static std::uint64_t last = 0;
  return ++last;
}

void Structure::move_to(std::uint64_t state) noexcept {
  if (state == state_) return;
  const void* const here = &traces;
  for (const Link* link : links_) {
    Follower& follower = *link->follower;
    if (link->expected == state_) ++follower.astray_;
    if (link->expected == state) --follower.astray_;
    if (follower.watcher_ != here) follower.disturbed_ = true;
  }
  state_ = state;
}

bool Follower::follow(std::span<Structure* const> structures,
                      std::span<const std::uint64_t> states) {
  unlink();
  astray_ = 1;
  for (std::size_t i = 0; i < structures.size(); ++i) {
    if (structures[i]->state() != states[i]) return false;
  }
  base::count_allocation();
  std::vector<Link> links(structures.size());
  // Doubled, or many followers of one structure would copy its links again and again.
  for (Structure* structure : structures) {
    if (structure->links_.size() == structure->links_.capacity()) {
      base::count_allocation();
      structure->links_.reserve(2 * structure->links_.size() + 1);
    }
  }
  links_ = std::move(links);
  try {
    for (std::size_t i = 0; i < structures.size(); ++i) {
      std::vector<Link*>& others = structures[i]->links_;
      others.push_back(&links_[i]);
      links_[i] = {structures[i], this, states[i], others.size() - 1};
    }
  } catch (...) {
    unlink();
    throw;
  }
  astray_ = 0;
  return true;
}

void Follower::watch_others() noexcept {
  watcher_ = &traces;
  disturbed_ = false;
}

void Follower::unlink() noexcept {
  for (const Link& link : links_) {
    if (link.structure == nullptr) continue;
    std::vector<Link*>& others = link.structure->links_;
    others.back()->at = link.at;
    others[link.at] = others.back();
    others.pop_back();
  }
  links_.clear();
}

void note_traces(int depth) noexcept {
  const int before = std::exchange(traces, depth);
  tracing_threads.fetch_add((depth != 0 ? 1 : 0) - (before != 0 ? 1 : 0));
}

int traces_of_thread() noexcept { return traces; }

}  // namespace lamella::program
