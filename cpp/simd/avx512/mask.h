// SPDX-License-Identifier: Apache-2.0
// Masks with AVX-512: what comparisons give.
//
// Logic of masks, the first lanes, and truth values in memory, bytes of 0 or 1.
// The contract is in simd/vec.h.
#pragma once

#include <immintrin.h>

#include "simd/vec.h"

namespace lamella::simd::LAMELLA_ISA_NAMESPACE {

template <>
struct Mask<float> {
  __mmask16 v;
};

template <>
struct Mask<double> {
  __mmask8 v;
};

template <class T>
[[gnu::always_inline]] inline Mask<T> first_lanes(size_t n) {
  const unsigned count = n < Vec<T>::lanes ? static_cast<unsigned>(n) : Vec<T>::lanes;
  return {static_cast<decltype(Mask<T>::v)>((1u << count) - 1u)};
}

[[gnu::always_inline]] inline Mask<float> operator&(Mask<float> a, Mask<float> b) {
  return {static_cast<__mmask16>(a.v & b.v)};
}
[[gnu::always_inline]] inline Mask<float> operator|(Mask<float> a, Mask<float> b) {
  return {static_cast<__mmask16>(a.v | b.v)};
}
[[gnu::always_inline]] inline Mask<float> operator!(Mask<float> a) {
  return {static_cast<__mmask16>(~a.v)};
}
[[gnu::always_inline]] inline bool any(Mask<float> m) { return m.v != 0; }
[[gnu::always_inline]] inline bool all(Mask<float> m) { return m.v == 0xFFFF; }
[[gnu::always_inline]] inline Mask<double> operator&(Mask<double> a, Mask<double> b) {
  return {static_cast<__mmask8>(a.v & b.v)};
}
[[gnu::always_inline]] inline Mask<double> operator|(Mask<double> a, Mask<double> b) {
  return {static_cast<__mmask8>(a.v | b.v)};
}
[[gnu::always_inline]] inline Mask<double> operator!(Mask<double> a) {
  return {static_cast<__mmask8>(~a.v)};
}
[[gnu::always_inline]] inline bool any(Mask<double> m) { return m.v != 0; }
[[gnu::always_inline]] inline bool all(Mask<double> m) { return m.v == 0xFF; }
[[gnu::always_inline]] inline void store_truth(Mask<float> m, std::uint8_t* p) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm_maskz_set1_epi8(m.v, 1));
}
[[gnu::always_inline]] inline void store_truth(Mask<double> m, std::uint8_t* p) {
  _mm_storel_epi64(reinterpret_cast<__m128i*>(p), _mm_maskz_set1_epi8(m.v, 1));
}

template <class T>
[[gnu::always_inline]] inline void store_truth_partial(Mask<T> m, std::uint8_t* p, size_t n) {
  _mm_mask_storeu_epi8(p, static_cast<__mmask16>(first_lanes<T>(n).v),
                       _mm_maskz_set1_epi8(static_cast<__mmask16>(m.v), 1));
}

template <class T>
[[gnu::always_inline]] inline Mask<T> load_truth_partial(const std::uint8_t* p, size_t n) {
  const __m128i bytes = _mm_maskz_loadu_epi8(static_cast<__mmask16>(first_lanes<T>(n).v), p);
  return {static_cast<decltype(Mask<T>::v)>(_mm_test_epi8_mask(bytes, bytes))};
}

template <class T>
[[gnu::always_inline]] inline Mask<T> load_truth(const std::uint8_t* p) {
  return load_truth_partial<T>(p, Vec<T>::lanes);
}

}  // namespace lamella::simd::LAMELLA_ISA_NAMESPACE
