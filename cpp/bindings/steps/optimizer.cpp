// SPDX-License-Identifier: Apache-2.0
// Specs of optimisers for Python.
#include "steps/optimizer.h"

#include "bindings/steps/spec.h"

namespace lamella::bindings {

void register_optimizer(SpecRegister& to) {
  register_spec<steps::UpdateScalarsSpec>(
      to,
      "The numbers of an optimiser's step, float64: next = step + 1 and the rule's scalars, from "
      "`count` hyper-parameters.");
  register_spec<steps::UpdateSpec>(to,
                                   "An optimiser's update of one parameter: from the parameter, "
                                   "its gradient and state to the new "
                                   "parameter and state. Each result may be exactly any operand.");
}

}  // namespace lamella::bindings
