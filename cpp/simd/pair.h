// SPDX-License-Identifier: Apache-2.0
// double: what a rounding loses, longer polynomials, powers of two.
//
// The functions of double vectors carry the last few bits of an intermediate result in a second
// double. The sums and products that find them are exact (Dekker, "A floating-point technique for
// extending the available precision", 1971); where there is no FMA instruction a product is split
// into halves for it, so that the results differ there by less than the bounds leave room for.
#pragma once

#include "simd/polynomial.h"

namespace lamella::simd::LAMELLA_ISA_NAMESPACE {

// c[0] + c[1] x + ..., even and odd powers in two chains of half the length, which the longer
// polynomials of this precision need to keep the multipliers busy. Where the two would cancel, the
// first `single` coefficients are left to Horner's rule.
template <size_t single = 0, size_t N>
[[gnu::always_inline]] inline Vec<double> two_chains(Vec<double> x, const double (&c)[N]) {
  using V = Vec<double>;
  const V square = x * x;
  V last = V::broadcast(c[N - 1]), next = V::broadcast(c[N - 2]);
#pragma GCC unroll 16
  for (size_t i = N - 2; i >= single + 2; i -= 2) {
    last = mul_add(last, square, V::broadcast(c[i - 1]));
    next = mul_add(next, square, V::broadcast(c[i - 2]));
  }
  // Odd count: the chains end with the second and the third coefficient.
  constexpr bool odd = (N - single) % 2 == 1;
  V sum = odd ? mul_add(next, x, mul_add(last, square, V::broadcast(c[single])))
              : mul_add(last, x, next);
#pragma GCC unroll 16
  for (size_t i = single; i > 0; --i) sum = mul_add(sum, x, V::broadcast(c[i - 1]));
  return sum;
}

// high + low, |low| at most a few units in the last place of high.
struct Pair {
  Vec<double> high, low;
};

// high = a + b rounded, low its error; exact for |a| >= |b|, for exponents that are equal, for a = 0.
[[gnu::always_inline]] inline Pair quick_sum(Vec<double> a, Vec<double> b) {
  const Vec<double> high = a + b;
  return {high, (a - high) + b};
}

// a * b - product, for product = a * b rounded and numbers below 2^990.
[[gnu::always_inline]] inline Vec<double> product_error(Vec<double> a, Vec<double> b,
                                                        Vec<double> product) {
  using V = Vec<double>;
  if constexpr (kHasFma) return fma(a, b, -product);
  const V factor = V::broadcast(0x1p+27 + 1.0);
  const V a_scaled = a * factor, a_high = a_scaled - (a_scaled - a), a_low = a - a_high;
  const V b_scaled = b * factor, b_high = b_scaled - (b_scaled - b), b_low = b - b_high;
  return ((a_high * b_high - product) + a_high * b_low + a_low * b_high) + a_low * b_low;
}

// numerator - quotient * denominator, for a quotient that is right but for its last places.
[[gnu::always_inline]] inline Vec<double> remainder_of(Vec<double> numerator, Vec<double> quotient,
                                                       Vec<double> denominator) {
  if constexpr (kHasFma) return fma(-quotient, denominator, numerator);
  const Vec<double> product = quotient * denominator;
  return (numerator - product) - product_error(quotient, denominator, product);
}

// The quotient of two pairs, low = 0 standing for a plain number: one division and one step of
// Newton's for what it left.
[[gnu::always_inline]] inline Pair quotient(Pair numerator, Pair denominator) {
  const Vec<double> inverse = Vec<double>::broadcast(1.0) / denominator.high;
  const Vec<double> high = numerator.high * inverse;
  const Vec<double> rest = remainder_of(numerator.high, high, denominator.high) +
                           (numerator.low - high * denominator.low);
  return {high, rest * inverse};
}

// 2^n for whole n from -1022 to 1023.
[[gnu::always_inline]] inline Vec<double> power_of_two(Vec<double> n) {
  return from_bits(shift_left<52>(bits(n + Vec<double>::broadcast(0x1.8p+52 + 1023.0))));
}

}  // namespace lamella::simd::LAMELLA_ISA_NAMESPACE
