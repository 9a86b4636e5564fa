// SPDX-License-Identifier: Apache-2.0
// Slots and the builder of programs as Python holds them, with the formulas of free extents.
//
// A slot keeps its offset as the Python number it is, so that shifting is Python's own addition and an
// Extent stays one. The builder reads the list of formulas when it builds: lowering may add to it.
#pragma once

#include <utility>

#include <pybind11/pybind11.h>

#include "program/builder.h"

namespace lamella::bindings {

struct PythonSlot {
  steps::Slot slot;
  pybind11::object offset;
};

struct PythonBuilder : program::ProgramBuilder {
  PythonBuilder(program::ProgramBuilder&& builder, pybind11::object own)
      : ProgramBuilder(std::move(builder)), formulas(std::move(own)) {}
  pybind11::object formulas;
};

}  // namespace lamella::bindings
