// SPDX-License-Identifier: Apache-2.0
// The module: calls register_* and nothing else.
//
// One interpreter (the default of pybind11: a second one is refused), and the GIL is used: result
// arrays are recycled by a reference-count test that needs it.
#include "bindings/register.h"

PYBIND11_MODULE(_core, module) {
  using namespace lamella::bindings;
  module.doc() = "The native core of lamella: programs, their steps, and threads.";
  register_config(module);
  register_storage(module);
  register_program(module);
  auto builder = register_builder(module);
  register_steps(module, builder);
  register_text(module);
  register_callable(module);
  register_structure(module);
  register_sizes(module);
  register_watch(module);
  register_limits(module);
}
