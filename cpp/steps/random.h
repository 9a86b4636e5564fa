// SPDX-License-Identifier: Apache-2.0
// Dropout: y = x * keep / (1 - p), keep drawn from a counter-based generator.
//
// The draw of an element depends on the generator's key, the number of this run, the step's stream
// and the element's index, and on nothing else: any team and any split give the same mask.
#pragma once

#include <memory>

#include "kernels/table.h"
#include "steps/dtype.h"
#include "steps/step.h"

namespace lamella::steps {

struct DropoutSpec {
  DType dtype;  // float32 or float64
  std::size_t count = 0;
  double p = 0.5;            // probability that an element becomes zero, in [0, 1]
  std::uint64_t stream = 0;  // tells the dropouts of one program apart, below 2^16
  Slot x, y;                 // y may be exactly x
};

// Throws std::invalid_argument for other types, p outside [0, 1] and streams of 2^16 and more.
std::unique_ptr<Step> make_dropout(const kernels::KernelTable& table, const DropoutSpec& spec);

}  // namespace lamella::steps
