// SPDX-License-Identifier: Apache-2.0
// A counter that makes the staleness of packed parameters one comparison per run.
#pragma once

#include <atomic>
#include <cstdint>

namespace lamella::program {

// Advances when a thread begins to change parameters (before the first write, its version cells held:
// changes.h), and after a version cell changed without being held. A program whose workspace has seen
// an older value looks at the version cells of its own constants.
inline std::atomic<std::uint64_t> parameter_epoch{1};

inline void touch_parameters() { parameter_epoch.fetch_add(1, std::memory_order_release); }

}  // namespace lamella::program
