// SPDX-License-Identifier: Apache-2.0
// Registers of double with SSE2.
//
// Moves, arithmetic, rounding, comparison, selection.
// The contract is in simd/vec.h.
#pragma once

#include <emmintrin.h>

#include "simd/sse2/mask.h"

namespace lamella::simd::LAMELLA_ISA_NAMESPACE {

template <>
struct Vec<double> {
  using Scalar = double;
  static constexpr size_t lanes = 2;
  __m128d v;

  [[gnu::always_inline]] static Vec load(const double* p) { return {_mm_loadu_pd(p)}; }
  [[gnu::always_inline]] static Vec load_partial(const double* p, size_t n) {
    return n == 0 ? zero() : Vec{_mm_load_sd(p)};
  }
  [[gnu::always_inline]] void store(double* p) const { _mm_storeu_pd(p, v); }
  [[gnu::always_inline]] void store_partial(double* p, size_t n) const {
    if (n == 1) _mm_store_sd(p, v);
  }
  [[gnu::always_inline]] static Vec broadcast(double x) { return {_mm_set1_pd(x)}; }
  [[gnu::always_inline]] static Vec zero() { return {_mm_setzero_pd()}; }
  [[gnu::always_inline]] double first() const { return _mm_cvtsd_f64(v); }
};

[[gnu::always_inline]] inline Vec<double> operator+(Vec<double> a, Vec<double> b) {
  return {_mm_add_pd(a.v, b.v)};
}
[[gnu::always_inline]] inline Vec<double> operator-(Vec<double> a, Vec<double> b) {
  return {_mm_sub_pd(a.v, b.v)};
}
[[gnu::always_inline]] inline Vec<double> operator*(Vec<double> a, Vec<double> b) {
  return {_mm_mul_pd(a.v, b.v)};
}
[[gnu::always_inline]] inline Vec<double> operator/(Vec<double> a, Vec<double> b) {
  return {_mm_div_pd(a.v, b.v)};
}
[[gnu::always_inline]] inline Vec<double> operator-(Vec<double> a) { return {-a.v}; }
[[gnu::always_inline]] inline Vec<double> mul_add(Vec<double> a, Vec<double> b, Vec<double> c) {
  return a * b + c;
}
[[gnu::always_inline]] inline Vec<double> min_or_second(Vec<double> a, Vec<double> b) {
  return {_mm_min_pd(a.v, b.v)};
}
[[gnu::always_inline]] inline Vec<double> max_or_second(Vec<double> a, Vec<double> b) {
  return {_mm_max_pd(a.v, b.v)};
}
// The two orders differ in the sign of a zero and in which NaN operand is dropped.
[[gnu::always_inline]] inline Vec<double> min(Vec<double> a, Vec<double> b) {
  return {_mm_or_pd(_mm_min_pd(a.v, b.v), _mm_min_pd(b.v, a.v))};
}
[[gnu::always_inline]] inline Vec<double> max(Vec<double> a, Vec<double> b) {
  return {
      _mm_or_pd(_mm_and_pd(_mm_max_pd(a.v, b.v), _mm_max_pd(b.v, a.v)), _mm_cmpunord_pd(a.v, b.v))};
}
[[gnu::always_inline]] inline Vec<double> abs(Vec<double> a) {
  return {_mm_andnot_pd(_mm_set1_pd(-0.0), a.v)};
}
[[gnu::always_inline]] inline Vec<double> sqrt(Vec<double> a) { return {_mm_sqrt_pd(a.v)}; }
[[gnu::always_inline]] inline Vec<double> copysign(Vec<double> magnitude, Vec<double> sign) {
  const __m128d top = _mm_set1_pd(-0.0);
  return {_mm_or_pd(_mm_andnot_pd(top, magnitude.v), _mm_and_pd(top, sign.v))};
}
[[gnu::always_inline]] inline Mask<double> operator<(Vec<double> a, Vec<double> b) {
  return {_mm_cmplt_pd(a.v, b.v)};
}
[[gnu::always_inline]] inline Mask<double> operator<=(Vec<double> a, Vec<double> b) {
  return {_mm_cmple_pd(a.v, b.v)};
}
[[gnu::always_inline]] inline Mask<double> operator>(Vec<double> a, Vec<double> b) {
  return {_mm_cmpgt_pd(a.v, b.v)};
}
[[gnu::always_inline]] inline Mask<double> operator>=(Vec<double> a, Vec<double> b) {
  return {_mm_cmpge_pd(a.v, b.v)};
}
[[gnu::always_inline]] inline Mask<double> operator==(Vec<double> a, Vec<double> b) {
  return {_mm_cmpeq_pd(a.v, b.v)};
}
[[gnu::always_inline]] inline Mask<double> operator!=(Vec<double> a, Vec<double> b) {
  return {_mm_cmpneq_pd(a.v, b.v)};
}
[[gnu::always_inline]] inline Vec<double> select(Mask<double> m, Vec<double> a, Vec<double> b) {
  return {_mm_or_pd(_mm_and_pd(m.v, a.v), _mm_andnot_pd(m.v, b.v))};
}

// Adding and taking away 4503599627370496.0 leaves the nearest integer; larger numbers have no
// fraction.
[[gnu::always_inline]] inline Vec<double> round_even(Vec<double> a) {
  const Vec<double> big = copysign(Vec<double>::broadcast(4503599627370496.0), a);
  const Vec<double> rounded = copysign((a + big) - big, a);
  return select(abs(a) < Vec<double>::broadcast(4503599627370496.0), rounded, a);
}

[[gnu::always_inline]] inline Vec<double> floor(Vec<double> a) {
  const Vec<double> near = round_even(a);
  return copysign(select(near > a, near - Vec<double>::broadcast(1.0), near), a);
}
[[gnu::always_inline]] inline Vec<double> ceil(Vec<double> a) {
  const Vec<double> near = round_even(a);
  return copysign(select(near < a, near + Vec<double>::broadcast(1.0), near), a);
}

}  // namespace lamella::simd::LAMELLA_ISA_NAMESPACE
