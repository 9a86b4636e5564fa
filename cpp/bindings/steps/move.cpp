// SPDX-License-Identifier: Apache-2.0
// Specs of copying and filling for Python.
#include "steps/move.h"

#include "bindings/steps/spec.h"

namespace lamella::bindings {

void register_move(SpecRegister& to) {
  register_spec<steps::CopySpec>(to, "A strided copy; strides count items.");
  register_spec<steps::FillSpec>(to, "The filling of an array with one value.");
}

}  // namespace lamella::bindings
