// SPDX-License-Identifier: Apache-2.0
#include "steps/strides.h"

#include <algorithm>
#include <limits>
#include <stdexcept>

#include "base/checked.h"

namespace lamella::steps {

namespace {

std::size_t magnitude(std::ptrdiff_t stride) {
  return stride < 0 ? std::size_t{0} - static_cast<std::size_t>(stride)
                    : static_cast<std::size_t>(stride);
}

// Whether the outer of two neighbouring dimensions continues the inner one in every operand.
bool continues(const Merged& merged, const std::vector<Strides>& operands, std::size_t dimension,
               std::size_t size) {
  for (std::size_t i = 0; i < operands.size(); ++i) {
    // Unsigned, because a stride read from outside may be anything.
    const auto inner = static_cast<std::size_t>(operands[i][dimension]);
    const auto outer = static_cast<std::size_t>(merged.strides[i].back());
    if (outer != inner * size) return false;
  }
  return true;
}

}  // namespace

std::size_t element_count(const Shape& shape) {
  if (std::find(shape.begin(), shape.end(), std::size_t{0}) != shape.end()) return 0;
  std::size_t count = 1;
  for (const std::size_t size : shape) count = base::checked_mul(count, size);
  return count;
}

Strides contiguous_strides(const Shape& shape) {
  Strides strides(shape.size());
  std::size_t step = 1;
  for (std::size_t d = shape.size(); d-- > 0;) {
    strides[d] = static_cast<std::ptrdiff_t>(step);
    step = base::checked_mul(step, std::max<std::size_t>(shape[d], 1));
  }
  return strides;
}

Reach reach(const Shape& shape, const Strides& strides) {
  if (shape.size() != strides.size()) {
    throw std::invalid_argument("strides: one per dimension expected");
  }
  if (element_count(shape) == 0) return {};
  std::size_t below = 0, above = 0;
  for (std::size_t d = 0; d < shape.size(); ++d) {
    std::size_t& side = strides[d] < 0 ? below : above;
    side = base::checked_add(side, base::checked_mul(magnitude(strides[d]), shape[d] - 1));
  }
  const std::size_t count = base::checked_add(base::checked_add(below, above), 1);
  if (count > static_cast<std::size_t>(std::numeric_limits<std::ptrdiff_t>::max())) {
    throw std::overflow_error("strides: the array is larger than the address space");
  }
  return {below, count};
}

Merged merge_dimensions(const Shape& shape, const std::vector<Strides>& operands) {
  for (const Strides& strides : operands) reach(shape, strides);
  if (element_count(shape) == 0) {
    return {{0}, std::vector<Strides>(operands.size(), Strides{0})};
  }
  Merged merged{{}, std::vector<Strides>(operands.size())};
  for (std::size_t d = 0; d < shape.size(); ++d) {
    if (shape[d] == 1) continue;
    const bool join = !merged.shape.empty() && continues(merged, operands, d, shape[d]);
    if (join) {
      merged.shape.back() = base::checked_mul(merged.shape.back(), shape[d]);
    } else {
      merged.shape.push_back(shape[d]);
    }
    for (std::size_t i = 0; i < operands.size(); ++i) {
      if (join) {
        merged.strides[i].back() = operands[i][d];
      } else {
        merged.strides[i].push_back(operands[i][d]);
      }
    }
  }
  return merged;
}

}  // namespace lamella::steps
