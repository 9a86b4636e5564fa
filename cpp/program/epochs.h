// SPDX-License-Identifier: Apache-2.0
// Two counters that make staleness one comparison per call.
#pragma once

#include <atomic>
#include <cstdint>

namespace lamella::program {

// Advances when a thread begins to change parameters (before the first write, its version cells held:
// changes.h), and after a version cell changed without being held. A program whose workspace has seen
// an older value looks at the version cells of its own constants.
inline std::atomic<std::uint64_t> parameter_epoch{1};

// Advances when any module's attributes or the selected instruction set changed: remembered calls
// of an older epoch are not taken before their owner has confirmed them.
inline std::atomic<std::uint64_t> structure_epoch{1};

inline void touch_parameters() { parameter_epoch.fetch_add(1, std::memory_order_release); }
inline void touch_structure() { structure_epoch.fetch_add(1, std::memory_order_release); }

}  // namespace lamella::program
