// SPDX-License-Identifier: Apache-2.0
// vec.h for AVX-512 (F, BW, DQ, VL): 16 floats or 8 doubles. The contract is in vec.h.
//
// A register is as wide as the virtual one of every reduction and as a packed panel. Partial loads
// and stores are masked moves, which touch nothing outside their mask.
#pragma once

#include <immintrin.h>

#include "simd/vec.h"

namespace lamella::simd::LAMELLA_ISA_NAMESPACE {

inline constexpr bool kHasFma = true;
inline constexpr bool kMaskedMoves = true;

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

template <>
struct Vec<float> {
  using Scalar = float;
  static constexpr size_t lanes = 16;
  __m512 v;

  [[gnu::always_inline]] static Vec load(const float* p) { return {_mm512_loadu_ps(p)}; }
  [[gnu::always_inline]] static Vec load_partial(const float* p, size_t n) {
    return {_mm512_maskz_loadu_ps(first_lanes<float>(n).v, p)};
  }
  [[gnu::always_inline]] void store(float* p) const { _mm512_storeu_ps(p, v); }
  [[gnu::always_inline]] void store_partial(float* p, size_t n) const {
    _mm512_mask_storeu_ps(p, first_lanes<float>(n).v, v);
  }
  [[gnu::always_inline]] static Vec broadcast(float x) { return {_mm512_set1_ps(x)}; }
  [[gnu::always_inline]] static Vec zero() { return {_mm512_setzero_ps()}; }
  [[gnu::always_inline]] float first() const { return _mm512_cvtss_f32(v); }
};

template <>
struct Vec<double> {
  using Scalar = double;
  static constexpr size_t lanes = 8;
  __m512d v;

  [[gnu::always_inline]] static Vec load(const double* p) { return {_mm512_loadu_pd(p)}; }
  [[gnu::always_inline]] static Vec load_partial(const double* p, size_t n) {
    return {_mm512_maskz_loadu_pd(first_lanes<double>(n).v, p)};
  }
  [[gnu::always_inline]] void store(double* p) const { _mm512_storeu_pd(p, v); }
  [[gnu::always_inline]] void store_partial(double* p, size_t n) const {
    _mm512_mask_storeu_pd(p, first_lanes<double>(n).v, v);
  }
  [[gnu::always_inline]] static Vec broadcast(double x) { return {_mm512_set1_pd(x)}; }
  [[gnu::always_inline]] static Vec zero() { return {_mm512_setzero_pd()}; }
  [[gnu::always_inline]] double first() const { return _mm512_cvtsd_f64(v); }
};

template <>
struct HalfVec<float> {
  using Scalar = float;
  static constexpr size_t lanes = 8;
  __m256 v;

  [[gnu::always_inline]] static __mmask8 first_lanes(size_t n) {
    return static_cast<__mmask8>((1u << (n < lanes ? static_cast<unsigned>(n) : lanes)) - 1u);
  }
  [[gnu::always_inline]] static HalfVec load(const float* p) { return {_mm256_loadu_ps(p)}; }
  [[gnu::always_inline]] static HalfVec load_partial(const float* p, size_t n) {
    return {_mm256_maskz_loadu_ps(first_lanes(n), p)};
  }
  [[gnu::always_inline]] void store(float* p) const { _mm256_storeu_ps(p, v); }
  [[gnu::always_inline]] void store_partial(float* p, size_t n) const {
    _mm256_mask_storeu_ps(p, first_lanes(n), v);
  }
  [[gnu::always_inline]] static HalfVec broadcast(float x) { return {_mm256_set1_ps(x)}; }
  [[gnu::always_inline]] static HalfVec zero() { return {_mm256_setzero_ps()}; }
};

[[gnu::always_inline]] inline HalfVec<float> operator+(HalfVec<float> a, HalfVec<float> b) {
  return {_mm256_add_ps(a.v, b.v)};
}
[[gnu::always_inline]] inline HalfVec<float> mul_add(HalfVec<float> a, HalfVec<float> b,
                                                     HalfVec<float> c) {
  return {_mm256_fmadd_ps(a.v, b.v, c.v)};
}

// ---- float
[[gnu::always_inline]] inline Vec<float> operator+(Vec<float> a, Vec<float> b) {
  return {_mm512_add_ps(a.v, b.v)};
}
[[gnu::always_inline]] inline Vec<float> operator-(Vec<float> a, Vec<float> b) {
  return {_mm512_sub_ps(a.v, b.v)};
}
[[gnu::always_inline]] inline Vec<float> operator*(Vec<float> a, Vec<float> b) {
  return {_mm512_mul_ps(a.v, b.v)};
}
[[gnu::always_inline]] inline Vec<float> operator/(Vec<float> a, Vec<float> b) {
  return {_mm512_div_ps(a.v, b.v)};
}
[[gnu::always_inline]] inline Vec<float> operator-(Vec<float> a) { return {-a.v}; }
[[gnu::always_inline]] inline Vec<float> fma(Vec<float> a, Vec<float> b, Vec<float> c) {
  return {_mm512_fmadd_ps(a.v, b.v, c.v)};
}
[[gnu::always_inline]] inline Vec<float> mul_add(Vec<float> a, Vec<float> b, Vec<float> c) {
  return {_mm512_fmadd_ps(a.v, b.v, c.v)};
}
[[gnu::always_inline]] inline Vec<float> min_or_second(Vec<float> a, Vec<float> b) {
  return {_mm512_min_ps(a.v, b.v)};
}
[[gnu::always_inline]] inline Vec<float> max_or_second(Vec<float> a, Vec<float> b) {
  return {_mm512_max_ps(a.v, b.v)};
}
// The two orders differ in the sign of a zero and in which NaN operand is dropped.
[[gnu::always_inline]] inline Vec<float> min(Vec<float> a, Vec<float> b) {
  return {_mm512_or_ps(_mm512_min_ps(a.v, b.v), _mm512_min_ps(b.v, a.v))};
}
[[gnu::always_inline]] inline Vec<float> max(Vec<float> a, Vec<float> b) {
  const __m512 larger = _mm512_and_ps(_mm512_max_ps(a.v, b.v), _mm512_max_ps(b.v, a.v));
  return {_mm512_mask_mov_ps(larger, _mm512_cmp_ps_mask(a.v, b.v, _CMP_UNORD_Q),
                             _mm512_castsi512_ps(_mm512_set1_epi32(-1)))};
}
[[gnu::always_inline]] inline Vec<float> abs(Vec<float> a) { return {_mm512_abs_ps(a.v)}; }
[[gnu::always_inline]] inline Vec<float> sqrt(Vec<float> a) { return {_mm512_sqrt_ps(a.v)}; }
[[gnu::always_inline]] inline Vec<float> floor(Vec<float> a) {
  return {_mm512_roundscale_ps(a.v, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC)};
}
[[gnu::always_inline]] inline Vec<float> ceil(Vec<float> a) {
  return {_mm512_roundscale_ps(a.v, _MM_FROUND_TO_POS_INF | _MM_FROUND_NO_EXC)};
}
[[gnu::always_inline]] inline Vec<float> round_even(Vec<float> a) {
  return {_mm512_roundscale_ps(a.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)};
}
[[gnu::always_inline]] inline Vec<float> copysign(Vec<float> magnitude, Vec<float> sign) {
  // 0xCA: the second operand where the first has a bit, else the third.
  const __m512i top = _mm512_castps_si512(_mm512_set1_ps(-0.0f));
  return {_mm512_castsi512_ps(_mm512_ternarylogic_epi32(top, _mm512_castps_si512(sign.v),
                                                        _mm512_castps_si512(magnitude.v), 0xCA))};
}
[[gnu::always_inline]] inline Mask<float> operator<(Vec<float> a, Vec<float> b) {
  return {_mm512_cmp_ps_mask(a.v, b.v, _CMP_LT_OQ)};
}
[[gnu::always_inline]] inline Mask<float> operator<=(Vec<float> a, Vec<float> b) {
  return {_mm512_cmp_ps_mask(a.v, b.v, _CMP_LE_OQ)};
}
[[gnu::always_inline]] inline Mask<float> operator>(Vec<float> a, Vec<float> b) {
  return {_mm512_cmp_ps_mask(a.v, b.v, _CMP_GT_OQ)};
}
[[gnu::always_inline]] inline Mask<float> operator>=(Vec<float> a, Vec<float> b) {
  return {_mm512_cmp_ps_mask(a.v, b.v, _CMP_GE_OQ)};
}
[[gnu::always_inline]] inline Mask<float> operator==(Vec<float> a, Vec<float> b) {
  return {_mm512_cmp_ps_mask(a.v, b.v, _CMP_EQ_OQ)};
}
[[gnu::always_inline]] inline Mask<float> operator!=(Vec<float> a, Vec<float> b) {
  return {_mm512_cmp_ps_mask(a.v, b.v, _CMP_NEQ_UQ)};
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
[[gnu::always_inline]] inline Vec<float> select(Mask<float> m, Vec<float> a, Vec<float> b) {
  return {_mm512_mask_blend_ps(m.v, b.v, a.v)};
}
// ---- double
[[gnu::always_inline]] inline Vec<double> operator+(Vec<double> a, Vec<double> b) {
  return {_mm512_add_pd(a.v, b.v)};
}
[[gnu::always_inline]] inline Vec<double> operator-(Vec<double> a, Vec<double> b) {
  return {_mm512_sub_pd(a.v, b.v)};
}
[[gnu::always_inline]] inline Vec<double> operator*(Vec<double> a, Vec<double> b) {
  return {_mm512_mul_pd(a.v, b.v)};
}
[[gnu::always_inline]] inline Vec<double> operator/(Vec<double> a, Vec<double> b) {
  return {_mm512_div_pd(a.v, b.v)};
}
[[gnu::always_inline]] inline Vec<double> operator-(Vec<double> a) { return {-a.v}; }
[[gnu::always_inline]] inline Vec<double> fma(Vec<double> a, Vec<double> b, Vec<double> c) {
  return {_mm512_fmadd_pd(a.v, b.v, c.v)};
}
[[gnu::always_inline]] inline Vec<double> mul_add(Vec<double> a, Vec<double> b, Vec<double> c) {
  return {_mm512_fmadd_pd(a.v, b.v, c.v)};
}
[[gnu::always_inline]] inline Vec<double> scale(Vec<double> v, Vec<double> n) {
  return {_mm512_scalef_pd(v.v, n.v)};
}
[[gnu::always_inline]] inline Vec<double> min_or_second(Vec<double> a, Vec<double> b) {
  return {_mm512_min_pd(a.v, b.v)};
}
[[gnu::always_inline]] inline Vec<double> max_or_second(Vec<double> a, Vec<double> b) {
  return {_mm512_max_pd(a.v, b.v)};
}
// The two orders differ in the sign of a zero and in which NaN operand is dropped.
[[gnu::always_inline]] inline Vec<double> min(Vec<double> a, Vec<double> b) {
  return {_mm512_or_pd(_mm512_min_pd(a.v, b.v), _mm512_min_pd(b.v, a.v))};
}
[[gnu::always_inline]] inline Vec<double> max(Vec<double> a, Vec<double> b) {
  const __m512d larger = _mm512_and_pd(_mm512_max_pd(a.v, b.v), _mm512_max_pd(b.v, a.v));
  return {_mm512_mask_mov_pd(larger, _mm512_cmp_pd_mask(a.v, b.v, _CMP_UNORD_Q),
                             _mm512_castsi512_pd(_mm512_set1_epi32(-1)))};
}
[[gnu::always_inline]] inline Vec<double> abs(Vec<double> a) { return {_mm512_abs_pd(a.v)}; }
[[gnu::always_inline]] inline Vec<double> sqrt(Vec<double> a) { return {_mm512_sqrt_pd(a.v)}; }
[[gnu::always_inline]] inline Vec<double> floor(Vec<double> a) {
  return {_mm512_roundscale_pd(a.v, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC)};
}
[[gnu::always_inline]] inline Vec<double> ceil(Vec<double> a) {
  return {_mm512_roundscale_pd(a.v, _MM_FROUND_TO_POS_INF | _MM_FROUND_NO_EXC)};
}
[[gnu::always_inline]] inline Vec<double> round_even(Vec<double> a) {
  return {_mm512_roundscale_pd(a.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)};
}
[[gnu::always_inline]] inline Vec<double> copysign(Vec<double> magnitude, Vec<double> sign) {
  const __m512i top = _mm512_castpd_si512(_mm512_set1_pd(-0.0));
  return {_mm512_castsi512_pd(_mm512_ternarylogic_epi64(top, _mm512_castpd_si512(sign.v),
                                                        _mm512_castpd_si512(magnitude.v), 0xCA))};
}
[[gnu::always_inline]] inline Mask<double> operator<(Vec<double> a, Vec<double> b) {
  return {_mm512_cmp_pd_mask(a.v, b.v, _CMP_LT_OQ)};
}
[[gnu::always_inline]] inline Mask<double> operator<=(Vec<double> a, Vec<double> b) {
  return {_mm512_cmp_pd_mask(a.v, b.v, _CMP_LE_OQ)};
}
[[gnu::always_inline]] inline Mask<double> operator>(Vec<double> a, Vec<double> b) {
  return {_mm512_cmp_pd_mask(a.v, b.v, _CMP_GT_OQ)};
}
[[gnu::always_inline]] inline Mask<double> operator>=(Vec<double> a, Vec<double> b) {
  return {_mm512_cmp_pd_mask(a.v, b.v, _CMP_GE_OQ)};
}
[[gnu::always_inline]] inline Mask<double> operator==(Vec<double> a, Vec<double> b) {
  return {_mm512_cmp_pd_mask(a.v, b.v, _CMP_EQ_OQ)};
}
[[gnu::always_inline]] inline Mask<double> operator!=(Vec<double> a, Vec<double> b) {
  return {_mm512_cmp_pd_mask(a.v, b.v, _CMP_NEQ_UQ)};
}
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
[[gnu::always_inline]] inline Vec<double> select(Mask<double> m, Vec<double> a, Vec<double> b) {
  return {_mm512_mask_blend_pd(m.v, b.v, a.v)};
}
// ---- integers
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

// ---- between the types, truth values, lanes
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
