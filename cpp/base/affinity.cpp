// SPDX-License-Identifier: Apache-2.0
#include "base/affinity.h"

namespace lamella::base {

Affinity Affinity::of_this_thread() {
  Affinity mask;
  constexpr std::size_t kMostSets = 1024;  // a million processors
  for (std::size_t sets = 1; sets <= kMostSets; sets *= 2) {
    mask.sets_.assign(sets, cpu_set_t{});
    if (sched_getaffinity(0, mask.bytes(), mask.sets_.data()) == 0) return mask;
  }
  mask.sets_.clear();
  return mask;
}

int Affinity::count() const { return sets_.empty() ? 0 : CPU_COUNT_S(bytes(), sets_.data()); }

void Affinity::remove(std::size_t processor) { CPU_CLR_S(processor, bytes(), sets_.data()); }

bool Affinity::apply() const {
  return !sets_.empty() && sched_setaffinity(0, bytes(), sets_.data()) == 0;
}

}  // namespace lamella::base
