// SPDX-License-Identifier: Apache-2.0
// Specs of quantisation and of products of bytes for Python.
#include "steps/quantize.h"

#include "bindings/steps/spec.h"
#include "steps/product/integer.h"

namespace lamella::bindings {

void register_quantize(SpecRegister& to) {
  register_spec<steps::QuantizeSpec>(to, "y = saturate(round(x / scale) + zero).");
  register_spec<steps::DequantizeSpec>(to, "y = (x - zero) * scale.");
  register_spec<steps::DynamicQuantizeSpec>(
      to, "x as uint8, with the scale and the zero point that its extremes give.");
  register_spec<steps::IntegerProductSpec>(
      to,
      "s = (x - x_zero) @ (w - w_zero) of bytes, exact; y = s, or activation(s * scale + bias). A "
      "constant w is packed ahead.");
}

}  // namespace lamella::bindings
