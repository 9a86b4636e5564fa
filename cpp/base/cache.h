// SPDX-License-Identifier: Apache-2.0
// Sizes of the data caches one core sees, in bytes; what blocking is chosen from.
//
// They may change speed only, never results.
#pragma once

#include <cstddef>
#include <string>

namespace lamella::base {

struct CacheSizes {
  std::size_t l1 = std::size_t{32} << 10;
  std::size_t l2 = std::size_t{512} << 10;
  std::size_t l3 = std::size_t{8} << 20;
};

// As the kernel describes them in <root>/index*/{level,type,size}; what it does not say keeps the
// default above (sandboxes hide these files).
CacheSizes read_cache_sizes(const std::string& root);

// The same for this machine's first processor, read once.
const CacheSizes& cache_sizes();

}  // namespace lamella::base
