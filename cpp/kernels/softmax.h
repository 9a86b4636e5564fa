// SPDX-License-Identifier: Apache-2.0
// softmax, log-softmax and logsumexp of rows.
//
//   softmax:     y = exp(x - m) (1 / sum(exp(x - m))),   m = max(x)
//   log_softmax: y = (x - m) - log(sum(exp(x - m)))
//   logsumexp:   y = m + log(sum(exp(x - m)))
//
// Where the largest number has most of the sum, its logarithm is log1p of what the others add: the
// sum itself would round that off.
// Sums are in fold.h's fixed order. Since x - m <= 0 nothing overflows, whatever finite values a row
// holds; NaN comes out only of a row with NaN or +inf in it, or with nothing but -inf (0 / 0), and
// then fills the row. A logarithm below the type's range is -inf. Exponentials are kept raised
// (simd/exp.h), so that none is subnormal before the division by the sum rounds it.
#pragma once

#include "kernels/reduce.h"

namespace lamella::kernels::LAMELLA_ISA_NAMESPACE {

// The largest number of a row; NaN is ignored.
template <class T>
[[gnu::always_inline]] inline T top_of(const T* x, size_t cols) {
  constexpr size_t kRegisters = 4;
  Vec<T> high[kRegisters];
#pragma GCC unroll 4
  for (size_t i = 0; i < kRegisters; ++i) high[i] = Vec<T>::broadcast(-kInfinity<T>);
  visit_row<kRegisters>(x, cols, [&](size_t i, Vec<T> v) __attribute__((always_inline)) {
    high[i] = max_or_second(v, high[i]);
  });
  high[0] = max_or_second(max_or_second(high[0], high[1]), max_or_second(high[2], high[3]));
  return vec::fold_lanes(high[0], MaximumOfNumbers{});
}

// exp(x - top), raised, of one row as it is summed, stored to y if `Store` (which may be x). The
// loads that the arithmetic leaves room for go to the row that comes next, for its largest number,
// and ahead of both that and `written`, which will be written to.
template <class T, bool Store>
struct ShiftedExp {
  const T* x;
  T* y;
  const T* next;
  const T* written;
  size_t next_ahead, written_ahead;
  Vec<T> top;
  Vec<T>& next_top;
  template <bool Full>
  [[gnu::always_inline]] void operator()(size_t, size_t column, size_t n,
                                         Vec<T> (&value)[1]) const {
    value[0] = vec::exp_raised(load<Full>(x + column, n) - top);
    if constexpr (Full) {
      next_top = max_or_second(Vec<T>::load(next + column), next_top);
      prefetch(next + column, next_ahead);
      prefetch(written + column, written_ahead);
    } else {
      next_top = max_or_second(vec::load_partial(next + column, n, -kInfinity<T>), next_top);
    }
    if constexpr (Store && Full) value[0].store(y + column);
    if constexpr (Store && !Full) value[0].store_partial(y + column, n);
  }
};

// One chunk after the other, since exp alone fills the machine.
template <class T, class Map>
[[gnu::always_inline]] inline T sum_exp(const Map& map, size_t cols) {
  Lanes16<T> lanes[1][1];
  if (cols <= kChunk) {
    fold_lanes16<T, Add>(map, cols, lanes);
    return lanes[0][0].fold(Add{});
  }
  PairwiseTree<T, Add, 1> tree;
  for (size_t begin = 0; begin < cols; begin += kChunk) {
    const size_t n = cols - begin < kChunk ? cols - begin : kChunk;
    fold_lanes16<T, Add>(Chunks<T, Map>{map, begin}, n, lanes);
    tree.push(lanes[0], 0);
  }
  tree.finish(lanes[0]);
  return lanes[0][0].fold(Add{});
}

// Calls f(row, top, sum) for every row, in order. It may write to the row of `written`, in steps of
// row_step as well; with `Store` that holds the raised exponentials. f is called for a row when the
// next one has been summed: it would have to wait for its own sum.
template <bool Store, class T, class F>
[[gnu::always_inline]] inline void with_sums(const T* x, ptrdiff_t row_step, size_t rows,
                                             size_t cols, T* written, F f) {
  if (rows == 0) return;
  const size_t step = static_cast<size_t>(row_step);
  T top = top_of(x, cols), top_before = top, sum_before = T(0);
  for (size_t r = 0; r < rows; ++r, x += row_step) {
    const size_t left = rows - r - 1;
    const T* const next = x + (left > 0 ? row_step : 0);
    const T* const target = written != nullptr ? written + r * step : x;
    Vec<T> next_top = Vec<T>::broadcast(-kInfinity<T>);
    const ShiftedExp<T, Store> map{x,
                                   Store ? written + r * step : nullptr,
                                   next,
                                   target,
                                   ahead_within<T>(left > 0 ? (left - 1) * step : 0),
                                   ahead_within<T>(left * step),
                                   Vec<T>::broadcast(top),
                                   next_top};
    const T sum = sum_exp<T>(map, cols) * vec::kLowered<T>;
    if (r > 0) f(r - 1, top_before, sum_before);
    top_before = top;
    sum_before = sum;
    top = vec::fold_lanes(next_top, MaximumOfNumbers{});
  }
  f(rows - 1, top_before, sum_before);
}

// Below this a sum of exponentials, of which the largest adds 1, is too near to 1 for its logarithm.
template <class T>
inline constexpr T kNearOne = T(1.25);

// Raised exponentials but for the top's, which is one alone, and for those of exp_raised's floor,
// which stand for numbers that round to 0.
template <class T>
struct Others {
  Vec<T> top = Vec<T>::broadcast(vec::kRaised<T>);
  Vec<T> floor = vec::exp_raised(Vec<T>::broadcast(-kInfinity<T>));
  [[gnu::always_inline]] Vec<T> operator()(Vec<T> e) const {
    return select((e < top) & (e > floor), e, Vec<T>::zero());
  }
};

// exp(x - top), raised, of the others.
template <class T>
struct OtherExp {
  const T* x;
  Vec<T> top;
  Others<T> others;
  template <bool Full>
  [[gnu::always_inline]] void operator()(size_t, size_t column, size_t n,
                                         Vec<T> (&value)[1]) const {
    value[0] = others(vec::exp_raised(load<Full>(x + column, n) - top));
  }
};
template <class T>
[[gnu::noinline]] T sum_of_others(const T* x, size_t cols, T top) {
  return sum_exp<T>(OtherExp<T>{x, Vec<T>::broadcast(top), {}}, cols) * vec::kLowered<T>;
}

// log(sum) of a row, whose largest number is top.
template <class T>
[[gnu::always_inline]] inline T log_of_sum(T sum, const T* x, size_t cols, T top) {
  if (sum < kNearOne<T>) {
    return scalar(sum_of_others(x, cols, top), [](Vec<T> v) { return vec::log1p(v); });
  }
  return scalar(sum, [](Vec<T> v) { return vec::log(v); });
}

template <class T>
void softmax_rows(const T* x, T* y, size_t rows, size_t cols) {
  with_sums<true>(x, static_cast<ptrdiff_t>(cols), rows, cols, y,
                  [=](size_t r, T, T sum) __attribute__((always_inline)) {
                    const Vec<T> factor = Vec<T>::broadcast(vec::kLowered<T> / sum);
                    map_row(y + r * cols, y + r * cols, cols,
                            [factor](Vec<T> v) { return v * factor; });
                  });
}

template <class T>
void log_softmax_rows(const T* x, T* y, size_t rows, size_t cols) {
  with_sums<false>(x, static_cast<ptrdiff_t>(cols), rows, cols, y,
                   [=](size_t r, T top, T sum) __attribute__((always_inline)) {
                     const Vec<T> shift = Vec<T>::broadcast(top);
                     const Vec<T> log_sum =
                         Vec<T>::broadcast(log_of_sum(sum, x + r * cols, cols, top));
                     map_row(x + r * cols, y + r * cols, cols,
                             [shift, log_sum](Vec<T> v) { return (v - shift) - log_sum; });
                   });
}

// The largest itself where it is infinite, and NaN where there is one.
template <class T>
void logsumexp_rows(const T* x, ptrdiff_t row_step, size_t rows, size_t cols, T* y) {
  with_sums<false>(x, row_step, rows, cols, static_cast<T*>(nullptr),
                   [=](size_t r, T top, T sum) __attribute__((always_inline)) {
                     if (top - top == T(0)) {
                       const T* const row = x + static_cast<ptrdiff_t>(r) * row_step;
                       y[r] = top + log_of_sum(sum, row, cols, top);
                     } else {
                       y[r] = extreme_settled<T, Maximum>(x + static_cast<ptrdiff_t>(r) * row_step,
                                                          cols);
                     }
                   });
}

}  // namespace lamella::kernels::LAMELLA_ISA_NAMESPACE
