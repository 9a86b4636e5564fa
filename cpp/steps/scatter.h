// SPDX-License-Identifier: Apache-2.0
// Pieces put where an index says: y = x, then y[o, index[o, j, k], k] = op(.., source[o, j, k]), in
// increasing j.
//
// Members share the columns of wide rows and the rows of narrow ones, never the indices, which all
// of them read: an element's order is that of j, whoever computes it. An index outside [0, rows)
// writes nothing, so that the step cannot fail and may write over x: IndexSpec (gather.h) judges.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "kernels/table.h"
#include "steps/arrays.h"
#include "steps/dtype.h"
#include "steps/fields.h"
#include "steps/step.h"

namespace lamella::steps {

// A piece is `width` neighbours with one index: a whole row (inner = 1), or an element of it.
struct ScatterSpec {
  static constexpr const char* kKind = "ScatterSpec";

  std::string reduce;  // replace amax amin; of numbers also sum prod
  DType dtype = DType::f32;
  std::size_t rows = 0, count = 0, width = 1;
  std::size_t outer = 1, inner = 1;
  bool outer_index = false;   // indices for each of outer, or for all of them alike
  bool include_self = true;   // what x holds counts where something is put, or it is only replaced
  std::int64_t skipped = -1;  // pieces with this index are left out; -1 for none

  auto fields() {
    return std::array{field("reduce", reduce),
                      field("dtype", dtype),
                      field("rows", rows),
                      field("count", count),
                      optional_field("width", width),
                      optional_field("outer", outer),
                      optional_field("inner", inner),
                      optional_field("outer_index", outer_index),
                      optional_field("include_self", include_self),
                      optional_field("skipped", skipped)};
  }

  struct Slots {
    std::optional<Slot> x;  // outer x rows x inner pieces, contiguous; zeros where there is none
    Slot indices;           // (outer or 1) x count x inner int64
    Slot source;            // outer x count x inner pieces, contiguous
    Slot y;                 // as x; may be x itself, of which then only what is new is written

    auto fields() {
      return std::array{optional_field("x", x), field("indices", indices), field("source", source),
                        field("y", y)};
    }
  };
};

// Throws std::invalid_argument for an unknown reduction, and for sums and products of truth values.
std::unique_ptr<Step> make_step(const kernels::KernelTable& table, const ScatterSpec& spec,
                                const ScatterSpec::Slots& slots);
void arrays(const ScatterSpec& spec, const ScatterSpec::Slots& slots, ArrayList& list);
double work(const ScatterSpec& spec);

}  // namespace lamella::steps
