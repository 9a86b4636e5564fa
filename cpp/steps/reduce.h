// SPDX-License-Identifier: Apache-2.0
// Reductions over the middle of a contiguous (outer, size, inner) array, giving (outer, inner).
//
// A rows kernel folds reduced elements that are neighbours (inner = 1); a columns kernel walks down
// them. Members share whole results only, so the bits depend on neither the outer size nor the team,
// nor on which column of how many a result is. Rows and columns are summed in different orders
// (kernels/reduce.h), so the caller says which they are: a batch of one column is a column too.
#pragma once

#include <memory>
#include <string>

#include "kernels/table.h"
#include "steps/arrays.h"
#include "steps/dtype.h"
#include "steps/fields.h"
#include "steps/step.h"

namespace lamella::steps {

struct ReduceSpec {
  static constexpr const char* kKind = "ReduceSpec";

  // sum mean max min prod logsumexp norm var std argmax argmin; of integers and truth values sum prod
  // max min argmax argmin any all
  std::string kind;
  DType dtype = DType::f32;  // of x
  std::size_t outer = 0, size = 0, inner = 0;
  bool columns = false;     // with inner > 1 always
  double correction = 1.0;  // var divides by size - correction, or by 0 if that is negative

  auto fields() {
    return std::array{field("kind", kind),
                      field("dtype", dtype),
                      field("outer", outer),
                      field("size", size),
                      field("inner", inner),
                      optional_field("columns", columns),
                      optional_field("correction", correction)};
  }

  struct Slots {
    Slot x;  // (outer, size, inner)
    // (outer, inner), of x's type; int64 for argmax and argmin, and for sum and prod of integers and
    // truth values; bool for any and all.
    Slot y;

    auto fields() { return std::array{field("x", x), field("y", y)}; }
  };
};

// Throws std::invalid_argument for an unknown kind, for max, min, argmax and argmin of nothing, and
// for inner > 1 where the kind has no columns kernel (logsumexp, var, argmax, argmin).
std::unique_ptr<Step> make_step(const kernels::KernelTable& table, const ReduceSpec& spec,
                                const ReduceSpec::Slots& slots);
void arrays(const ReduceSpec& spec, const ReduceSpec::Slots& slots, ArrayList& list);
double work(const ReduceSpec& spec);

}  // namespace lamella::steps
