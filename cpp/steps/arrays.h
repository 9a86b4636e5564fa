// SPDX-License-Identifier: Apache-2.0
// The arrays that a step touches, as its kind tells them before it is made.
//
// Each kind has a function arrays(spec, slots, list). The program under construction checks the list
// (program/builder.h): range, alignment to the items, and that nothing written overlaps anything
// else, other than being exactly an operand that may be written over.
#pragma once

#include <cstddef>
#include <vector>

#include "steps/step.h"
#include "steps/strides.h"

namespace lamella::steps {

// What a step does with an array.
enum class Use : std::uint8_t {
  read,
  replaced,  // read, and a result may lie exactly on it
  prepared,  // read ahead of the run, not by the step
  written,
};

// The bytes an array occupies, and whether they are without gaps.
struct Array {
  Slot slot;
  std::size_t bytes = 0;
  std::size_t item = 1;
  bool contiguous = true;
  Use use = Use::read;
};

using ArrayList = std::vector<Array>;

Array contiguous(Slot slot, std::size_t count, std::size_t item, Use use = Use::read);
// Throws std::invalid_argument when negative strides reach below the buffer.
Array strided(Slot slot, const Shape& shape, const Strides& strides, std::size_t item,
              Use use = Use::read);

}  // namespace lamella::steps
