// SPDX-License-Identifier: Apache-2.0
// What moves lanes with AVX2.
//
// Between float and double, by index, within a register, across several.
// The contract is in simd/vec.h.
#pragma once

#include <immintrin.h>

#include "simd/avx2/integer.h"

namespace lamella::simd::LAMELLA_ISA_NAMESPACE {

[[gnu::always_inline]] inline Vec<double> widen_low(Vec<float> a) {
  return {_mm256_cvtps_pd(_mm256_castps256_ps128(a.v))};
}
[[gnu::always_inline]] inline Vec<double> widen_high(Vec<float> a) {
  return {_mm256_cvtps_pd(_mm256_extractf128_ps(a.v, 1))};
}
[[gnu::always_inline]] inline Vec<float> narrow(Vec<double> low, Vec<double> high) {
  return {_mm256_set_m128(_mm256_cvtpd_ps(high.v), _mm256_cvtpd_ps(low.v))};
}
[[gnu::always_inline]] inline Vec<float> lookup8(const float (&table)[8], VecInt<float> i) {
  return {_mm256_permutevar8x32_ps(_mm256_loadu_ps(table), i.v)};
}

// The permute reads the low three bits of an index; the next ones, moved to the top, choose among
// its results.
[[gnu::always_inline]] inline Vec<float> lookup16(const float (&table)[16], VecInt<float> i) {
  const __m256 low = _mm256_permutevar8x32_ps(_mm256_loadu_ps(table), i.v);
  const __m256 high = _mm256_permutevar8x32_ps(_mm256_loadu_ps(table + 8), i.v);
  return {_mm256_blendv_ps(low, high, _mm256_castsi256_ps(_mm256_slli_epi32(i.v, 28)))};
}

template <int k>
[[gnu::always_inline]] inline Vec<float> upper(Vec<float> a) {
  static_assert(k == 4 || k == 2 || k == 1);
  if constexpr (k == 4) return {_mm256_permute2f128_ps(a.v, a.v, 1)};
  if constexpr (k == 2) return {_mm256_permute_ps(a.v, 0x4E)};
  return {_mm256_permute_ps(a.v, 0xB1)};
}

template <int k>
[[gnu::always_inline]] inline Vec<double> upper(Vec<double> a) {
  static_assert(k == 2 || k == 1);
  if constexpr (k == 2) return {_mm256_permute2f128_pd(a.v, a.v, 1)};
  return {_mm256_permute_pd(a.v, 0x5)};
}

[[gnu::always_inline]] inline void transpose(Vec<float> (&r)[8]) {
  __m256 pair[8], quad[8];
#pragma GCC unroll 4
  for (size_t i = 0; i < 4; ++i) {
    pair[2 * i] = _mm256_unpacklo_ps(r[2 * i].v, r[2 * i + 1].v);
    pair[2 * i + 1] = _mm256_unpackhi_ps(r[2 * i].v, r[2 * i + 1].v);
  }
#pragma GCC unroll 2
  for (size_t i = 0; i < 8; i += 4) {
    quad[i] = _mm256_shuffle_ps(pair[i], pair[i + 2], 0x44);
    quad[i + 1] = _mm256_shuffle_ps(pair[i], pair[i + 2], 0xEE);
    quad[i + 2] = _mm256_shuffle_ps(pair[i + 1], pair[i + 3], 0x44);
    quad[i + 3] = _mm256_shuffle_ps(pair[i + 1], pair[i + 3], 0xEE);
  }
#pragma GCC unroll 4
  for (size_t i = 0; i < 4; ++i) {
    r[i] = {_mm256_permute2f128_ps(quad[i], quad[i + 4], 0x20)};
    r[i + 4] = {_mm256_permute2f128_ps(quad[i], quad[i + 4], 0x31)};
  }
}

[[gnu::always_inline]] inline void transpose(Vec<double> (&r)[4]) {
  const __m256d a = _mm256_unpacklo_pd(r[0].v, r[1].v), b = _mm256_unpackhi_pd(r[0].v, r[1].v);
  const __m256d c = _mm256_unpacklo_pd(r[2].v, r[3].v), d = _mm256_unpackhi_pd(r[2].v, r[3].v);
  r[0] = {_mm256_permute2f128_pd(a, c, 0x20)};
  r[1] = {_mm256_permute2f128_pd(b, d, 0x20)};
  r[2] = {_mm256_permute2f128_pd(a, c, 0x31)};
  r[3] = {_mm256_permute2f128_pd(b, d, 0x31)};
}

template <size_t K>
[[gnu::always_inline]] inline Vec<float> add_halves(Vec<float> a, Vec<float> b) {
  constexpr int kOfB = K == 4 ? 0xF0 : K == 2 ? 0xCC : 0xAA;
  const __m256 kept = _mm256_blend_ps(a.v, b.v, kOfB);
  if constexpr (K == 4) return {_mm256_add_ps(kept, _mm256_permute2f128_ps(a.v, b.v, 0x21))};
  if constexpr (K == 2) return {_mm256_add_ps(kept, _mm256_shuffle_ps(a.v, b.v, 0x4E))};
  return {_mm256_add_ps(kept, _mm256_permute_ps(_mm256_blend_ps(b.v, a.v, kOfB), 0xB1))};
}

template <size_t K>
[[gnu::always_inline]] inline Vec<double> add_halves(Vec<double> a, Vec<double> b) {
  const __m256d kept = _mm256_blend_pd(a.v, b.v, K == 2 ? 0xC : 0xA);
  if constexpr (K == 2) return {_mm256_add_pd(kept, _mm256_permute2f128_pd(a.v, b.v, 0x21))};
  return {_mm256_add_pd(kept, _mm256_shuffle_pd(a.v, b.v, 0x5))};
}

}  // namespace lamella::simd::LAMELLA_ISA_NAMESPACE
