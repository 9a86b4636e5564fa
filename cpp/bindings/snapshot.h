// SPDX-License-Identifier: Apache-2.0
// Snapshot: what a Python value was, to be compared with what is there now in nanoseconds.
//
// Numbers, texts and NumPy scalars are compared by identity and then by value, containers by type,
// size and item, any other object by identity. Comparing runs no Python code and frees nothing, so
// that it may stand in the path of a call. Everything here expects the GIL to be held.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include <pybind11/pybind11.h>

namespace lamella::bindings {

// Equal beyond doubt: True is not 1, 1 is not 1.0, 0.0 is not -0.0, and NaN is NaN. Values of other
// types than numbers, texts, bytes, NumPy scalars and tuples of such are equal to themselves only.
bool same_value(PyObject* a, PyObject* b);

class Snapshot {
 public:
  // Items compared of one container, those of nested ones included: 1024 pointers take half a
  // microsecond. Of what is larger or deeper the size alone is compared.
  static constexpr Py_ssize_t kMostItems = 1024;
  static constexpr int kMostLevels = 8;

  Snapshot() = default;
  // value: null for nothing there.
  explicit Snapshot(PyObject* value);
  Snapshot(Snapshot&& other) noexcept;
  Snapshot& operator=(Snapshot&&) = delete;
  ~Snapshot() { clear(); }

  // now: null for nothing there.
  bool holds(PyObject* now) const {
    if (kind_ == Kind::value && object_ == now) return true;
    return holds_otherwise(now);
  }
  // Whether something in it is compared by its size alone.
  bool by_size() const;

  int traverse(visitproc visit, void* arg) const;
  void clear();

 private:
  enum class Kind : std::uint8_t { value, list, tuple, dict, sequence, set, bytes, size };

  Snapshot(PyObject* value, Py_ssize_t& budget, int level) : Snapshot() {
    take(value, budget, level);
  }
  void take(PyObject* value, Py_ssize_t& budget, int level);
  bool take_items(PyObject* value, Py_ssize_t& budget, int level);
  bool holds_otherwise(PyObject* now) const;

  Kind kind_ = Kind::value;
  PyObject* object_ = nullptr;    // owned: the value; the container's type; a copy of bytes or set
  PyTypeObject* type_ = nullptr;  // owned: of a copy
  Py_ssize_t size_ = 0;
  std::vector<PyObject*> keys_;  // owned: of a dict, in its order
  std::vector<Snapshot> items_;
};

// Fetches the types that a Snapshot tells apart; called once when the module is made.
void init_snapshots();

}  // namespace lamella::bindings
