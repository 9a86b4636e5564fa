// SPDX-License-Identifier: Apache-2.0
// Registers of float with AVX2.
//
// Moves, arithmetic, rounding, comparison, selection.
// The contract is in simd/vec.h.
#pragma once

#include <immintrin.h>

#include "simd/avx2/mask.h"

namespace lamella::simd::LAMELLA_ISA_NAMESPACE {

// n <= 3.
[[gnu::always_inline]] inline __m128 load_up_to_3(const float* p, size_t n) {
  if (n == 0) return _mm_setzero_ps();
  if (n == 1) return _mm_load_ss(p);
  const __m128 two = _mm_castsi128_ps(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)));
  return n == 2 ? two : _mm_movelh_ps(two, _mm_load_ss(p + 2));
}

[[gnu::always_inline]] inline void store_up_to_3(__m128 v, float* p, size_t n) {
  if (n == 0) return;
  if (n == 1) {
    _mm_store_ss(p, v);
    return;
  }
  _mm_storel_epi64(reinterpret_cast<__m128i*>(p), _mm_castps_si128(v));
  if (n == 3) _mm_store_ss(p + 2, _mm_movehl_ps(v, v));
}

template <>
struct Vec<float> {
  using Scalar = float;
  static constexpr size_t lanes = 8;
  __m256 v;

  [[gnu::always_inline]] static Vec load(const float* p) { return {_mm256_loadu_ps(p)}; }
  [[gnu::always_inline]] static Vec load_partial(const float* p, size_t n) {
    if (n < 4) return {_mm256_zextps128_ps256(load_up_to_3(p, n))};
    return {_mm256_insertf128_ps(_mm256_castps128_ps256(_mm_loadu_ps(p)),
                                 load_up_to_3(p + 4, n - 4), 1)};
  }
  [[gnu::always_inline]] void store(float* p) const { _mm256_storeu_ps(p, v); }
  [[gnu::always_inline]] void store_partial(float* p, size_t n) const {
    if (n < 4) {
      store_up_to_3(_mm256_castps256_ps128(v), p, n);
    } else {
      _mm_storeu_ps(p, _mm256_castps256_ps128(v));
      store_up_to_3(_mm256_extractf128_ps(v, 1), p + 4, n - 4);
    }
  }
  [[gnu::always_inline]] static Vec broadcast(float x) { return {_mm256_set1_ps(x)}; }
  [[gnu::always_inline]] static Vec zero() { return {_mm256_setzero_ps()}; }
  [[gnu::always_inline]] float first() const { return _mm256_cvtss_f32(v); }
};

[[gnu::always_inline]] inline Vec<float> operator+(Vec<float> a, Vec<float> b) {
  return {_mm256_add_ps(a.v, b.v)};
}
[[gnu::always_inline]] inline Vec<float> operator-(Vec<float> a, Vec<float> b) {
  return {_mm256_sub_ps(a.v, b.v)};
}
[[gnu::always_inline]] inline Vec<float> operator*(Vec<float> a, Vec<float> b) {
  return {_mm256_mul_ps(a.v, b.v)};
}
[[gnu::always_inline]] inline Vec<float> operator/(Vec<float> a, Vec<float> b) {
  return {_mm256_div_ps(a.v, b.v)};
}
[[gnu::always_inline]] inline Vec<float> operator-(Vec<float> a) { return {-a.v}; }
[[gnu::always_inline]] inline Vec<float> fma(Vec<float> a, Vec<float> b, Vec<float> c) {
  return {_mm256_fmadd_ps(a.v, b.v, c.v)};
}
[[gnu::always_inline]] inline Vec<float> mul_add(Vec<float> a, Vec<float> b, Vec<float> c) {
  return {_mm256_fmadd_ps(a.v, b.v, c.v)};
}
[[gnu::always_inline]] inline Vec<float> min_or_second(Vec<float> a, Vec<float> b) {
  return {_mm256_min_ps(a.v, b.v)};
}
[[gnu::always_inline]] inline Vec<float> max_or_second(Vec<float> a, Vec<float> b) {
  return {_mm256_max_ps(a.v, b.v)};
}
// The two orders differ in the sign of a zero and in which NaN operand is dropped.
[[gnu::always_inline]] inline Vec<float> min(Vec<float> a, Vec<float> b) {
  return {_mm256_or_ps(_mm256_min_ps(a.v, b.v), _mm256_min_ps(b.v, a.v))};
}
[[gnu::always_inline]] inline Vec<float> max(Vec<float> a, Vec<float> b) {
  return {_mm256_or_ps(_mm256_and_ps(_mm256_max_ps(a.v, b.v), _mm256_max_ps(b.v, a.v)),
                       _mm256_cmp_ps(a.v, b.v, _CMP_UNORD_Q))};
}
[[gnu::always_inline]] inline Vec<float> abs(Vec<float> a) {
  return {_mm256_andnot_ps(_mm256_set1_ps(-0.0f), a.v)};
}
[[gnu::always_inline]] inline Vec<float> sqrt(Vec<float> a) { return {_mm256_sqrt_ps(a.v)}; }
[[gnu::always_inline]] inline Vec<float> floor(Vec<float> a) {
  return {_mm256_round_ps(a.v, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC)};
}
[[gnu::always_inline]] inline Vec<float> ceil(Vec<float> a) {
  return {_mm256_round_ps(a.v, _MM_FROUND_TO_POS_INF | _MM_FROUND_NO_EXC)};
}
[[gnu::always_inline]] inline Vec<float> round_even(Vec<float> a) {
  return {_mm256_round_ps(a.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)};
}
[[gnu::always_inline]] inline Vec<float> copysign(Vec<float> magnitude, Vec<float> sign) {
  const __m256 top = _mm256_set1_ps(-0.0f);
  return {_mm256_or_ps(_mm256_andnot_ps(top, magnitude.v), _mm256_and_ps(top, sign.v))};
}
[[gnu::always_inline]] inline Mask<float> operator<(Vec<float> a, Vec<float> b) {
  return {_mm256_cmp_ps(a.v, b.v, _CMP_LT_OQ)};
}
[[gnu::always_inline]] inline Mask<float> operator<=(Vec<float> a, Vec<float> b) {
  return {_mm256_cmp_ps(a.v, b.v, _CMP_LE_OQ)};
}
[[gnu::always_inline]] inline Mask<float> operator>(Vec<float> a, Vec<float> b) {
  return {_mm256_cmp_ps(a.v, b.v, _CMP_GT_OQ)};
}
[[gnu::always_inline]] inline Mask<float> operator>=(Vec<float> a, Vec<float> b) {
  return {_mm256_cmp_ps(a.v, b.v, _CMP_GE_OQ)};
}
[[gnu::always_inline]] inline Mask<float> operator==(Vec<float> a, Vec<float> b) {
  return {_mm256_cmp_ps(a.v, b.v, _CMP_EQ_OQ)};
}
[[gnu::always_inline]] inline Mask<float> operator!=(Vec<float> a, Vec<float> b) {
  return {_mm256_cmp_ps(a.v, b.v, _CMP_NEQ_UQ)};
}
[[gnu::always_inline]] inline Vec<float> select(Mask<float> m, Vec<float> a, Vec<float> b) {
  return {_mm256_blendv_ps(b.v, a.v, m.v)};
}

}  // namespace lamella::simd::LAMELLA_ISA_NAMESPACE
