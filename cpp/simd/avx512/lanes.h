// SPDX-License-Identifier: Apache-2.0
// What moves lanes with AVX-512.
//
// Between float and double, by index, within a register, across several.
// The contract is in simd/vec.h.
#pragma once

#include <immintrin.h>

#include "simd/avx512/integer.h"

namespace lamella::simd::LAMELLA_ISA_NAMESPACE {

[[gnu::always_inline]] inline Vec<double> widen_low(Vec<float> a) {
  return {_mm512_cvtps_pd(_mm512_castps512_ps256(a.v))};
}
[[gnu::always_inline]] inline Vec<double> widen_high(Vec<float> a) {
  return {_mm512_cvtps_pd(_mm512_extractf32x8_ps(a.v, 1))};
}
[[gnu::always_inline]] inline Vec<float> narrow(Vec<double> low, Vec<double> high) {
  return {_mm512_insertf32x8(_mm512_castps256_ps512(_mm512_cvtpd_ps(low.v)),
                             _mm512_cvtpd_ps(high.v), 1)};
}
[[gnu::always_inline]] inline Vec<float> lookup8(const float (&table)[8], VecInt<float> i) {
  // Twice in the register: the permute reads four bits of an index.
  return {_mm512_permutexvar_ps(i.v, _mm512_broadcast_f32x8(_mm256_loadu_ps(table)))};
}
[[gnu::always_inline]] inline Vec<float> lookup16(const float (&table)[16], VecInt<float> i) {
  return {_mm512_permutexvar_ps(i.v, _mm512_loadu_ps(table))};
}

template <int k>
[[gnu::always_inline]] inline Vec<float> upper(Vec<float> a) {
  static_assert(k == 8 || k == 4 || k == 2 || k == 1);
  if constexpr (k == 8) return {_mm512_castps256_ps512(_mm512_extractf32x8_ps(a.v, 1))};
  if constexpr (k == 4) return {_mm512_castps128_ps512(_mm512_extractf32x4_ps(a.v, 1))};
  if constexpr (k == 2) return {_mm512_permute_ps(a.v, 0x4E)};
  return {_mm512_permute_ps(a.v, 0xB1)};
}

template <int k>
[[gnu::always_inline]] inline Vec<double> upper(Vec<double> a) {
  static_assert(k == 4 || k == 2 || k == 1);
  if constexpr (k == 4) return {_mm512_castpd256_pd512(_mm512_extractf64x4_pd(a.v, 1))};
  if constexpr (k == 2) return {_mm512_castpd128_pd512(_mm512_extractf64x2_pd(a.v, 1))};
  return {_mm512_permute_pd(a.v, 0x55)};
}

// Rows 4g .. 4g + 3 are first transposed within each quarter of a register, then the quarters are
// gathered by number.
[[gnu::always_inline]] inline void transpose(Vec<float> (&r)[16]) {
  __m512 quad[16];
#pragma GCC unroll 4
  for (size_t g = 0; g < 16; g += 4) {
    const __m512 a = _mm512_unpacklo_ps(r[g].v, r[g + 1].v);
    const __m512 b = _mm512_unpackhi_ps(r[g].v, r[g + 1].v);
    const __m512 c = _mm512_unpacklo_ps(r[g + 2].v, r[g + 3].v);
    const __m512 d = _mm512_unpackhi_ps(r[g + 2].v, r[g + 3].v);
    quad[g] = _mm512_shuffle_ps(a, c, 0x44);
    quad[g + 1] = _mm512_shuffle_ps(a, c, 0xEE);
    quad[g + 2] = _mm512_shuffle_ps(b, d, 0x44);
    quad[g + 3] = _mm512_shuffle_ps(b, d, 0xEE);
  }
#pragma GCC unroll 4
  for (size_t j = 0; j < 4; ++j) {
    const __m512 even = _mm512_shuffle_f32x4(quad[j], quad[4 + j], 0x88);
    const __m512 odd = _mm512_shuffle_f32x4(quad[j], quad[4 + j], 0xDD);
    const __m512 even_low = _mm512_shuffle_f32x4(quad[8 + j], quad[12 + j], 0x88);
    const __m512 odd_low = _mm512_shuffle_f32x4(quad[8 + j], quad[12 + j], 0xDD);
    r[j] = {_mm512_shuffle_f32x4(even, even_low, 0x88)};
    r[4 + j] = {_mm512_shuffle_f32x4(odd, odd_low, 0x88)};
    r[8 + j] = {_mm512_shuffle_f32x4(even, even_low, 0xDD)};
    r[12 + j] = {_mm512_shuffle_f32x4(odd, odd_low, 0xDD)};
  }
}

[[gnu::always_inline]] inline void transpose(Vec<double> (&r)[8]) {
  __m512d pair[8];
#pragma GCC unroll 4
  for (size_t g = 0; g < 8; g += 2) {
    pair[g] = _mm512_unpacklo_pd(r[g].v, r[g + 1].v);
    pair[g + 1] = _mm512_unpackhi_pd(r[g].v, r[g + 1].v);
  }
#pragma GCC unroll 2
  for (size_t j = 0; j < 2; ++j) {
    const __m512d even = _mm512_shuffle_f64x2(pair[j], pair[2 + j], 0x88);
    const __m512d odd = _mm512_shuffle_f64x2(pair[j], pair[2 + j], 0xDD);
    const __m512d even_low = _mm512_shuffle_f64x2(pair[4 + j], pair[6 + j], 0x88);
    const __m512d odd_low = _mm512_shuffle_f64x2(pair[4 + j], pair[6 + j], 0xDD);
    r[j] = {_mm512_shuffle_f64x2(even, even_low, 0x88)};
    r[2 + j] = {_mm512_shuffle_f64x2(odd, odd_low, 0x88)};
    r[4 + j] = {_mm512_shuffle_f64x2(even, even_low, 0xDD)};
    r[6 + j] = {_mm512_shuffle_f64x2(odd, odd_low, 0xDD)};
  }
}

template <size_t K>
[[gnu::always_inline]] inline Vec<float> add_halves(Vec<float> a, Vec<float> b) {
  constexpr __mmask16 kOfB = K == 8 ? 0xFF00 : K == 4 ? 0xF0F0 : K == 2 ? 0xCCCC : 0xAAAA;
  const __m512 kept = _mm512_mask_blend_ps(kOfB, a.v, b.v);
  if constexpr (K == 8) return {_mm512_add_ps(kept, _mm512_shuffle_f32x4(a.v, b.v, 0x4E))};
  if constexpr (K == 2) return {_mm512_add_ps(kept, _mm512_shuffle_ps(a.v, b.v, 0x4E))};
  const __m512 moved = _mm512_mask_blend_ps(kOfB, b.v, a.v);
  if constexpr (K == 4) return {_mm512_add_ps(kept, _mm512_shuffle_f32x4(moved, moved, 0xB1))};
  return {_mm512_add_ps(kept, _mm512_permute_ps(moved, 0xB1))};
}

template <size_t K>
[[gnu::always_inline]] inline Vec<double> add_halves(Vec<double> a, Vec<double> b) {
  constexpr __mmask8 kOfB = K == 4 ? 0xF0 : K == 2 ? 0xCC : 0xAA;
  const __m512d kept = _mm512_mask_blend_pd(kOfB, a.v, b.v);
  if constexpr (K == 4) return {_mm512_add_pd(kept, _mm512_shuffle_f64x2(a.v, b.v, 0x4E))};
  if constexpr (K == 1) return {_mm512_add_pd(kept, _mm512_shuffle_pd(a.v, b.v, 0x55))};
  const __m512d moved = _mm512_mask_blend_pd(kOfB, b.v, a.v);
  return {_mm512_add_pd(kept, _mm512_shuffle_f64x2(moved, moved, 0xB1))};
}

}  // namespace lamella::simd::LAMELLA_ISA_NAMESPACE
