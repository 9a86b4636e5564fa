// SPDX-License-Identifier: Apache-2.0
// Attributes: what assignments make of a module's structure, so that a way back is known as one.
//
// Differences are kept from a state with a number: the plain values (numbers, texts, None, tuples of
// such) that attributes had there and have now. None left means that state again; the same ones as
// before, the state that had them. Anything else begins anew, in a state that nobody has seen.
// Everything here expects the GIL to be held.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include <pybind11/pybind11.h>

#include "program/structure.h"

namespace lamella::bindings {

class Attributes {
 public:
  // The attribute `name` held `before` and holds `now`, null for nothing: moves the structure to
  // the state that this makes, which may be the one it is in.
  void note(program::Structure& structure, PyObject* name, PyObject* before,
            PyObject* now) noexcept;
  // Something else has changed.
  void begin_anew(program::Structure& structure) noexcept;

 private:
  // States beyond these, and states further away, are taken for new ones: training and inference
  // are one difference.
  static constexpr std::size_t kMostDifferences = 8;
  static constexpr std::size_t kMostStates = 4;

  struct Difference {
    pybind11::object name, origin, present;
  };
  using Differences = std::vector<Difference>;

  std::uint64_t state_of_differences();

  std::uint64_t origin_ = 0;
  Differences differences_;
  std::vector<std::pair<Differences, std::uint64_t>> known_;
};

}  // namespace lamella::bindings
