// SPDX-License-Identifier: Apache-2.0
// softmax, log-softmax and logsumexp of rows.
//
//   softmax:     y = exp(x - m) (1 / sum(exp(x - m))),   m = max(x)
//   log_softmax: y = (x - m) - log(sum(exp(x - m)))
//   logsumexp:   y = m + log(sum(exp(x - m)))
//
// Sums are in fold.h's fixed order. Since x - m <= 0 nothing overflows, whatever finite values a row
// holds; NaN comes out only of a row with NaN or +inf in it, or with nothing but -inf (0 / 0), and
// then fills the row. A logarithm below the type's range is -inf. Rows whose exponentials are all
// normal numbers, which is seen while looking for m, take exp's short form: the same bits.
#pragma once

#include "kernels/fold.h"

namespace lamella::kernels::LAMELLA_ISA_NAMESPACE {

// exp, or its form for usual arguments where every lane that counts is one.
template <bool Usual, class T>
[[gnu::always_inline]] inline Vec<T> exp_of(Vec<T> x) {
  return Usual ? vec::exp_usual(x) : vec::exp(x);
}

// The largest number of a row, and whether exp(x - top) is usual throughout; NaN is ignored.
template <class T>
struct Peak {
  T top;
  bool usual;
};

template <class T>
[[gnu::always_inline]] inline Peak<T> peak(const T* x, size_t cols) {
  constexpr size_t kRegisters = 4;
  Vec<T> high[kRegisters], low[kRegisters];
#pragma GCC unroll 4
  for (size_t i = 0; i < kRegisters; ++i) {
    high[i] = Vec<T>::broadcast(-kInfinity<T>);
    low[i] = Vec<T>::broadcast(kInfinity<T>);
  }
  visit_row<kRegisters>(x, cols, [&](size_t i, Vec<T> v) __attribute__((always_inline)) {
    high[i] = max_or_second(v, high[i]);
    low[i] = min_or_second(v, low[i]);
  });
  high[0] = max_or_second(max_or_second(high[0], high[1]), max_or_second(high[2], high[3]));
  low[0] = min_or_second(min_or_second(low[0], low[1]), min_or_second(low[2], low[3]));
  const T top = vec::fold_lanes(high[0], MaximumOfNumbers{});
  return {top, all(vec::exp_is_usual(low[0] - Vec<T>::broadcast(top)))};
}

// exp(x - shift) of one row as it is summed, stored to y if there is one (which may be x), while the
// row `ahead` elements on is asked for.
template <class T, bool Usual, bool Store>
struct ShiftedExp {
  const T* x;
  T* y;
  Vec<T> shift;
  size_t ahead;
  template <bool Full>
  [[gnu::always_inline]] void operator()(size_t, size_t column, size_t n,
                                         Vec<T> (&value)[1]) const {
    value[0] = exp_of<Usual>(load<Full>(x + column, n) - shift);
    if constexpr (Full) prefetch(x + column, ahead);
    if constexpr (Store && Full) value[0].store(y + column);
    if constexpr (Store && !Full) value[0].store_partial(y + column, n);
  }
};

// Sums of exp(x - shift) over `Rows` rows of at most one chunk. One row after the other, since exp
// alone fills the machine; the lanes are folded at the end, side by side.
template <size_t Rows, bool Usual, bool Store, class T>
[[gnu::always_inline]] inline void sum_exp(const T* x, ptrdiff_t row_step, T* y, size_t cols,
                                           size_t ahead, const T (&shift)[Rows], T (&sum)[Rows]) {
  Lanes16<T> lanes[Rows][1][1];
  for (size_t i = 0; i < Rows; ++i) {
    const ptrdiff_t at = static_cast<ptrdiff_t>(i) * row_step;
    const ShiftedExp<T, Usual, Store> map{x + at, Store ? y + at : y, Vec<T>::broadcast(shift[i]),
                                          ahead};
    fold_lanes16<T, Add>(map, cols, lanes[i]);
  }
#pragma GCC unroll 4
  for (size_t i = 0; i < Rows; ++i) sum[i] = lanes[i][0][0].fold(Add{});
}

template <bool Usual, bool Store, class T>
[[gnu::always_inline]] inline T sum_exp_long(const T* x, T* y, size_t cols, size_t ahead, T shift) {
  T sum[1];
  const ShiftedExp<T, Usual, Store> map{x, y, Vec<T>::broadcast(shift), ahead};
  fold_long_row<T, Add, 1, 1>(map, cols, sum);
  return sum[0];
}

// Calls f(row, tops, sums, usual) for every group of rows.
template <bool Store, class T, class Shift, class F>
[[gnu::always_inline]] inline void with_sums(const T* x, ptrdiff_t row_step, T* y, size_t rows,
                                             size_t cols, Shift shift_of, F f) {
  const auto group = [&](size_t r, auto count) __attribute__((always_inline)) {
    constexpr size_t kRows = count.value;
    const ptrdiff_t at = static_cast<ptrdiff_t>(r) * row_step;
    T shift[kRows], sum[kRows];
    bool usual = true;
#pragma GCC unroll 4
    for (size_t i = 0; i < kRows; ++i) {
      const Peak<T> found = peak(x + at + static_cast<ptrdiff_t>(i) * row_step, cols);
      shift[i] = shift_of(found.top);
      usual = usual && found.usual;
    }
    T* const to = Store ? y + at : y;
    const size_t ahead = next_group<kRows>(r, rows, static_cast<size_t>(row_step));
    if (kRows == 1 && cols > kChunk) {
      sum[0] = usual ? sum_exp_long<true, Store>(x + at, to, cols, ahead, shift[0])
                     : sum_exp_long<false, Store>(x + at, to, cols, ahead, shift[0]);
    } else if (usual) {
      sum_exp<kRows, true, Store>(x + at, row_step, to, cols, ahead, shift, sum);
    } else {
      sum_exp<kRows, false, Store>(x + at, row_step, to, cols, ahead, shift, sum);
    }
#pragma GCC unroll 4
    for (size_t i = 0; i < kRows; ++i) f(r + i, shift[i], sum[i]);
  };
  if (cols > kChunk) {
    by_groups<1>(rows, group);
  } else {
    by_groups<4>(rows, group);
  }
}

template <class T>
void softmax_rows(const T* x, T* y, size_t rows, size_t cols) {
  with_sums<true>(
      x, static_cast<ptrdiff_t>(cols), y, rows, cols, [](T top) { return top; },
      [=](size_t r, T, T sum) __attribute__((always_inline)) {
        const Vec<T> factor = Vec<T>::broadcast(T(1) / sum);
        map_row(y + r * cols, y + r * cols, cols, [factor](Vec<T> v) { return v * factor; });
      });
}

template <class T>
void log_softmax_rows(const T* x, T* y, size_t rows, size_t cols) {
  with_sums<false>(
      x, static_cast<ptrdiff_t>(cols), y, rows, cols, [](T top) { return top; },
      [=](size_t r, T top, T sum) __attribute__((always_inline)) {
        const Vec<T> shift = Vec<T>::broadcast(top), log_sum = vec::log(Vec<T>::broadcast(sum));
        map_row(x + r * cols, y + r * cols, cols,
                [shift, log_sum](Vec<T> v) { return (v - shift) - log_sum; });
      });
}

// A row without a finite number is not shifted: -inf gives -inf, +inf gives +inf, and NaN stays.
template <class T>
void logsumexp_rows(const T* x, ptrdiff_t row_step, size_t rows, size_t cols, T* y) {
  with_sums<false>(
      x, row_step, y, rows, cols, [](T top) { return top - top == T(0) ? top : T(0); },
      [=](size_t r, T shift, T sum) __attribute__((always_inline)) {
        y[r] = shift + scalar(sum, [](Vec<T> v) { return vec::log(v); });
      });
}

}  // namespace lamella::kernels::LAMELLA_ISA_NAMESPACE
