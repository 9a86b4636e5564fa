// SPDX-License-Identifier: Apache-2.0
// Specs of losses for Python.
#include "steps/loss.h"

#include "bindings/steps/spec.h"

namespace lamella::bindings {

void register_loss(SpecRegister& to) {
  register_spec<steps::ClassLossSpec>(
      to,
      "Where there are slots, the cross-entropy of each row and the class that target names, its "
      "slopes and the class's weight; a run with a target outside [0, cols) that is not the "
      "ignored "
      "one raises IndexError.");
}

}  // namespace lamella::bindings
