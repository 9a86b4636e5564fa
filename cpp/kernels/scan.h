// SPDX-License-Identifier: Apache-2.0
// Running sums, products and extremes along an axis: y[j] = op(y[j - 1], x[j]).
//
// Columns are neighbours, steps lead along the axis and may be negative. Each column is one chain in
// order of j, alone or beside others. Sums and products of float are carried in double and rounded
// where they are stored, as PyTorch does: an element then has hardly more than its own rounding.
#pragma once

#include "kernels/table.h"
#include "kernels/wrapping.h"

namespace lamella::kernels::LAMELLA_ISA_NAMESPACE {

template <class T>
struct CarriedOf {
  using type = Wrapping<T>;
};
template <>
struct CarriedOf<float> {
  using type = double;
};

struct RunningSum {
  static constexpr int kFirst = 0;
  template <class T>
  static T of(T a, T b) {
    return a + b;
  }
};
struct RunningProduct {
  static constexpr int kFirst = 1;
  template <class T>
  static T of(T a, T b) {
    return a * b;
  }
};

// Columns that are carried at a time, on the stack.
inline constexpr size_t kScanTile = 64;

template <class T, class Op>
void scan(const T* x, T* y, ptrdiff_t step, size_t size, size_t columns) {
  using Carried = typename CarriedOf<T>::type;
  if (columns == 1) {
    Carried carried = Op::kFirst;
    for (size_t j = 0; j < size; ++j) {
      const ptrdiff_t at = static_cast<ptrdiff_t>(j) * step;
      carried = Op::of(carried, static_cast<Carried>(x[at]));
      y[at] = static_cast<T>(carried);
    }
    return;
  }
  for (size_t column = 0; column < columns; column += kScanTile) {
    const size_t width = columns - column < kScanTile ? columns - column : kScanTile;
    Carried carried[kScanTile];
    for (size_t c = 0; c < width; ++c) carried[c] = Op::kFirst;
    for (size_t j = 0; j < size; ++j) {
      const ptrdiff_t at = static_cast<ptrdiff_t>(j) * step + static_cast<ptrdiff_t>(column);
      const T* const row = x + at;
      T* const result = y + at;
      // Two loops, because y may be x: neither has to be kept from running ahead of the other.
      for (size_t c = 0; c < width; ++c) {
        carried[c] = Op::of(carried[c], static_cast<Carried>(row[c]));
      }
      for (size_t c = 0; c < width; ++c) result[c] = static_cast<T>(carried[c]);
    }
  }
}

struct NotBelow {
  template <class T>
  static bool takes(T x, T best) {
    return x >= best;
  }
};
struct NotAbove {
  template <class T>
  static bool takes(T x, T best) {
    return x <= best;
  }
};

// Of equal elements the last one counts, and the last NaN of all (torch.cummax).
template <class T, class Op>
void scan_extreme(const T* x, T* y, std::int64_t* positions, ptrdiff_t step, size_t size,
                  size_t columns) {
  if (size == 0) return;
  for (size_t c = 0; c < columns; ++c) y[c] = x[c];
  for (size_t c = 0; c < columns; ++c) positions[c] = 0;
  for (size_t j = 1; j < size; ++j) {
    const ptrdiff_t at = static_cast<ptrdiff_t>(j) * step;
    const T* __restrict row = x + at;
    const T* const best = y + at - step;
    T* __restrict result = y + at;
    const auto takes = [](T value, T old) {
      return value != value || (old == old && Op::takes(value, old));
    };
    const std::int64_t* const before = positions + at - step;
    std::int64_t* __restrict now = positions + at;
    const auto here = static_cast<std::int64_t>(j);
    for (size_t c = 0; c < columns; ++c) now[c] = takes(row[c], best[c]) ? here : before[c];
    for (size_t c = 0; c < columns; ++c) result[c] = takes(row[c], best[c]) ? row[c] : best[c];
  }
}

}  // namespace lamella::kernels::LAMELLA_ISA_NAMESPACE
