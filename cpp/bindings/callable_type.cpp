// SPDX-License-Identifier: Apache-2.0
// The Python type Callable: its methods, its memory, and what it follows.
//
// A type made from a spec and not by pybind11, whose instances cannot carry a vectorcall. Subclasses
// get __dict__ and weak references from Python as usual.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <stdexcept>
#include <vector>

#include <pybind11/pybind11.h>
#include <structmember.h>

#include "base/allocation.h"
#include "bindings/callable.h"
#include "bindings/error.h"
#include "bindings/register.h"
#include "bindings/structure.h"
#include "bindings/watch.h"
#include "program/structure.h"

namespace py = pybind11;

namespace lamella::bindings {
namespace {

void drop_entries(CallableObject* object) {
  // Out of reach first: freeing runs the destructors of anything.
  delete std::exchange(object->entries, nullptr);
}

PyObject* make(PyTypeObject* type, PyObject*, PyObject*) {
  PyObject* self = type->tp_alloc(type, 0);
  if (self == nullptr) return nullptr;
  callable(self)->vectorcall = call;
  std::construct_at(&callable(self)->follower);
  std::construct_at(&callable(self)->structure);
  return self;
}

int traverse(PyObject* self, visitproc visit, void* arg) {
  Py_VISIT(Py_TYPE(self));
  if (callable(self)->entries == nullptr) return 0;
  return callable(self)->entries->each([&](const Entry& entry) {
    // A running call holds it too: what it refers to is then alive by more than this object.
    if (entry.holders > 1) return 0;
    for (const KeyItem& item : entry.items) Py_VISIT(item.value);
    Py_VISIT(entry.converter);
    Py_VISIT(entry.keep);
    Py_VISIT(entry.watch);
    Py_VISIT(entry.program_object);
    return 0;
  });
}

int clear(PyObject* self) {
  drop_entries(callable(self));
  return 0;
}

void destroy(PyObject* self) {
  PyTypeObject* type = Py_TYPE(self);
  PyObject_GC_UnTrack(self);
  clear(self);
  delete callable(self)->attributes;
  std::destroy_at(&callable(self)->structure);
  std::destroy_at(&callable(self)->follower);
  type->tp_free(self);
  Py_DECREF(type);
}

// What nobody has told to follow anything depends on the selected instruction set alone.
void follow_selection(CallableObject* object) {
  if (object->is_told || (object->follower.is_settled() && !object->follower.follows_nothing())) {
    return;
  }
  drop_entries(object);
  program::Structure* const structures[] = {&selection()};
  const std::uint64_t states[] = {selection().state()};
  object->follower.follow(structures, states);
}

PyObject* remember(PyObject* self, PyObject* args, PyObject* kwargs) {
  static const char* const keywords[] = {"args",   "kwnames", "program", "returns", "keep",
                                         "turned", "watch",   "text",    nullptr};
  PyObject *values = nullptr, *kwnames = nullptr, *program = nullptr, *returns = nullptr;
  PyObject *keep = Py_None, *turned = nullptr, *watch = Py_None, *text = Py_None;
  if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O!O!OO|OO!OO:_remember",
                                   const_cast<char**>(keywords), &PyTuple_Type, &values,
                                   &PyTuple_Type, &kwnames, &program, &returns, &keep,
                                   &PyTuple_Type, &turned, &watch, &text)) {
    return nullptr;
  }
  Entry* replaced = nullptr;
  try {
    std::unique_ptr<Entry> entry =
        make_entry(values, kwnames, program, returns, keep, turned, watch, text);
    if (entry == nullptr) Py_RETURN_FALSE;
    CallableObject* object = callable(self);
    follow_selection(object);
    if (object->entries == nullptr) object->entries = new Entries;
    replaced = object->entries->add(std::move(entry));
  } catch (...) {
    return set_error_from_exception();
  }
  // Last, for it may run anything.
  if (replaced != nullptr) replaced->release();
  Py_RETURN_TRUE;
}

PyObject* forget(PyObject* self, PyObject*) {
  drop_entries(callable(self));
  Py_RETURN_NONE;
}

PyObject* follow(PyObject* self, PyObject* args) {
  PyObject *structures = nullptr, *states = nullptr;
  if (PyArg_ParseTuple(args, "O!O!:_follow", &PyTuple_Type, &structures, &PyTuple_Type, &states) ==
      0) {
    return nullptr;
  }
  try {
    const auto numbers = py::reinterpret_borrow<py::tuple>(states);
    const std::vector<program::Structure*> followed = structures_of(structures);
    if (numbers.size() != followed.size()) {
      throw std::invalid_argument("_follow: a state for each structure");
    }
    base::count_allocation();
    std::vector<std::uint64_t> expected;
    for (const py::handle number : numbers) expected.push_back(number.cast<std::uint64_t>());
    callable(self)->is_told = true;
    return PyBool_FromLong(callable(self)->follower.follow(followed, expected) ? 1 : 0);
  } catch (...) {
    return set_error_from_exception();
  }
}

PyObject* is_settled(PyObject* self, PyObject*) {
  return PyBool_FromLong(callable(self)->follower.is_settled() ? 1 : 0);
}

PyObject* watch_others(PyObject* self, PyObject*) {
  callable(self)->follower.watch_others();
  Py_RETURN_NONE;
}

PyObject* was_disturbed(PyObject* self, PyObject*) {
  return PyBool_FromLong(callable(self)->follower.was_disturbed() ? 1 : 0);
}

void begin_anew(CallableObject* object) {
  if (object->attributes == nullptr) {
    object->structure.touch();
  } else {
    object->attributes->begin_anew(object->structure);
  }
}

PyObject* touch(PyObject* self, PyObject*) {
  begin_anew(callable(self));
  Py_RETURN_NONE;
}

// As object.__setattr__. What a property or a slot makes of the value is a change like any other.
PyObject* assign(PyObject* self, PyObject* const* args, Py_ssize_t count) {
  if (count != 2) return PyErr_Format(PyExc_TypeError, "_assign: expected a name and a value");
  PyObject *const name = args[0], *const value = args[1];
  CallableObject* object = callable(self);
  try {
    const auto attributes =
        py::reinterpret_steal<py::object>(PyObject_GenericGetDict(self, nullptr));
    if (!attributes) return nullptr;
    const auto before =
        py::reinterpret_borrow<py::object>(PyDict_GetItemWithError(attributes.ptr(), name));
    if (!before && PyErr_Occurred() != nullptr) return nullptr;
    // `__class__` and `__dict__` are such, too.
    PyObject* descriptor = PyUnicode_Check(name) ? _PyType_Lookup(Py_TYPE(self), name) : nullptr;
    const bool is_of_class = descriptor != nullptr && Py_TYPE(descriptor)->tp_descr_set != nullptr;
    const bool failed = PyObject_GenericSetAttr(self, name, value) != 0;
    if (object->attributes == nullptr) {
      base::count_allocation();
      object->attributes = new Attributes;
    }
    if (failed || is_of_class) {
      begin_anew(object);
    } else {
      object->attributes->note(object->structure, name, before.ptr(), value);
    }
    if (failed) return nullptr;
  } catch (...) {
    begin_anew(object);
    return set_error_from_exception();
  }
  Py_RETURN_NONE;
}

PyObject* dispatch_undefined(PyObject* self, PyObject*, PyObject*) {
  PyErr_Format(PyExc_TypeError, "%s defines no _dispatch", Py_TYPE(self)->tp_name);
  return nullptr;
}

// What pickle and copy take along: the attributes, never entries.
PyObject* getstate(PyObject* self, PyObject*) {
  PyObject* attributes = PyObject_GetAttrString(self, "__dict__");
  if (attributes == nullptr && PyErr_ExceptionMatches(PyExc_AttributeError)) {
    PyErr_Clear();
    Py_RETURN_NONE;
  }
  return attributes;
}

#if PY_VERSION_HEX < 0x030C0000
// Before 3.12 only immutable bases hand the flag on.
PyObject* init_subclass(PyObject* cls, PyObject* args, PyObject* kwargs) {
  auto* type = reinterpret_cast<PyTypeObject*>(cls);
  if (PyTuple_GET_SIZE(args) != 0 || (kwargs != nullptr && PyDict_GET_SIZE(kwargs) != 0)) {
    return PyErr_Format(PyExc_TypeError, "%s.__init_subclass__() takes no keyword arguments",
                        type->tp_name);
  }
  if (type->tp_call == PyVectorcall_Call) type->tp_flags |= Py_TPFLAGS_HAVE_VECTORCALL;
  Py_RETURN_NONE;
}
#endif

template <class Function>
PyCFunction method(Function* function) {
  return reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(function));
}

PyMethodDef methods[] = {
    {"_remember", method(remember), METH_VARARGS | METH_KEYWORDS,
     "_remember($self, args, kwnames, program, returns, keep=None, turned=(), "
     "watch=None, text=None)\n--\n\n"
     "Answers calls with these arguments by the program from now on; False if they cannot be.\n"
     "turned: for each of them whether the program takes the array of which it is the transposed.\n"
     "watch: a Watch that has to hold, or None; text: None, or the Text that the program belongs\n"
     "to, which then answers any extents of two or more along its free axes."},
    {"_forget", forget, METH_NOARGS, "_forget($self)\n--\n\nDrops everything remembered."},
    {"_follow", follow, METH_VARARGS,
     "_follow($self, structures, states)\n--\n\n"
     "What is remembered is right while all of them are in these states, and until it follows\n"
     "others. False, and nothing is right, where one of them is not."},
    {"_is_settled", is_settled, METH_NOARGS,
     "_is_settled($self)\n--\n\nWhether all that it follows is in the states that it was in."},
    {"_watch_others", watch_others, METH_NOARGS,
     "_watch_others($self)\n--\n\nBegins to look whether other threads move what it follows."},
    {"_was_disturbed", was_disturbed, METH_NOARGS,
     "_was_disturbed($self)\n--\n\nWhether another thread has, since `_watch_others`."},
    {"_touch", touch, METH_NOARGS,
     "_touch($self)\n--\n\nIts own structure is another one now: see `Structure.touch`."},
    {"_assign", method(assign), METH_FASTCALL,
     "_assign($self, name, value)\n--\n\n"
     "As object.__setattr__; moves its own structure unless the value is the one that was there."},
    {"_dispatch", method(dispatch_undefined), METH_VARARGS | METH_KEYWORDS,
     "_dispatch($self, *args, **kwargs)\n--\n\nAnswers calls that nothing remembered fits."},
    {"__getstate__", getstate, METH_NOARGS, "__getstate__($self)\n--\n\nThe attributes."},
#if PY_VERSION_HEX < 0x030C0000
    {"__init_subclass__", method(init_subclass), METH_CLASS | METH_VARARGS | METH_KEYWORDS,
     "__init_subclass__()\n--\n\nLets instances be called without a detour."},
#endif
    {nullptr, nullptr, 0, nullptr},
};

PyMemberDef members[] = {
    {"__vectorcalloffset__", T_PYSSIZET, offsetof(CallableObject, vectorcall), READONLY, nullptr},
    {nullptr, 0, 0, 0, nullptr},
};

template <class Function>
PyType_Slot slot(int id, Function* function) {
  return {id, reinterpret_cast<void*>(function)};
}

}  // namespace

void register_callable(py::module_& module) {
  names.dispatch = PyUnicode_InternFromString("_dispatch");
  names.out = PyUnicode_InternFromString("out");
  if (names.dispatch == nullptr || names.out == nullptr) throw py::error_already_set();
  static PyType_Slot slots[] = {
      slot(Py_tp_new, make),
      slot(Py_tp_dealloc, destroy),
      slot(Py_tp_traverse, traverse),
      slot(Py_tp_clear, clear),
      slot(Py_tp_call, PyVectorcall_Call),
      {Py_tp_methods, methods},
      {Py_tp_members, members},
      {Py_tp_doc, const_cast<char*>("Callable()\n--\n\n"
                                    "An object whose calls go straight to remembered programs.")},
      {0, nullptr},
  };
  static PyType_Spec spec = {
      "lamella._core.Callable", static_cast<int>(sizeof(CallableObject)), 0,
      Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_HAVE_VECTORCALL,
      slots};
  PyObject* type = PyType_FromSpec(&spec);
  if (type == nullptr) throw py::error_already_set();
  module.attr("Callable") = py::reinterpret_steal<py::object>(type);
}

}  // namespace lamella::bindings
