// SPDX-License-Identifier: Apache-2.0
// Piecewise polynomials on 16 segments, each coefficient picked by one permute of its table.
//
// A table's rows: the segments' centres; the function there, each centre moved until this is a
// float to 0.001 ULP; the coefficients of u, u^2, ... with u = x - centre. The last row holds two in
// one float: the higher in the low half, shifted up; the lower is the float as it stands, low half
// and all. That saves a lookup, three instructions with AVX2. Fitted by Lawson's weighted least
// squares relative to the result, each coefficient after the pair and those before it were rounded.
#pragma once

#include "simd/polynomial.h"

namespace lamella::simd::LAMELLA_ISA_NAMESPACE {

// (f(centre + u) - f(centre)) / u; i is the segment in its low four bits.
template <size_t N>
[[gnu::always_inline]] inline Vec<float> segment_slope(Vec<float> u, VecInt<float> i,
                                                       const float (&rows)[N][16]) {
  const Vec<float> pair = lookup16(rows[N - 1], i);
  Vec<float> slope = fma(from_bits(shift_left<16>(bits(pair))), u, pair);
#pragma GCC unroll 8
  for (size_t p = N - 2; p > 1; --p) slope = fma(slope, u, lookup16(rows[p], i));
  return slope;
}

// f(x), x in segment i.
template <size_t N>
[[gnu::always_inline]] inline Vec<float> segment_value(Vec<float> x, VecInt<float> i,
                                                       const float (&rows)[N][16]) {
  const Vec<float> u = x - lookup16(rows[0], i);
  return fma(segment_slope(u, i, rows), u, lookup16(rows[1], i));
}

// Added to a float below 2^22 in size, leaves it in the low bits of the sum as a whole number.
inline constexpr float kRoundsToWhole = 0x1.8p+23f;

}  // namespace lamella::simd::LAMELLA_ISA_NAMESPACE
