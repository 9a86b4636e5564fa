// SPDX-License-Identifier: Apache-2.0
// softmax and log-softmax of contiguous rows.
//
//   softmax:     y = exp(x - m) / sum(exp(x - m)),   m = max(x)
//   log_softmax: y = (x - m) - log(sum(exp(x - m)))
//
// Rows are read in reduce.h's fixed order. Since x - m <= 0 nothing overflows, whatever finite
// values a row holds; NaN comes out only of a row with NaN or +inf in it, or with nothing but -inf
// (0 / 0), and then fills the row. A logarithm below the type's range is -inf.
#pragma once

#include "kernels/reduce.h"

namespace lamella::kernels::LAMELLA_ISA_NAMESPACE {

// Stores exp(x - shift) and sums what it stores. y may be x.
template <class T>
struct StoredExp {
  const T* x;
  T* y;
  Vec<T> shift;
  template <bool Full>
  [[gnu::always_inline]] void operator()(size_t column, size_t n, Vec<T> (&value)[1]) const {
    value[0] = vec::exp(load<Full>(x + column, n) - shift);
    if (Full) {
      value[0].store(y + column);
    } else {
      value[0].store_partial(y + column, n);
    }
  }
};

template <class T>
void softmax_rows(const T* x, T* y, size_t rows, size_t cols) {
  for (size_t r = 0; r < rows; ++r, x += cols, y += cols) {
    const Vec<T> top = Vec<T>::broadcast(fold_values<T, MaximumOfNumbers>(x, cols));
    T sum[1];
    fold_row<T, Add, 1>(StoredExp<T>{x, y, top}, cols, sum);
    const Vec<T> divisor = Vec<T>::broadcast(sum[0]);
    map_row(y, y, cols, [divisor](Vec<T> v) { return v / divisor; });
  }
}

template <class T>
void log_softmax_rows(const T* x, T* y, size_t rows, size_t cols) {
  for (size_t r = 0; r < rows; ++r, x += cols, y += cols) {
    const Vec<T> top = Vec<T>::broadcast(fold_values<T, MaximumOfNumbers>(x, cols));
    T sum[1];
    fold_row<T, Add, 1>(ShiftedExp<T>{x, top}, cols, sum);
    const Vec<T> log_sum = vec::log(Vec<T>::broadcast(sum[0]));
    map_row(x, y, cols, [top, log_sum](Vec<T> v) { return (v - top) - log_sum; });
  }
}

}  // namespace lamella::kernels::LAMELLA_ISA_NAMESPACE
