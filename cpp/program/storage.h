// SPDX-License-Identifier: Apache-2.0
// The memory of one parameter, which may be given up while a packed form holds all of its elements.
//
// Frozen storage gives its pages back to the system as soon as some prepared array holds everything in
// its present version, and nobody needs the elements where they lie: no program that reads or changes
// them there, no array that shows them to the user, nobody who packs them just now. Its addresses stay
// reserved: they name the storage, and whoever needs the elements again has them brought back by
// unpacking, bit for bit. Who wants to overwrite everything only says so. All of this is guarded by the
// lock of prepared.h; nothing here needs the callers' lock.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "base/allocation.h"
#include "steps/reversible.h"

namespace lamella::program {

struct Prepared;

class Storage {
 public:
  // Uninitialised, and there. Throws std::bad_alloc.
  explicit Storage(std::size_t bytes);
  ~Storage();
  Storage(const Storage&) = delete;
  Storage& operator=(const Storage&) = delete;

  std::byte* data() const { return data_; }
  std::size_t bytes() const { return bytes_; }
  // Counts changes as changes.h has it.
  std::int64_t* version() { return &version_; }

  void freeze() noexcept;
  // Brings the elements back, too.
  void unfreeze() noexcept;
  bool is_frozen() const;
  // Whether the elements lie here.
  bool is_here() const;

  // From the first to the second the elements are not given up; who needs them has to bring them back.
  void need() noexcept;
  void release() noexcept;
  // Waits until the elements are here, or unpacks them with a team.
  void bring_back() noexcept;

  // For prepared.cpp and workspace.cpp, with the lock held.
  bool lies_here() const { return here_; }
  void need_locked() { ++needs_; }
  void release_locked() { --needs_; }
  void add_form(Prepared& form) { forms_.push_back(&form); }
  void forget_form(const Prepared& form) { std::erase(forms_, &form); }
  // Without: gives the elements up, if it is frozen and nothing is against it.
  void give_up() noexcept;

 private:
  bool is_moving() const;
  Prepared* whole_form();

  const std::size_t bytes_;
  const base::Block block_;
  std::byte* const data_;
  std::int64_t version_ = 0;

  bool frozen_ = false, here_ = true;
  int needs_ = 0;
  std::uint64_t moving_ = 0;      // in which process pages are given up or filled again; 0: nowhere
  Prepared* whole_ = nullptr;     // holds the elements while they are not here
  std::vector<Prepared*> forms_;  // prepared arrays that may
};

// Keeps the elements of a storage from being given up while it lives.
class StorageNeed {
 public:
  explicit StorageNeed(std::shared_ptr<Storage> storage) : storage_(std::move(storage)) {
    storage_->need();
  }
  ~StorageNeed() {
    if (storage_ != nullptr) storage_->release();
  }
  StorageNeed(StorageNeed&&) noexcept = default;
  StorageNeed(const StorageNeed&) = delete;
  StorageNeed& operator=(const StorageNeed&) = delete;

  Storage* operator->() const { return storage_.get(); }

 private:
  std::shared_ptr<Storage> storage_;
};

}  // namespace lamella::program
