// SPDX-License-Identifier: Apache-2.0
// Registers of integers with SSE2, of the size of float and of double.
//
// Arithmetic, shifts, and both ways between numbers and their bits.
// The contract is in simd/vec.h.
#pragma once

#include <emmintrin.h>

#include "simd/sse2/double.h"
#include "simd/sse2/float.h"

namespace lamella::simd::LAMELLA_ISA_NAMESPACE {

template <>
struct VecInt<float> {
  using Scalar = std::int32_t;
  static constexpr size_t lanes = 4;
  __m128i v;
  [[gnu::always_inline]] static VecInt broadcast(Scalar x) { return {_mm_set1_epi32(x)}; }
};

template <>
struct VecInt<double> {
  using Scalar = std::int64_t;
  static constexpr size_t lanes = 2;
  __m128i v;
  [[gnu::always_inline]] static VecInt broadcast(Scalar x) { return {_mm_set1_epi64x(x)}; }
};

[[gnu::always_inline]] inline VecInt<float> operator+(VecInt<float> a, VecInt<float> b) {
  return {_mm_add_epi32(a.v, b.v)};
}
[[gnu::always_inline]] inline VecInt<float> operator-(VecInt<float> a, VecInt<float> b) {
  return {_mm_sub_epi32(a.v, b.v)};
}
[[gnu::always_inline]] inline VecInt<float> operator&(VecInt<float> a, VecInt<float> b) {
  return {_mm_and_si128(a.v, b.v)};
}
[[gnu::always_inline]] inline VecInt<float> operator|(VecInt<float> a, VecInt<float> b) {
  return {_mm_or_si128(a.v, b.v)};
}
[[gnu::always_inline]] inline VecInt<float> operator^(VecInt<float> a, VecInt<float> b) {
  return {_mm_xor_si128(a.v, b.v)};
}
template <int k>
[[gnu::always_inline]] inline VecInt<float> shift_left(VecInt<float> a) {
  return {_mm_slli_epi32(a.v, k)};
}
template <int k>
[[gnu::always_inline]] inline VecInt<float> shift_right(VecInt<float> a) {
  return {_mm_srli_epi32(a.v, k)};
}
[[gnu::always_inline]] inline VecInt<double> operator+(VecInt<double> a, VecInt<double> b) {
  return {_mm_add_epi64(a.v, b.v)};
}
[[gnu::always_inline]] inline VecInt<double> operator-(VecInt<double> a, VecInt<double> b) {
  return {_mm_sub_epi64(a.v, b.v)};
}
[[gnu::always_inline]] inline VecInt<double> operator&(VecInt<double> a, VecInt<double> b) {
  return {_mm_and_si128(a.v, b.v)};
}
[[gnu::always_inline]] inline VecInt<double> operator|(VecInt<double> a, VecInt<double> b) {
  return {_mm_or_si128(a.v, b.v)};
}
[[gnu::always_inline]] inline VecInt<double> operator^(VecInt<double> a, VecInt<double> b) {
  return {_mm_xor_si128(a.v, b.v)};
}
template <int k>
[[gnu::always_inline]] inline VecInt<double> shift_left(VecInt<double> a) {
  return {_mm_slli_epi64(a.v, k)};
}
template <int k>
[[gnu::always_inline]] inline VecInt<double> shift_right(VecInt<double> a) {
  return {_mm_srli_epi64(a.v, k)};
}
[[gnu::always_inline]] inline VecInt<double> multiply_low32(VecInt<double> a, VecInt<double> b) {
  return {_mm_mul_epu32(a.v, b.v)};
}
[[gnu::always_inline]] inline Mask<float> operator==(VecInt<float> a, VecInt<float> b) {
  return {_mm_castsi128_ps(_mm_cmpeq_epi32(a.v, b.v))};
}
[[gnu::always_inline]] inline Mask<float> operator>(VecInt<float> a, VecInt<float> b) {
  return {_mm_castsi128_ps(_mm_cmpgt_epi32(a.v, b.v))};
}
[[gnu::always_inline]] inline VecInt<float> max(VecInt<float> a, VecInt<float> b) {
  const __m128i larger = _mm_cmpgt_epi32(a.v, b.v);
  return {_mm_or_si128(_mm_and_si128(larger, a.v), _mm_andnot_si128(larger, b.v))};
}
[[gnu::always_inline]] inline VecInt<float> bits(Vec<float> a) { return {_mm_castps_si128(a.v)}; }
[[gnu::always_inline]] inline VecInt<double> bits(Vec<double> a) { return {_mm_castpd_si128(a.v)}; }
[[gnu::always_inline]] inline Vec<float> from_bits(VecInt<float> a) {
  return {_mm_castsi128_ps(a.v)};
}
[[gnu::always_inline]] inline Vec<double> from_bits(VecInt<double> a) {
  return {_mm_castsi128_pd(a.v)};
}
[[gnu::always_inline]] inline VecInt<float> to_int(Vec<float> a) { return {_mm_cvttps_epi32(a.v)}; }
[[gnu::always_inline]] inline VecInt<float> round_to_int(Vec<float> a) {
  return {_mm_cvtps_epi32(a.v)};
}
[[gnu::always_inline]] inline Vec<float> to_float(VecInt<float> a) {
  return {_mm_cvtepi32_ps(a.v)};
}

}  // namespace lamella::simd::LAMELLA_ISA_NAMESPACE
