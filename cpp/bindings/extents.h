// SPDX-License-Identifier: Apache-2.0
// Numbers from Python that may be Extents (ir/extent.py): a value, and the formula that gives it.
//
// An Extent is known by its `number`, the index of its formula; an int has none. Slots carry theirs as
// the Python number, so that shifting one is Python's own addition.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include <pybind11/pybind11.h>
#include <pybind11/typing.h>

#include "program/recording.h"

namespace lamella::bindings {

// An argument that is an int to Python and may be an Extent.
struct AnyInt {
  pybind11::object number;
};

using FormulaList = pybind11::typing::Iterable<
    pybind11::typing::Tuple<pybind11::str, pybind11::int_, pybind11::int_>>;

struct ExtentNumber {
  std::int64_t value = 0;
  program::FormulaNumber formula = program::kNoFormula;
};

// False for what is no whole number, and for one that int64 does not hold: `overflow` tells the two
// apart.
bool read_number(pybind11::handle given, ExtentNumber& number, bool& overflow);

// The number of an argument; throws TypeError, or OverflowError beyond PTRDIFF_MAX.
ExtentNumber read_count(pybind11::handle given, const char* what);

// The value as this C++ type; throws TypeError with what was expected.
template <class T>
T converted(pybind11::handle given, const char* expected) {
  pybind11::detail::make_caster<T> caster;
  if (caster.load(given, true)) return pybind11::detail::cast_op<T>(std::move(caster));
  throw pybind11::type_error("got " + pybind11::repr(given).cast<std::string>() + "; expected " +
                             expected);
}

std::vector<program::Formula> read_formulas(pybind11::handle formulas);
std::vector<program::Condition> read_conditions(pybind11::handle conditions);

}  // namespace lamella::bindings

template <>
struct pybind11::detail::type_caster<lamella::bindings::AnyInt> {
  PYBIND11_TYPE_CASTER(lamella::bindings::AnyInt, const_name("int"));
  bool load(handle given, bool) {
    if (PyIndex_Check(given.ptr()) == 0) return false;
    value.number = reinterpret_borrow<object>(given);
    return true;
  }
};
