// SPDX-License-Identifier: Apache-2.0
// How many threads a program uses unless told otherwise, and why.
//
// The smallest of what each authority allows: the affinity mask, the CPU quota of the control group
// (which OpenMP run-times ignore), and the environment variables LAMELLA_NUM_THREADS,
// OMP_NUM_THREADS and OMP_THREAD_LIMIT.
#pragma once

#include <string>

namespace lamella::base {

// CPUs worth of quota, rounded up, or 0 for no limit: the tightest of the process's control group
// and its parents, in both layouts (v2: cpu.max; v1: cpu.cfs_quota_us over cpu.cfs_period_us).
// `root` is put before /proc/self/cgroup and /sys/fs/cgroup: "" is this machine.
int cgroup_quota(const std::string& root);

// Each member is 0 when that authority says nothing.
struct ThreadLimits {
  int affinity = 0;
  int cgroup = 0;
  int lamella_num_threads = 0;
  int omp_num_threads = 0;
  int omp_thread_limit = 0;
  int chosen = 1;
  std::string reason;  // which of them was the smallest
};

// As the process is now; looks at the environment and the file system each time.
ThreadLimits thread_limits(const std::string& root = "");

}  // namespace lamella::base
