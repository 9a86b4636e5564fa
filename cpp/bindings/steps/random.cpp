// SPDX-License-Identifier: Apache-2.0
// Specs of drawing for Python.
#include "steps/random.h"

#include "bindings/steps/spec.h"

namespace lamella::bindings {

void register_random(SpecRegister& to) {
  register_spec<steps::DropoutSpec>(to, "y = x * keep / (1 - p); each run draws a new mask.");
  register_spec<steps::DrawSpec>(to, "y = random numbers, new ones in each run.");
}

}  // namespace lamella::bindings
