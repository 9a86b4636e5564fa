// SPDX-License-Identifier: Apache-2.0
// Rows of a table picked by index, y[i] = table[indices[i]], the sums that go the other way,
// y[indices[i]] += x[i] in increasing i, and rows put elsewhere, y = x with y[indices[i]] = source[i].
//
// Indices are int64 and read while running, so they are checked there: one outside [0, rows), or
// [-rows, rows) where negative ones count from the end, is reported through the frame's failure, and
// no byte outside the table is read for it.
#pragma once

#include <cstdint>
#include <memory>

#include "kernels/table.h"
#include "steps/arrays.h"
#include "steps/dtype.h"
#include "steps/fields.h"
#include "steps/step.h"

namespace lamella::steps {

struct GatherSpec {
  std::size_t row_bytes = 0, rows = 0, count = 0;
  bool from_end = false;  // negative indices count from the end

  static constexpr auto fields(auto& s) {
    return std::tuple{field("row_bytes", s.row_bytes), field("rows", s.rows),
                      field("count", s.count), optional_field("from_end", s.from_end)};
  }

  struct Slots {
    Slot table;    // rows x row_bytes, contiguous
    Slot indices;  // count int64
    Slot y;        // count x row_bytes; overlaps neither

    static constexpr auto fields(auto& s) {
      return std::tuple{field("table", s.table), field("indices", s.indices), field("y", s.y)};
    }
  };
};

struct ScatterAddSpec {
  DType dtype = DType::f32;
  std::size_t rows = 0, cols = 0, count = 0;
  std::int64_t skipped = -1;  // rows of x with this index are left out; -1 for none
  bool from_end = false;      // negative indices count from the end

  static constexpr auto fields(auto& s) {
    return std::tuple{field("dtype", s.dtype),
                      field("rows", s.rows),
                      field("cols", s.cols),
                      field("count", s.count),
                      optional_field("skipped", s.skipped),
                      optional_field("from_end", s.from_end)};
  }

  struct Slots {
    Slot indices;  // count int64
    Slot x;        // count x cols, contiguous
    Slot y;        // rows x cols; overlaps neither

    static constexpr auto fields(auto& s) {
      return std::tuple{field("indices", s.indices), field("x", s.x), field("y", s.y)};
    }
  };
};

// Indices judged ahead of a step that must not fail, counted from the front.
struct IndexSpec {
  std::size_t rows = 0, count = 0;
  bool from_end = false;  // negative indices count from the end

  static constexpr auto fields(auto& s) {
    return std::tuple{field("rows", s.rows), field("count", s.count),
                      optional_field("from_end", s.from_end)};
  }

  struct Slots {
    Slot indices;  // count int64
    Slot y;        // the same; may be indices itself

    static constexpr auto fields(auto& s) {
      return std::tuple{field("indices", s.indices), field("y", s.y)};
    }
  };
};

// An index outside [0, rows) writes nothing, so that the step cannot fail.
struct IndexCopySpec {
  std::size_t outer = 0, rows = 0, count = 0, row_bytes = 0;

  static constexpr auto fields(auto& s) {
    return std::tuple{field("outer", s.outer), field("rows", s.rows), field("count", s.count),
                      field("row_bytes", s.row_bytes)};
  }

  struct Slots {
    Slot x;        // outer x rows x row_bytes, contiguous
    Slot indices;  // count int64
    Slot source;   // outer x count x row_bytes, contiguous
    Slot y;        // as x; may be x itself, of which then only what is new is written

    static constexpr auto fields(auto& s) {
      return std::tuple{field("x", s.x), field("indices", s.indices), field("source", s.source),
                        field("y", s.y)};
    }
  };
};

// All throw std::overflow_error for sizes beyond the address space.
std::unique_ptr<Step> make_step(const kernels::KernelTable& table, const GatherSpec& spec,
                                const GatherSpec::Slots& slots);
void arrays(const GatherSpec& spec, const GatherSpec::Slots& slots, ArrayList& list);
double work(const GatherSpec& spec);

std::unique_ptr<Step> make_step(const kernels::KernelTable& table, const ScatterAddSpec& spec,
                                const ScatterAddSpec::Slots& slots);
void arrays(const ScatterAddSpec& spec, const ScatterAddSpec::Slots& slots, ArrayList& list);
double work(const ScatterAddSpec& spec);

std::unique_ptr<Step> make_step(const kernels::KernelTable& table, const IndexSpec& spec,
                                const IndexSpec::Slots& slots);
void arrays(const IndexSpec& spec, const IndexSpec::Slots& slots, ArrayList& list);
double work(const IndexSpec& spec);

std::unique_ptr<Step> make_step(const kernels::KernelTable& table, const IndexCopySpec& spec,
                                const IndexCopySpec::Slots& slots);
void arrays(const IndexCopySpec& spec, const IndexCopySpec::Slots& slots, ArrayList& list);
double work(const IndexCopySpec& spec);

}  // namespace lamella::steps
