// SPDX-License-Identifier: Apache-2.0
#include "base/placement.h"

#include <sched.h>

#include "base/affinity.h"

namespace lamella::base {
namespace {

// The processor that this thread runs on; kNone where it is not watched.
constexpr std::size_t kNone = ~std::size_t{0};
std::size_t here(std::size_t words) {
  const int processor = sched_getcpu();  // a read of the thread's own memory (rseq), 2 ns
  const auto index = static_cast<std::size_t>(processor);
  return processor >= 0 && index < 64 * words ? index : kNone;
}

constexpr std::uint64_t bit(std::size_t processor) { return std::uint64_t{1} << processor % 64; }

}  // namespace

Placement::Placement() : taken_{} {
  const std::size_t processor = here(kWords);
  if (processor != kNone) {
    taken_[processor / 64].store(bit(processor), std::memory_order_relaxed);
  }
}

bool Placement::is_taken(std::size_t processor) const {
  return (taken_[processor / 64].load(std::memory_order_relaxed) & bit(processor)) != 0;
}

void Placement::settle(int index, int team_size, bool members_awake) {
  if (index == 0) {
    if (!members_awake) sched_yield();
    return;
  }
  std::size_t processor = here(kWords);
  if (processor == kNone) return;
  if (is_taken(processor)) {
    leave();
    processor = here(kWords);
    if (processor == kNone) return;
  }
  // Nobody reads what the only worker notes.
  if (team_size > 2) taken_[processor / 64].fetch_or(bit(processor), std::memory_order_relaxed);
}

// The kernel moves a thread at once when its mask leaves its processor out. The mask is the user's:
// the thread has it back before it computes.
void Placement::leave() {
  const Affinity mask = Affinity::of_this_thread();
  Affinity free = mask;
  for (std::size_t processor = 0; processor < 64 * kWords; ++processor) {
    if (is_taken(processor)) free.remove(processor);
  }
  const bool any = free.count() > 0;  // else there are more members than processors
  if (any && free.apply()) mask.apply();
}

}  // namespace lamella::base
