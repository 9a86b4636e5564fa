// SPDX-License-Identifier: Apache-2.0
#include "program/formulas.h"

#include <cstddef>
#include <stdexcept>
#include <string>

namespace lamella::program {
namespace {

[[noreturn]] void refuse(const char* operation, std::int64_t a, std::int64_t b) {
  throw std::invalid_argument("text: no such sizes; " + std::to_string(a) + " " + operation + " " +
                              std::to_string(b) + " does not fit");
}

std::int64_t quotient(std::int64_t a, std::int64_t b) {
  if (b == 0 || (a == INT64_MIN && b == -1)) refuse("//", a, b);
  const std::int64_t down = a / b;
  return a % b != 0 && (a % b < 0) != (b < 0) ? down - 1 : down;
}

}  // namespace

void check_formulas(std::span<const Formula> formulas, std::size_t symbols) {
  for (std::size_t at = 0; at < formulas.size(); ++at) {
    const Formula& one = formulas[at];
    const auto before = [](std::int64_t number, std::size_t count) {
      return number >= 0 && static_cast<std::size_t>(number) < count;
    };
    const bool fits = one.kind == Formula::Kind::constant ||
                      (one.kind == Formula::Kind::symbol ? before(one.i, symbols)
                                                         : before(one.i, at) && before(one.j, at));
    if (fits) continue;
    throw std::invalid_argument("text: formula " + std::to_string(at) +
                                " is made of what does not come before it");
  }
}

void evaluate(std::span<const Formula> formulas, std::span<const std::int64_t> symbols,
              std::vector<std::int64_t>& values) {
  values.resize(formulas.size());
  for (std::size_t at = 0; at < formulas.size(); ++at) {
    const Formula& one = formulas[at];
    std::int64_t& value = values[at];
    if (one.kind == Formula::Kind::constant) {
      value = one.i;
      continue;
    }
    if (one.kind == Formula::Kind::symbol) {
      value = symbols[static_cast<std::size_t>(one.i)];
      continue;
    }
    const std::int64_t a = values[static_cast<std::size_t>(one.i)];
    const std::int64_t b = values[static_cast<std::size_t>(one.j)];
    switch (one.kind) {
      case Formula::Kind::add:
        if (__builtin_add_overflow(a, b, &value)) refuse("+", a, b);
        break;
      case Formula::Kind::mul:
        if (__builtin_mul_overflow(a, b, &value)) refuse("*", a, b);
        break;
      case Formula::Kind::floordiv:
        value = quotient(a, b);
        break;
      default:
        value = a - quotient(a, b) * b;
        break;
    }
  }
}

bool holds(const Condition& condition, std::span<const std::int64_t> values) {
  const std::int64_t a = values[static_cast<std::size_t>(condition.i)];
  const std::int64_t b = values[static_cast<std::size_t>(condition.j)];
  switch (condition.kind) {
    case Condition::Kind::eq:
      return a == b;
    case Condition::Kind::ne:
      return a != b;
    case Condition::Kind::lt:
      return a < b;
    default:
      return a <= b;
  }
}

}  // namespace lamella::program
