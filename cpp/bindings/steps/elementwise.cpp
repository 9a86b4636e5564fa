// SPDX-License-Identifier: Apache-2.0
// Specs of elementwise chains for Python, and the names of their kernels.
#include "steps/elementwise.h"

#include <map>
#include <string>
#include <utility>
#include <vector>

#include <pybind11/stl.h>

#include "bindings/steps/spec.h"
#include "dispatch/select.h"

namespace lamella::bindings {
namespace {

template <class Fn>
std::vector<std::string> names_of(const kernels::Family<Fn>& family) {
  std::vector<std::string> names;
  for (std::size_t i = 0; i < family.count; ++i) names.emplace_back(family.entries[i].name);
  return names;
}

std::vector<std::pair<std::string, std::size_t>> unary_names() {
  std::vector<std::pair<std::string, std::size_t>> names;
  const auto& family = dispatch::selected().f32.elementwise->unary;
  for (std::size_t i = 0; i < family.count; ++i) {
    names.emplace_back(family.entries[i].name, family.entries[i].params);
  }
  return names;
}

std::vector<std::string> binary_names() {
  return names_of(dispatch::selected().f32.elementwise->binary);
}

std::vector<std::string> compare_names() {
  return names_of(dispatch::selected().f32.elementwise->compare);
}

// Of integers, by their families.
std::map<std::string, std::vector<std::string>> integer_names() {
  const auto& kernels = dispatch::selected().i64;
  return {{"unary", names_of(kernels.elementwise->unary)},
          {"binary", names_of(kernels.elementwise->binary)},
          {"compare", names_of(kernels.elementwise->compare)}};
}

// Of truth values.
std::vector<std::string> logical_names() {
  const auto& kernels = *dispatch::selected().boolean.elementwise;
  std::vector<std::string> names = names_of(kernels.unary);
  for (std::string& name : names_of(kernels.binary)) {
    if (name.starts_with("logical_")) names.push_back(std::move(name));
  }
  return names;
}

}  // namespace

void register_elementwise(SpecRegister& to) {
  register_spec<steps::ElementwiseSpec>(
      to,
      "A fused chain. Registers are the operands, each with a dtype and strides in elements, then "
      "one per instruction (op, result dtype, argument registers, parameters); the last one is "
      "stored contiguously.");
  to.module.def("unary_names", &unary_names, "Unary kernels and how many parameters each takes.");
  to.module.def("binary_names", &binary_names, "Binary kernels.");
  to.module.def("compare_names", &compare_names, "Comparisons.");
  to.module.def("integer_names", &integer_names, "Kernels on integers, by their family.");
  to.module.def("logical_names", &logical_names, "Kernels on truth values.");
}

}  // namespace lamella::bindings
