// SPDX-License-Identifier: Apache-2.0
// Rows of a table picked by index, y[i] = table[indices[i]], and the sums that go the other way,
// y[indices[i]] += x[i] in increasing i.
//
// Indices are int64 and read while running, so they are checked there: one outside [0, rows), or
// [-rows, rows) where negative ones count from the end, is reported through the frame's failure, and
// no byte outside the table is read for it.
#pragma once

#include <cstdint>
#include <memory>

#include "kernels/table.h"
#include "steps/dtype.h"
#include "steps/step.h"

namespace lamella::steps {

struct GatherSpec {
  std::size_t row_bytes = 0, rows = 0, count = 0;
  Slot table;             // rows x row_bytes, contiguous
  Slot indices;           // count int64
  Slot y;                 // count x row_bytes; overlaps neither
  bool from_end = false;  // negative indices count from the end
};

struct ScatterAddSpec {
  DType dtype = DType::f32;
  std::size_t rows = 0, cols = 0, count = 0;
  Slot indices;  // count int64
  Slot x;        // count x cols, contiguous
  Slot y;        // rows x cols; overlaps neither
  // Rows of x with this index are left out; -1 for none.
  std::int64_t skipped = -1;
  bool from_end = false;  // negative indices count from the end
};

// Both throw std::overflow_error for sizes beyond the address space.
std::unique_ptr<Step> make_gather(const GatherSpec& spec);
std::unique_ptr<Step> make_scatter_add(const kernels::KernelTable& table,
                                       const ScatterAddSpec& spec);

}  // namespace lamella::steps
