// SPDX-License-Identifier: Apache-2.0
// Work done while other Python threads may run.
#pragma once

#include <cxxabi.h>
#include <exception>

#include <pybind11/pybind11.h>
#include <unistd.h>

namespace lamella::bindings {

// Takes the GIL back. While the interpreter shuts down, Python before 3.14 ends every other thread
// here by unwinding its stack, destructors and all, without the GIL; such a thread stays here
// instead until the process is gone, as newer versions make it.
inline void take_gil(PyThreadState* state) {
  try {
    PyEval_RestoreThread(state);
  } catch (abi::__forced_unwind&) {
    for (;;) pause();
  }
}

// Calls work() without the GIL; what it throws arrives with the GIL held again.
template <class Work>
void without_gil(Work work) {
  PyThreadState* state = PyEval_SaveThread();
  std::exception_ptr error;
  try {
    work();
  } catch (...) {
    error = std::current_exception();
  }
  take_gil(state);
  if (error) std::rethrow_exception(error);
}

}  // namespace lamella::bindings
