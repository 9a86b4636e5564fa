// SPDX-License-Identifier: Apache-2.0
// Rows of a contiguous (rows, cols) array in order, or the first elements of that order; and where
// numbers belong in rows that are in order.
//
// The order is stable and total: NaN stand above all numbers, -0 equals 0. Members share whole rows,
// each with a room of scratch.
#pragma once

#include <memory>
#include <optional>

#include "kernels/table.h"
#include "steps/arrays.h"
#include "steps/dtype.h"
#include "steps/fields.h"
#include "steps/step.h"

namespace lamella::steps {

struct SortSpec {
  static constexpr const char* kKind = "SortSpec";

  DType dtype = DType::f32;
  std::size_t rows = 0, cols = 0;  // cols < 2^32
  std::size_t wanted = 0;          // of each row, at most cols
  bool descending = false;

  auto fields() {
    return std::array{field("dtype", dtype), field("rows", rows), field("cols", cols),
                      field("wanted", wanted), optional_field("descending", descending)};
  }

  struct Slots {
    Slot x;
    std::optional<Slot> values;     // rows x wanted
    std::optional<Slot> positions;  // rows x wanted int64, in the row
    std::optional<Slot> scratch;    // scratch_bytes bytes, aligned to 64

    auto fields() {
      return std::array{field("x", x), optional_field("values", values),
                        optional_field("positions", positions), optional_field("scratch", scratch)};
    }
  };
};

// y = how many elements of the row stand before x.
struct SearchSpec {
  static constexpr const char* kKind = "SearchSpec";

  DType dtype = DType::f32;
  std::size_t rows = 0, cols = 0, count = 0;  // count numbers for each row
  bool shared = false;                        // one row for all of x
  bool right = false;                         // behind equal elements

  auto fields() {
    return std::array{field("dtype", dtype),
                      field("rows", rows),
                      field("cols", cols),
                      field("count", count),
                      optional_field("shared", shared),
                      optional_field("right", right)};
  }

  struct Slots {
    Slot sorted;  // (rows or 1) x cols, each in order
    Slot x;       // rows x count
    Slot y;       // rows x count int64

    auto fields() { return std::array{field("sorted", sorted), field("x", x), field("y", y)}; }
  };
};

// Throw std::invalid_argument for more wanted than there are, and for rows of 2^32 elements and more.
std::unique_ptr<Step> make_step(const kernels::KernelTable& table, const SortSpec& spec,
                                const SortSpec::Slots& slots);
void arrays(const SortSpec& spec, const SortSpec::Slots& slots, ArrayList& list);
double work(const SortSpec& spec);
std::size_t scratch_bytes(const SortSpec& spec);

std::unique_ptr<Step> make_step(const kernels::KernelTable& table, const SearchSpec& spec,
                                const SearchSpec::Slots& slots);
void arrays(const SearchSpec& spec, const SearchSpec::Slots& slots, ArrayList& list);
double work(const SearchSpec& spec);

}  // namespace lamella::steps
