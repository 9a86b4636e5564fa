// SPDX-License-Identifier: Apache-2.0
// Reads the kernel's description of the caches (Documentation/ABI/testing/sysfs-devices-system-cpu).
#include "base/cache.h"

#include <fstream>

namespace lamella::base {
namespace {

std::string first_word(const std::string& path) {
  std::ifstream file(path);
  std::string word;
  file >> word;
  return word;
}

// "32K", "1M", "512": 0 when it is none of these.
std::size_t parse_size(const std::string& text) {
  std::size_t value = 0, i = 0;
  for (; i < text.size() && text[i] >= '0' && text[i] <= '9' && value < (std::size_t{1} << 40);
       ++i) {
    value = value * 10 + static_cast<std::size_t>(text[i] - '0');
  }
  if (i < text.size() && text[i] == 'K') return value << 10;
  if (i < text.size() && text[i] == 'M') return value << 20;
  return value;
}

}  // namespace

CacheSizes read_cache_sizes(const std::string& root) {
  CacheSizes sizes;
  for (int index = 0; index < 8; ++index) {
    const std::string folder = root + "/index" + std::to_string(index);
    const std::string type = first_word(folder + "/type");
    if (type != "Data" && type != "Unified") continue;
    const std::size_t size = parse_size(first_word(folder + "/size"));
    if (size == 0) continue;
    const std::string level = first_word(folder + "/level");
    if (level == "1") sizes.l1 = size;
    if (level == "2") sizes.l2 = size;
    if (level == "3") sizes.l3 = size;
  }
  return sizes;
}

const CacheSizes& cache_sizes() {
  static const CacheSizes sizes = read_cache_sizes("/sys/devices/system/cpu/cpu0/cache");
  return sizes;
}

}  // namespace lamella::base
