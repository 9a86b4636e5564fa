// SPDX-License-Identifier: Apache-2.0
// Repeats one value along a contiguous run, for values known only while running.
#pragma once

#include <cstddef>
#include <cstring>

namespace lamella::steps {

// Writes whole cache lines at a time: std::fill_n is one store an element at -O2, because the
// optimiser does not know that runs are long.
template <class T>
inline void repeat(T* y, std::size_t n, T value) {
  constexpr std::size_t kLine = 64 / sizeof(T);
  std::size_t i = 0;
  if (n >= kLine) {
    T line[kLine];
    for (std::size_t j = 0; j < kLine; ++j) line[j] = value;
    for (; i + kLine <= n; i += kLine) std::memcpy(y + i, line, sizeof(line));
  }
  for (; i < n; ++i) y[i] = value;
}

}  // namespace lamella::steps
