// SPDX-License-Identifier: Apache-2.0
// Watch: what a program has taken of Python while it was traced, compared with what is there now.
//
// Places are where forward found a value: an entry of a dict (globals, attributes), a closure's cell,
// a class's attribute, a slot, or an object itself. Arrays are those that the program reads where they
// lie, whose memory has to be the same, or that forward itself read, whose elements have to be.
// Everything here expects the GIL to be held.
#pragma once

#include <pybind11/pybind11.h>

namespace lamella::bindings {

// Whether everything is as it was; arrays that the program reads as copies are copied on the way. Runs
// no Python code. watch: an object for which is_watch() is true.
bool watch_holds(PyObject* watch);
bool is_watch(PyObject* object);

}  // namespace lamella::bindings
