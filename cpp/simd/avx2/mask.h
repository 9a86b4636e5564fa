// SPDX-License-Identifier: Apache-2.0
// Masks with AVX2: what comparisons give.
//
// Logic of masks, the first lanes, and truth values in memory, bytes of 0 or 1.
// The contract is in simd/vec.h.
#pragma once

#include <immintrin.h>

#include "simd/vec.h"

namespace lamella::simd::LAMELLA_ISA_NAMESPACE {

template <>
struct Mask<float> {
  __m256 v;
};

template <>
struct Mask<double> {
  __m256d v;
};

[[gnu::always_inline]] inline Mask<float> operator&(Mask<float> a, Mask<float> b) {
  return {_mm256_and_ps(a.v, b.v)};
}
[[gnu::always_inline]] inline Mask<float> operator|(Mask<float> a, Mask<float> b) {
  return {_mm256_or_ps(a.v, b.v)};
}
[[gnu::always_inline]] inline Mask<float> operator!(Mask<float> a) {
  return {_mm256_xor_ps(a.v, _mm256_castsi256_ps(_mm256_set1_epi32(-1)))};
}
[[gnu::always_inline]] inline bool any(Mask<float> m) { return _mm256_movemask_ps(m.v) != 0; }
[[gnu::always_inline]] inline bool all(Mask<float> m) { return _mm256_movemask_ps(m.v) == 0xFF; }
[[gnu::always_inline]] inline Mask<double> operator&(Mask<double> a, Mask<double> b) {
  return {_mm256_and_pd(a.v, b.v)};
}
[[gnu::always_inline]] inline Mask<double> operator|(Mask<double> a, Mask<double> b) {
  return {_mm256_or_pd(a.v, b.v)};
}
[[gnu::always_inline]] inline Mask<double> operator!(Mask<double> a) {
  return {_mm256_xor_pd(a.v, _mm256_castsi256_pd(_mm256_set1_epi32(-1)))};
}
[[gnu::always_inline]] inline bool any(Mask<double> m) { return _mm256_movemask_pd(m.v) != 0; }
[[gnu::always_inline]] inline bool all(Mask<double> m) { return _mm256_movemask_pd(m.v) == 0xF; }

template <class T>
[[gnu::always_inline]] inline Mask<T> first_lanes(size_t n) {
  const int count = n < Vec<T>::lanes ? static_cast<int>(n) : static_cast<int>(Vec<T>::lanes);
  if constexpr (sizeof(T) == 4) {
    return {_mm256_castsi256_ps(
        _mm256_cmpgt_epi32(_mm256_set1_epi32(count), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7)))};
  } else {
    return {_mm256_castsi256_pd(
        _mm256_cmpgt_epi64(_mm256_set1_epi64x(count), _mm256_setr_epi64x(0, 1, 2, 3)))};
  }
}

[[gnu::always_inline]] inline void store_truth(Mask<float> m, std::uint8_t* p) {
  const __m256i lanes = _mm256_castps_si256(m.v);
  const __m128i words =
      _mm_packs_epi32(_mm256_castsi256_si128(lanes), _mm256_extracti128_si256(lanes, 1));
  const __m128i bytes = _mm_and_si128(_mm_packs_epi16(words, words), _mm_set1_epi8(1));
  _mm_storel_epi64(reinterpret_cast<__m128i*>(p), bytes);
}

[[gnu::always_inline]] inline void store_truth(Mask<double> m, std::uint8_t* p) {
  const unsigned set = static_cast<unsigned>(_mm256_movemask_pd(m.v));
  const unsigned bytes = (set * 0x00204081u) & 0x01010101u;  // bit i to byte i
  __builtin_memcpy(p, &bytes, 4);
}

template <class T>
[[gnu::always_inline]] inline void store_truth_partial(Mask<T> m, std::uint8_t* p, size_t n) {
  std::uint8_t whole[Vec<T>::lanes];
  store_truth(m, whole);
  for (size_t i = 0; i < n; ++i) p[i] = whole[i];
}

template <class T>
[[gnu::always_inline]] inline Mask<T> load_truth(const std::uint8_t* p) {
  if constexpr (sizeof(T) == 4) {
    const __m256i lanes =
        _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)));
    return {_mm256_castsi256_ps(_mm256_cmpgt_epi32(lanes, _mm256_setzero_si256()))};
  } else {
    int four;
    __builtin_memcpy(&four, p, 4);
    const __m256i lanes = _mm256_cvtepu8_epi64(_mm_cvtsi32_si128(four));
    return {_mm256_castsi256_pd(_mm256_cmpgt_epi64(lanes, _mm256_setzero_si256()))};
  }
}

template <class T>
[[gnu::always_inline]] inline Mask<T> load_truth_partial(const std::uint8_t* p, size_t n) {
  std::uint8_t whole[Vec<T>::lanes] = {};
  for (size_t i = 0; i < n; ++i) whole[i] = p[i];
  return load_truth<T>(whole);
}

}  // namespace lamella::simd::LAMELLA_ISA_NAMESPACE
