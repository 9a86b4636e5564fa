// SPDX-License-Identifier: Apache-2.0
// The prepared arrays of the process, and what a fork needs of them.
#include "program/prepared.h"

#include <algorithm>
#include <atomic>
#include <map>
#include <mutex>

#include <pthread.h>

#include "program/changes.h"
#include "program/storage.h"
#include "program/workspace.h"

namespace lamella::program {
namespace {

using Registry = std::map<PreparedKey, Prepared>;

std::mutex mutex;
std::uint64_t process = 1;  // counts forks
std::atomic<std::uint32_t> published{0};

// Never destroyed: programs may outlive the destructors of static objects.
Registry& registry() {
  static Registry& only = *new Registry;
  return only;
}

// Whoever holds cells may want the mutex, but not the other way round: cells come first.
void before_fork() {
  suspend_changes();
  mutex.lock();
}

void after_fork_in_parent() {
  mutex.unlock();
  resume_changes();
}

void after_fork_in_child() {
  ++process;
  mutex.unlock();
  forget_changes();
}

[[maybe_unused]] const int fork_handlers =
    pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child);

}  // namespace

PreparedLock::PreparedLock() { mutex.lock(); }
PreparedLock::~PreparedLock() { mutex.unlock(); }

std::uint64_t process_number() { return process; }

namespace {

// With the lock held.
PreparedNode take_if_unused(Prepared& item) noexcept {
  if (!item.users.empty() || item.pins > 0) return {};
  if (item.source != nullptr) item.source->forget_form(item);
  return registry().extract(registry().find(*item.key));
}

}  // namespace

PreparedNode unpin(Prepared& item) noexcept {
  --item.pins;
  return take_if_unused(item);
}

PreparedShare::PreparedShare(const PreparedKey& key, std::size_t bytes, const WorkspacePool& user,
                             std::shared_ptr<const steps::Reversible> packing, Storage* storage)
    : user_(&user) {
  PreparedNode unused;
  const PreparedLock lock;
  place_ = registry().try_emplace(key).first;
  Prepared& item = place_->second;
  item.key = &place_->first;
  item.bytes = bytes;
  try {
    item.users.push_back(user_);
    if (storage != nullptr && item.source == nullptr) storage->add_form(item);
  } catch (...) {
    std::erase(item.users, user_);
    unused = take_if_unused(item);
    throw;
  }
  if (storage != nullptr) {
    item.packing = std::move(packing);
    item.source = storage;
  }
}

PreparedShare::~PreparedShare() {
  if (user_ == nullptr) return;
  PreparedNode last;  // freed when the lock is given back
  const PreparedLock lock;
  std::vector<const WorkspacePool*>& users = place_->second.users;
  users.erase(std::find(users.begin(), users.end(), user_));
  last = take_if_unused(place_->second);
}

bool PreparedShare::read_by_others() const {
  const std::vector<const WorkspacePool*>& users = place_->second.users;
  return std::any_of(users.begin(), users.end(), [this](const WorkspacePool* user) {
    return user != user_ && !user->all_idle();
  });
}

PreparedTotals prepared_totals() {
  const PreparedLock lock;
  PreparedTotals totals;
  for (const auto& [key, item] : registry()) {
    if (item.memory == nullptr) continue;
    ++totals.count;
    totals.bytes += item.bytes;
  }
  return totals;
}

std::uint32_t publications() { return published.load(std::memory_order_acquire); }

void await_publication(std::uint32_t seen) { published.wait(seen, std::memory_order_acquire); }

void announce_publication() {
  published.fetch_add(1, std::memory_order_release);
  published.notify_all();
}

}  // namespace lamella::program
