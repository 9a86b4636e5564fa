// SPDX-License-Identifier: Apache-2.0
// Polynomials, and how a float function is evaluated in double vectors.
//
// Without an FMA instruction most float functions run in double, and some do with one: a vector of
// floats becomes two of doubles, a short polynomial or rational with a relative error near 2^-28
// follows, and the one rounding that matters is the last: errors of 0.50 to 0.67 ULP. Functions
// named *_wide are such evaluations: good for a float result, not for a double one. Coefficients: minimax
// in the relative error, found by the Remez exchange or Lawson weights (polynomials) and by
// Sanathanan-Koerner iterations (rationals), 40-digit references; the error quoted beside each holds
// with the coefficients as written.
#pragma once

#include "simd/vec.h"

namespace lamella::simd::LAMELLA_ISA_NAMESPACE {

// c[0] + c[1] x + ... by Horner's rule: with fma in float, where its single rounding is counted on;
// with mul_add in double, where any rounding will do.
template <class T, size_t N>
[[gnu::always_inline]] inline Vec<T> horner(Vec<T> x, const T (&c)[N]) {
  Vec<T> sum = Vec<T>::broadcast(c[N - 1]);
#pragma GCC unroll 32
  for (size_t i = N - 1; i > 0; --i) {
    const Vec<T> next = Vec<T>::broadcast(c[i - 1]);
    sum = sizeof(T) == 4 ? fma(sum, x, next) : mul_add(sum, x, next);
  }
  return sum;
}

// Piecewise: c[0][i] + c[1][i] u + ..., i the low four bits of `segment`.
template <size_t N>
[[gnu::always_inline]] inline Vec<float> segment_polynomial(Vec<float> u, VecInt<float> segment,
                                                            const float (&c)[N][16]) {
  Vec<float> sum = lookup16(c[N - 1], segment);
#pragma GCC unroll 16
  for (size_t p = N - 1; p > 0; --p) sum = fma(sum, u, lookup16(c[p - 1], segment));
  return sum;
}

// Limits with NaN passed through (the one-instruction forms return their second operand for it).
template <class T>
[[gnu::always_inline]] inline Vec<T> at_least(T low, Vec<T> x) {
  return max_or_second(Vec<T>::broadcast(low), x);
}
template <class T>
[[gnu::always_inline]] inline Vec<T> at_most(T high, Vec<T> x) {
  return min_or_second(Vec<T>::broadcast(high), x);
}

}  // namespace lamella::simd::LAMELLA_ISA_NAMESPACE
