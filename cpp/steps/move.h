// SPDX-License-Identifier: Apache-2.0
// Moving data without computing: strided copies of any rank, and filling.
//
// A copy merges its dimensions and then works on two of them at a time: contiguous runs by memcpy,
// repeated values by filling, transposed pairs through tiles of whole cache lines, the rest element
// by element.
#pragma once

#include <memory>

#include "kernels/table.h"
#include "steps/arrays.h"
#include "steps/dtype.h"
#include "steps/fields.h"
#include "steps/step.h"
#include "steps/strides.h"

namespace lamella::steps {

struct CopySpec {
  static constexpr const char* kKind = "CopySpec";

  std::size_t item_bytes = 0;  // 1, 2, 4 or 8
  Shape shape;
  Strides x_strides;  // in elements; negative and zero allowed
  Strides y_strides;  // in elements; positive, no element written twice

  auto fields() {
    return std::array{field("item_bytes", item_bytes), field("shape", shape),
                      field("x_strides", x_strides), field("y_strides", y_strides)};
  }

  struct Slots {
    Slot x, y;

    auto fields() { return std::array{field("x", x), field("y", y)}; }
  };
};

// x and y must not overlap. Throws std::invalid_argument on another item size, on strides of y that
// reach an element twice, and on more than kMaxRank dimensions after merging.
std::unique_ptr<Step> make_step(const kernels::KernelTable& table, const CopySpec& spec,
                                const CopySpec::Slots& slots);
void arrays(const CopySpec& spec, const CopySpec::Slots& slots, ArrayList& list);
double work(const CopySpec& spec);

struct FillSpec {
  static constexpr const char* kKind = "FillSpec";

  DType dtype = DType::f32;
  std::size_t count = 0;
  double value = 0;  // converted to dtype; whole and in range for integers, 0 or 1 for bool

  auto fields() {
    return std::array{field("dtype", dtype), field("count", count), field("value", value)};
  }

  struct Slots {
    Slot y;

    auto fields() { return std::array{field("y", y)}; }
  };
};

// Throws std::invalid_argument when the type cannot hold the value.
std::unique_ptr<Step> make_step(const kernels::KernelTable& table, const FillSpec& spec,
                                const FillSpec::Slots& slots);
void arrays(const FillSpec& spec, const FillSpec::Slots& slots, ArrayList& list);
double work(const FillSpec& spec);

}  // namespace lamella::steps
