// SPDX-License-Identifier: Apache-2.0
// Gives the pages of a frozen parameter up, and brings its elements back.
#include "program/storage.h"

#include <algorithm>

#include <sys/mman.h>

#include "base/checked.h"
#include "base/parallel.h"
#include "program/changes.h"
#include "program/prepared.h"

namespace lamella::program {
namespace {

constexpr std::size_t kPage = 4096;

std::byte* page_at(std::byte* block) {
  return block + -reinterpret_cast<std::uintptr_t>(block) % kPage;
}

}  // namespace

Storage::Storage(std::size_t bytes)
    : bytes_(bytes),
      block_(base::allocate(base::checked_add(bytes, kPage))),
      data_(page_at(block_.get())) {}

Storage::~Storage() {
  PreparedNode last;  // freed when the lock is given back
  const PreparedLock lock;
  for (Prepared* form : forms_) form->source = nullptr;
  if (whole_ != nullptr) last = unpin(*whole_);
}

bool Storage::is_moving() const { return moving_ == process_number(); }

bool Storage::is_frozen() const {
  const PreparedLock lock;
  return frozen_;
}

bool Storage::is_here() const {
  const PreparedLock lock;
  return here_;
}

// A prepared array that holds the elements as they are now.
Prepared* Storage::whole_form() {
  const std::int64_t now = read_version(&version_);
  if (is_held(now)) return nullptr;
  const auto found = std::find_if(forms_.begin(), forms_.end(), [now](const Prepared* form) {
    return form->memory != nullptr && !form->is_claimed() && form->versions.size() == 1 &&
           form->versions[0] == now;
  });
  return found == forms_.end() ? nullptr : *found;
}

// Whoever changes the elements holds the version first: either he is seen here, or he finds in
// unfreeze() that they have gone.
void Storage::give_up() noexcept {
  {
    const PreparedLock lock;
    if (!frozen_ || !here_ || needs_ > 0 || is_moving()) return;
    Prepared* form = whole_form();
    if (form == nullptr) return;
    ++form->pins;
    whole_ = form;
    here_ = false;
    moving_ = process_number();
  }
  const std::size_t whole_pages = bytes_ / kPage * kPage;
  if (whole_pages > 0) madvise(data_, whole_pages, MADV_DONTNEED);
  {
    const PreparedLock lock;
    moving_ = 0;
  }
  announce_publication();
}

void Storage::bring_back() noexcept {
  struct Context {
    std::byte* buffers[2];
    const steps::Reversible* packing;
  } context{};
  for (;;) {
    const std::uint32_t seen = publications();
    {
      const PreparedLock lock;
      if (here_) return;
      if (!is_moving()) {
        moving_ = process_number();
        context = {{data_, whole_->memory.get()}, whole_->packing.get()};
        break;
      }
    }
    await_publication(seen);
  }
  const auto member = [](void* given, const base::Team& team) {
    const Context& one = *static_cast<const Context*>(given);
    steps::Failure failure;
    one.packing->undo({one.buffers, &failure, 0, 0}, team);
  };
  base::run_team(base::team_worth(context.packing->cost()), member, &context);
  PreparedNode last;
  {
    const PreparedLock lock;
    here_ = true;
    moving_ = 0;
    last = unpin(*std::exchange(whole_, nullptr));
  }
  announce_publication();
}

void Storage::freeze() noexcept {
  {
    const PreparedLock lock;
    frozen_ = true;
  }
  give_up();
}

void Storage::unfreeze() noexcept {
  {
    const PreparedLock lock;
    frozen_ = false;
  }
  bring_back();
}

void Storage::need() noexcept {
  const PreparedLock lock;
  ++needs_;
}

void Storage::release() noexcept {
  {
    const PreparedLock lock;
    --needs_;
  }
  give_up();
}

}  // namespace lamella::program
