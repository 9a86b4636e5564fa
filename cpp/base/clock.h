// SPDX-License-Identifier: Apache-2.0
// The clock of waits and of steps: monotonic, about 20 ns a reading.
#pragma once

#include <chrono>
#include <cstdint>

namespace lamella::base {

inline std::int64_t now_ns() {
  const auto time = std::chrono::steady_clock::now().time_since_epoch();
  return std::chrono::duration_cast<std::chrono::nanoseconds>(time).count();
}

}  // namespace lamella::base
