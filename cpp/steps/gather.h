// SPDX-License-Identifier: Apache-2.0
// Rows of a table picked by index: y[i] = table[indices[i]].
//
// Indices are int64 and read while running, so they are checked there: one outside [0, rows) is
// reported through the frame's failure, and no byte outside the table is read for it.
#pragma once

#include <memory>

#include "steps/step.h"

namespace lamella::steps {

struct GatherSpec {
  std::size_t row_bytes = 0, rows = 0, count = 0;
  Slot table;    // rows x row_bytes, contiguous
  Slot indices;  // count int64
  Slot y;        // count x row_bytes; overlaps neither
};

// Throws std::overflow_error for sizes beyond the address space.
std::unique_ptr<Step> make_gather(const GatherSpec& spec);

}  // namespace lamella::steps
