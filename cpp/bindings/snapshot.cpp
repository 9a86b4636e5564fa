// SPDX-License-Identifier: Apache-2.0
// Taking snapshots of Python values, and comparing them.
#include "bindings/snapshot.h"

#include <algorithm>
#include <bit>
#include <cstdint>
#include <cstring>
#include <utility>

#include "base/allocation.h"

namespace py = pybind11;

namespace lamella::bindings {
namespace {

// Never freed: they live as long as the interpreter.
PyTypeObject* numpy_scalar = nullptr;
PyTypeObject* dates[2] = {};
PyTypeObject* record = nullptr;
PyTypeObject* deque = nullptr;
PyTypeObject* machine_array = nullptr;

PyTypeObject* fetch_type(const char* module, const char* name) {
  return reinterpret_cast<PyTypeObject*>(
      py::object(py::module_::import(module).attr(name)).release().ptr());
}

// The bytes behind an object of one of the types that lend them without running Python code.
class Bytes {
 public:
  explicit Bytes(PyObject* object) {
    lent_ = PyObject_GetBuffer(object, &view_, PyBUF_SIMPLE) == 0;
    if (!lent_) PyErr_Clear();
  }
  ~Bytes() {
    if (lent_) PyBuffer_Release(&view_);
  }
  Bytes(const Bytes&) = delete;
  Bytes& operator=(const Bytes&) = delete;

  bool equals(const Bytes& other) const {
    return lent_ && other.lent_ && view_.len == other.view_.len &&
           std::memcmp(view_.buf, other.view_.buf, static_cast<std::size_t>(view_.len)) == 0;
  }

 private:
  Py_buffer view_;
  bool lent_;
};

bool same_bits(double x, double y) {
  return std::bit_cast<std::uint64_t>(x) == std::bit_cast<std::uint64_t>(y);
}

// Of types whose hash and comparison are C's own.
bool is_plain(PyObject* value) {
  if (PyTuple_CheckExact(value)) {
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(value); ++i) {
      if (!is_plain(PyTuple_GET_ITEM(value, i))) return false;
    }
    return true;
  }
  return value == Py_None || PyBool_Check(value) || PyLong_CheckExact(value) ||
         PyFloat_CheckExact(value) || PyUnicode_CheckExact(value) || PyBytes_CheckExact(value);
}

// A NumPy scalar that is its bytes: those of dates do not tell their unit, records change in place.
bool is_scalar(PyObject* value) {
  return PyObject_TypeCheck(value, numpy_scalar) && Py_TYPE(value) != dates[0] &&
         Py_TYPE(value) != dates[1] && !PyObject_TypeCheck(value, record);
}

bool is_bytes(PyObject* value) {
  return PyByteArray_CheckExact(value) || Py_TYPE(value) == machine_array;
}

// What the type's own C code counts: a subclass may have a __len__ of its own.
Py_ssize_t size_of(PyObject* value) {
  if (PyList_Check(value)) return PyList_GET_SIZE(value);
  if (PyTuple_Check(value)) return PyTuple_GET_SIZE(value);
  if (PyDict_Check(value)) return PyDict_Size(value);
  if (PySet_Check(value)) return PySet_GET_SIZE(value);
  return PySequence_Size(value);
}

// Whether every item of a set is plain, so that it can be asked for them.
bool is_plain_set(PyObject* set) {
  const auto items = py::reinterpret_steal<py::object>(PySequence_Tuple(set));
  if (!items) throw py::error_already_set();
  return is_plain(items.ptr());
}

PyObject* checked(PyObject* made) {
  if (made == nullptr) throw py::error_already_set();
  return made;
}

}  // namespace

void init_snapshots() {
  numpy_scalar = fetch_type("numpy", "generic");
  dates[0] = fetch_type("numpy", "datetime64");
  dates[1] = fetch_type("numpy", "timedelta64");
  record = fetch_type("numpy", "void");
  deque = fetch_type("collections", "deque");
  machine_array = fetch_type("array", "array");
}

bool same_value(PyObject* a, PyObject* b) {
  if (a == b) return true;
  if (Py_TYPE(a) != Py_TYPE(b)) return false;
  if (PyLong_CheckExact(a)) return PyObject_RichCompareBool(a, b, Py_EQ) == 1;
  if (PyUnicode_CheckExact(a)) return PyUnicode_Compare(a, b) == 0;
  if (PyFloat_CheckExact(a)) return same_bits(PyFloat_AS_DOUBLE(a), PyFloat_AS_DOUBLE(b));
  if (PyBytes_CheckExact(a) || is_scalar(a)) return Bytes(a).equals(Bytes(b));
  if (PyComplex_CheckExact(a)) {
    return same_bits(PyComplex_RealAsDouble(a), PyComplex_RealAsDouble(b)) &&
           same_bits(PyComplex_ImagAsDouble(a), PyComplex_ImagAsDouble(b));
  }
  if (!PyTuple_CheckExact(a) || PyTuple_GET_SIZE(a) != PyTuple_GET_SIZE(b)) return false;
  for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(a); ++i) {
    if (!same_value(PyTuple_GET_ITEM(a, i), PyTuple_GET_ITEM(b, i))) return false;
  }
  return true;
}

Snapshot::Snapshot(PyObject* value) : Snapshot() {
  Py_ssize_t budget = kMostItems;
  take(value, budget, 0);
}

Snapshot::Snapshot(Snapshot&& other) noexcept
    : kind_(other.kind_),
      object_(std::exchange(other.object_, nullptr)),
      type_(std::exchange(other.type_, nullptr)),
      size_(other.size_),
      keys_(std::move(other.keys_)),
      items_(std::move(other.items_)) {
  other.keys_.clear();
  other.items_.clear();
}

void Snapshot::take(PyObject* value, Py_ssize_t& budget, int level) {
  base::count_allocation();
  if (value == nullptr) return;
  type_ = Py_TYPE(value);
  Py_INCREF(type_);
  if (PyList_Check(value) || PyTuple_Check(value) || PyDict_Check(value) || PySet_Check(value) ||
      Py_TYPE(value) == deque || is_bytes(value)) {
    size_ = size_of(value);
    if (size_ < 0) throw py::error_already_set();
    if (is_bytes(value) || size_ <= budget) {
      if (level < kMostLevels && take_items(value, budget, level)) return;
    }
    if (!PyTuple_CheckExact(value) || !is_plain(value)) {
      kind_ = Kind::size;
      return;
    }
  }
  object_ = Py_NewRef(value);
}

// False when its items cannot be compared one by one.
bool Snapshot::take_items(PyObject* value, Py_ssize_t& budget, int level) {
  if (is_bytes(value)) {
    // Above this, comparing would take as long as a small network.
    constexpr Py_ssize_t kMostBytes = 4096;
    const auto copy = py::reinterpret_steal<py::object>(checked(PyBytes_FromObject(value)));
    if (PyBytes_GET_SIZE(copy.ptr()) > kMostBytes) return false;
    kind_ = Kind::bytes;
    object_ = py::object(copy).release().ptr();
    return true;
  }
  if (PySet_Check(value)) {
    if (!is_plain_set(value)) return false;
    budget -= size_;
    kind_ = Kind::set;
    object_ = checked(PySequence_Tuple(value));
    return true;
  }
  budget -= size_;
  items_.reserve(static_cast<std::size_t>(size_));
  if (PyDict_Check(value)) {
    kind_ = Kind::dict;
    keys_.reserve(static_cast<std::size_t>(size_));
    PyObject *key = nullptr, *item = nullptr;
    for (Py_ssize_t at = 0; PyDict_Next(value, &at, &key, &item) != 0;) {
      keys_.push_back(Py_NewRef(key));
      items_.emplace_back(Snapshot(item, budget, level + 1));
    }
    return true;
  }
  const bool is_list = PyList_Check(value), is_tuple = PyTuple_Check(value);
  kind_ = is_list ? Kind::list : is_tuple ? Kind::tuple : Kind::sequence;
  for (Py_ssize_t i = 0; i < size_; ++i) {
    const auto item =
        is_list    ? py::reinterpret_borrow<py::object>(PyList_GET_ITEM(value, i))
        : is_tuple ? py::reinterpret_borrow<py::object>(PyTuple_GET_ITEM(value, i))
                   : py::reinterpret_steal<py::object>(checked(PySequence_GetItem(value, i)));
    items_.emplace_back(Snapshot(item.ptr(), budget, level + 1));
  }
  return true;
}

bool Snapshot::holds_otherwise(PyObject* now) const {
  if (kind_ == Kind::value) {
    return object_ != nullptr && now != nullptr && same_value(object_, now);
  }
  if (now == nullptr || Py_TYPE(now) != type_) return false;
  const std::size_t count = items_.size();
  switch (kind_) {
    case Kind::list:
      if (PyList_GET_SIZE(now) != size_) return false;
      for (std::size_t i = 0; i < count; ++i) {
        if (!items_[i].holds(PyList_GET_ITEM(now, static_cast<Py_ssize_t>(i)))) return false;
      }
      return true;
    case Kind::tuple:
      if (PyTuple_GET_SIZE(now) != size_) return false;
      for (std::size_t i = 0; i < count; ++i) {
        if (!items_[i].holds(PyTuple_GET_ITEM(now, static_cast<Py_ssize_t>(i)))) return false;
      }
      return true;
    case Kind::dict: {
      if (PyDict_Size(now) != size_) return false;
      PyObject *key = nullptr, *item = nullptr;
      Py_ssize_t at = 0;
      for (std::size_t i = 0; i < count; ++i) {
        if (PyDict_Next(now, &at, &key, &item) == 0) return false;
        if (!same_value(keys_[i], key) || !items_[i].holds(item)) return false;
      }
      return true;
    }
    case Kind::sequence:
      if (PySequence_Size(now) != size_) return false;
      for (std::size_t i = 0; i < count; ++i) {
        PyObject* item = PySequence_GetItem(now, static_cast<Py_ssize_t>(i));
        if (item == nullptr) PyErr_Clear();
        const bool same = items_[i].holds(item);
        Py_XDECREF(item);
        if (!same) return false;
      }
      return true;
    case Kind::set:
      if (PySet_GET_SIZE(now) != size_) return false;
      for (Py_ssize_t i = 0; i < size_; ++i) {
        if (PySet_Contains(now, PyTuple_GET_ITEM(object_, i)) != 1) return false;
      }
      return true;
    case Kind::bytes:
      return Bytes(object_).equals(Bytes(now));
    default:
      return size_of(now) == size_;
  }
}

bool Snapshot::by_size() const {
  return kind_ == Kind::size ||
         std::any_of(items_.begin(), items_.end(), [](const Snapshot& s) { return s.by_size(); });
}

int Snapshot::traverse(visitproc visit, void* arg) const {
  Py_VISIT(object_);
  Py_VISIT(type_);
  for (PyObject* key : keys_) Py_VISIT(key);
  for (const Snapshot& item : items_) {
    if (const int stop = item.traverse(visit, arg); stop != 0) return stop;
  }
  return 0;
}

void Snapshot::clear() {
  Py_CLEAR(object_);
  Py_CLEAR(type_);
  for (PyObject*& key : keys_) Py_CLEAR(key);
  keys_.clear();
  items_.clear();
}

}  // namespace lamella::bindings
