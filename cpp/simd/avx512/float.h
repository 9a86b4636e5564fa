// SPDX-License-Identifier: Apache-2.0
// Registers of float with AVX-512.
//
// Moves, arithmetic, rounding, comparison, selection.
// The contract is in simd/vec.h.
#pragma once

#include <immintrin.h>

#include "simd/avx512/mask.h"

namespace lamella::simd::LAMELLA_ISA_NAMESPACE {

template <>
struct Vec<float> {
  using Scalar = float;
  static constexpr size_t lanes = 16;
  __m512 v;

  [[gnu::always_inline]] static Vec load(const float* p) { return {_mm512_loadu_ps(p)}; }
  [[gnu::always_inline]] static Vec load_partial(const float* p, size_t n) {
    return {_mm512_maskz_loadu_ps(first_lanes<float>(n).v, p)};
  }
  [[gnu::always_inline]] void store(float* p) const { _mm512_storeu_ps(p, v); }
  [[gnu::always_inline]] void store_partial(float* p, size_t n) const {
    _mm512_mask_storeu_ps(p, first_lanes<float>(n).v, v);
  }
  [[gnu::always_inline]] static Vec broadcast(float x) { return {_mm512_set1_ps(x)}; }
  [[gnu::always_inline]] static Vec zero() { return {_mm512_setzero_ps()}; }
  [[gnu::always_inline]] float first() const { return _mm512_cvtss_f32(v); }
};

template <>
struct HalfVec<float> {
  using Scalar = float;
  static constexpr size_t lanes = 8;
  __m256 v;

  [[gnu::always_inline]] static __mmask8 first_lanes(size_t n) {
    return static_cast<__mmask8>((1u << (n < lanes ? static_cast<unsigned>(n) : lanes)) - 1u);
  }
  [[gnu::always_inline]] static HalfVec load(const float* p) { return {_mm256_loadu_ps(p)}; }
  [[gnu::always_inline]] static HalfVec load_partial(const float* p, size_t n) {
    return {_mm256_maskz_loadu_ps(first_lanes(n), p)};
  }
  [[gnu::always_inline]] void store(float* p) const { _mm256_storeu_ps(p, v); }
  [[gnu::always_inline]] void store_partial(float* p, size_t n) const {
    _mm256_mask_storeu_ps(p, first_lanes(n), v);
  }
  [[gnu::always_inline]] static HalfVec broadcast(float x) { return {_mm256_set1_ps(x)}; }
  [[gnu::always_inline]] static HalfVec zero() { return {_mm256_setzero_ps()}; }
};

[[gnu::always_inline]] inline HalfVec<float> operator+(HalfVec<float> a, HalfVec<float> b) {
  return {_mm256_add_ps(a.v, b.v)};
}
[[gnu::always_inline]] inline HalfVec<float> operator*(HalfVec<float> a, HalfVec<float> b) {
  return {_mm256_mul_ps(a.v, b.v)};
}
[[gnu::always_inline]] inline HalfVec<float> mul_add(HalfVec<float> a, HalfVec<float> b,
                                                     HalfVec<float> c) {
  return {_mm256_fmadd_ps(a.v, b.v, c.v)};
}
[[gnu::always_inline]] inline Vec<float> operator+(Vec<float> a, Vec<float> b) {
  return {_mm512_add_ps(a.v, b.v)};
}
[[gnu::always_inline]] inline Vec<float> operator-(Vec<float> a, Vec<float> b) {
  return {_mm512_sub_ps(a.v, b.v)};
}
[[gnu::always_inline]] inline Vec<float> operator*(Vec<float> a, Vec<float> b) {
  return {_mm512_mul_ps(a.v, b.v)};
}
[[gnu::always_inline]] inline Vec<float> operator/(Vec<float> a, Vec<float> b) {
  return {_mm512_div_ps(a.v, b.v)};
}
[[gnu::always_inline]] inline Vec<float> operator-(Vec<float> a) { return {-a.v}; }
[[gnu::always_inline]] inline Vec<float> fma(Vec<float> a, Vec<float> b, Vec<float> c) {
  return {_mm512_fmadd_ps(a.v, b.v, c.v)};
}
[[gnu::always_inline]] inline Vec<float> mul_add(Vec<float> a, Vec<float> b, Vec<float> c) {
  return {_mm512_fmadd_ps(a.v, b.v, c.v)};
}
[[gnu::always_inline]] inline Vec<float> min_or_second(Vec<float> a, Vec<float> b) {
  return {_mm512_min_ps(a.v, b.v)};
}
[[gnu::always_inline]] inline Vec<float> max_or_second(Vec<float> a, Vec<float> b) {
  return {_mm512_max_ps(a.v, b.v)};
}
// The two orders differ in the sign of a zero and in which NaN operand is dropped.
[[gnu::always_inline]] inline Vec<float> min(Vec<float> a, Vec<float> b) {
  return {_mm512_or_ps(_mm512_min_ps(a.v, b.v), _mm512_min_ps(b.v, a.v))};
}

[[gnu::always_inline]] inline Vec<float> max(Vec<float> a, Vec<float> b) {
  const __m512 larger = _mm512_and_ps(_mm512_max_ps(a.v, b.v), _mm512_max_ps(b.v, a.v));
  return {_mm512_mask_mov_ps(larger, _mm512_cmp_ps_mask(a.v, b.v, _CMP_UNORD_Q),
                             _mm512_castsi512_ps(_mm512_set1_epi32(-1)))};
}

[[gnu::always_inline]] inline Vec<float> abs(Vec<float> a) { return {_mm512_abs_ps(a.v)}; }
[[gnu::always_inline]] inline Vec<float> sqrt(Vec<float> a) { return {_mm512_sqrt_ps(a.v)}; }
[[gnu::always_inline]] inline Vec<float> floor(Vec<float> a) {
  return {_mm512_roundscale_ps(a.v, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC)};
}
[[gnu::always_inline]] inline Vec<float> ceil(Vec<float> a) {
  return {_mm512_roundscale_ps(a.v, _MM_FROUND_TO_POS_INF | _MM_FROUND_NO_EXC)};
}
[[gnu::always_inline]] inline Vec<float> round_even(Vec<float> a) {
  return {_mm512_roundscale_ps(a.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)};
}

[[gnu::always_inline]] inline Vec<float> copysign(Vec<float> magnitude, Vec<float> sign) {
  // 0xCA: the second operand where the first has a bit, else the third.
  const __m512i top = _mm512_castps_si512(_mm512_set1_ps(-0.0f));
  return {_mm512_castsi512_ps(_mm512_ternarylogic_epi32(top, _mm512_castps_si512(sign.v),
                                                        _mm512_castps_si512(magnitude.v), 0xCA))};
}

[[gnu::always_inline]] inline Mask<float> operator<(Vec<float> a, Vec<float> b) {
  return {_mm512_cmp_ps_mask(a.v, b.v, _CMP_LT_OQ)};
}
[[gnu::always_inline]] inline Mask<float> operator<=(Vec<float> a, Vec<float> b) {
  return {_mm512_cmp_ps_mask(a.v, b.v, _CMP_LE_OQ)};
}
[[gnu::always_inline]] inline Mask<float> operator>(Vec<float> a, Vec<float> b) {
  return {_mm512_cmp_ps_mask(a.v, b.v, _CMP_GT_OQ)};
}
[[gnu::always_inline]] inline Mask<float> operator>=(Vec<float> a, Vec<float> b) {
  return {_mm512_cmp_ps_mask(a.v, b.v, _CMP_GE_OQ)};
}
[[gnu::always_inline]] inline Mask<float> operator==(Vec<float> a, Vec<float> b) {
  return {_mm512_cmp_ps_mask(a.v, b.v, _CMP_EQ_OQ)};
}
[[gnu::always_inline]] inline Mask<float> operator!=(Vec<float> a, Vec<float> b) {
  return {_mm512_cmp_ps_mask(a.v, b.v, _CMP_NEQ_UQ)};
}
[[gnu::always_inline]] inline Vec<float> select(Mask<float> m, Vec<float> a, Vec<float> b) {
  return {_mm512_mask_blend_ps(m.v, b.v, a.v)};
}

}  // namespace lamella::simd::LAMELLA_ISA_NAMESPACE
