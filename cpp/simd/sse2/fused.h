// SPDX-License-Identifier: Apache-2.0
// The fused product of vec.h where no instruction computes it (SSE2).
//
// The float one is exact: product in double, sum rounded to odd (Boldo and Melquiond, "Emulation of
// FMA and correctly rounded sums: proved algorithms using rounding to odd", 2008), then rounded to
// float. The double one is libm's.
#pragma once

#include <emmintrin.h>

#include "simd/sse2/integer.h"
#include "simd/sse2/lanes.h"

namespace lamella::simd::LAMELLA_ISA_NAMESPACE {

// p + c rounded to odd: an inexact sum with an even last bit moves one step towards the error.
// The error is exact (Knuth's two-sum); infinities and NaN have none.
[[gnu::always_inline]] inline Vec<double> add_round_to_odd(Vec<double> p, Vec<double> c) {
  const Vec<double> sum = p + c;
  const Vec<double> c_part = sum - p;
  const Vec<double> error = (p - (sum - c_part)) + (c - c_part);
  const __m128i inexact = _mm_castpd_si128(_mm_cmplt_pd(_mm_setzero_pd(), abs(error).v));
  const __m128i one = _mm_set1_epi64x(1);
  const __m128i even = _mm_sub_epi64(_mm_and_si128(bits(sum).v, one), one);
  const __m128i opposite = _mm_srai_epi32(
      _mm_shuffle_epi32(_mm_xor_si128(bits(sum).v, bits(error).v), _MM_SHUFFLE(3, 3, 1, 1)), 31);
  const __m128i step = _mm_and_si128(_mm_or_si128(opposite, one), _mm_and_si128(inexact, even));
  return {_mm_castsi128_pd(_mm_add_epi64(bits(sum).v, step))};
}

[[gnu::always_inline]] inline Vec<float> fma(Vec<float> a, Vec<float> b, Vec<float> c) {
  return narrow(add_round_to_odd(widen_low(a) * widen_low(b), widen_low(c)),
                add_round_to_odd(widen_high(a) * widen_high(b), widen_high(c)));
}

[[gnu::always_inline]] inline Vec<double> fma(Vec<double> a, Vec<double> b, Vec<double> c) {
  const double low = __builtin_fma(a.v[0], b.v[0], c.v[0]);
  const double high = __builtin_fma(a.v[1], b.v[1], c.v[1]);
  return {_mm_set_pd(high, low)};
}

}  // namespace lamella::simd::LAMELLA_ISA_NAMESPACE
