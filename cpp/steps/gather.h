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
  static constexpr const char* kKind = "GatherSpec";

  std::size_t row_bytes = 0, rows = 0, count = 0;
  bool from_end = false;  // negative indices count from the end

  auto fields() {
    return std::array{field("row_bytes", row_bytes), field("rows", rows), field("count", count),
                      optional_field("from_end", from_end)};
  }

  struct Slots {
    Slot table;    // rows x row_bytes, contiguous
    Slot indices;  // count int64
    Slot y;        // count x row_bytes; overlaps neither

    auto fields() {
      return std::array{field("table", table), field("indices", indices), field("y", y)};
    }
  };
};

struct ScatterAddSpec {
  static constexpr const char* kKind = "ScatterAddSpec";

  DType dtype = DType::f32;
  std::size_t rows = 0, cols = 0, count = 0;
  std::int64_t skipped = -1;  // rows of x with this index are left out; -1 for none
  bool from_end = false;      // negative indices count from the end

  auto fields() {
    return std::array{field("dtype", dtype),
                      field("rows", rows),
                      field("cols", cols),
                      field("count", count),
                      optional_field("skipped", skipped),
                      optional_field("from_end", from_end)};
  }

  struct Slots {
    Slot indices;  // count int64
    Slot x;        // count x cols, contiguous
    Slot y;        // rows x cols; overlaps neither

    auto fields() { return std::array{field("indices", indices), field("x", x), field("y", y)}; }
  };
};

// Indices judged ahead of a step that must not fail, counted from the front.
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
    Slot y;        // the same; may be indices itself

    auto fields() { return std::array{field("indices", indices), field("y", y)}; }
  };
};

// An index outside [0, rows) writes nothing, so that the step cannot fail.
struct IndexCopySpec {
  static constexpr const char* kKind = "IndexCopySpec";

  std::size_t outer = 0, rows = 0, count = 0, row_bytes = 0;

  auto fields() {
    return std::array{field("outer", outer), field("rows", rows), field("count", count),
                      field("row_bytes", row_bytes)};
  }

  struct Slots {
    Slot x;        // outer x rows x row_bytes, contiguous
    Slot indices;  // count int64
    Slot source;   // outer x count x row_bytes, contiguous
    Slot y;        // as x; may be x itself, of which then only what is new is written

    auto fields() {
      return std::array{field("x", x), field("indices", indices), field("source", source),
                        field("y", y)};
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
