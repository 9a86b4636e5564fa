// SPDX-License-Identifier: Apache-2.0
// Registers of double with AVX-512.
//
// Moves, arithmetic, rounding, comparison, selection.
// The contract is in simd/vec.h.
#pragma once

#include <immintrin.h>

#include "simd/avx512/mask.h"

namespace lamella::simd::LAMELLA_ISA_NAMESPACE {

template <>
struct Vec<double> {
  using Scalar = double;
  static constexpr size_t lanes = 8;
  __m512d v;

  [[gnu::always_inline]] static Vec load(const double* p) { return {_mm512_loadu_pd(p)}; }
  [[gnu::always_inline]] static Vec load_partial(const double* p, size_t n) {
    return {_mm512_maskz_loadu_pd(first_lanes<double>(n).v, p)};
  }
  [[gnu::always_inline]] void store(double* p) const { _mm512_storeu_pd(p, v); }
  [[gnu::always_inline]] void store_partial(double* p, size_t n) const {
    _mm512_mask_storeu_pd(p, first_lanes<double>(n).v, v);
  }
  [[gnu::always_inline]] static Vec broadcast(double x) { return {_mm512_set1_pd(x)}; }
  [[gnu::always_inline]] static Vec zero() { return {_mm512_setzero_pd()}; }
  [[gnu::always_inline]] double first() const { return _mm512_cvtsd_f64(v); }
};

[[gnu::always_inline]] inline Vec<double> operator+(Vec<double> a, Vec<double> b) {
  return {_mm512_add_pd(a.v, b.v)};
}
[[gnu::always_inline]] inline Vec<double> operator-(Vec<double> a, Vec<double> b) {
  return {_mm512_sub_pd(a.v, b.v)};
}
[[gnu::always_inline]] inline Vec<double> operator*(Vec<double> a, Vec<double> b) {
  return {_mm512_mul_pd(a.v, b.v)};
}
[[gnu::always_inline]] inline Vec<double> operator/(Vec<double> a, Vec<double> b) {
  return {_mm512_div_pd(a.v, b.v)};
}
[[gnu::always_inline]] inline Vec<double> operator-(Vec<double> a) { return {-a.v}; }
[[gnu::always_inline]] inline Vec<double> fma(Vec<double> a, Vec<double> b, Vec<double> c) {
  return {_mm512_fmadd_pd(a.v, b.v, c.v)};
}
[[gnu::always_inline]] inline Vec<double> mul_add(Vec<double> a, Vec<double> b, Vec<double> c) {
  return {_mm512_fmadd_pd(a.v, b.v, c.v)};
}
[[gnu::always_inline]] inline Vec<double> scale(Vec<double> v, Vec<double> n) {
  return {_mm512_scalef_pd(v.v, n.v)};
}
[[gnu::always_inline]] inline Vec<double> min_or_second(Vec<double> a, Vec<double> b) {
  return {_mm512_min_pd(a.v, b.v)};
}
[[gnu::always_inline]] inline Vec<double> max_or_second(Vec<double> a, Vec<double> b) {
  return {_mm512_max_pd(a.v, b.v)};
}
// The two orders differ in the sign of a zero and in which NaN operand is dropped.
[[gnu::always_inline]] inline Vec<double> min(Vec<double> a, Vec<double> b) {
  return {_mm512_or_pd(_mm512_min_pd(a.v, b.v), _mm512_min_pd(b.v, a.v))};
}

[[gnu::always_inline]] inline Vec<double> max(Vec<double> a, Vec<double> b) {
  const __m512d larger = _mm512_and_pd(_mm512_max_pd(a.v, b.v), _mm512_max_pd(b.v, a.v));
  return {_mm512_mask_mov_pd(larger, _mm512_cmp_pd_mask(a.v, b.v, _CMP_UNORD_Q),
                             _mm512_castsi512_pd(_mm512_set1_epi32(-1)))};
}

[[gnu::always_inline]] inline Vec<double> abs(Vec<double> a) { return {_mm512_abs_pd(a.v)}; }
[[gnu::always_inline]] inline Vec<double> sqrt(Vec<double> a) { return {_mm512_sqrt_pd(a.v)}; }
[[gnu::always_inline]] inline Vec<double> floor(Vec<double> a) {
  return {_mm512_roundscale_pd(a.v, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC)};
}
[[gnu::always_inline]] inline Vec<double> ceil(Vec<double> a) {
  return {_mm512_roundscale_pd(a.v, _MM_FROUND_TO_POS_INF | _MM_FROUND_NO_EXC)};
}
[[gnu::always_inline]] inline Vec<double> round_even(Vec<double> a) {
  return {_mm512_roundscale_pd(a.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)};
}

[[gnu::always_inline]] inline Vec<double> copysign(Vec<double> magnitude, Vec<double> sign) {
  const __m512i top = _mm512_castpd_si512(_mm512_set1_pd(-0.0));
  return {_mm512_castsi512_pd(_mm512_ternarylogic_epi64(top, _mm512_castpd_si512(sign.v),
                                                        _mm512_castpd_si512(magnitude.v), 0xCA))};
}

[[gnu::always_inline]] inline Mask<double> operator<(Vec<double> a, Vec<double> b) {
  return {_mm512_cmp_pd_mask(a.v, b.v, _CMP_LT_OQ)};
}
[[gnu::always_inline]] inline Mask<double> operator<=(Vec<double> a, Vec<double> b) {
  return {_mm512_cmp_pd_mask(a.v, b.v, _CMP_LE_OQ)};
}
[[gnu::always_inline]] inline Mask<double> operator>(Vec<double> a, Vec<double> b) {
  return {_mm512_cmp_pd_mask(a.v, b.v, _CMP_GT_OQ)};
}
[[gnu::always_inline]] inline Mask<double> operator>=(Vec<double> a, Vec<double> b) {
  return {_mm512_cmp_pd_mask(a.v, b.v, _CMP_GE_OQ)};
}
[[gnu::always_inline]] inline Mask<double> operator==(Vec<double> a, Vec<double> b) {
  return {_mm512_cmp_pd_mask(a.v, b.v, _CMP_EQ_OQ)};
}
[[gnu::always_inline]] inline Mask<double> operator!=(Vec<double> a, Vec<double> b) {
  return {_mm512_cmp_pd_mask(a.v, b.v, _CMP_NEQ_UQ)};
}
[[gnu::always_inline]] inline Vec<double> select(Mask<double> m, Vec<double> a, Vec<double> b) {
  return {_mm512_mask_blend_pd(m.v, b.v, a.v)};
}

}  // namespace lamella::simd::LAMELLA_ISA_NAMESPACE
