// SPDX-License-Identifier: Apache-2.0
#include "bindings/extents.h"

#include <stdexcept>
#include <string>

#include <pybind11/stl.h>

namespace py = pybind11;

namespace lamella::bindings {
namespace {

std::tuple<std::string, std::int64_t, std::int64_t> triple(py::handle given) {
  return converted<std::tuple<std::string, std::int64_t, std::int64_t>>(
      given, "a formula: (kind, int, int)");
}

template <class Kind>
Kind kind_named(const std::string& name,
                std::initializer_list<std::pair<const char*, Kind>> kinds) {
  for (const auto& [own, kind] : kinds) {
    if (name == own) return kind;
  }
  throw std::invalid_argument("formulas: got '" + name + "', which is no kind of formula");
}

}  // namespace

bool read_number(py::handle given, ExtentNumber& number, bool& overflow) {
  overflow = false;
  number.formula = program::kNoFormula;
  py::object whole;
  if (PyLong_Check(given.ptr()) == 0 || PyLong_CheckExact(given.ptr()) == 0) {
    if (PyIndex_Check(given.ptr()) == 0) return false;
    if (py::hasattr(given, "number")) {
      number.formula = given.attr("number").cast<program::FormulaNumber>();
    }
    whole = py::reinterpret_steal<py::object>(PyNumber_Index(given.ptr()));
    if (!whole) throw py::error_already_set();
  } else {
    whole = py::reinterpret_borrow<py::object>(given);
  }
  int beyond = 0;
  number.value = PyLong_AsLongLongAndOverflow(whole.ptr(), &beyond);
  if (number.value == -1 && PyErr_Occurred() != nullptr) throw py::error_already_set();
  overflow = beyond != 0;
  return !overflow;
}

ExtentNumber read_count(py::handle given, const char* what) {
  ExtentNumber number;
  bool overflow = false;
  const bool read = read_number(given, number, overflow);
  if (read && number.value >= 0) return number;
  const std::string text = std::string(what) + ": got " + py::repr(given).cast<std::string>();
  if (overflow) throw std::overflow_error(text + ", which does not fit; expected less than 2**63");
  throw py::type_error(text + "; expected an int of 0 or more");
}

std::vector<program::Formula> read_formulas(py::handle formulas) {
  using Kind = program::Formula::Kind;
  std::vector<program::Formula> read;
  for (const py::handle one : formulas) {
    const auto [name, i, j] = triple(one);
    const Kind kind = kind_named<Kind>(name, {{"symbol", Kind::symbol},
                                              {"constant", Kind::constant},
                                              {"add", Kind::add},
                                              {"mul", Kind::mul},
                                              {"floordiv", Kind::floordiv},
                                              {"mod", Kind::mod}});
    read.push_back({kind, i, j});
  }
  return read;
}

std::vector<program::Condition> read_conditions(py::handle conditions) {
  using Kind = program::Condition::Kind;
  std::vector<program::Condition> read;
  for (const py::handle one : conditions) {
    const auto [name, i, j] = triple(one);
    const Kind kind = kind_named<Kind>(
        name, {{"eq", Kind::eq}, {"ne", Kind::ne}, {"lt", Kind::lt}, {"le", Kind::le}});
    read.push_back({kind, i, j});
  }
  return read;
}

}  // namespace lamella::bindings
