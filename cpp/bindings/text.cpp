// SPDX-License-Identifier: Apache-2.0
// Text for Python: programs of any size, and the comparison of two programs.
#include "program/text.h"

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <pybind11/stl.h>

#include "bindings/extents.h"
#include "bindings/register.h"
#include "program/program.h"

namespace py = pybind11;
using namespace py::literals;

namespace lamella::bindings {
namespace {

using program::Program;
using program::Text;
using Axes = std::vector<std::vector<std::pair<std::size_t, std::size_t>>>;

std::shared_ptr<Text> make_text(const Program& program, const Axes& symbols,
                                const FormulaList& conditions) {
  std::vector<std::vector<program::Axis>> axes;
  for (const auto& places : symbols) {
    auto& own = axes.emplace_back();
    for (const auto& [input, axis] : places) own.push_back({input, axis});
  }
  return std::make_shared<Text>(program.recorded(), std::move(axes), read_conditions(conditions));
}

std::shared_ptr<Program> at(const Text& text, const std::vector<std::int64_t>& extents) {
  const py::gil_scoped_release released;
  return text.at(extents);
}

Axes axes_of(const Text& text) {
  Axes axes;
  for (const auto& places : text.symbols()) {
    auto& own = axes.emplace_back();
    for (const program::Axis& place : places) own.emplace_back(place.input, place.axis);
  }
  return axes;
}

std::optional<std::string> difference(const Program& a, const Program& b) {
  std::string found = program::difference(a, b);
  if (found.empty()) return std::nullopt;
  return found;
}

}  // namespace

void register_text(py::module_& module) {
  py::class_<Text, std::shared_ptr<Text>>(
      module, "Text", "A program for any size of its free extents; makes programs from formulas.")
      .def("at", &at, "extents"_a,
           "The program for these extents, each at least 2, in the order of the symbols. Raises "
           "ValueError where a condition does not hold or an array does not fit, MemoryError where "
           "memory does not reach.")
      .def_property_readonly("symbols", &axes_of, "Where each extent shows: (input, axis) pairs.")
      .def_property_readonly("nbytes", &Text::nbytes, "Its own memory.");
  module.attr("Program").attr("text") = py::cpp_function(
      &make_text, py::name("text"), py::is_method(module.attr("Program")), py::kw_only(),
      "symbols"_a, "conditions"_a = FormulaList(py::tuple()),
      "The text of a program whose numbers were given by formulas. symbols: for each free extent "
      "the (input, axis) pairs where it shows; conditions: what has to hold between formulas.");
  module.def("difference", &difference, "a"_a, "b"_a,
             "The first step or number in which two programs differ, or None. Constants without "
             "version are compared by their contents.");
}

}  // namespace lamella::bindings
