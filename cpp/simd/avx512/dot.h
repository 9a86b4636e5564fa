// SPDX-License-Identifier: Apache-2.0
// Dot products of four bytes with AVX-512 VNNI, of pairs of 16-bit terms with the rest of AVX-512.
//
// Moves of lanes and bytes, products, sums.
// The contract is in simd/dot.h.
#pragma once

#include <immintrin.h>

#include "simd/x86/interleave.h"

namespace lamella::simd::LAMELLA_ISA_NAMESPACE {

#if defined(__AVX512VNNI__)
inline constexpr size_t kDotTerms = 4;
#else
inline constexpr size_t kDotTerms = 2;
#endif

[[gnu::always_inline]] inline VecInt<float> dot(VecInt<float> sum, VecInt<float> a,
                                                VecInt<float> b) {
#if defined(__AVX512VNNI__)
  return {_mm512_dpbusd_epi32(sum.v, a.v, b.v)};
#else
  return {_mm512_add_epi32(sum.v, _mm512_madd_epi16(a.v, b.v))};
#endif
}
[[gnu::always_inline]] inline VecInt<float> load_lanes(const void* p) {
  return {_mm512_loadu_si512(p)};
}
[[gnu::always_inline]] inline void store_lanes(VecInt<float> v, void* p) {
  _mm512_storeu_si512(p, v.v);
}
[[gnu::always_inline]] inline VecInt<float> load_terms(const std::uint8_t* p) {
#if defined(__AVX512VNNI__)
  return load_lanes(p);
#else
  return {_mm512_cvtepu8_epi16(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)))};
#endif
}
[[gnu::always_inline]] inline void interleave(const std::uint8_t* p, std::ptrdiff_t step,
                                              std::uint8_t flip, std::uint8_t* to) {
#if defined(__AVX512VNNI__)
  interleave_bytes(p, step, flip, to);
#else
  interleave_halves(p, step, flip, to);
#endif
}
[[gnu::always_inline]] inline VecInt<float> multiply_low(VecInt<float> a, VecInt<float> b) {
  return {_mm512_mullo_epi32(a.v, b.v)};
}
[[gnu::always_inline]] inline VecInt<float> load_bytes(const std::uint8_t* p) {
  return {_mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)))};
}
[[gnu::always_inline]] inline VecInt<float> load_bytes(const std::int8_t* p) {
  return {_mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)))};
}
[[gnu::always_inline]] inline void store_bytes(VecInt<float> v, void* p) {
  _mm_storeu_si128(static_cast<__m128i*>(p), _mm512_cvtepi32_epi8(v.v));
}

}  // namespace lamella::simd::LAMELLA_ISA_NAMESPACE
