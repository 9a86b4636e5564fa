// SPDX-License-Identifier: Apache-2.0
// Shapes and strides as numbers: element counts, reach, and dimensions merged where they can be.
//
// Everything counts elements. Used in constructors; all arithmetic is checked and throws
// std::overflow_error when a size does not fit.
#pragma once

#include <cstddef>
#include <vector>

namespace lamella::steps {

using Shape = std::vector<std::size_t>;
using Strides = std::vector<std::ptrdiff_t>;

// The most dimensions a shape may have once merged; odometers are arrays of this length.
inline constexpr std::size_t kMaxRank = 16;

// Number of elements; 1 for the empty shape.
std::size_t element_count(const Shape& shape);

// Row-major strides.
Strides contiguous_strides(const Shape& shape);

// The farthest elements an array of this shape and strides touches on both sides of its first one,
// and how many elements lie between them (0 for an empty array).
struct Reach {
  std::size_t below = 0;
  std::size_t count = 0;
};
Reach reach(const Shape& shape, const Strides& strides);

// Dimensions of size 1 dropped and neighbours merged where every operand allows it. An array of a
// single element has no dimension left.
struct Merged {
  Shape shape;
  std::vector<Strides> strides;  // one per operand
};
Merged merge_dimensions(const Shape& shape, const std::vector<Strides>& operands);

}  // namespace lamella::steps
