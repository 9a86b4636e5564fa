// SPDX-License-Identifier: Apache-2.0
// Registers of double with AVX2.
//
// Moves, arithmetic, rounding, comparison, selection.
// The contract is in simd/vec.h.
#pragma once

#include <immintrin.h>

#include "simd/avx2/mask.h"

namespace lamella::simd::LAMELLA_ISA_NAMESPACE {

template <>
struct Vec<double> {
  using Scalar = double;
  static constexpr size_t lanes = 4;
  __m256d v;

  [[gnu::always_inline]] static Vec load(const double* p) { return {_mm256_loadu_pd(p)}; }
  [[gnu::always_inline]] static Vec load_partial(const double* p, size_t n) {
    if (n == 0) return zero();
    if (n == 1) return {_mm256_zextpd128_pd256(_mm_load_sd(p))};
    const __m128d two = _mm_loadu_pd(p);
    if (n == 2) return {_mm256_zextpd128_pd256(two)};
    return {_mm256_insertf128_pd(_mm256_castpd128_pd256(two), _mm_load_sd(p + 2), 1)};
  }
  [[gnu::always_inline]] void store(double* p) const { _mm256_storeu_pd(p, v); }
  [[gnu::always_inline]] void store_partial(double* p, size_t n) const {
    if (n == 0) return;
    if (n == 1) {
      _mm_store_sd(p, _mm256_castpd256_pd128(v));
      return;
    }
    _mm_storeu_pd(p, _mm256_castpd256_pd128(v));
    if (n == 3) _mm_store_sd(p + 2, _mm256_extractf128_pd(v, 1));
  }
  [[gnu::always_inline]] static Vec broadcast(double x) { return {_mm256_set1_pd(x)}; }
  [[gnu::always_inline]] static Vec zero() { return {_mm256_setzero_pd()}; }
  [[gnu::always_inline]] double first() const { return _mm256_cvtsd_f64(v); }
};

[[gnu::always_inline]] inline Vec<double> operator+(Vec<double> a, Vec<double> b) {
  return {_mm256_add_pd(a.v, b.v)};
}
[[gnu::always_inline]] inline Vec<double> operator-(Vec<double> a, Vec<double> b) {
  return {_mm256_sub_pd(a.v, b.v)};
}
[[gnu::always_inline]] inline Vec<double> operator*(Vec<double> a, Vec<double> b) {
  return {_mm256_mul_pd(a.v, b.v)};
}
[[gnu::always_inline]] inline Vec<double> operator/(Vec<double> a, Vec<double> b) {
  return {_mm256_div_pd(a.v, b.v)};
}
[[gnu::always_inline]] inline Vec<double> operator-(Vec<double> a) { return {-a.v}; }
[[gnu::always_inline]] inline Vec<double> fma(Vec<double> a, Vec<double> b, Vec<double> c) {
  return {_mm256_fmadd_pd(a.v, b.v, c.v)};
}
[[gnu::always_inline]] inline Vec<double> mul_add(Vec<double> a, Vec<double> b, Vec<double> c) {
  return {_mm256_fmadd_pd(a.v, b.v, c.v)};
}
[[gnu::always_inline]] inline Vec<double> min_or_second(Vec<double> a, Vec<double> b) {
  return {_mm256_min_pd(a.v, b.v)};
}
[[gnu::always_inline]] inline Vec<double> max_or_second(Vec<double> a, Vec<double> b) {
  return {_mm256_max_pd(a.v, b.v)};
}
// The two orders differ in the sign of a zero and in which NaN operand is dropped.
[[gnu::always_inline]] inline Vec<double> min(Vec<double> a, Vec<double> b) {
  return {_mm256_or_pd(_mm256_min_pd(a.v, b.v), _mm256_min_pd(b.v, a.v))};
}
[[gnu::always_inline]] inline Vec<double> max(Vec<double> a, Vec<double> b) {
  return {_mm256_or_pd(_mm256_and_pd(_mm256_max_pd(a.v, b.v), _mm256_max_pd(b.v, a.v)),
                       _mm256_cmp_pd(a.v, b.v, _CMP_UNORD_Q))};
}
[[gnu::always_inline]] inline Vec<double> abs(Vec<double> a) {
  return {_mm256_andnot_pd(_mm256_set1_pd(-0.0), a.v)};
}
[[gnu::always_inline]] inline Vec<double> sqrt(Vec<double> a) { return {_mm256_sqrt_pd(a.v)}; }
[[gnu::always_inline]] inline Vec<double> floor(Vec<double> a) {
  return {_mm256_round_pd(a.v, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC)};
}
[[gnu::always_inline]] inline Vec<double> ceil(Vec<double> a) {
  return {_mm256_round_pd(a.v, _MM_FROUND_TO_POS_INF | _MM_FROUND_NO_EXC)};
}
[[gnu::always_inline]] inline Vec<double> round_even(Vec<double> a) {
  return {_mm256_round_pd(a.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)};
}
[[gnu::always_inline]] inline Vec<double> copysign(Vec<double> magnitude, Vec<double> sign) {
  const __m256d top = _mm256_set1_pd(-0.0);
  return {_mm256_or_pd(_mm256_andnot_pd(top, magnitude.v), _mm256_and_pd(top, sign.v))};
}
[[gnu::always_inline]] inline Mask<double> operator<(Vec<double> a, Vec<double> b) {
  return {_mm256_cmp_pd(a.v, b.v, _CMP_LT_OQ)};
}
[[gnu::always_inline]] inline Mask<double> operator<=(Vec<double> a, Vec<double> b) {
  return {_mm256_cmp_pd(a.v, b.v, _CMP_LE_OQ)};
}
[[gnu::always_inline]] inline Mask<double> operator>(Vec<double> a, Vec<double> b) {
  return {_mm256_cmp_pd(a.v, b.v, _CMP_GT_OQ)};
}
[[gnu::always_inline]] inline Mask<double> operator>=(Vec<double> a, Vec<double> b) {
  return {_mm256_cmp_pd(a.v, b.v, _CMP_GE_OQ)};
}
[[gnu::always_inline]] inline Mask<double> operator==(Vec<double> a, Vec<double> b) {
  return {_mm256_cmp_pd(a.v, b.v, _CMP_EQ_OQ)};
}
[[gnu::always_inline]] inline Mask<double> operator!=(Vec<double> a, Vec<double> b) {
  return {_mm256_cmp_pd(a.v, b.v, _CMP_NEQ_UQ)};
}
[[gnu::always_inline]] inline Vec<double> select(Mask<double> m, Vec<double> a, Vec<double> b) {
  return {_mm256_blendv_pd(b.v, a.v, m.v)};
}

}  // namespace lamella::simd::LAMELLA_ISA_NAMESPACE
