// SPDX-License-Identifier: Apache-2.0
// Dot products of pairs of 16-bit terms with SSE2.
//
// Moves of lanes and bytes, products, sums.
// The contract is in simd/dot.h.
#pragma once

#include <emmintrin.h>

#include "simd/x86/interleave.h"

namespace lamella::simd::LAMELLA_ISA_NAMESPACE {

inline constexpr size_t kDotTerms = 2;

[[gnu::always_inline]] inline VecInt<float> dot(VecInt<float> sum, VecInt<float> a,
                                                VecInt<float> b) {
  return {_mm_add_epi32(sum.v, _mm_madd_epi16(a.v, b.v))};
}
[[gnu::always_inline]] inline VecInt<float> load_lanes(const void* p) {
  return {_mm_loadu_si128(static_cast<const __m128i*>(p))};
}
[[gnu::always_inline]] inline void store_lanes(VecInt<float> v, void* p) {
  _mm_storeu_si128(static_cast<__m128i*>(p), v.v);
}
[[gnu::always_inline]] inline VecInt<float> load_terms(const std::uint8_t* p) {
  const __m128i bytes = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(p));
  return {_mm_unpacklo_epi8(bytes, _mm_setzero_si128())};
}
[[gnu::always_inline]] inline void interleave(const std::uint8_t* p, std::ptrdiff_t step,
                                              std::uint8_t flip, std::uint8_t* to) {
  interleave_halves(p, step, flip, to);
}
[[gnu::always_inline]] inline VecInt<float> multiply_low(VecInt<float> a, VecInt<float> b) {
  const __m128i even = _mm_mul_epu32(a.v, b.v);
  const __m128i odd = _mm_mul_epu32(_mm_srli_epi64(a.v, 32), _mm_srli_epi64(b.v, 32));
  return {_mm_unpacklo_epi32(_mm_shuffle_epi32(even, 0x08), _mm_shuffle_epi32(odd, 0x08))};
}
[[gnu::always_inline]] inline __m128i four_bytes(const void* p) {
  std::int32_t word;
  __builtin_memcpy(&word, p, sizeof word);
  return _mm_cvtsi32_si128(word);
}
[[gnu::always_inline]] inline VecInt<float> load_bytes(const std::uint8_t* p) {
  const __m128i zero = _mm_setzero_si128();
  return {_mm_unpacklo_epi16(_mm_unpacklo_epi8(four_bytes(p), zero), zero)};
}
[[gnu::always_inline]] inline VecInt<float> load_bytes(const std::int8_t* p) {
  const __m128i bytes = four_bytes(p), halves = _mm_unpacklo_epi8(bytes, bytes);
  return {_mm_srai_epi32(_mm_unpacklo_epi16(halves, halves), 24)};
}
[[gnu::always_inline]] inline void store_bytes(VecInt<float> v, void* p) {
  const __m128i low = _mm_and_si128(v.v, _mm_set1_epi32(255));
  const __m128i halves = _mm_packs_epi32(low, low);
  const std::int32_t word = _mm_cvtsi128_si32(_mm_packus_epi16(halves, halves));
  __builtin_memcpy(p, &word, sizeof word);
}

}  // namespace lamella::simd::LAMELLA_ISA_NAMESPACE
