// SPDX-License-Identifier: Apache-2.0
// Which rows and columns of one product a member of a team computes.
//
// A grid of members: the one whose largest part is smallest. Equal ones: a tall product is cut into
// rows, another into columns, where each member keeps its own part of the second factor in its cache or
// packs it.
#pragma once

#include <algorithm>
#include <cstddef>

#include "base/parallel.h"

namespace lamella::steps {

struct Part {
  std::size_t row, rows, column, columns;
};

// Cuts lie at multiples of the grains.
inline Part part_of(const base::Team& team, std::size_t m, std::size_t n, std::size_t row_grain,
                    std::size_t column_grain, bool tall) {
  if (team.size <= 1) return {0, m, 0, n};
  const auto size = static_cast<std::size_t>(team.size);
  const auto index = static_cast<std::size_t>(team.index);
  const auto units = [](std::size_t length, std::size_t grain) {
    return length / grain + (length % grain > 0 ? 1 : 0);
  };
  const std::size_t high = units(m, row_grain), wide = units(n, column_grain);
  std::size_t down = 1, largest = static_cast<std::size_t>(-1);
  for (std::size_t rows = 1; rows <= size; ++rows) {
    const std::size_t columns = size / rows;
    const std::size_t part = units(high, rows) * units(wide, columns);
    if (part < largest || (part == largest && tall)) {
      largest = part;
      down = rows;
    }
  }
  const std::size_t across = size / down;
  if (index >= down * across) return {0, 0, 0, 0};
  const auto cut = [](std::size_t count, std::size_t i, std::size_t of, std::size_t grain,
                      std::size_t length) { return std::min(count * i / of * grain, length); };
  const std::size_t i = index / across, j = index % across;
  const std::size_t row = cut(high, i, down, row_grain, m);
  const std::size_t column = cut(wide, j, across, column_grain, n);
  return {row, cut(high, i + 1, down, row_grain, m) - row, column,
          cut(wide, j + 1, across, column_grain, n) - column};
}

}  // namespace lamella::steps
