// SPDX-License-Identifier: Apache-2.0
// Reductions of integers and truth values, of rows and of columns.
//
// Sums and products are int64 and wrap; extremes keep the type; any and all are truth values. All of
// them are exact, so that the order of the elements is nobody's business: loops are plain, for the
// compiler to vectorise. Of no elements they are 0, 1, the type's limits, false and true.
#pragma once

#include "kernels/integer.h"

namespace lamella::kernels::LAMELLA_ISA_NAMESPACE {

// The number that an element stands for: a truth value is 0 or 1.
template <class T>
[[gnu::always_inline]] inline T number_of(T x) {
  return x;
}
[[gnu::always_inline]] inline std::uint8_t number_of(Truth x) { return std::uint8_t(x); }

template <class T>
inline constexpr T kLargestInteger = T(~std::uint64_t(kLeastInteger<T>));
template <>
inline constexpr Truth kLargestInteger<Truth> = Truth(1);

struct Total {
  template <class T>
  using Result = std::int64_t;
  template <class T>
  static constexpr std::int64_t kNothing = 0;
  template <class T>
  [[gnu::always_inline]] static std::int64_t of(std::int64_t so_far, T x) {
    return WrappedSum::of(so_far, static_cast<std::int64_t>(number_of(x)));
  }
};
struct TotalProduct {
  template <class T>
  using Result = std::int64_t;
  template <class T>
  static constexpr std::int64_t kNothing = 1;
  template <class T>
  [[gnu::always_inline]] static std::int64_t of(std::int64_t so_far, T x) {
    return WrappedProduct::of(so_far, static_cast<std::int64_t>(number_of(x)));
  }
};
struct Largest {
  template <class T>
  using Result = T;
  template <class T>
  static constexpr T kNothing = kLeastInteger<T>;
  template <class T>
  [[gnu::always_inline]] static T of(T so_far, T x) {
    return LargerInteger::of(so_far, x);
  }
};
struct Smallest {
  template <class T>
  using Result = T;
  template <class T>
  static constexpr T kNothing = kLargestInteger<T>;
  template <class T>
  [[gnu::always_inline]] static T of(T so_far, T x) {
    return SmallerInteger::of(so_far, x);
  }
};
struct AnyTrue {
  template <class T>
  using Result = std::uint8_t;
  template <class T>
  static constexpr std::uint8_t kNothing = 0;
  template <class T>
  [[gnu::always_inline]] static std::uint8_t of(std::uint8_t so_far, T x) {
    return so_far | std::uint8_t(x != T(0));
  }
};
struct AllTrue {
  template <class T>
  using Result = std::uint8_t;
  template <class T>
  static constexpr std::uint8_t kNothing = 1;
  template <class T>
  [[gnu::always_inline]] static std::uint8_t of(std::uint8_t so_far, T x) {
    return so_far & std::uint8_t(x != T(0));
  }
};

// ---- rows
template <class T, class F, class R = typename F::template Result<T>>
[[gnu::always_inline]] inline R folded_row(const T* x, size_t cols) {
  R total = F::template kNothing<T>;
  for (size_t c = 0; c < cols; ++c) total = F::of(total, x[c]);
  return total;
}

// The same for truth values, whose registers stay as wide as the elements.
template <class T>
[[gnu::always_inline]] inline bool any_of_row(const T* x, size_t cols) {
  auto bits = number_of(T(0));
  for (size_t c = 0; c < cols; ++c) bits |= number_of(x[c]);
  return bits != 0;
}
template <class T>
[[gnu::always_inline]] inline bool all_of_row(const T* x, size_t cols) {
  using Number = decltype(number_of(T(0)));
  Number zeros = 0;
  for (size_t c = 0; c < cols; ++c) zeros |= number_of(x[c]) == 0 ? Number(~Number(0)) : Number(0);
  return zeros == 0;
}

// Bytes are summed as int32 as long as that cannot overflow: half the widening.
template <class T>
[[gnu::always_inline]] inline std::int64_t total_of_bytes(const T* x, size_t cols) {
  constexpr size_t kBlock = size_t(1) << 16;
  std::int64_t total = 0;
  for (size_t begin = 0; begin < cols; begin += kBlock) {
    const size_t end = cols - begin < kBlock ? cols : begin + kBlock;
    std::int32_t part = 0;
    for (size_t c = begin; c < end; ++c) part += number_of(x[c]);
    total += part;
  }
  return total;
}

template <class T, class F>
void fold_integer_rows(const T* x, ptrdiff_t row_step, size_t rows, size_t cols,
                       typename F::template Result<T>* y) {
  for (size_t r = 0; r < rows; ++r, x += row_step) {
    if constexpr (sizeof(T) == 1 && __is_same(F, Total)) {
      y[r] = total_of_bytes(x, cols);
    } else if constexpr (__is_same(F, AnyTrue)) {
      y[r] = any_of_row(x, cols);
    } else if constexpr (__is_same(F, AllTrue)) {
      y[r] = all_of_row(x, cols);
    } else {
      y[r] = folded_row<T, F>(x, cols);
    }
  }
}

// ---- columns: a tile's results stay in the first-level cache while the rows go by
inline constexpr size_t kIntegerColumns = 1024;

template <class T, class F>
void fold_integer_columns(const T* x, ptrdiff_t row_step, size_t rows, size_t cols,
                          typename F::template Result<T>* y) {
  for (size_t first = 0; first < cols; first += kIntegerColumns) {
    const size_t n = cols - first < kIntegerColumns ? cols - first : kIntegerColumns;
    auto* const __restrict total = y + first;
    for (size_t j = 0; j < n; ++j) total[j] = F::template kNothing<T>;
    const T* row = x + first;
    for (size_t r = 0; r < rows; ++r, row += row_step) {
      for (size_t j = 0; j < n; ++j) total[j] = F::of(total[j], row[j]);
    }
  }
}

// ---- positions
// The first column that holds the row's extreme, 0 for no columns: found block by block.
template <class T, class F>
void position_of_integers(const T* x, ptrdiff_t row_step, size_t rows, size_t cols,
                          std::int64_t* y) {
  constexpr size_t kBlock = 256;
  for (size_t r = 0; r < rows; ++r, x += row_step) {
    const T extreme = folded_row<T, F>(x, cols);
    size_t c = 0;
    for (; c + kBlock <= cols; c += kBlock) {
      std::uint8_t found = 0;
      for (size_t i = 0; i < kBlock; ++i) found |= std::uint8_t(x[c + i] == extreme);
      if (found != 0) break;
    }
    while (c < cols && x[c] != extreme) ++c;
    y[r] = cols == 0 ? 0 : static_cast<std::int64_t>(c);
  }
}

}  // namespace lamella::kernels::LAMELLA_ISA_NAMESPACE
