// SPDX-License-Identifier: Apache-2.0
// Reads the affinity mask, control groups and environment variables.
#include "base/thread_count.h"

#include <algorithm>
#include <charconv>
#include <climits>
#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <sstream>
#include <string_view>
#include <vector>

#include <unistd.h>

#include "base/affinity.h"

namespace lamella::base {
namespace {

int affinity_count() {
  const int count = Affinity::of_this_thread().count();
  return count > 0 ? count : static_cast<int>(sysconf(_SC_NPROCESSORS_ONLN));
}

// The leading number of "4" or "4,2" (OpenMP: one per nesting level); 0 when there is none.
int environment_count(const char* name) {
  const char* text = std::getenv(name);
  if (text == nullptr) return 0;
  std::string_view rest(text);
  while (!rest.empty() && (rest.front() == ' ' || rest.front() == '\t')) rest.remove_prefix(1);
  int value = 0;
  const auto [end, error] = std::from_chars(rest.data(), rest.data() + rest.size(), value);
  const bool ends = end == rest.data() + rest.size() || *end == ',' || *end == ' ';
  return error == std::errc() && ends && value > 0 ? value : 0;
}

std::int64_t parse_number(const std::string& text) {
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && end == text.data() + text.size() ? value : -1;
}

std::vector<std::string> words_of(const std::string& path) {
  std::ifstream file(path);
  std::vector<std::string> words;
  for (std::string word; file >> word;) words.push_back(word);
  return words;
}

// ceil(quota / period), 0 for no limit.
int cpus_of(std::int64_t quota, std::int64_t period) {
  if (quota <= 0 || period <= 0) return 0;
  return static_cast<int>(std::min<std::int64_t>((quota - 1) / period + 1, INT_MAX));
}

int quota_v2(const std::string& folder) {
  const auto words = words_of(folder + "/cpu.max");
  if (words.size() != 2) return 0;
  return cpus_of(parse_number(words[0]), parse_number(words[1]));  // "max" parses to -1
}

int quota_v1(const std::string& folder) {
  const auto quota = words_of(folder + "/cpu.cfs_quota_us");
  const auto period = words_of(folder + "/cpu.cfs_period_us");
  if (quota.size() != 1 || period.size() != 1) return 0;
  return cpus_of(parse_number(quota[0]), parse_number(period[0]));
}

int tighter(int a, int b) { return a == 0 ? b : (b == 0 ? a : std::min(a, b)); }

// The tightest quota from `group` up to the mount point. In a container the path that
// /proc/self/cgroup names is often the host's; the mount point itself is then the group.
template <class Quota>
int tightest_quota(const std::string& mount, std::string group, Quota quota) {
  int result = 0;
  while (group.size() > 1) {
    result = tighter(result, quota(mount + group));
    group.erase(group.rfind('/'));
  }
  return tighter(result, quota(mount));
}

bool has_cpu_controller(const std::string& controllers) {
  std::stringstream list(controllers);
  for (std::string name; std::getline(list, name, ',');) {
    if (name == "cpu") return true;
  }
  return false;
}

}  // namespace

int cgroup_quota(const std::string& root) {
  const std::string mount = root + "/sys/fs/cgroup";
  std::ifstream groups(root + "/proc/self/cgroup");
  int result = 0;
  // Lines are "id:controllers:path"; v2 has id 0 and no controllers.
  for (std::string line; std::getline(groups, line);) {
    const auto first = line.find(':');
    const auto second = line.find(':', first == std::string::npos ? first : first + 1);
    if (second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    const std::string path = line.substr(second + 1);
    if (path.empty() || path.front() != '/' || path.find("/..") != std::string::npos) continue;
    if (controllers.empty()) {
      result = tighter(result, tightest_quota(mount, path, quota_v2));
      result = tighter(result, tightest_quota(mount + "/unified", path, quota_v2));
    } else if (has_cpu_controller(controllers)) {
      result = tighter(result, tightest_quota(mount + "/cpu", path, quota_v1));
      result = tighter(result, tightest_quota(mount + "/" + controllers, path, quota_v1));
    }
  }
  return result;
}

ThreadLimits thread_limits(const std::string& root) {
  ThreadLimits limits;
  limits.affinity = affinity_count();
  limits.cgroup = cgroup_quota(root);
  limits.lamella_num_threads = environment_count("LAMELLA_NUM_THREADS");
  limits.omp_num_threads = environment_count("OMP_NUM_THREADS");
  limits.omp_thread_limit = environment_count("OMP_THREAD_LIMIT");
  const struct {
    int count;
    const char* reason;
  } authorities[] = {{limits.affinity, "affinity mask"},
                     {limits.cgroup, "CPU quota of the control group"},
                     {limits.lamella_num_threads, "LAMELLA_NUM_THREADS"},
                     {limits.omp_num_threads, "OMP_NUM_THREADS"},
                     {limits.omp_thread_limit, "OMP_THREAD_LIMIT"}};
  int smallest = INT_MAX;
  for (const auto& authority : authorities) {
    if (authority.count > 0 && authority.count < smallest) {
      smallest = authority.count;
      limits.reason = authority.reason;
    }
  }
  limits.chosen = smallest == INT_MAX ? 1 : smallest;
  return limits;
}

}  // namespace lamella::base
