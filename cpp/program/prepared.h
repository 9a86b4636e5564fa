// SPDX-License-Identifier: Apache-2.0
// What programs compute from constants ahead of their runs (packed weights), one for all that want it.
//
// Programs of one model for several batch sizes, of a net and of its parts, read the same parameters
// in the same form: each form is held once, while a program uses it. Whoever needs one that is stale
// claims it, fills it and publishes it; who comes meanwhile waits for that. One mutex guards all of
// this: it is held for moments, never while filling, waiting, freeing memory or running Python.
#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "steps/reversible.h"

namespace lamella::program {

class Storage;
class WorkspacePool;

// While one of these lives, the caller has what programs share for himself.
class PreparedLock {
 public:
  PreparedLock();
  ~PreparedLock();
  PreparedLock(const PreparedLock&) = delete;
  PreparedLock& operator=(const PreparedLock&) = delete;
};

// Counts forks: what a parent's threads were about means nothing in a child. The lock has to be held.
std::uint64_t process_number();

struct PreparedKey;

struct Prepared {
  std::shared_ptr<std::byte[]> memory;  // null before it is filled for the first time
  std::vector<std::int64_t> versions;   // of the sources when it was filled; empty: it is not whole
  std::vector<const WorkspacePool*> users;
  std::size_t bytes = 0;             // of the memory
  int pins = 0;                      // storage whose elements are nowhere else
  const PreparedKey* key = nullptr;  // its own
  // Of an array that holds all elements of one storage: how it is made of them, and that storage.
  std::shared_ptr<const steps::Reversible> packing;
  Storage* source = nullptr;

  bool is_claimed() const { return claim_ == process_number(); }
  void claim() { claim_ = process_number(); }
  void unclaim() { claim_ = 0; }

 private:
  std::uint64_t claim_ = 0;  // in which process somebody fills it
};

// What makes two prepared arrays the same: where their sources lie, and what is made of them.
struct PreparedKey {
  struct Source {
    const std::byte* data;
    const std::int64_t* version;  // null: never changes
    auto operator<=>(const Source&) const = default;
  };
  std::string kind;
  std::vector<Source> sources;
  auto operator<=>(const PreparedKey&) const = default;
};

using PreparedNode = std::map<PreparedKey, Prepared>::node_type;
// Takes one pin away; what nobody uses any more is handed out, to be freed behind the lock.
PreparedNode unpin(Prepared& item) noexcept;

// The part of one program in a prepared array. The sources must live as long.
class PreparedShare {
 public:
  // packing, storage: where all elements of one storage are kept, else null. Throws std::bad_alloc.
  PreparedShare(const PreparedKey& key, std::size_t bytes, const WorkspacePool& user,
                std::shared_ptr<const steps::Reversible> packing, Storage* storage);
  ~PreparedShare();
  PreparedShare(const PreparedShare&) = delete;
  PreparedShare& operator=(const PreparedShare&) = delete;
  PreparedShare(PreparedShare&& other) noexcept
      : place_(other.place_), user_(std::exchange(other.user_, nullptr)) {}
  PreparedShare& operator=(PreparedShare&&) = delete;

  // The lock has to be held.
  Prepared* operator->() const { return &place_->second; }
  // Whether a run of another program may be reading it; under the callers' common lock, too.
  bool read_by_others() const;

 private:
  std::map<PreparedKey, Prepared>::iterator place_;
  const WorkspacePool* user_;  // null: moved from
};

struct PreparedTotals {
  std::size_t count = 0, bytes = 0;
};
// Of what has been filled, at this moment.
PreparedTotals prepared_totals();

// How often something was published or given up.
std::uint32_t publications();
// Waits until that number is another one.
void await_publication(std::uint32_t seen);
// After the lock was given back.
void announce_publication();

}  // namespace lamella::program
