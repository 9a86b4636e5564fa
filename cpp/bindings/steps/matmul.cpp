// SPDX-License-Identifier: Apache-2.0
// Specs of matrix products for Python.
#include "steps/matmul.h"

#include "bindings/steps/spec.h"

namespace lamella::bindings {

void register_matmul(SpecRegister& to) {
  register_spec<steps::MatMulSpec>(
      to,
      "y = activation(a @ b + bias + residual). Strides count elements. A constant b is packed "
      "ahead.");
}

}  // namespace lamella::bindings
