// SPDX-License-Identifier: Apache-2.0
// Registers of integers with AVX-512, of the size of float and of double.
//
// Arithmetic, shifts, and both ways between numbers and their bits.
// The contract is in simd/vec.h.
#pragma once

#include <immintrin.h>

#include "simd/avx512/double.h"
#include "simd/avx512/float.h"

namespace lamella::simd::LAMELLA_ISA_NAMESPACE {

template <>
struct VecInt<float> {
  using Scalar = std::int32_t;
  static constexpr size_t lanes = 16;
  __m512i v;
  [[gnu::always_inline]] static VecInt broadcast(Scalar x) { return {_mm512_set1_epi32(x)}; }
};

template <>
struct VecInt<double> {
  using Scalar = std::int64_t;
  static constexpr size_t lanes = 8;
  __m512i v;
  [[gnu::always_inline]] static VecInt broadcast(Scalar x) { return {_mm512_set1_epi64(x)}; }
};

[[gnu::always_inline]] inline VecInt<float> operator+(VecInt<float> a, VecInt<float> b) {
  return {_mm512_add_epi32(a.v, b.v)};
}
[[gnu::always_inline]] inline VecInt<float> operator-(VecInt<float> a, VecInt<float> b) {
  return {_mm512_sub_epi32(a.v, b.v)};
}
[[gnu::always_inline]] inline VecInt<float> operator&(VecInt<float> a, VecInt<float> b) {
  return {_mm512_and_si512(a.v, b.v)};
}
[[gnu::always_inline]] inline VecInt<float> operator|(VecInt<float> a, VecInt<float> b) {
  return {_mm512_or_si512(a.v, b.v)};
}
[[gnu::always_inline]] inline VecInt<float> operator^(VecInt<float> a, VecInt<float> b) {
  return {_mm512_xor_si512(a.v, b.v)};
}
template <int k>
[[gnu::always_inline]] inline VecInt<float> shift_left(VecInt<float> a) {
  return {_mm512_slli_epi32(a.v, k)};
}
template <int k>
[[gnu::always_inline]] inline VecInt<float> shift_right(VecInt<float> a) {
  return {_mm512_srli_epi32(a.v, k)};
}
[[gnu::always_inline]] inline VecInt<double> operator+(VecInt<double> a, VecInt<double> b) {
  return {_mm512_add_epi64(a.v, b.v)};
}
[[gnu::always_inline]] inline VecInt<double> operator-(VecInt<double> a, VecInt<double> b) {
  return {_mm512_sub_epi64(a.v, b.v)};
}
[[gnu::always_inline]] inline VecInt<double> operator&(VecInt<double> a, VecInt<double> b) {
  return {_mm512_and_si512(a.v, b.v)};
}
[[gnu::always_inline]] inline VecInt<double> operator|(VecInt<double> a, VecInt<double> b) {
  return {_mm512_or_si512(a.v, b.v)};
}
[[gnu::always_inline]] inline VecInt<double> operator^(VecInt<double> a, VecInt<double> b) {
  return {_mm512_xor_si512(a.v, b.v)};
}
template <int k>
[[gnu::always_inline]] inline VecInt<double> shift_left(VecInt<double> a) {
  return {_mm512_slli_epi64(a.v, k)};
}
template <int k>
[[gnu::always_inline]] inline VecInt<double> shift_right(VecInt<double> a) {
  return {_mm512_srli_epi64(a.v, k)};
}
[[gnu::always_inline]] inline VecInt<double> multiply_low32(VecInt<double> a, VecInt<double> b) {
  return {_mm512_mul_epu32(a.v, b.v)};
}
[[gnu::always_inline]] inline Mask<float> operator==(VecInt<float> a, VecInt<float> b) {
  return {_mm512_cmpeq_epi32_mask(a.v, b.v)};
}
[[gnu::always_inline]] inline Mask<float> operator>(VecInt<float> a, VecInt<float> b) {
  return {_mm512_cmpgt_epi32_mask(a.v, b.v)};
}
[[gnu::always_inline]] inline VecInt<float> max(VecInt<float> a, VecInt<float> b) {
  return {_mm512_max_epi32(a.v, b.v)};
}
[[gnu::always_inline]] inline VecInt<float> bits(Vec<float> a) {
  return {_mm512_castps_si512(a.v)};
}
[[gnu::always_inline]] inline VecInt<double> bits(Vec<double> a) {
  return {_mm512_castpd_si512(a.v)};
}
[[gnu::always_inline]] inline Vec<float> from_bits(VecInt<float> a) {
  return {_mm512_castsi512_ps(a.v)};
}
[[gnu::always_inline]] inline Vec<double> from_bits(VecInt<double> a) {
  return {_mm512_castsi512_pd(a.v)};
}
[[gnu::always_inline]] inline VecInt<float> to_int(Vec<float> a) {
  return {_mm512_cvttps_epi32(a.v)};
}
[[gnu::always_inline]] inline VecInt<float> round_to_int(Vec<float> a) {
  return {_mm512_cvtps_epi32(a.v)};
}
[[gnu::always_inline]] inline Vec<float> to_float(VecInt<float> a) {
  return {_mm512_cvtepi32_ps(a.v)};
}

}  // namespace lamella::simd::LAMELLA_ISA_NAMESPACE
