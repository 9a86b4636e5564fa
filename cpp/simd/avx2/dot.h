// SPDX-License-Identifier: Apache-2.0
// Dot products of pairs of 16-bit terms with AVX2.
//
// Moves of lanes and bytes, products, sums. Bytes multiplied as bytes (vpmaddubsw) would be quicker,
// and saturate.
// The contract is in simd/dot.h.
#pragma once

#include <immintrin.h>

#include "simd/x86/interleave.h"

namespace lamella::simd::LAMELLA_ISA_NAMESPACE {

inline constexpr size_t kDotTerms = 2;

[[gnu::always_inline]] inline VecInt<float> dot(VecInt<float> sum, VecInt<float> a,
                                                VecInt<float> b) {
  return {_mm256_add_epi32(sum.v, _mm256_madd_epi16(a.v, b.v))};
}
[[gnu::always_inline]] inline VecInt<float> load_lanes(const void* p) {
  return {_mm256_loadu_si256(static_cast<const __m256i*>(p))};
}
[[gnu::always_inline]] inline void store_lanes(VecInt<float> v, void* p) {
  _mm256_storeu_si256(static_cast<__m256i*>(p), v.v);
}
[[gnu::always_inline]] inline VecInt<float> load_terms(const std::uint8_t* p) {
  return {_mm256_cvtepu8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)))};
}
[[gnu::always_inline]] inline void interleave(const std::uint8_t* p, std::ptrdiff_t step,
                                              std::uint8_t flip, std::uint8_t* to) {
  interleave_halves(p, step, flip, to);
}
[[gnu::always_inline]] inline VecInt<float> multiply_low(VecInt<float> a, VecInt<float> b) {
  return {_mm256_mullo_epi32(a.v, b.v)};
}
[[gnu::always_inline]] inline VecInt<float> load_bytes(const std::uint8_t* p) {
  return {_mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)))};
}
[[gnu::always_inline]] inline VecInt<float> load_bytes(const std::int8_t* p) {
  return {_mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)))};
}
[[gnu::always_inline]] inline void store_bytes(VecInt<float> v, void* p) {
  const __m256i low = _mm256_and_si256(v.v, _mm256_set1_epi32(255));
  const __m128i halves =
      _mm_packs_epi32(_mm256_castsi256_si128(low), _mm256_extracti128_si256(low, 1));
  _mm_storel_epi64(static_cast<__m128i*>(p), _mm_packus_epi16(halves, halves));
}

}  // namespace lamella::simd::LAMELLA_ISA_NAMESPACE
