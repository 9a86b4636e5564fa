// SPDX-License-Identifier: Apache-2.0
// Specs of reductions for Python, and the names of their kinds.
#include "steps/reduce.h"

#include <string>
#include <vector>

#include <pybind11/stl.h>

#include "bindings/steps/spec.h"
#include "dispatch/select.h"

namespace lamella::bindings {
namespace {

std::vector<std::string> reduce_names() {
  std::vector<std::string> names;
  const auto append = [&names](const auto& family) {
    for (std::size_t i = 0; i < family.count; ++i) names.emplace_back(family.entries[i].name);
  };
  append(dispatch::selected().f32.rows->reduce_rows);
  append(dispatch::selected().f32.rows->arg_reduce);
  append(dispatch::selected().f32.rows->spread);
  return names;
}

}  // namespace

void register_reduce(SpecRegister& to) {
  register_spec<steps::ReduceSpec>(
      to,
      "A reduction of contiguous (outer, size, inner) to (outer, inner). columns: by the order of "
      "columns even if inner is 1.");
  to.module.def("reduce_names", &reduce_names, "Kinds of reduction.");
}

}  // namespace lamella::bindings
