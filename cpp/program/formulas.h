// SPDX-License-Identifier: Apache-2.0
// Numbers that follow from free extents: a list of formulas, each made of those before it.
//
// A program text has one list for all of its sizes, strides and offsets. The whole list is computed at
// once; whatever does not fit or has no value is refused, nothing wraps.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace lamella::program {

struct Formula {
  enum class Kind : std::uint8_t { symbol, constant, add, mul, floordiv, mod };
  Kind kind = Kind::constant;
  // A symbol's number, a constant's value, or the numbers of two formulas before this one. Division
  // rounds down, as Python's does.
  std::int64_t i = 0, j = 0;
};

// What has to hold between two formulas.
struct Condition {
  enum class Kind : std::uint8_t { eq, ne, lt, le };
  Kind kind = Kind::eq;
  std::int64_t i = 0, j = 0;
};

using FormulaNumber = std::int32_t;
inline constexpr FormulaNumber kNoFormula = -1;

// Throws std::invalid_argument unless each formula is made of those before it and of so many symbols.
void check_formulas(std::span<const Formula> formulas, std::size_t symbols);

// Into `values`, one for each formula. Throws std::invalid_argument when a number does not fit or a
// divisor is 0.
void evaluate(std::span<const Formula> formulas, std::span<const std::int64_t> symbols,
              std::vector<std::int64_t>& values);

bool holds(const Condition& condition, std::span<const std::int64_t> values);

}  // namespace lamella::program
