// SPDX-License-Identifier: Apache-2.0
// Structures as Python sees them: the type Structure, and those inside of a Callable.
#pragma once

#include <span>
#include <vector>

#include <pybind11/pybind11.h>

#include "program/structure.h"

namespace lamella::bindings {

// The structure in a Structure or a Callable; null for anything else.
program::Structure* structure_of(PyObject* object);

// Those of a tuple; throws py::type_error for what is none.
std::vector<program::Structure*> structures_of(PyObject* tuple);

// The process's: the selected instruction set.
program::Structure& selection();

}  // namespace lamella::bindings
