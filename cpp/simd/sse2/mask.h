// SPDX-License-Identifier: Apache-2.0
// Masks with SSE2: what comparisons give.
//
// Logic of masks, the first lanes, and truth values in memory, bytes of 0 or 1.
// The contract is in simd/vec.h.
#pragma once

#include <emmintrin.h>

#include "simd/vec.h"

namespace lamella::simd::LAMELLA_ISA_NAMESPACE {

template <>
struct Mask<float> {
  __m128 v;
};

template <>
struct Mask<double> {
  __m128d v;
};

[[gnu::always_inline]] inline Mask<float> operator&(Mask<float> a, Mask<float> b) {
  return {_mm_and_ps(a.v, b.v)};
}
[[gnu::always_inline]] inline Mask<float> operator|(Mask<float> a, Mask<float> b) {
  return {_mm_or_ps(a.v, b.v)};
}
[[gnu::always_inline]] inline Mask<float> operator!(Mask<float> a) {
  return {_mm_xor_ps(a.v, _mm_castsi128_ps(_mm_set1_epi32(-1)))};
}
[[gnu::always_inline]] inline bool any(Mask<float> m) { return _mm_movemask_ps(m.v) != 0; }
[[gnu::always_inline]] inline bool all(Mask<float> m) { return _mm_movemask_ps(m.v) == 0xF; }
[[gnu::always_inline]] inline Mask<double> operator&(Mask<double> a, Mask<double> b) {
  return {_mm_and_pd(a.v, b.v)};
}
[[gnu::always_inline]] inline Mask<double> operator|(Mask<double> a, Mask<double> b) {
  return {_mm_or_pd(a.v, b.v)};
}
[[gnu::always_inline]] inline Mask<double> operator!(Mask<double> a) {
  return {_mm_xor_pd(a.v, _mm_castsi128_pd(_mm_set1_epi32(-1)))};
}
[[gnu::always_inline]] inline bool any(Mask<double> m) { return _mm_movemask_pd(m.v) != 0; }
[[gnu::always_inline]] inline bool all(Mask<double> m) { return _mm_movemask_pd(m.v) == 0x3; }

template <class T>
[[gnu::always_inline]] inline Mask<T> first_lanes(size_t n) {
  const int count = n < Vec<T>::lanes ? static_cast<int>(n) : static_cast<int>(Vec<T>::lanes);
  if constexpr (sizeof(T) == 4) {
    return {_mm_castsi128_ps(_mm_cmpgt_epi32(_mm_set1_epi32(count), _mm_setr_epi32(0, 1, 2, 3)))};
  } else {
    return {_mm_castsi128_pd(_mm_cmpgt_epi32(_mm_set1_epi32(count), _mm_setr_epi32(0, 0, 1, 1)))};
  }
}

[[gnu::always_inline]] inline void store_truth(Mask<float> m, std::uint8_t* p) {
  const unsigned set = static_cast<unsigned>(_mm_movemask_ps(m.v));
  const unsigned bytes = (set * 0x00204081u) & 0x01010101u;  // bit i to byte i
  __builtin_memcpy(p, &bytes, 4);
}

[[gnu::always_inline]] inline void store_truth(Mask<double> m, std::uint8_t* p) {
  const int set = _mm_movemask_pd(m.v);
  p[0] = static_cast<std::uint8_t>(set & 1);
  p[1] = static_cast<std::uint8_t>(set >> 1);
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
    const __m128i lanes = _mm_setr_epi32(p[0], p[1], p[2], p[3]);
    return {_mm_castsi128_ps(_mm_cmpgt_epi32(lanes, _mm_setzero_si128()))};
  } else {
    const __m128i lanes = _mm_setr_epi32(p[0], p[0], p[1], p[1]);
    return {_mm_castsi128_pd(_mm_cmpgt_epi32(lanes, _mm_setzero_si128()))};
  }
}

template <class T>
[[gnu::always_inline]] inline Mask<T> load_truth_partial(const std::uint8_t* p, size_t n) {
  std::uint8_t whole[Vec<T>::lanes] = {};
  for (size_t i = 0; i < n; ++i) whole[i] = p[i];
  return load_truth<T>(whole);
}

}  // namespace lamella::simd::LAMELLA_ISA_NAMESPACE
