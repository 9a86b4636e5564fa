// SPDX-License-Identifier: Apache-2.0
// vec.h for AVX2 with FMA: 8 floats or 4 doubles. The contract is in vec.h.
//
// Partial loads and stores are built from 4-, 8- and 16-byte moves: a masked move is fault-free on
// hardware at the end of a page, but not under every emulator.
#pragma once

#include <immintrin.h>

#include "simd/vec.h"

namespace lamella::simd::LAMELLA_ISA_NAMESPACE {

inline constexpr bool kHasFma = true;
inline constexpr bool kMaskedMoves = false;

template <>
struct Mask<float> {
  __m256 v;
};

template <>
struct Mask<double> {
  __m256d v;
};

template <>
struct VecInt<float> {
  using Scalar = std::int32_t;
  static constexpr size_t lanes = 8;
  __m256i v;
  [[gnu::always_inline]] static VecInt broadcast(Scalar x) { return {_mm256_set1_epi32(x)}; }
};

template <>
struct VecInt<double> {
  using Scalar = std::int64_t;
  static constexpr size_t lanes = 4;
  __m256i v;
  [[gnu::always_inline]] static VecInt broadcast(Scalar x) { return {_mm256_set1_epi64x(x)}; }
};

// n <= 3.
[[gnu::always_inline]] inline __m128 load_up_to_3(const float* p, size_t n) {
  if (n == 0) return _mm_setzero_ps();
  if (n == 1) return _mm_load_ss(p);
  const __m128 two = _mm_castsi128_ps(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)));
  return n == 2 ? two : _mm_movelh_ps(two, _mm_load_ss(p + 2));
}

[[gnu::always_inline]] inline void store_up_to_3(__m128 v, float* p, size_t n) {
  if (n == 0) return;
  if (n == 1) {
    _mm_store_ss(p, v);
    return;
  }
  _mm_storel_epi64(reinterpret_cast<__m128i*>(p), _mm_castps_si128(v));
  if (n == 3) _mm_store_ss(p + 2, _mm_movehl_ps(v, v));
}

template <>
struct Vec<float> {
  using Scalar = float;
  static constexpr size_t lanes = 8;
  __m256 v;

  [[gnu::always_inline]] static Vec load(const float* p) { return {_mm256_loadu_ps(p)}; }
  [[gnu::always_inline]] static Vec load_partial(const float* p, size_t n) {
    if (n < 4) return {_mm256_zextps128_ps256(load_up_to_3(p, n))};
    return {_mm256_insertf128_ps(_mm256_castps128_ps256(_mm_loadu_ps(p)),
                                 load_up_to_3(p + 4, n - 4), 1)};
  }
  [[gnu::always_inline]] void store(float* p) const { _mm256_storeu_ps(p, v); }
  [[gnu::always_inline]] void store_partial(float* p, size_t n) const {
    if (n < 4) {
      store_up_to_3(_mm256_castps256_ps128(v), p, n);
    } else {
      _mm_storeu_ps(p, _mm256_castps256_ps128(v));
      store_up_to_3(_mm256_extractf128_ps(v, 1), p + 4, n - 4);
    }
  }
  [[gnu::always_inline]] static Vec broadcast(float x) { return {_mm256_set1_ps(x)}; }
  [[gnu::always_inline]] static Vec zero() { return {_mm256_setzero_ps()}; }
  [[gnu::always_inline]] float first() const { return _mm256_cvtss_f32(v); }
};

template <>
struct Vec<double> {
  using Scalar = double;
  static constexpr size_t lanes = 4;
  __m256d v;

  [[gnu::always_inline]] static Vec load(const double* p) { return {_mm256_loadu_pd(p)}; }
  [[gnu::always_inline]] static Vec load_partial(const double* p, size_t n) {
    if (n == 0) return zero();
    if (n == 1) return {_mm256_zextpd128_pd256(_mm_load_sd(p))};
    const __m128d two = _mm_loadu_pd(p);
    if (n == 2) return {_mm256_zextpd128_pd256(two)};
    return {_mm256_insertf128_pd(_mm256_castpd128_pd256(two), _mm_load_sd(p + 2), 1)};
  }
  [[gnu::always_inline]] void store(double* p) const { _mm256_storeu_pd(p, v); }
  [[gnu::always_inline]] void store_partial(double* p, size_t n) const {
    if (n == 0) return;
    if (n == 1) {
      _mm_store_sd(p, _mm256_castpd256_pd128(v));
      return;
    }
    _mm_storeu_pd(p, _mm256_castpd256_pd128(v));
    if (n == 3) _mm_store_sd(p + 2, _mm256_extractf128_pd(v, 1));
  }
  [[gnu::always_inline]] static Vec broadcast(double x) { return {_mm256_set1_pd(x)}; }
  [[gnu::always_inline]] static Vec zero() { return {_mm256_setzero_pd()}; }
  [[gnu::always_inline]] double first() const { return _mm256_cvtsd_f64(v); }
};

// ---- float
[[gnu::always_inline]] inline Vec<float> operator+(Vec<float> a, Vec<float> b) {
  return {_mm256_add_ps(a.v, b.v)};
}
[[gnu::always_inline]] inline Vec<float> operator-(Vec<float> a, Vec<float> b) {
  return {_mm256_sub_ps(a.v, b.v)};
}
[[gnu::always_inline]] inline Vec<float> operator*(Vec<float> a, Vec<float> b) {
  return {_mm256_mul_ps(a.v, b.v)};
}
[[gnu::always_inline]] inline Vec<float> operator/(Vec<float> a, Vec<float> b) {
  return {_mm256_div_ps(a.v, b.v)};
}
[[gnu::always_inline]] inline Vec<float> operator-(Vec<float> a) { return {-a.v}; }
[[gnu::always_inline]] inline Vec<float> fma(Vec<float> a, Vec<float> b, Vec<float> c) {
  return {_mm256_fmadd_ps(a.v, b.v, c.v)};
}
[[gnu::always_inline]] inline Vec<float> mul_add(Vec<float> a, Vec<float> b, Vec<float> c) {
  return {_mm256_fmadd_ps(a.v, b.v, c.v)};
}
[[gnu::always_inline]] inline Vec<float> min_or_second(Vec<float> a, Vec<float> b) {
  return {_mm256_min_ps(a.v, b.v)};
}
[[gnu::always_inline]] inline Vec<float> max_or_second(Vec<float> a, Vec<float> b) {
  return {_mm256_max_ps(a.v, b.v)};
}
// The two orders differ in the sign of a zero and in which NaN operand is dropped.
[[gnu::always_inline]] inline Vec<float> min(Vec<float> a, Vec<float> b) {
  return {_mm256_or_ps(_mm256_min_ps(a.v, b.v), _mm256_min_ps(b.v, a.v))};
}
[[gnu::always_inline]] inline Vec<float> max(Vec<float> a, Vec<float> b) {
  return {_mm256_or_ps(_mm256_and_ps(_mm256_max_ps(a.v, b.v), _mm256_max_ps(b.v, a.v)),
                       _mm256_cmp_ps(a.v, b.v, _CMP_UNORD_Q))};
}
[[gnu::always_inline]] inline Vec<float> abs(Vec<float> a) {
  return {_mm256_andnot_ps(_mm256_set1_ps(-0.0f), a.v)};
}
[[gnu::always_inline]] inline Vec<float> sqrt(Vec<float> a) { return {_mm256_sqrt_ps(a.v)}; }
[[gnu::always_inline]] inline Vec<float> floor(Vec<float> a) {
  return {_mm256_round_ps(a.v, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC)};
}
[[gnu::always_inline]] inline Vec<float> ceil(Vec<float> a) {
  return {_mm256_round_ps(a.v, _MM_FROUND_TO_POS_INF | _MM_FROUND_NO_EXC)};
}
[[gnu::always_inline]] inline Vec<float> round_even(Vec<float> a) {
  return {_mm256_round_ps(a.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)};
}
[[gnu::always_inline]] inline Vec<float> copysign(Vec<float> magnitude, Vec<float> sign) {
  const __m256 top = _mm256_set1_ps(-0.0f);
  return {_mm256_or_ps(_mm256_andnot_ps(top, magnitude.v), _mm256_and_ps(top, sign.v))};
}
[[gnu::always_inline]] inline Mask<float> operator<(Vec<float> a, Vec<float> b) {
  return {_mm256_cmp_ps(a.v, b.v, _CMP_LT_OQ)};
}
[[gnu::always_inline]] inline Mask<float> operator<=(Vec<float> a, Vec<float> b) {
  return {_mm256_cmp_ps(a.v, b.v, _CMP_LE_OQ)};
}
[[gnu::always_inline]] inline Mask<float> operator>(Vec<float> a, Vec<float> b) {
  return {_mm256_cmp_ps(a.v, b.v, _CMP_GT_OQ)};
}
[[gnu::always_inline]] inline Mask<float> operator>=(Vec<float> a, Vec<float> b) {
  return {_mm256_cmp_ps(a.v, b.v, _CMP_GE_OQ)};
}
[[gnu::always_inline]] inline Mask<float> operator==(Vec<float> a, Vec<float> b) {
  return {_mm256_cmp_ps(a.v, b.v, _CMP_EQ_OQ)};
}
[[gnu::always_inline]] inline Mask<float> operator!=(Vec<float> a, Vec<float> b) {
  return {_mm256_cmp_ps(a.v, b.v, _CMP_NEQ_UQ)};
}
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
[[gnu::always_inline]] inline Vec<float> select(Mask<float> m, Vec<float> a, Vec<float> b) {
  return {_mm256_blendv_ps(b.v, a.v, m.v)};
}
// ---- double
[[gnu::always_inline]] inline Vec<double> operator+(Vec<double> a, Vec<double> b) {
  return {_mm256_add_pd(a.v, b.v)};
}
[[gnu::always_inline]] inline Vec<double> operator-(Vec<double> a, Vec<double> b) {
  return {_mm256_sub_pd(a.v, b.v)};
}
[[gnu::always_inline]] inline Vec<double> operator*(Vec<double> a, Vec<double> b) {
  return {_mm256_mul_pd(a.v, b.v)};
}
[[gnu::always_inline]] inline Vec<double> operator/(Vec<double> a, Vec<double> b) {
  return {_mm256_div_pd(a.v, b.v)};
}
[[gnu::always_inline]] inline Vec<double> operator-(Vec<double> a) { return {-a.v}; }
[[gnu::always_inline]] inline Vec<double> fma(Vec<double> a, Vec<double> b, Vec<double> c) {
  return {_mm256_fmadd_pd(a.v, b.v, c.v)};
}
[[gnu::always_inline]] inline Vec<double> mul_add(Vec<double> a, Vec<double> b, Vec<double> c) {
  return {_mm256_fmadd_pd(a.v, b.v, c.v)};
}
[[gnu::always_inline]] inline Vec<double> min_or_second(Vec<double> a, Vec<double> b) {
  return {_mm256_min_pd(a.v, b.v)};
}
[[gnu::always_inline]] inline Vec<double> max_or_second(Vec<double> a, Vec<double> b) {
  return {_mm256_max_pd(a.v, b.v)};
}
// The two orders differ in the sign of a zero and in which NaN operand is dropped.
[[gnu::always_inline]] inline Vec<double> min(Vec<double> a, Vec<double> b) {
  return {_mm256_or_pd(_mm256_min_pd(a.v, b.v), _mm256_min_pd(b.v, a.v))};
}
[[gnu::always_inline]] inline Vec<double> max(Vec<double> a, Vec<double> b) {
  return {_mm256_or_pd(_mm256_and_pd(_mm256_max_pd(a.v, b.v), _mm256_max_pd(b.v, a.v)),
                       _mm256_cmp_pd(a.v, b.v, _CMP_UNORD_Q))};
}
[[gnu::always_inline]] inline Vec<double> abs(Vec<double> a) {
  return {_mm256_andnot_pd(_mm256_set1_pd(-0.0), a.v)};
}
[[gnu::always_inline]] inline Vec<double> sqrt(Vec<double> a) { return {_mm256_sqrt_pd(a.v)}; }
[[gnu::always_inline]] inline Vec<double> floor(Vec<double> a) {
  return {_mm256_round_pd(a.v, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC)};
}
[[gnu::always_inline]] inline Vec<double> ceil(Vec<double> a) {
  return {_mm256_round_pd(a.v, _MM_FROUND_TO_POS_INF | _MM_FROUND_NO_EXC)};
}
[[gnu::always_inline]] inline Vec<double> round_even(Vec<double> a) {
  return {_mm256_round_pd(a.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)};
}
[[gnu::always_inline]] inline Vec<double> copysign(Vec<double> magnitude, Vec<double> sign) {
  const __m256d top = _mm256_set1_pd(-0.0);
  return {_mm256_or_pd(_mm256_andnot_pd(top, magnitude.v), _mm256_and_pd(top, sign.v))};
}
[[gnu::always_inline]] inline Mask<double> operator<(Vec<double> a, Vec<double> b) {
  return {_mm256_cmp_pd(a.v, b.v, _CMP_LT_OQ)};
}
[[gnu::always_inline]] inline Mask<double> operator<=(Vec<double> a, Vec<double> b) {
  return {_mm256_cmp_pd(a.v, b.v, _CMP_LE_OQ)};
}
[[gnu::always_inline]] inline Mask<double> operator>(Vec<double> a, Vec<double> b) {
  return {_mm256_cmp_pd(a.v, b.v, _CMP_GT_OQ)};
}
[[gnu::always_inline]] inline Mask<double> operator>=(Vec<double> a, Vec<double> b) {
  return {_mm256_cmp_pd(a.v, b.v, _CMP_GE_OQ)};
}
[[gnu::always_inline]] inline Mask<double> operator==(Vec<double> a, Vec<double> b) {
  return {_mm256_cmp_pd(a.v, b.v, _CMP_EQ_OQ)};
}
[[gnu::always_inline]] inline Mask<double> operator!=(Vec<double> a, Vec<double> b) {
  return {_mm256_cmp_pd(a.v, b.v, _CMP_NEQ_UQ)};
}
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
[[gnu::always_inline]] inline Vec<double> select(Mask<double> m, Vec<double> a, Vec<double> b) {
  return {_mm256_blendv_pd(b.v, a.v, m.v)};
}
// ---- integers
[[gnu::always_inline]] inline VecInt<float> operator+(VecInt<float> a, VecInt<float> b) {
  return {_mm256_add_epi32(a.v, b.v)};
}
[[gnu::always_inline]] inline VecInt<float> operator-(VecInt<float> a, VecInt<float> b) {
  return {_mm256_sub_epi32(a.v, b.v)};
}
[[gnu::always_inline]] inline VecInt<float> operator&(VecInt<float> a, VecInt<float> b) {
  return {_mm256_and_si256(a.v, b.v)};
}
[[gnu::always_inline]] inline VecInt<float> operator|(VecInt<float> a, VecInt<float> b) {
  return {_mm256_or_si256(a.v, b.v)};
}
[[gnu::always_inline]] inline VecInt<float> operator^(VecInt<float> a, VecInt<float> b) {
  return {_mm256_xor_si256(a.v, b.v)};
}
template <int k>
[[gnu::always_inline]] inline VecInt<float> shift_left(VecInt<float> a) {
  return {_mm256_slli_epi32(a.v, k)};
}
template <int k>
[[gnu::always_inline]] inline VecInt<float> shift_right(VecInt<float> a) {
  return {_mm256_srli_epi32(a.v, k)};
}
[[gnu::always_inline]] inline VecInt<double> operator+(VecInt<double> a, VecInt<double> b) {
  return {_mm256_add_epi64(a.v, b.v)};
}
[[gnu::always_inline]] inline VecInt<double> operator-(VecInt<double> a, VecInt<double> b) {
  return {_mm256_sub_epi64(a.v, b.v)};
}
[[gnu::always_inline]] inline VecInt<double> operator&(VecInt<double> a, VecInt<double> b) {
  return {_mm256_and_si256(a.v, b.v)};
}
[[gnu::always_inline]] inline VecInt<double> operator|(VecInt<double> a, VecInt<double> b) {
  return {_mm256_or_si256(a.v, b.v)};
}
[[gnu::always_inline]] inline VecInt<double> operator^(VecInt<double> a, VecInt<double> b) {
  return {_mm256_xor_si256(a.v, b.v)};
}
template <int k>
[[gnu::always_inline]] inline VecInt<double> shift_left(VecInt<double> a) {
  return {_mm256_slli_epi64(a.v, k)};
}
template <int k>
[[gnu::always_inline]] inline VecInt<double> shift_right(VecInt<double> a) {
  return {_mm256_srli_epi64(a.v, k)};
}
[[gnu::always_inline]] inline VecInt<double> multiply_low32(VecInt<double> a, VecInt<double> b) {
  return {_mm256_mul_epu32(a.v, b.v)};
}
[[gnu::always_inline]] inline Mask<float> operator==(VecInt<float> a, VecInt<float> b) {
  return {_mm256_castsi256_ps(_mm256_cmpeq_epi32(a.v, b.v))};
}
[[gnu::always_inline]] inline Mask<float> operator>(VecInt<float> a, VecInt<float> b) {
  return {_mm256_castsi256_ps(_mm256_cmpgt_epi32(a.v, b.v))};
}
[[gnu::always_inline]] inline VecInt<float> max(VecInt<float> a, VecInt<float> b) {
  return {_mm256_max_epi32(a.v, b.v)};
}
[[gnu::always_inline]] inline VecInt<float> bits(Vec<float> a) {
  return {_mm256_castps_si256(a.v)};
}
[[gnu::always_inline]] inline VecInt<double> bits(Vec<double> a) {
  return {_mm256_castpd_si256(a.v)};
}
[[gnu::always_inline]] inline Vec<float> from_bits(VecInt<float> a) {
  return {_mm256_castsi256_ps(a.v)};
}
[[gnu::always_inline]] inline Vec<double> from_bits(VecInt<double> a) {
  return {_mm256_castsi256_pd(a.v)};
}
[[gnu::always_inline]] inline VecInt<float> to_int(Vec<float> a) {
  return {_mm256_cvttps_epi32(a.v)};
}
[[gnu::always_inline]] inline VecInt<float> round_to_int(Vec<float> a) {
  return {_mm256_cvtps_epi32(a.v)};
}
[[gnu::always_inline]] inline Vec<float> to_float(VecInt<float> a) {
  return {_mm256_cvtepi32_ps(a.v)};
}

// ---- between the types, truth values, lanes
[[gnu::always_inline]] inline Vec<double> widen_low(Vec<float> a) {
  return {_mm256_cvtps_pd(_mm256_castps256_ps128(a.v))};
}
[[gnu::always_inline]] inline Vec<double> widen_high(Vec<float> a) {
  return {_mm256_cvtps_pd(_mm256_extractf128_ps(a.v, 1))};
}
[[gnu::always_inline]] inline Vec<float> narrow(Vec<double> low, Vec<double> high) {
  return {_mm256_set_m128(_mm256_cvtpd_ps(high.v), _mm256_cvtpd_ps(low.v))};
}

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
