// SPDX-License-Identifier: Apache-2.0
// The type Watch: places, arrays, and their comparison.
//
// Made from a spec, as Callable is: what it holds may hold it, so that the collector has to see it.
#include "bindings/watch.h"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/allocation.h"
#include "bindings/arrays.h"
#include "bindings/error.h"
#include "bindings/register.h"
#include "bindings/snapshot.h"

namespace py = pybind11;

namespace lamella::bindings {
namespace {

constexpr Py_ssize_t kMostRank = 64;

struct Place {
  enum class Kind : std::uint8_t { entry, cell, attribute, slot, object };

  Kind kind;
  py::object holder;  // the dict, cell, class or object
  py::object key;     // of an entry; the name of an attribute or slot
  Snapshot before;

  static Kind kind_named(std::string_view name, PyObject* holder);
  // Hands what is there, null for nothing, to `use`; borrowed for that long.
  template <class Use>
  auto with_value(Use use) const;
  bool holds() const;
};

Place::Kind Place::kind_named(std::string_view name, PyObject* holder) {
  if (name == "entry" && PyDict_Check(holder)) return Kind::entry;
  if (name == "cell" && PyCell_Check(holder)) return Kind::cell;
  if (name == "class" && PyType_Check(holder)) return Kind::attribute;
  if (name == "slot") return Kind::slot;
  if (name == "object") return Kind::object;
  throw std::invalid_argument("Watch: no such kind of place: " + std::string(name));
}

template <class Use>
auto Place::with_value(Use use) const {
  switch (kind) {
    case Kind::entry: {
      PyObject* value = PyDict_GetItemWithError(holder.ptr(), key.ptr());
      if (value == nullptr) PyErr_Clear();
      return use(value);
    }
    case Kind::cell:
      return use(PyCell_GET(holder.ptr()));
    case Kind::attribute:
      return use(_PyType_Lookup(reinterpret_cast<PyTypeObject*>(holder.ptr()), key.ptr()));
    case Kind::slot: {
      // A member of a class with __slots__: C alone reads it.
      const auto value =
          py::reinterpret_steal<py::object>(PyObject_GetAttr(holder.ptr(), key.ptr()));
      if (!value) PyErr_Clear();
      return use(value.ptr());
    }
    default:
      return use(holder.ptr());
  }
}

bool Place::holds() const {
  return with_value([this](PyObject* now) { return before.holds(now); });
}

// An array that forward has met. Its memory must not move: a weak reference keeps NumPy from resizing
// it in place.
struct Met {
  py::object array;
  py::object unmoved;  // the weak reference
  py::object copy;     // what the program reads in its place, or a copy to compare with; or null
  std::string before;  // the elements, where they are compared
  bool compared = false;
  void* data = nullptr;
  py::object descr;
  std::vector<Py_ssize_t> extents;  // and strides

  bool holds() const;
  bool renew() const { return PyObject_SetItem(copy.ptr(), Py_Ellipsis, array.ptr()) == 0; }
  PyObject* read() const { return copy ? copy.ptr() : array.ptr(); }
};

std::size_t array_bytes(PyObject* array) {
  const ArrayFields& a = *fields(array);
  auto bytes = static_cast<std::size_t>(py::reinterpret_borrow<py::array>(array).itemsize());
  for (int i = 0; i < a.nd; ++i) bytes *= static_cast<std::size_t>(a.dimensions[i]);
  return bytes;
}

bool Met::holds() const {
  const ArrayFields& a = *fields(array.ptr());
  const auto rank = static_cast<std::size_t>(a.nd);
  if (a.data != data || a.descr != descr.ptr() || 2 * rank != extents.size()) return false;
  for (std::size_t i = 0; i < rank; ++i) {
    if (a.dimensions[i] != extents[i] || a.strides[i] != extents[rank + i]) return false;
  }
  if (copy && !renew()) {
    PyErr_Clear();
    return false;
  }
  return !compared || std::memcmp(fields(read())->data, before.data(), before.size()) == 0;
}

// A row of the second argument: (array, copy or None, whether elements are compared).
Met make_met(const py::tuple& row) {
  Met met;
  met.array = row[0];
  const bool copied = !row[1].is_none();
  if (copied) met.copy = row[1];
  met.compared = row[2].cast<bool>();
  if (!py::isinstance<py::array>(met.array) || (copied && !is_exact_array(met.copy.ptr()))) {
    throw py::type_error("Watch: arrays are (array, copy or None, compared)");
  }
  const ArrayFields& a = *fields(met.array.ptr());
  if (a.nd > kMostRank) throw std::invalid_argument("Watch: too many axes");
  if (met.compared && (fields(met.read())->flags & NumPyApi::NPY_ARRAY_C_CONTIGUOUS_) == 0) {
    throw std::invalid_argument("Watch: elements are compared of C-contiguous arrays");
  }
  met.unmoved = py::weakref(met.array);
  if (copied && !met.renew()) throw py::error_already_set();
  met.data = a.data;
  met.descr = py::reinterpret_borrow<py::object>(a.descr);
  met.extents.assign(a.dimensions, a.dimensions + a.nd);
  met.extents.insert(met.extents.end(), a.strides, a.strides + a.nd);
  if (met.compared) {
    base::count_allocation();
    met.before.assign(static_cast<const char*>(fields(met.read())->data), array_bytes(met.read()));
  }
  return met;
}

struct Contents {
  std::vector<Place> places;
  std::vector<Met> arrays;

  bool hold() const {
    return std::all_of(places.begin(), places.end(), [](const Place& p) { return p.holds(); }) &&
           std::all_of(arrays.begin(), arrays.end(), [](const Met& m) { return m.holds(); });
  }
};

struct WatchObject {
  PyObject ob_base;
  Contents* contents;  // null once the collector has cleared it
};

PyTypeObject* watch_type = nullptr;

WatchObject* watch(PyObject* object) { return reinterpret_cast<WatchObject*>(object); }

Contents make_contents(PyObject* places, PyObject* arrays) {
  Contents contents;
  for (const py::handle item : py::reinterpret_borrow<py::tuple>(places)) {
    const auto row = item.cast<py::tuple>();
    if (row.size() != 3) throw std::invalid_argument("Watch: places are (kind, holder, key)");
    const auto kind = Place::kind_named(row[0].cast<std::string>(), row[1].ptr());
    const bool named = kind == Place::Kind::attribute || kind == Place::Kind::slot;
    if (named && !PyUnicode_CheckExact(row[2].ptr())) {
      throw py::type_error("Watch: attributes have names");
    }
    const Place empty{kind, row[1], row[2], Snapshot()};
    contents.places.push_back(empty.with_value(
        [&](PyObject* now) { return Place{kind, empty.holder, empty.key, Snapshot(now)}; }));
  }
  for (const py::handle item : py::reinterpret_borrow<py::tuple>(arrays)) {
    contents.arrays.push_back(make_met(item.cast<py::tuple>()));
  }
  return contents;
}

PyObject* make(PyTypeObject* type, PyObject* args, PyObject*) {
  PyObject *places = nullptr, *arrays = nullptr;
  if (PyArg_ParseTuple(args, "O!O!:Watch", &PyTuple_Type, &places, &PyTuple_Type, &arrays) == 0) {
    return nullptr;
  }
  try {
    auto contents = std::make_unique<Contents>(make_contents(places, arrays));
    PyObject* self = type->tp_alloc(type, 0);
    if (self != nullptr) watch(self)->contents = contents.release();
    return self;
  } catch (...) {
    return set_error_from_exception();
  }
}

int traverse(PyObject* self, visitproc visit, void* arg) {
  Py_VISIT(Py_TYPE(self));
  if (watch(self)->contents == nullptr) return 0;
  for (const Place& place : watch(self)->contents->places) {
    Py_VISIT(place.holder.ptr());
    Py_VISIT(place.key.ptr());
    if (const int stop = place.before.traverse(visit, arg); stop != 0) return stop;
  }
  for (const Met& met : watch(self)->contents->arrays) {
    Py_VISIT(met.array.ptr());
    Py_VISIT(met.unmoved.ptr());
    Py_VISIT(met.copy.ptr());
    Py_VISIT(met.descr.ptr());
  }
  return 0;
}

int clear(PyObject* self) {
  // Out of reach first: freeing runs the destructors of anything.
  delete std::exchange(watch(self)->contents, nullptr);
  return 0;
}

void destroy(PyObject* self) {
  PyTypeObject* type = Py_TYPE(self);
  PyObject_GC_UnTrack(self);
  clear(self);
  type->tp_free(self);
  Py_DECREF(type);
}

PyObject* holds(PyObject* self, PyObject*) { return PyBool_FromLong(watch_holds(self) ? 1 : 0); }

// Numbers of places, then of arrays, counted on.
template <class PlaceTest, class ArrayTest>
PyObject* numbers(PyObject* self, PlaceTest place_counts, ArrayTest array_counts) {
  PyObject* found = PyList_New(0);
  if (found == nullptr || watch(self)->contents == nullptr) return found;
  const Contents& contents = *watch(self)->contents;
  std::size_t number = 0;
  const auto add = [&](bool counts) {
    PyObject* item = counts ? PyLong_FromSize_t(number) : nullptr;
    if (item != nullptr) PyList_Append(found, item);
    Py_XDECREF(item);
    ++number;
  };
  for (const Place& place : contents.places) add(place_counts(place));
  for (const Met& met : contents.arrays) add(array_counts(met));
  if (PyErr_Occurred() != nullptr) Py_CLEAR(found);
  return found;
}

PyObject* changed(PyObject* self, PyObject*) {
  return numbers(
      self, [](const Place& p) { return !p.holds(); }, [](const Met& m) { return !m.holds(); });
}

PyObject* by_size(PyObject* self, PyObject*) {
  return numbers(
      self, [](const Place& p) { return p.before.by_size(); }, [](const Met&) { return false; });
}

PyMethodDef methods[] = {
    {"holds", holds, METH_NOARGS,
     "holds($self)\n--\n\nWhether all is as it was; renews the copies that the program reads."},
    {"changed", changed, METH_NOARGS,
     "changed($self)\n--\n\nThe numbers of places, and behind them of arrays, that are otherwise."},
    {"by_size", by_size, METH_NOARGS,
     "by_size($self)\n--\n\nThe numbers of places where something is compared by its size alone."},
    {nullptr, nullptr, 0, nullptr},
};

}  // namespace

bool is_watch(PyObject* object) { return Py_TYPE(object) == watch_type; }

bool watch_holds(PyObject* object) {
  return watch(object)->contents != nullptr && watch(object)->contents->hold();
}

void register_watch(py::module_& module) {
  init_snapshots();
  static PyType_Slot slots[] = {
      {Py_tp_new, reinterpret_cast<void*>(&make)},
      {Py_tp_dealloc, reinterpret_cast<void*>(&destroy)},
      {Py_tp_traverse, reinterpret_cast<void*>(&traverse)},
      {Py_tp_clear, reinterpret_cast<void*>(&clear)},
      {Py_tp_methods, methods},
      {Py_tp_doc,
       const_cast<char*>(
           "Watch(places, arrays)\n--\n\n"
           "What was found in places, each (kind, holder, key), and arrays, each (array, "
           "copy or None,\nwhether its elements are compared), as it is now.")},
      {0, nullptr},
  };
  static PyType_Spec spec = {"lamella._core.Watch", static_cast<int>(sizeof(WatchObject)), 0,
                             Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC, slots};
  PyObject* type = PyType_FromSpec(&spec);
  if (type == nullptr) throw py::error_already_set();
  watch_type = reinterpret_cast<PyTypeObject*>(type);
  module.attr("Watch") = py::reinterpret_borrow<py::object>(type);
  module.def(
      "same_value", [](py::handle a, py::handle b) { return same_value(a.ptr(), b.ptr()); },
      py::arg("a"), py::arg("b"),
      "Whether two values are the same to a program: the rule of lamella.runtime.key.");
}

}  // namespace lamella::bindings
