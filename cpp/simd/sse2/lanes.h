// SPDX-License-Identifier: Apache-2.0
// What moves lanes with SSE2.
//
// Between float and double, by index, within a register, across several.
// The contract is in simd/vec.h.
#pragma once

#include <emmintrin.h>

#include "simd/sse2/integer.h"

namespace lamella::simd::LAMELLA_ISA_NAMESPACE {

[[gnu::always_inline]] inline Vec<double> widen_low(Vec<float> a) { return {_mm_cvtps_pd(a.v)}; }
[[gnu::always_inline]] inline Vec<double> widen_high(Vec<float> a) {
  return {_mm_cvtps_pd(_mm_movehl_ps(a.v, a.v))};
}
[[gnu::always_inline]] inline Vec<float> narrow(Vec<double> low, Vec<double> high) {
  return {_mm_movelh_ps(_mm_cvtpd_ps(low.v), _mm_cvtpd_ps(high.v))};
}

template <size_t N>
[[gnu::always_inline]] inline Vec<float> lookup_in(const float (&table)[N], VecInt<float> i) {
  alignas(16) std::int32_t at[4];
  _mm_store_si128(reinterpret_cast<__m128i*>(at), _mm_and_si128(i.v, _mm_set1_epi32(N - 1)));
  return {_mm_setr_ps(table[at[0]], table[at[1]], table[at[2]], table[at[3]])};
}

[[gnu::always_inline]] inline Vec<float> lookup8(const float (&table)[8], VecInt<float> i) {
  return lookup_in(table, i);
}
[[gnu::always_inline]] inline Vec<float> lookup16(const float (&table)[16], VecInt<float> i) {
  return lookup_in(table, i);
}

template <int k>
[[gnu::always_inline]] inline Vec<float> upper(Vec<float> a) {
  static_assert(k == 2 || k == 1);
  if constexpr (k == 2) return {_mm_movehl_ps(a.v, a.v)};
  return {_mm_shuffle_ps(a.v, a.v, 0xB1)};
}

template <int k>
[[gnu::always_inline]] inline Vec<double> upper(Vec<double> a) {
  static_assert(k == 1);
  return {_mm_unpackhi_pd(a.v, a.v)};
}

[[gnu::always_inline]] inline void transpose(Vec<float> (&r)[4]) {
  const __m128 a = _mm_unpacklo_ps(r[0].v, r[1].v), b = _mm_unpackhi_ps(r[0].v, r[1].v);
  const __m128 c = _mm_unpacklo_ps(r[2].v, r[3].v), d = _mm_unpackhi_ps(r[2].v, r[3].v);
  r[0] = {_mm_movelh_ps(a, c)};
  r[1] = {_mm_movehl_ps(c, a)};
  r[2] = {_mm_movelh_ps(b, d)};
  r[3] = {_mm_movehl_ps(d, b)};
}

[[gnu::always_inline]] inline void transpose(Vec<double> (&r)[2]) {
  const __m128d low = _mm_unpacklo_pd(r[0].v, r[1].v), high = _mm_unpackhi_pd(r[0].v, r[1].v);
  r[0] = {low};
  r[1] = {high};
}

template <size_t K>
[[gnu::always_inline]] inline Vec<float> add_halves(Vec<float> a, Vec<float> b) {
  if constexpr (K == 2) {
    const __m128 kept = _mm_shuffle_ps(a.v, b.v, 0xE4);
    return {_mm_add_ps(kept, _mm_shuffle_ps(a.v, b.v, 0x4E))};
  }
  const __m128 even = _mm_shuffle_ps(a.v, b.v, 0x88), odd = _mm_shuffle_ps(a.v, b.v, 0xDD);
  const __m128 sum = _mm_add_ps(even, odd);
  return {_mm_shuffle_ps(sum, sum, 0xD8)};
}

template <size_t K>
[[gnu::always_inline]] inline Vec<double> add_halves(Vec<double> a, Vec<double> b) {
  return {_mm_add_pd(_mm_shuffle_pd(a.v, b.v, 2), _mm_shuffle_pd(a.v, b.v, 1))};
}

}  // namespace lamella::simd::LAMELLA_ISA_NAMESPACE
