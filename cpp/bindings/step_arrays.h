// SPDX-License-Identifier: Apache-2.0
// The arrays that a step will touch, checked against their buffers before the step is built.
//
// Range, alignment to the items, and no overlap with what the step writes (other than being exactly
// the same array, where the step allows that). A fault is std::invalid_argument or, beyond a
// buffer's end, what ProgramBuilder::check throws.
#pragma once

#include <cstddef>
#include <vector>

#include "program/builder.h"
#include "steps/strides.h"

namespace lamella::bindings {

// An array of a step: the bytes it occupies, and whether they are without gaps.
struct Array {
  steps::Slot slot;
  std::size_t bytes = 0;
  std::size_t item = 1;
  bool contiguous = true;
};

Array contiguous(steps::Slot slot, std::size_t count, std::size_t item);
Array strided(steps::Slot slot, const steps::Shape& shape, const steps::Strides& strides,
              std::size_t item);

void check_aligned(const Array& array);
void check_read(program::ProgramBuilder& builder, const Array& array);

enum class Sharing { none, exact };

// Checks what is written and what is read beside it.
void check_write(program::ProgramBuilder& builder, const Array& y, const std::vector<Array>& read,
                 Sharing sharing = Sharing::none);

}  // namespace lamella::bindings
