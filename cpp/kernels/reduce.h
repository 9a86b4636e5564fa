// SPDX-License-Identifier: Apache-2.0
// Reductions of rows and of columns: sum, mean, product, extremes, logsumexp, arg-extremes.
//
// Rows are folded in the order of fold.h. Columns are summed in order of rows: 64 rows to a chunk, 64
// chunks to a group, then the groups. Sums start from +0, so the sum of negative zeros is +0.
// Extremes of rows are first taken without regard to NaN and the sign of zero, which costs one
// instruction a register, and again where either could matter.
#pragma once

#include "kernels/fold.h"

namespace lamella::kernels::LAMELLA_ISA_NAMESPACE {

template <class T, class Op>
void reduce_rows(const T* x, ptrdiff_t row_step, size_t rows, size_t cols, T* y) {
  constexpr size_t kTogether = streams<T, 1>();
  if (cols > kChunk) {
    for (size_t r = 0; r < rows; ++r) {
      T result[1];
      const Values<T> values{x + static_cast<ptrdiff_t>(r) * row_step, 0};
      fold_long_row<T, Op, 1, kTogether>(values, cols, result);
      y[r] = result[0];
    }
    return;
  }
  by_groups<kTogether>(rows, [&](size_t r, auto group) __attribute__((always_inline)) {
    T result[group.value][1];
    fold_short_rows<T, Op>(Values<T>{x + static_cast<ptrdiff_t>(r) * row_step, row_step}, cols,
                           result);
#pragma GCC unroll 4
    for (size_t i = 0; i < group.value; ++i) y[r + i] = result[i][0];
  });
}

// The mean of a row whose sum overflows.
template <class T>
[[gnu::noinline]] T scaled_mean(const T* x, size_t cols) {
  const ScaledValues<T, Scale::down> values{x, 0};
  T sum[1][1];
  if (cols > kChunk) {
    fold_long_row<T, Add, 1, 1>(values, cols, sum[0]);
  } else {
    fold_short_rows<T, Add>(values, cols, sum);
  }
  return sum[0][0] / static_cast<T>(cols) * kUpScale<T>;
}

template <class T>
void mean_rows(const T* x, ptrdiff_t row_step, size_t rows, size_t cols, T* y) {
  reduce_rows<T, Add>(x, row_step, rows, cols, y);
  for (size_t r = 0; r < rows; ++r) {
    y[r] = y[r] / static_cast<T>(cols);
    if (!is_finite(y[r])) y[r] = scaled_mean(x + static_cast<ptrdiff_t>(r) * row_step, cols);
  }
}

// ---- columns

// Columns to a tile, rows to a chunk, chunks to a group. A tile's three accumulators stay in the
// first-level cache, its rows are read as streams: the longer, the better.
template <class T>
inline constexpr size_t kTileColumns = 4096 / sizeof(T);
inline constexpr size_t kChunkRows = 64;
inline constexpr size_t kGroupRows = 64 * kChunkRows;

// total[j] = op(... op(op(total[j], row 0 [j]), row 1 [j]) ..., row Rows - 1 [j])
template <class T, class Op, size_t Rows>
[[gnu::always_inline]] inline void fold_into(const T* x, ptrdiff_t row_step, size_t cols,
                                             T* total) {
  constexpr size_t kWidth = Vec<T>::lanes;
  size_t j = 0;
  for (; j + kWidth <= cols; j += kWidth) {
    Vec<T> sum = Vec<T>::load(total + j);
#pragma GCC unroll 8
    for (size_t r = 0; r < Rows; ++r) {
      sum = Op{}(sum, Vec<T>::load(x + static_cast<ptrdiff_t>(r) * row_step + j));
    }
    sum.store(total + j);
  }
  if (j == cols) return;
  Vec<T> sum = Vec<T>::load_partial(total + j, cols - j);
#pragma GCC unroll 8
  for (size_t r = 0; r < Rows; ++r) {
    sum = Op{}(sum, Vec<T>::load_partial(x + static_cast<ptrdiff_t>(r) * row_step + j, cols - j));
  }
  sum.store_partial(total + j, cols - j);
}

template <class T, class Op>
[[gnu::always_inline]] inline void fold_rows_into(const T* x, ptrdiff_t row_step, size_t rows,
                                                  size_t cols, T* total) {
  size_t r = 0;
  for (; r + 8 <= rows; r += 8) {
    fold_into<T, Op, 8>(x + static_cast<ptrdiff_t>(r) * row_step, row_step, cols, total);
  }
  for (; r < rows; ++r) {
    fold_into<T, Op, 1>(x + static_cast<ptrdiff_t>(r) * row_step, row_step, cols, total);
  }
}

template <class T, class Op>
inline void fold_columns(const T* x, ptrdiff_t row_step, size_t rows, size_t cols, T* y) {
  constexpr T neutral = Op::template neutral<T>;
  alignas(64) T chunk[kTileColumns<T>], group[kTileColumns<T>];
  for (size_t j = 0; j < cols; ++j) y[j] = neutral;
  if (rows <= kChunkRows) {
    fold_rows_into<T, Op>(x, row_step, rows, cols, y);
    return;
  }
  for (size_t r = 0; r < rows; r += kGroupRows) {
    const size_t group_end = rows - r < kGroupRows ? rows : r + kGroupRows;
    for (size_t j = 0; j < cols; ++j) group[j] = neutral;
    for (size_t q = r; q < group_end; q += kChunkRows) {
      const size_t n = group_end - q < kChunkRows ? group_end - q : kChunkRows;
      for (size_t j = 0; j < cols; ++j) chunk[j] = neutral;
      fold_rows_into<T, Op>(x + static_cast<ptrdiff_t>(q) * row_step, row_step, n, cols, chunk);
      fold_into<T, Op, 1>(chunk, 0, cols, group);
    }
    fold_into<T, Op, 1>(group, 0, cols, y);
  }
}

template <class T, class Op>
void reduce_columns(const T* x, ptrdiff_t row_step, size_t rows, size_t cols, T* y) {
  for (size_t j = 0; j < cols; j += kTileColumns<T>) {
    fold_columns<T, Op>(x + j, row_step, rows,
                        cols - j < kTileColumns<T> ? cols - j : kTileColumns<T>, y + j);
  }
}

// The mean of a column whose sum overflows; chunk by chunk, as columns are summed.
template <class T>
[[gnu::noinline]] T scaled_column_mean(const T* x, ptrdiff_t row_step, size_t rows) {
  T sum = T(0);
  for (size_t r = 0; r < rows; r += kGroupRows) {
    const size_t group_end = rows - r < kGroupRows ? rows : r + kGroupRows;
    T group = T(0);
    for (size_t q = r; q < group_end; q += kChunkRows) {
      const size_t end = group_end - q < kChunkRows ? group_end : q + kChunkRows;
      T chunk = T(0);
      for (size_t i = q; i < end; ++i) {
        chunk += x[static_cast<ptrdiff_t>(i) * row_step] * kDownScale<T>;
      }
      group += chunk;
    }
    sum += group;
  }
  return sum / static_cast<T>(rows) * kUpScale<T>;
}

template <class T>
void mean_columns(const T* x, ptrdiff_t row_step, size_t rows, size_t cols, T* y) {
  reduce_columns<T, Add>(x, row_step, rows, cols, y);
  for (size_t j = 0; j < cols; ++j) {
    y[j] = y[j] / static_cast<T>(rows);
    if (!is_finite(y[j])) y[j] = scaled_column_mean(x + j, row_step, rows);
  }
}

// ---- extremes

// The extreme of a row's numbers, and whether there is nothing but numbers: false with a NaN, and
// also with an infinity, since 0 x does not tell them apart.
template <class T>
struct Extreme {
  T value;
  bool finite;
};

template <class T, class Numbers>
[[gnu::always_inline]] inline Extreme<T> extreme_of_numbers(const T* x, size_t cols) {
  constexpr size_t kRegisters = 4;
  const Vec<T> zero = Vec<T>::zero();
  Vec<T> best[kRegisters], check[kRegisters];
#pragma GCC unroll 4
  for (size_t i = 0; i < kRegisters; ++i) {
    best[i] = Vec<T>::broadcast(Numbers::template neutral<T>);
    check[i] = zero;
  }
  visit_row<kRegisters>(x, cols, [&](size_t i, Vec<T> v) __attribute__((always_inline)) {
    best[i] = Numbers{}(best[i], v);
    check[i] = mul_add(v, zero, check[i]);
  });
  best[0] = Numbers{}(Numbers{}(best[0], best[1]), Numbers{}(best[2], best[3]));
  check[0] = (check[0] + check[1]) + (check[2] + check[3]);
  return {vec::fold_lanes(best[0], Numbers{}), all(check[0] == zero)};
}

// The extreme by Op, which settles NaN and zeros.
template <class T, class Op>
[[gnu::noinline]] T extreme_settled(const T* x, size_t cols) {
  T result;
  reduce_rows<T, Op>(x, 0, 1, cols, &result);
  return result;
}

template <class T, class Op, class Numbers>
void extreme_rows(const T* x, ptrdiff_t row_step, size_t rows, size_t cols, T* y) {
  for (size_t r = 0; r < rows; ++r, x += row_step) {
    const Extreme<T> extreme = extreme_of_numbers<T, Numbers>(x, cols);
    y[r] =
        extreme.finite && extreme.value != T(0) ? extreme.value : extreme_settled<T, Op>(x, cols);
  }
}

template <class T>
[[gnu::noinline]] bool has_nan(const T* x, size_t cols) {
  const Vec<T> one = Vec<T>::broadcast(T(1));
  Vec<T> found = Vec<T>::zero();
  visit_row<1>(x, cols, [&](size_t, Vec<T> v) { found = select(v != v, one, found); });
  return any(found == one);
}

template <class T>
[[gnu::noinline]] size_t first_nan(const T* x) {
  size_t c = 0;
  while (x[c] == x[c]) ++c;
  return c;
}

// One register or four, folded to one.
template <class V, size_t N, class Op>
[[gnu::always_inline]] inline V fold_registers(const V (&v)[N], Op op) {
  static_assert(N == 1 || N == 4);
  if constexpr (N == 1) return v[0];
  if constexpr (N == 4) return op(op(v[0], v[1]), op(v[2], v[3]));
}

// The extreme of a row's numbers, the first column that holds it, and whether there is nothing but
// numbers, as in Extreme. A block has some registers' columns; a lane keeps the best that it met
// and the block where that was: one pass, and no branch depends on the data.
template <class T>
struct FirstExtreme {
  T value;
  size_t column;
  bool finite;
};

// Columns whose numbers a float holds exactly.
inline constexpr size_t kMostColumns = size_t(1) << 23;

template <class T, class Numbers, size_t kRegisters>
[[gnu::always_inline]] inline FirstExtreme<T> first_extreme(const T* x, size_t cols) {
  constexpr size_t kWidth = Vec<T>::lanes, kBlock = kRegisters * kWidth;
  alignas(64) static constexpr T kLane[] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
  constexpr T neutral = Numbers::template neutral<T>;
  const Vec<T> zero = Vec<T>::zero(), one = Vec<T>::broadcast(T(1));
  Vec<T> best[kRegisters], where[kRegisters], check[kRegisters], block = zero;
#pragma GCC unroll 4
  for (size_t i = 0; i < kRegisters; ++i) {
    best[i] = Vec<T>::broadcast(neutral);
    where[i] = check[i] = zero;
  }
  const auto look = [&](size_t i, Vec<T> v) __attribute__((always_inline)) {
    const Vec<T> better = Numbers{}(best[i], v);
    where[i] = select(better != best[i], block, where[i]);
    best[i] = better;
    check[i] = mul_add(v, zero, check[i]);
  };
  size_t c = 0;
  for (; c + kBlock <= cols; c += kBlock) {
#pragma GCC unroll 4
    for (size_t i = 0; i < kRegisters; ++i) look(i, Vec<T>::load(x + c + i * kWidth));
    block = block + one;
  }
#pragma GCC unroll 4
  for (size_t i = 0; i < kRegisters; ++i) {
    if (c + kWidth <= cols) {
      look(i, Vec<T>::load(x + c));
    } else if (c < cols) {
      // The lanes behind the row repeat a number of it, at a later column.
      look(i, vec::load_partial(x + c, cols - c, x[c]));
    }
    c += kWidth;
  }
  const T value = vec::fold_lanes(fold_registers(best, Numbers{}), Numbers{});
  const Vec<T> goal = Vec<T>::broadcast(value);
#pragma GCC unroll 4
  for (size_t i = 0; i < kRegisters; ++i) {
    const Vec<T> lane = Vec<T>::load(kLane) + Vec<T>::broadcast(T(i * kWidth));
    const Vec<T> column = mul_add(where[i], Vec<T>::broadcast(T(kBlock)), lane);
    where[i] = select(best[i] == goal, column, Vec<T>::broadcast(T(kMostColumns)));
  }
  const Vec<T> first = fold_registers(where, MinimumOfNumbers{});
  return {value, static_cast<size_t>(vec::fold_lanes(first, MinimumOfNumbers{})),
          all(fold_registers(check, Add{}) == zero)};
}

// First column whose value equals the row's extreme, or is NaN if the extreme is; 0 for no columns.
template <class T, class Numbers>
void arg_rows(const T* x, ptrdiff_t row_step, size_t rows, size_t cols, std::int64_t* y) {
  const bool short_row = cols <= 2 * Vec<T>::lanes;
  for (size_t r = 0; r < rows; ++r, x += row_step) {
    FirstExtreme<T> found{Numbers::template neutral<T>, 0, true};
    if (short_row) found = first_extreme<T, Numbers, 1>(x, cols);
    for (size_t begin = short_row ? cols : 0; begin < cols; begin += kMostColumns) {
      const size_t n = cols - begin < kMostColumns ? cols - begin : kMostColumns;
      const FirstExtreme<T> next = first_extreme<T, Numbers, 4>(x + begin, n);
      const T better =
          Numbers{}(Vec<T>::broadcast(found.value), Vec<T>::broadcast(next.value)).first();
      if (better != found.value) found.column = begin + next.column;
      found = {better, found.column, found.finite && next.finite};
    }
    const bool nan = !found.finite && has_nan(x, cols);
    y[r] = static_cast<std::int64_t>(nan ? first_nan(x) : found.column);
  }
}

}  // namespace lamella::kernels::LAMELLA_ISA_NAMESPACE
