// SPDX-License-Identifier: Apache-2.0
// Callable: the object whose call is one vectorcall into a remembered program.
//
// What no entry (entries.h) answers goes to the Python method _dispatch, which may remember it. A size
// that a text has not met is made on the way.
// Everything here runs with the GIL held, except the steps of long programs.
#pragma once

#include <cstddef>

#include "bindings/attributes.h"
#include "bindings/entries.h"
#include "program/structure.h"

namespace lamella::bindings {

struct CallableObject {
  PyObject ob_base;
  vectorcallfunc vectorcall;
  Entries* entries;              // null until something is remembered
  bool is_told;                  // what to follow; else it follows the instruction set alone
  program::Follower follower;    // settled while the entries are right
  program::Structure structure;  // its own, moved by its attributes
  Attributes* attributes;        // null until one is assigned
};

inline CallableObject* callable(PyObject* object) {
  return reinterpret_cast<CallableObject*>(object);
}

// The vectorcall of every Callable.
PyObject* call(PyObject* self, PyObject* const* args, std::size_t nargsf, PyObject* kwnames);

}  // namespace lamella::bindings
