// SPDX-License-Identifier: Apache-2.0
// Specs of matrix products for Python.
#include "steps/product/matmul.h"

#include "bindings/steps/spec.h"
#include "dispatch/select.h"

namespace lamella::bindings {

void register_matmul(SpecRegister& to) {
  using Held = SpecOf<steps::MatMulSpec>;
  register_spec<steps::MatMulSpec>(
      to,
      "y = activation(a @ b + bias + residual). Strides count elements. A constant b is packed "
      "ahead.")
      .def_property_readonly(
          "way",
          [](const Held& held) {
            const auto& recipe =
                static_cast<const steps::RecipeOf<steps::MatMulSpec>&>(*held.recipe);
            return steps::way_of(dispatch::selected(), recipe.spec);
          },
          "How the selected instruction set computes it: the form of b, the loop.");
}

}  // namespace lamella::bindings
