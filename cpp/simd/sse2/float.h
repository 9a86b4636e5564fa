// SPDX-License-Identifier: Apache-2.0
// Registers of float with SSE2.
//
// Moves, arithmetic, rounding, comparison, selection.
// The contract is in simd/vec.h.
#pragma once

#include <emmintrin.h>

#include "simd/sse2/mask.h"

namespace lamella::simd::LAMELLA_ISA_NAMESPACE {

template <>
struct Vec<float> {
  using Scalar = float;
  static constexpr size_t lanes = 4;
  __m128 v;

  [[gnu::always_inline]] static Vec load(const float* p) { return {_mm_loadu_ps(p)}; }
  [[gnu::always_inline]] static Vec load_partial(const float* p, size_t n) {
    if (n == 0) return zero();
    if (n == 1) return {_mm_load_ss(p)};
    const __m128 two = _mm_castsi128_ps(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)));
    return {n == 2 ? two : _mm_movelh_ps(two, _mm_load_ss(p + 2))};
  }
  [[gnu::always_inline]] void store(float* p) const { _mm_storeu_ps(p, v); }
  [[gnu::always_inline]] void store_partial(float* p, size_t n) const {
    if (n == 0) return;
    if (n == 1) {
      _mm_store_ss(p, v);
      return;
    }
    _mm_storel_epi64(reinterpret_cast<__m128i*>(p), _mm_castps_si128(v));
    if (n == 3) _mm_store_ss(p + 2, _mm_movehl_ps(v, v));
  }
  [[gnu::always_inline]] static Vec broadcast(float x) { return {_mm_set1_ps(x)}; }
  [[gnu::always_inline]] static Vec zero() { return {_mm_setzero_ps()}; }
  [[gnu::always_inline]] float first() const { return _mm_cvtss_f32(v); }
};

[[gnu::always_inline]] inline Vec<float> operator+(Vec<float> a, Vec<float> b) {
  return {_mm_add_ps(a.v, b.v)};
}
[[gnu::always_inline]] inline Vec<float> operator-(Vec<float> a, Vec<float> b) {
  return {_mm_sub_ps(a.v, b.v)};
}
[[gnu::always_inline]] inline Vec<float> operator*(Vec<float> a, Vec<float> b) {
  return {_mm_mul_ps(a.v, b.v)};
}
[[gnu::always_inline]] inline Vec<float> operator/(Vec<float> a, Vec<float> b) {
  return {_mm_div_ps(a.v, b.v)};
}
[[gnu::always_inline]] inline Vec<float> operator-(Vec<float> a) { return {-a.v}; }
[[gnu::always_inline]] inline Vec<float> mul_add(Vec<float> a, Vec<float> b, Vec<float> c) {
  return a * b + c;
}
[[gnu::always_inline]] inline Vec<float> min_or_second(Vec<float> a, Vec<float> b) {
  return {_mm_min_ps(a.v, b.v)};
}
[[gnu::always_inline]] inline Vec<float> max_or_second(Vec<float> a, Vec<float> b) {
  return {_mm_max_ps(a.v, b.v)};
}
// The two orders differ in the sign of a zero and in which NaN operand is dropped.
[[gnu::always_inline]] inline Vec<float> min(Vec<float> a, Vec<float> b) {
  return {_mm_or_ps(_mm_min_ps(a.v, b.v), _mm_min_ps(b.v, a.v))};
}
[[gnu::always_inline]] inline Vec<float> max(Vec<float> a, Vec<float> b) {
  return {
      _mm_or_ps(_mm_and_ps(_mm_max_ps(a.v, b.v), _mm_max_ps(b.v, a.v)), _mm_cmpunord_ps(a.v, b.v))};
}
[[gnu::always_inline]] inline Vec<float> abs(Vec<float> a) {
  return {_mm_andnot_ps(_mm_set1_ps(-0.0f), a.v)};
}
[[gnu::always_inline]] inline Vec<float> sqrt(Vec<float> a) { return {_mm_sqrt_ps(a.v)}; }
[[gnu::always_inline]] inline Vec<float> copysign(Vec<float> magnitude, Vec<float> sign) {
  const __m128 top = _mm_set1_ps(-0.0f);
  return {_mm_or_ps(_mm_andnot_ps(top, magnitude.v), _mm_and_ps(top, sign.v))};
}
[[gnu::always_inline]] inline Mask<float> operator<(Vec<float> a, Vec<float> b) {
  return {_mm_cmplt_ps(a.v, b.v)};
}
[[gnu::always_inline]] inline Mask<float> operator<=(Vec<float> a, Vec<float> b) {
  return {_mm_cmple_ps(a.v, b.v)};
}
[[gnu::always_inline]] inline Mask<float> operator>(Vec<float> a, Vec<float> b) {
  return {_mm_cmpgt_ps(a.v, b.v)};
}
[[gnu::always_inline]] inline Mask<float> operator>=(Vec<float> a, Vec<float> b) {
  return {_mm_cmpge_ps(a.v, b.v)};
}
[[gnu::always_inline]] inline Mask<float> operator==(Vec<float> a, Vec<float> b) {
  return {_mm_cmpeq_ps(a.v, b.v)};
}
[[gnu::always_inline]] inline Mask<float> operator!=(Vec<float> a, Vec<float> b) {
  return {_mm_cmpneq_ps(a.v, b.v)};
}
[[gnu::always_inline]] inline Vec<float> select(Mask<float> m, Vec<float> a, Vec<float> b) {
  return {_mm_or_ps(_mm_and_ps(m.v, a.v), _mm_andnot_ps(m.v, b.v))};
}

// Adding and taking away 8388608.0f leaves the nearest integer; larger numbers have no fraction.
[[gnu::always_inline]] inline Vec<float> round_even(Vec<float> a) {
  const Vec<float> big = copysign(Vec<float>::broadcast(8388608.0f), a);
  const Vec<float> rounded = copysign((a + big) - big, a);
  return select(abs(a) < Vec<float>::broadcast(8388608.0f), rounded, a);
}

[[gnu::always_inline]] inline Vec<float> floor(Vec<float> a) {
  const Vec<float> near = round_even(a);
  return copysign(select(near > a, near - Vec<float>::broadcast(1.0f), near), a);
}
[[gnu::always_inline]] inline Vec<float> ceil(Vec<float> a) {
  const Vec<float> near = round_even(a);
  return copysign(select(near < a, near + Vec<float>::broadcast(1.0f), near), a);
}

}  // namespace lamella::simd::LAMELLA_ISA_NAMESPACE
