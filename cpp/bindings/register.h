// SPDX-License-Identifier: Apache-2.0
// What each file of bindings/ adds to the module; module.cpp calls these and nothing else.
//
// Exceptions cross as pybind11 maps them: std::invalid_argument and std::domain_error ->
// ValueError, std::out_of_range -> IndexError, std::bad_alloc -> MemoryError, std::overflow_error ->
// OverflowError.
#pragma once

#include <pybind11/pybind11.h>

#include "bindings/builder.h"

namespace lamella::bindings {

using BuilderClass = pybind11::class_<PythonBuilder>;

// config.cpp: threads, caches, instruction sets, build facts, test hooks.
void register_config(pybind11::module_& module);
// program.cpp: Program, random state, parameter epoch, assignment to parameters.
void register_program(pybind11::module_& module);
// storage.cpp: Storage, the memory of a parameter.
void register_storage(pybind11::module_& module);
// builder.cpp: Slot and ProgramBuilder without its steps.
BuilderClass register_builder(pybind11::module_& module);
// steps/: a spec class for each kind of step, ProgramBuilder.add, and the kernels' names.
void register_steps(pybind11::module_& module, BuilderClass& builder);
// callable_type.cpp: Callable.
void register_callable(pybind11::module_& module);
// structure.cpp: Structure, the states of structures, the traces of a thread.
void register_structure(pybind11::module_& module);
// text.cpp: Text, and the comparison of two programs.
void register_text(pybind11::module_& module);
// sizes.cpp: the budget of programs that texts have made.
void register_sizes(pybind11::module_& module);
// watch.cpp: Watch, what a program has taken of Python.
void register_watch(pybind11::module_& module);
// limits.cpp: the measured limits of the machine.
void register_limits(pybind11::module_& module);

}  // namespace lamella::bindings
