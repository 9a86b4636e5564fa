// SPDX-License-Identifier: Apache-2.0
// Differences between a module's attributes now and in a state that has a number.
#include "bindings/attributes.h"

#include <algorithm>
#include <new>

#include "base/allocation.h"
#include "bindings/snapshot.h"

namespace py = pybind11;

namespace lamella::bindings {
namespace {

// Cannot change while it stays the same object, nor refer to anything that refers to it.
bool is_plain(PyObject* value) {
  if (PyTuple_CheckExact(value)) {
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(value); ++i) {
      if (!is_plain(PyTuple_GET_ITEM(value, i))) return false;
    }
    return true;
  }
  return value == Py_None || PyBool_Check(value) != 0 || PyLong_CheckExact(value) ||
         PyFloat_CheckExact(value) || PyUnicode_CheckExact(value) || PyBytes_CheckExact(value);
}

// Whether a program made for the one is right for the other. An object is known by its identity; a
// container by its contents, which may be others than when they were looked at.
bool is_same(PyObject* before, PyObject* now) {
  if (before == nullptr || now == nullptr) return false;
  if (is_plain(before)) return is_plain(now) && same_value(before, now);
  return before == now && !PyTuple_Check(now) && !PyList_Check(now) && !PyDict_Check(now) &&
         !PyAnySet_Check(now);
}

}  // namespace

void Attributes::note(program::Structure& structure, PyObject* name, PyObject* before,
                      PyObject* now) noexcept {
  if (is_same(before, now)) return;
  const bool plain = before != nullptr && now != nullptr && is_plain(before) && is_plain(now);
  // What nobody follows has nowhere to come back to.
  if (!plain || !PyUnicode_CheckExact(name) || !structure.is_followed()) {
    begin_anew(structure);
    return;
  }
  try {
    if (differences_.empty() && known_.empty()) origin_ = structure.state();
    const auto found =
        std::find_if(differences_.begin(), differences_.end(),
                     [&](const Difference& one) { return same_value(one.name.ptr(), name); });
    if (found == differences_.end()) {
      base::count_allocation();
      differences_.push_back({py::reinterpret_borrow<py::object>(name),
                              py::reinterpret_borrow<py::object>(before),
                              py::reinterpret_borrow<py::object>(now)});
    } else if (is_same(found->origin.ptr(), now)) {
      differences_.erase(found);
    } else {
      found->present = py::reinterpret_borrow<py::object>(now);
    }
    if (differences_.size() > kMostDifferences) {
      begin_anew(structure);
    } else {
      structure.move_to(state_of_differences());
    }
  } catch (const std::bad_alloc&) {
    begin_anew(structure);
  }
}

void Attributes::begin_anew(program::Structure& structure) noexcept {
  structure.touch();
  differences_.clear();
  known_.clear();
}

std::uint64_t Attributes::state_of_differences() {
  if (differences_.empty()) return origin_;
  for (const auto& [differences, state] : known_) {
    const auto here = [&](const Difference& one) {
      return std::any_of(differences_.begin(), differences_.end(), [&](const Difference& other) {
        return same_value(one.name.ptr(), other.name.ptr()) &&
               is_same(one.present.ptr(), other.present.ptr());
      });
    };
    if (differences.size() == differences_.size() &&
        std::all_of(differences.begin(), differences.end(), here)) {
      return state;
    }
  }
  base::count_allocation();
  if (known_.size() == kMostStates) known_.erase(known_.begin());
  return known_.emplace_back(differences_, program::Structure::fresh_state()).second;
}

}  // namespace lamella::bindings
