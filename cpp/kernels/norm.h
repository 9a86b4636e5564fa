// SPDX-License-Identifier: Apache-2.0
// Variance and layer normalisation of rows.
//
// Two passes: the mean, then the deviations d from it, corrected for the mean's own rounding error
// (Chan, Golub and LeVeque, "Algorithms for computing the sample variance", 1983):
//   sum of squares = sum(d^2) - sum(d)^2 / n,   true mean = mean + sum(d) / n
// A row of equal values therefore has variance 0 and normalises to 0 exactly, however large they
// are. When the squares or the sum overflow, the row is done again scaled by a power of two; rows
// with NaN or an infinity give NaN.
#pragma once

#include "kernels/reduce.h"

namespace lamella::kernels::LAMELLA_ISA_NAMESPACE {

// Powers of two that bring the largest finite values to where their squares can be summed, and
// leave what is too small to matter beside them: overflow begins near 2^44 (2^480 in double) even
// for a row of 2^40 columns.
template <class T>
inline constexpr T kDownScale = T(0x1p-100);
template <>
inline constexpr double kDownScale<double> = 0x1p-600;
template <class T>
inline constexpr T kUpScale = T(1) / kDownScale<T>;

// x, scaled down or not.
template <bool Scaled, class T>
[[gnu::always_inline]] inline Vec<T> scaled(Vec<T> x) {
  if constexpr (Scaled) return x * Vec<T>::broadcast(kDownScale<T>);
  return x;
}

// The scaled x, as it is summed.
template <class T, bool Scaled>
struct ScaledValues {
  const T* x;
  template <bool Full>
  [[gnu::always_inline]] void operator()(size_t column, size_t n, Vec<T> (&value)[1]) const {
    value[0] = scaled<Scaled>(load<Full>(x + column, n));
  }
};

// d = scaled x - mean and d^2, as they are summed.
template <class T, bool Scaled>
struct Deviations {
  const T* x;
  Vec<T> mean;
  template <bool Full>
  [[gnu::always_inline]] void operator()(size_t column, size_t n, Vec<T> (&value)[2]) const {
    value[0] = scaled<Scaled>(load<Full>(x + column, n)) - mean;
    value[1] = value[0] * value[0];
  }
};

// The true mean is mean + correction; squares is the sum of squared deviations from it.
template <class T>
struct Moments {
  T mean, correction, squares;
  bool finite() const { return squares - squares == T(0); }
};

template <class T, bool Scaled>
inline Moments<T> row_moments(const T* x, size_t cols) {
  T sum[1], sums[2];
  if constexpr (Scaled) {
    fold_row<T, Add, 1>(ScaledValues<T, Scaled>{x}, cols, sum);
  } else {
    sum[0] = fold_values<T, Add>(x, cols);
  }
  const T n = static_cast<T>(cols), mean = sum[0] / n;
  fold_row<T, Add, 2>(Deviations<T, Scaled>{x, Vec<T>::broadcast(mean)}, cols, sums);
  const T correction = sums[0] / n, squares = sums[1] - sums[0] * correction;
  // Rounding may leave a few units below zero; NaN stays.
  return {mean, correction, squares < T(0) ? T(0) : squares};
}

template <class T>
void variance_rows(const T* x, ptrdiff_t row_step, size_t rows, size_t cols, T divisor, T* y) {
  for (size_t r = 0; r < rows; ++r, x += row_step) {
    const Moments<T> moments = row_moments<T, false>(x, cols);
    y[r] = moments.squares / divisor;
    if (moments.finite()) continue;
    y[r] = row_moments<T, true>(x, cols).squares / divisor * kUpScale<T> * kUpScale<T>;
  }
}

// y = ((x - mean) - correction) * inverse * weight + bias. y may be x.
template <class T, bool Weight, bool Bias>
[[gnu::always_inline]] inline void normalise_row(const T* x, T* y, size_t cols,
                                                 const Moments<T>& moments, T inverse,
                                                 const T* weight, const T* bias) {
  constexpr size_t kWidth = Vec<T>::lanes;
  const Vec<T> mean = Vec<T>::broadcast(moments.mean);
  const Vec<T> correction = Vec<T>::broadcast(moments.correction);
  const Vec<T> factor = Vec<T>::broadcast(inverse);
  const auto f = [&](const auto& at) {
    const Vec<T> v = ((at(x) - mean) - correction) * factor;
    if constexpr (Weight && Bias) {
      return vec::mul_add(v, at(weight), at(bias));
    } else if constexpr (Weight) {
      return v * at(weight);
    } else if constexpr (Bias) {
      return v + at(bias);
    } else {
      return v;
    }
  };
  size_t c = 0;
  for (; c + kWidth <= cols; c += kWidth) {
    f([c](const T* p) { return Vec<T>::load(p + c); }).store(y + c);
  }
  if (c == cols) return;
  const size_t n = cols - c;
  f([c, n](const T* p) { return Vec<T>::load_partial(p + c, n); }).store_partial(y + c, n);
}

template <class T, bool Weight, bool Bias>
void normalise_rows(const T* x, T* y, size_t rows, size_t cols, const T* weight, const T* bias,
                    T epsilon) {
  for (size_t r = 0; r < rows; ++r, x += cols, y += cols) {
    const T* row = x;
    T added = epsilon;
    Moments<T> moments = row_moments<T, false>(row, cols);
    if (!moments.finite()) {
      map_row(x, y, cols, [](Vec<T> v) { return scaled<true>(v); });
      row = y;
      added = epsilon * kDownScale<T> * kDownScale<T>;
      moments = row_moments<T, false>(row, cols);
    }
    const T variance = moments.squares / static_cast<T>(cols) + added;
    const T inverse = T(1) / scalar(variance, [](Vec<T> v) { return sqrt(v); });
    normalise_row<T, Weight, Bias>(row, y, cols, moments, inverse, weight, bias);
  }
}

template <class T>
void layer_norm_rows(const T* x, T* y, size_t rows, size_t cols, const T* weight, const T* bias,
                     T epsilon) {
  if (weight != nullptr && bias != nullptr) {
    return normalise_rows<T, true, true>(x, y, rows, cols, weight, bias, epsilon);
  }
  if (weight != nullptr) {
    return normalise_rows<T, true, false>(x, y, rows, cols, weight, bias, epsilon);
  }
  if (bias != nullptr) {
    return normalise_rows<T, false, true>(x, y, rows, cols, weight, bias, epsilon);
  }
  return normalise_rows<T, false, false>(x, y, rows, cols, weight, bias, epsilon);
}

}  // namespace lamella::kernels::LAMELLA_ISA_NAMESPACE
