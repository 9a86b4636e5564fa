// SPDX-License-Identifier: Apache-2.0
// Size arithmetic that throws std::overflow_error instead of wrapping.
//
// Every size that comes from outside (shapes, strides, offsets, counts) goes through here before it
// becomes an allocation or a pointer. A size is at most PTRDIFF_MAX, so that differences of pointers
// and signed strides are exact as well.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace lamella::base {

// Says which product or sum did not fit; out of line to keep the checks small.
[[noreturn]] void throw_overflow(const char* operation, std::size_t a, std::size_t b);

constexpr std::size_t checked_mul(std::size_t a, std::size_t b) {
  std::size_t result = 0;
  if (__builtin_mul_overflow(a, b, &result) || result > PTRDIFF_MAX) throw_overflow("*", a, b);
  return result;
}

constexpr std::size_t checked_add(std::size_t a, std::size_t b) {
  std::size_t result = 0;
  if (__builtin_add_overflow(a, b, &result) || result > PTRDIFF_MAX) throw_overflow("+", a, b);
  return result;
}

// The product of all sizes; 1 for none. A zero makes it zero only when the other sizes fit too.
constexpr std::size_t checked_product(std::span<const std::size_t> sizes) {
  std::size_t nonzero = 1;
  bool empty = false;
  for (const std::size_t size : sizes) {
    if (size == 0) {
      empty = true;
    } else {
      nonzero = checked_mul(nonzero, size);
    }
  }
  return empty ? 0 : nonzero;
}

// The smallest multiple of `unit` that is at least `size`.
constexpr std::size_t checked_round_up(std::size_t size, std::size_t unit) {
  return checked_add(size, unit - 1) / unit * unit;
}

}  // namespace lamella::base
