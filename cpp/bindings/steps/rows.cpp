// SPDX-License-Identifier: Apache-2.0
// Specs of what works on whole rows for Python.
#include "steps/rows.h"

#include "bindings/steps/spec.h"

namespace lamella::bindings {

void register_rows(SpecRegister& to) {
  register_spec<steps::SoftmaxSpec>(to, "The softmax of each row, or its logarithm.");
  register_spec<steps::LayerNormSpec>(
      to, "(x - mean) / sqrt(var + epsilon) * weight + bias for each row.");
  register_spec<steps::RmsNormSpec>(to, "x / sqrt(mean(x^2) + epsilon) * weight for each row.");
}

}  // namespace lamella::bindings
