// SPDX-License-Identifier: Apache-2.0
// From a C++ exception to Python's error, for types that are written against the C API.
#pragma once

#include <exception>
#include <new>

#include <pybind11/pybind11.h>

namespace lamella::bindings {

// Within a catch (...): sets the error that pybind11 would raise, and returns null.
inline PyObject* set_error_from_exception() {
  try {
    throw;
  } catch (pybind11::error_already_set& error) {
    error.restore();
  } catch (const pybind11::builtin_exception& error) {
    error.set_error();
  } catch (const std::bad_alloc&) {
    PyErr_NoMemory();
  } catch (const std::exception& error) {
    PyErr_SetString(PyExc_ValueError, error.what());
  }
  return nullptr;
}

}  // namespace lamella::bindings
