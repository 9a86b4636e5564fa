// SPDX-License-Identifier: Apache-2.0
// Moving data without computing: strided copies of any rank, and filling.
//
// A copy merges its dimensions and then works on two of them at a time: contiguous runs by memcpy,
// repeated values by filling, transposed pairs through tiles of whole cache lines, the rest element
// by element.
#pragma once

#include <memory>

#include "steps/dtype.h"
#include "steps/step.h"
#include "steps/strides.h"

namespace lamella::steps {

struct CopySpec {
  std::size_t item_bytes = 0;  // 1, 4 or 8
  Shape shape;
  Slot x;
  Strides x_strides;  // in elements; negative and zero allowed
  Slot y;
  Strides y_strides;  // in elements; positive, no element written twice
};

// x and y must not overlap. Throws std::invalid_argument on another item size, on strides of y that
// reach an element twice, and on more than kMaxRank dimensions after merging.
std::unique_ptr<Step> make_copy(const CopySpec& spec);

struct FillSpec {
  DType dtype;
  std::size_t count = 0;
  double value = 0;  // converted to dtype; must be whole for int64, 0 or 1 for bool
  Slot y;
};

// Throws std::invalid_argument when the type cannot hold the value.
std::unique_ptr<Step> make_fill(const FillSpec& spec);

}  // namespace lamella::steps
