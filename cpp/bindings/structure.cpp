// SPDX-License-Identifier: Apache-2.0
// The type Structure: the state of what belongs to no module, such as a parameter's storage.
#include "bindings/structure.h"

#include <cstdint>
#include <memory>

#include "base/allocation.h"
#include "bindings/callable.h"
#include "bindings/register.h"
#include "program/structure.h"

namespace py = pybind11;

namespace lamella::bindings {
namespace {

struct StructureObject {
  PyObject ob_base;
  program::Structure structure;
};

PyTypeObject* structure_type = nullptr;
PyTypeObject* callable_type = nullptr;
PyObject* selection_object = nullptr;

PyObject* make(PyTypeObject* type, PyObject*, PyObject*) {
  PyObject* self = type->tp_alloc(type, 0);
  if (self != nullptr) std::construct_at(&reinterpret_cast<StructureObject*>(self)->structure);
  return self;
}

void destroy(PyObject* self) {
  PyTypeObject* type = Py_TYPE(self);
  std::destroy_at(&reinterpret_cast<StructureObject*>(self)->structure);
  type->tp_free(self);
  Py_DECREF(type);
}

PyObject* touch(PyObject* self, PyObject*) {
  reinterpret_cast<StructureObject*>(self)->structure.touch();
  Py_RETURN_NONE;
}

PyMethodDef methods[] = {
    {"touch", touch, METH_NOARGS,
     "touch($self)\n--\n\nIt is another one now: calls that depend on it are looked at again."},
    {nullptr, nullptr, 0, nullptr},
};

}  // namespace

program::Structure* structure_of(PyObject* object) {
  if (Py_TYPE(object) == structure_type) {
    return &reinterpret_cast<StructureObject*>(object)->structure;
  }
  if (PyObject_TypeCheck(object, callable_type)) return &callable(object)->structure;
  return nullptr;
}

std::vector<program::Structure*> structures_of(PyObject* tuple) {
  base::count_allocation();
  std::vector<program::Structure*> found;
  found.reserve(static_cast<std::size_t>(PyTuple_GET_SIZE(tuple)));
  for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(tuple); ++i) {
    program::Structure* structure = structure_of(PyTuple_GET_ITEM(tuple, i));
    if (structure == nullptr) throw py::type_error("structures are Structures or Callables");
    found.push_back(structure);
  }
  return found;
}

program::Structure& selection() {
  return reinterpret_cast<StructureObject*>(selection_object)->structure;
}

void register_structure(py::module_& module) {
  static PyType_Slot slots[] = {
      {Py_tp_new, reinterpret_cast<void*>(&make)},
      {Py_tp_dealloc, reinterpret_cast<void*>(&destroy)},
      {Py_tp_methods, methods},
      {Py_tp_doc, const_cast<char*>("Structure()\n--\n\n"
                                    "What programs are made for and what may change: see "
                                    "`Callable._follow`.")},
      {0, nullptr},
  };
  static PyType_Spec spec = {"lamella._core.Structure", static_cast<int>(sizeof(StructureObject)),
                             0, Py_TPFLAGS_DEFAULT, slots};
  PyObject* type = PyType_FromSpec(&spec);
  if (type == nullptr) throw py::error_already_set();
  structure_type = reinterpret_cast<PyTypeObject*>(type);
  callable_type = reinterpret_cast<PyTypeObject*>(module.attr("Callable").ptr());
  module.attr("Structure") = py::reinterpret_borrow<py::object>(type);
  selection_object = make(structure_type, nullptr, nullptr);
  if (selection_object == nullptr) throw py::error_already_set();
  module.attr("selection") = py::reinterpret_borrow<py::object>(selection_object);

  module.def(
      "state_of",
      [](const py::handle one) {
        const program::Structure* structure = structure_of(one.ptr());
        if (structure == nullptr) throw py::type_error("state_of: a Structure or a Callable");
        return structure->state();
      },
      py::arg("structure"),
      "The number of the state that a Structure, or that of a Callable, is in.");
  module.def(
      "states_of",
      [](const py::tuple& structures) {
        py::tuple states(structures.size());
        std::size_t i = 0;
        for (const program::Structure* one : structures_of(structures.ptr())) {
          states[i++] = one->state();
        }
        return states;
      },
      py::arg("structures"), "The numbers of the states that all of them are in.");
  module.def("note_traces", &program::note_traces, py::arg("depth"),
             "How many traces the calling thread has under way: its calls then run in a trace.");
}

}  // namespace lamella::bindings
