// SPDX-License-Identifier: Apache-2.0
// The processors that the calling thread may run on; grows with the machine, where the C library's
// cpu_set_t ends at 1024.
#pragma once

#include <cstddef>
#include <vector>

#include <sched.h>

namespace lamella::base {

class Affinity {
 public:
  // The thread's mask as it is now; allows nothing where the kernel does not tell it.
  static Affinity of_this_thread();

  int count() const;
  void remove(std::size_t processor);
  // Makes it the thread's mask: a thread on a processor outside moves at once.
  bool apply() const;

 private:
  std::vector<cpu_set_t> sets_;

  std::size_t bytes() const { return sets_.size() * sizeof(cpu_set_t); }
};

}  // namespace lamella::base
