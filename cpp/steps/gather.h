// SPDX-License-Identifier: Apache-2.0
// Pieces picked by index along an axis: y[o, j, k] = x[o, index[o, j, k], k], exact; and indices
// judged ahead of a step that must not fail.
//
// Indices are int64 and read while running, so they are checked there: one outside [0, rows), or
// [-rows, rows) where negative ones count from the end, is reported through the frame's failure, and
// no byte outside the array is read for it.
#pragma once

#include <cstdint>
#include <memory>

#include "kernels/table.h"
#include "steps/arrays.h"
#include "steps/dtype.h"
#include "steps/fields.h"
#include "steps/step.h"

namespace lamella::steps {

// A piece is a whole row where an index counts for all of it (inner = 1), else an element.
struct GatherSpec {
  static constexpr const char* kKind = "GatherSpec";

  std::size_t piece_bytes = 0, rows = 0, count = 0;
  std::size_t outer = 1, inner = 1;
  bool outer_index = false;  // indices for each of outer, or for all of them alike
  bool from_end = false;     // negative indices count from the end

  auto fields() {
    return std::array{field("piece_bytes", piece_bytes),
                      field("rows", rows),
                      field("count", count),
                      optional_field("outer", outer),
                      optional_field("inner", inner),
                      optional_field("outer_index", outer_index),
                      optional_field("from_end", from_end)};
  }

  struct Slots {
    Slot x;        // outer x rows x inner pieces, contiguous
    Slot indices;  // (outer or 1) x count x inner int64
    Slot y;        // outer x count x inner pieces; overlaps neither

    auto fields() { return std::array{field("x", x), field("indices", indices), field("y", y)}; }
  };
};

struct IndexSpec {
  static constexpr const char* kKind = "IndexSpec";

  std::size_t rows = 0, count = 0;
  bool from_end = false;  // negative indices count from the end

  auto fields() {
    return std::array{field("rows", rows), field("count", count),
                      optional_field("from_end", from_end)};
  }

  struct Slots {
    Slot indices;  // count int64
    Slot y;        // the same, counted from the front; may be indices itself

    auto fields() { return std::array{field("indices", indices), field("y", y)}; }
  };
};

// Both throw std::overflow_error for sizes beyond the address space.
std::unique_ptr<Step> make_step(const kernels::KernelTable& table, const GatherSpec& spec,
                                const GatherSpec::Slots& slots);
void arrays(const GatherSpec& spec, const GatherSpec::Slots& slots, ArrayList& list);
double work(const GatherSpec& spec);

std::unique_ptr<Step> make_step(const kernels::KernelTable& table, const IndexSpec& spec,
                                const IndexSpec::Slots& slots);
void arrays(const IndexSpec& spec, const IndexSpec::Slots& slots, ArrayList& list);
double work(const IndexSpec& spec);

}  // namespace lamella::steps
