// SPDX-License-Identifier: Apache-2.0
// vec.h for plain x86-64 (SSE2): 4 floats or 2 doubles. The contract is in vec.h.
//
// There is no FMA instruction here. The float one is computed exactly: product in double, sum
// rounded to odd (Boldo and Melquiond, "Emulation of FMA and correctly rounded sums: proved
// algorithms using rounding to odd", 2008), then rounded to float. The double one is libm's.
#pragma once

#include <emmintrin.h>

#include "simd/vec.h"

namespace lamella::simd::LAMELLA_ISA_NAMESPACE {

inline constexpr bool kHasFma = false;
inline constexpr bool kMaskedMoves = false;

template <>
struct Mask<float> {
  __m128 v;
};

template <>
struct Mask<double> {
  __m128d v;
};

template <>
struct VecInt<float> {
  using Scalar = std::int32_t;
  static constexpr size_t lanes = 4;
  __m128i v;
  [[gnu::always_inline]] static VecInt broadcast(Scalar x) { return {_mm_set1_epi32(x)}; }
};

template <>
struct VecInt<double> {
  using Scalar = std::int64_t;
  static constexpr size_t lanes = 2;
  __m128i v;
  [[gnu::always_inline]] static VecInt broadcast(Scalar x) { return {_mm_set1_epi64x(x)}; }
};

template <>
struct Vec<float> {
  using Scalar = float;
  static constexpr size_t lanes = 4;
  __m128 v;

  [[gnu::always_inline]] static Vec load(const float* p) { return {_mm_loadu_ps(p)}; }
  [[gnu::always_inline]] static Vec load_partial(const float* p, size_t n) {
    if (n == 0) return zero();
    if (n == 1) return {_mm_load_ss(p)};
    const __m128 two = _mm_castsi128_ps(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)));
    return {n == 2 ? two : _mm_movelh_ps(two, _mm_load_ss(p + 2))};
  }
  [[gnu::always_inline]] void store(float* p) const { _mm_storeu_ps(p, v); }
  [[gnu::always_inline]] void store_partial(float* p, size_t n) const {
    if (n == 0) return;
    if (n == 1) {
      _mm_store_ss(p, v);
      return;
    }
    _mm_storel_epi64(reinterpret_cast<__m128i*>(p), _mm_castps_si128(v));
    if (n == 3) _mm_store_ss(p + 2, _mm_movehl_ps(v, v));
  }
  [[gnu::always_inline]] static Vec broadcast(float x) { return {_mm_set1_ps(x)}; }
  [[gnu::always_inline]] static Vec zero() { return {_mm_setzero_ps()}; }
  [[gnu::always_inline]] float first() const { return _mm_cvtss_f32(v); }
};

template <>
struct Vec<double> {
  using Scalar = double;
  static constexpr size_t lanes = 2;
  __m128d v;

  [[gnu::always_inline]] static Vec load(const double* p) { return {_mm_loadu_pd(p)}; }
  [[gnu::always_inline]] static Vec load_partial(const double* p, size_t n) {
    return n == 0 ? zero() : Vec{_mm_load_sd(p)};
  }
  [[gnu::always_inline]] void store(double* p) const { _mm_storeu_pd(p, v); }
  [[gnu::always_inline]] void store_partial(double* p, size_t n) const {
    if (n == 1) _mm_store_sd(p, v);
  }
  [[gnu::always_inline]] static Vec broadcast(double x) { return {_mm_set1_pd(x)}; }
  [[gnu::always_inline]] static Vec zero() { return {_mm_setzero_pd()}; }
  [[gnu::always_inline]] double first() const { return _mm_cvtsd_f64(v); }
};

// ---- float
[[gnu::always_inline]] inline Vec<float> operator+(Vec<float> a, Vec<float> b) {
  return {_mm_add_ps(a.v, b.v)};
}
[[gnu::always_inline]] inline Vec<float> operator-(Vec<float> a, Vec<float> b) {
  return {_mm_sub_ps(a.v, b.v)};
}
[[gnu::always_inline]] inline Vec<float> operator*(Vec<float> a, Vec<float> b) {
  return {_mm_mul_ps(a.v, b.v)};
}
[[gnu::always_inline]] inline Vec<float> operator/(Vec<float> a, Vec<float> b) {
  return {_mm_div_ps(a.v, b.v)};
}
[[gnu::always_inline]] inline Vec<float> operator-(Vec<float> a) { return {-a.v}; }
[[gnu::always_inline]] inline Vec<float> mul_add(Vec<float> a, Vec<float> b, Vec<float> c) {
  return a * b + c;
}
[[gnu::always_inline]] inline Vec<float> min_or_second(Vec<float> a, Vec<float> b) {
  return {_mm_min_ps(a.v, b.v)};
}
[[gnu::always_inline]] inline Vec<float> max_or_second(Vec<float> a, Vec<float> b) {
  return {_mm_max_ps(a.v, b.v)};
}
// The two orders differ in the sign of a zero and in which NaN operand is dropped.
[[gnu::always_inline]] inline Vec<float> min(Vec<float> a, Vec<float> b) {
  return {_mm_or_ps(_mm_min_ps(a.v, b.v), _mm_min_ps(b.v, a.v))};
}
[[gnu::always_inline]] inline Vec<float> max(Vec<float> a, Vec<float> b) {
  return {
      _mm_or_ps(_mm_and_ps(_mm_max_ps(a.v, b.v), _mm_max_ps(b.v, a.v)), _mm_cmpunord_ps(a.v, b.v))};
}
[[gnu::always_inline]] inline Vec<float> abs(Vec<float> a) {
  return {_mm_andnot_ps(_mm_set1_ps(-0.0f), a.v)};
}
[[gnu::always_inline]] inline Vec<float> sqrt(Vec<float> a) { return {_mm_sqrt_ps(a.v)}; }
[[gnu::always_inline]] inline Vec<float> copysign(Vec<float> magnitude, Vec<float> sign) {
  const __m128 top = _mm_set1_ps(-0.0f);
  return {_mm_or_ps(_mm_andnot_ps(top, magnitude.v), _mm_and_ps(top, sign.v))};
}
[[gnu::always_inline]] inline Mask<float> operator<(Vec<float> a, Vec<float> b) {
  return {_mm_cmplt_ps(a.v, b.v)};
}
[[gnu::always_inline]] inline Mask<float> operator<=(Vec<float> a, Vec<float> b) {
  return {_mm_cmple_ps(a.v, b.v)};
}
[[gnu::always_inline]] inline Mask<float> operator>(Vec<float> a, Vec<float> b) {
  return {_mm_cmpgt_ps(a.v, b.v)};
}
[[gnu::always_inline]] inline Mask<float> operator>=(Vec<float> a, Vec<float> b) {
  return {_mm_cmpge_ps(a.v, b.v)};
}
[[gnu::always_inline]] inline Mask<float> operator==(Vec<float> a, Vec<float> b) {
  return {_mm_cmpeq_ps(a.v, b.v)};
}
[[gnu::always_inline]] inline Mask<float> operator!=(Vec<float> a, Vec<float> b) {
  return {_mm_cmpneq_ps(a.v, b.v)};
}
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
[[gnu::always_inline]] inline Vec<float> select(Mask<float> m, Vec<float> a, Vec<float> b) {
  return {_mm_or_ps(_mm_and_ps(m.v, a.v), _mm_andnot_ps(m.v, b.v))};
}
// Adding and taking away 8388608.0f leaves the nearest integer; larger numbers have no fraction.
[[gnu::always_inline]] inline Vec<float> round_even(Vec<float> a) {
  const Vec<float> big = copysign(Vec<float>::broadcast(8388608.0f), a);
  const Vec<float> rounded = copysign((a + big) - big, a);
  return select(abs(a) < Vec<float>::broadcast(8388608.0f), rounded, a);
}
[[gnu::always_inline]] inline Vec<float> floor(Vec<float> a) {
  const Vec<float> near = round_even(a);
  return copysign(select(near > a, near - Vec<float>::broadcast(1.0f), near), a);
}
[[gnu::always_inline]] inline Vec<float> ceil(Vec<float> a) {
  const Vec<float> near = round_even(a);
  return copysign(select(near < a, near + Vec<float>::broadcast(1.0f), near), a);
}

// ---- double
[[gnu::always_inline]] inline Vec<double> operator+(Vec<double> a, Vec<double> b) {
  return {_mm_add_pd(a.v, b.v)};
}
[[gnu::always_inline]] inline Vec<double> operator-(Vec<double> a, Vec<double> b) {
  return {_mm_sub_pd(a.v, b.v)};
}
[[gnu::always_inline]] inline Vec<double> operator*(Vec<double> a, Vec<double> b) {
  return {_mm_mul_pd(a.v, b.v)};
}
[[gnu::always_inline]] inline Vec<double> operator/(Vec<double> a, Vec<double> b) {
  return {_mm_div_pd(a.v, b.v)};
}
[[gnu::always_inline]] inline Vec<double> operator-(Vec<double> a) { return {-a.v}; }
[[gnu::always_inline]] inline Vec<double> mul_add(Vec<double> a, Vec<double> b, Vec<double> c) {
  return a * b + c;
}
[[gnu::always_inline]] inline Vec<double> min_or_second(Vec<double> a, Vec<double> b) {
  return {_mm_min_pd(a.v, b.v)};
}
[[gnu::always_inline]] inline Vec<double> max_or_second(Vec<double> a, Vec<double> b) {
  return {_mm_max_pd(a.v, b.v)};
}
// The two orders differ in the sign of a zero and in which NaN operand is dropped.
[[gnu::always_inline]] inline Vec<double> min(Vec<double> a, Vec<double> b) {
  return {_mm_or_pd(_mm_min_pd(a.v, b.v), _mm_min_pd(b.v, a.v))};
}
[[gnu::always_inline]] inline Vec<double> max(Vec<double> a, Vec<double> b) {
  return {
      _mm_or_pd(_mm_and_pd(_mm_max_pd(a.v, b.v), _mm_max_pd(b.v, a.v)), _mm_cmpunord_pd(a.v, b.v))};
}
[[gnu::always_inline]] inline Vec<double> abs(Vec<double> a) {
  return {_mm_andnot_pd(_mm_set1_pd(-0.0), a.v)};
}
[[gnu::always_inline]] inline Vec<double> sqrt(Vec<double> a) { return {_mm_sqrt_pd(a.v)}; }
[[gnu::always_inline]] inline Vec<double> copysign(Vec<double> magnitude, Vec<double> sign) {
  const __m128d top = _mm_set1_pd(-0.0);
  return {_mm_or_pd(_mm_andnot_pd(top, magnitude.v), _mm_and_pd(top, sign.v))};
}
[[gnu::always_inline]] inline Mask<double> operator<(Vec<double> a, Vec<double> b) {
  return {_mm_cmplt_pd(a.v, b.v)};
}
[[gnu::always_inline]] inline Mask<double> operator<=(Vec<double> a, Vec<double> b) {
  return {_mm_cmple_pd(a.v, b.v)};
}
[[gnu::always_inline]] inline Mask<double> operator>(Vec<double> a, Vec<double> b) {
  return {_mm_cmpgt_pd(a.v, b.v)};
}
[[gnu::always_inline]] inline Mask<double> operator>=(Vec<double> a, Vec<double> b) {
  return {_mm_cmpge_pd(a.v, b.v)};
}
[[gnu::always_inline]] inline Mask<double> operator==(Vec<double> a, Vec<double> b) {
  return {_mm_cmpeq_pd(a.v, b.v)};
}
[[gnu::always_inline]] inline Mask<double> operator!=(Vec<double> a, Vec<double> b) {
  return {_mm_cmpneq_pd(a.v, b.v)};
}
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
[[gnu::always_inline]] inline Vec<double> select(Mask<double> m, Vec<double> a, Vec<double> b) {
  return {_mm_or_pd(_mm_and_pd(m.v, a.v), _mm_andnot_pd(m.v, b.v))};
}
// Adding and taking away 4503599627370496.0 leaves the nearest integer; larger numbers have no fraction.
[[gnu::always_inline]] inline Vec<double> round_even(Vec<double> a) {
  const Vec<double> big = copysign(Vec<double>::broadcast(4503599627370496.0), a);
  const Vec<double> rounded = copysign((a + big) - big, a);
  return select(abs(a) < Vec<double>::broadcast(4503599627370496.0), rounded, a);
}
[[gnu::always_inline]] inline Vec<double> floor(Vec<double> a) {
  const Vec<double> near = round_even(a);
  return copysign(select(near > a, near - Vec<double>::broadcast(1.0), near), a);
}
[[gnu::always_inline]] inline Vec<double> ceil(Vec<double> a) {
  const Vec<double> near = round_even(a);
  return copysign(select(near < a, near + Vec<double>::broadcast(1.0), near), a);
}

// ---- integers
[[gnu::always_inline]] inline VecInt<float> operator+(VecInt<float> a, VecInt<float> b) {
  return {_mm_add_epi32(a.v, b.v)};
}
[[gnu::always_inline]] inline VecInt<float> operator-(VecInt<float> a, VecInt<float> b) {
  return {_mm_sub_epi32(a.v, b.v)};
}
[[gnu::always_inline]] inline VecInt<float> operator&(VecInt<float> a, VecInt<float> b) {
  return {_mm_and_si128(a.v, b.v)};
}
[[gnu::always_inline]] inline VecInt<float> operator|(VecInt<float> a, VecInt<float> b) {
  return {_mm_or_si128(a.v, b.v)};
}
[[gnu::always_inline]] inline VecInt<float> operator^(VecInt<float> a, VecInt<float> b) {
  return {_mm_xor_si128(a.v, b.v)};
}
template <int k>
[[gnu::always_inline]] inline VecInt<float> shift_left(VecInt<float> a) {
  return {_mm_slli_epi32(a.v, k)};
}
template <int k>
[[gnu::always_inline]] inline VecInt<float> shift_right(VecInt<float> a) {
  return {_mm_srli_epi32(a.v, k)};
}
[[gnu::always_inline]] inline VecInt<double> operator+(VecInt<double> a, VecInt<double> b) {
  return {_mm_add_epi64(a.v, b.v)};
}
[[gnu::always_inline]] inline VecInt<double> operator-(VecInt<double> a, VecInt<double> b) {
  return {_mm_sub_epi64(a.v, b.v)};
}
[[gnu::always_inline]] inline VecInt<double> operator&(VecInt<double> a, VecInt<double> b) {
  return {_mm_and_si128(a.v, b.v)};
}
[[gnu::always_inline]] inline VecInt<double> operator|(VecInt<double> a, VecInt<double> b) {
  return {_mm_or_si128(a.v, b.v)};
}
[[gnu::always_inline]] inline VecInt<double> operator^(VecInt<double> a, VecInt<double> b) {
  return {_mm_xor_si128(a.v, b.v)};
}
template <int k>
[[gnu::always_inline]] inline VecInt<double> shift_left(VecInt<double> a) {
  return {_mm_slli_epi64(a.v, k)};
}
template <int k>
[[gnu::always_inline]] inline VecInt<double> shift_right(VecInt<double> a) {
  return {_mm_srli_epi64(a.v, k)};
}

[[gnu::always_inline]] inline VecInt<double> multiply_low32(VecInt<double> a, VecInt<double> b) {
  return {_mm_mul_epu32(a.v, b.v)};
}
[[gnu::always_inline]] inline Mask<float> operator==(VecInt<float> a, VecInt<float> b) {
  return {_mm_castsi128_ps(_mm_cmpeq_epi32(a.v, b.v))};
}
[[gnu::always_inline]] inline Mask<float> operator>(VecInt<float> a, VecInt<float> b) {
  return {_mm_castsi128_ps(_mm_cmpgt_epi32(a.v, b.v))};
}
[[gnu::always_inline]] inline VecInt<float> max(VecInt<float> a, VecInt<float> b) {
  const __m128i larger = _mm_cmpgt_epi32(a.v, b.v);
  return {_mm_or_si128(_mm_and_si128(larger, a.v), _mm_andnot_si128(larger, b.v))};
}
[[gnu::always_inline]] inline VecInt<float> bits(Vec<float> a) { return {_mm_castps_si128(a.v)}; }
[[gnu::always_inline]] inline VecInt<double> bits(Vec<double> a) { return {_mm_castpd_si128(a.v)}; }
[[gnu::always_inline]] inline Vec<float> from_bits(VecInt<float> a) {
  return {_mm_castsi128_ps(a.v)};
}
[[gnu::always_inline]] inline Vec<double> from_bits(VecInt<double> a) {
  return {_mm_castsi128_pd(a.v)};
}
[[gnu::always_inline]] inline VecInt<float> to_int(Vec<float> a) { return {_mm_cvttps_epi32(a.v)}; }
[[gnu::always_inline]] inline VecInt<float> round_to_int(Vec<float> a) {
  return {_mm_cvtps_epi32(a.v)};
}
[[gnu::always_inline]] inline Vec<float> to_float(VecInt<float> a) {
  return {_mm_cvtepi32_ps(a.v)};
}

// ---- between the types, fused products, truth values, lanes
[[gnu::always_inline]] inline Vec<double> widen_low(Vec<float> a) { return {_mm_cvtps_pd(a.v)}; }
[[gnu::always_inline]] inline Vec<double> widen_high(Vec<float> a) {
  return {_mm_cvtps_pd(_mm_movehl_ps(a.v, a.v))};
}
[[gnu::always_inline]] inline Vec<float> narrow(Vec<double> low, Vec<double> high) {
  return {_mm_movelh_ps(_mm_cvtpd_ps(low.v), _mm_cvtpd_ps(high.v))};
}

// p + c rounded to odd: an inexact sum with an even last bit moves one step towards the error.
// The error is exact (Knuth's two-sum); infinities and NaN have none.
[[gnu::always_inline]] inline Vec<double> add_round_to_odd(Vec<double> p, Vec<double> c) {
  const Vec<double> sum = p + c;
  const Vec<double> c_part = sum - p;
  const Vec<double> error = (p - (sum - c_part)) + (c - c_part);
  const __m128i inexact = _mm_castpd_si128(_mm_cmplt_pd(_mm_setzero_pd(), abs(error).v));
  const __m128i one = _mm_set1_epi64x(1);
  const __m128i even = _mm_sub_epi64(_mm_and_si128(bits(sum).v, one), one);
  const __m128i opposite = _mm_srai_epi32(
      _mm_shuffle_epi32(_mm_xor_si128(bits(sum).v, bits(error).v), _MM_SHUFFLE(3, 3, 1, 1)), 31);
  const __m128i step = _mm_and_si128(_mm_or_si128(opposite, one), _mm_and_si128(inexact, even));
  return {_mm_castsi128_pd(_mm_add_epi64(bits(sum).v, step))};
}
[[gnu::always_inline]] inline Vec<float> fma(Vec<float> a, Vec<float> b, Vec<float> c) {
  return narrow(add_round_to_odd(widen_low(a) * widen_low(b), widen_low(c)),
                add_round_to_odd(widen_high(a) * widen_high(b), widen_high(c)));
}
[[gnu::always_inline]] inline Vec<double> fma(Vec<double> a, Vec<double> b, Vec<double> c) {
  const double low = __builtin_fma(a.v[0], b.v[0], c.v[0]);
  const double high = __builtin_fma(a.v[1], b.v[1], c.v[1]);
  return {_mm_set_pd(high, low)};
}

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

template <size_t N>
[[gnu::always_inline]] inline Vec<float> lookup_in(const float (&table)[N], VecInt<float> i) {
  alignas(16) std::int32_t at[4];
  _mm_store_si128(reinterpret_cast<__m128i*>(at), _mm_and_si128(i.v, _mm_set1_epi32(N - 1)));
  return {_mm_setr_ps(table[at[0]], table[at[1]], table[at[2]], table[at[3]])};
}
[[gnu::always_inline]] inline Vec<float> lookup8(const float (&table)[8], VecInt<float> i) {
  return lookup_in(table, i);
}
[[gnu::always_inline]] inline Vec<float> lookup16(const float (&table)[16], VecInt<float> i) {
  return lookup_in(table, i);
}

template <int k>
[[gnu::always_inline]] inline Vec<float> upper(Vec<float> a) {
  static_assert(k == 2 || k == 1);
  if constexpr (k == 2) return {_mm_movehl_ps(a.v, a.v)};
  return {_mm_shuffle_ps(a.v, a.v, 0xB1)};
}
template <int k>
[[gnu::always_inline]] inline Vec<double> upper(Vec<double> a) {
  static_assert(k == 1);
  return {_mm_unpackhi_pd(a.v, a.v)};
}

[[gnu::always_inline]] inline void transpose(Vec<float> (&r)[4]) {
  const __m128 a = _mm_unpacklo_ps(r[0].v, r[1].v), b = _mm_unpackhi_ps(r[0].v, r[1].v);
  const __m128 c = _mm_unpacklo_ps(r[2].v, r[3].v), d = _mm_unpackhi_ps(r[2].v, r[3].v);
  r[0] = {_mm_movelh_ps(a, c)};
  r[1] = {_mm_movehl_ps(c, a)};
  r[2] = {_mm_movelh_ps(b, d)};
  r[3] = {_mm_movehl_ps(d, b)};
}
[[gnu::always_inline]] inline void transpose(Vec<double> (&r)[2]) {
  const __m128d low = _mm_unpacklo_pd(r[0].v, r[1].v), high = _mm_unpackhi_pd(r[0].v, r[1].v);
  r[0] = {low};
  r[1] = {high};
}

template <size_t K>
[[gnu::always_inline]] inline Vec<float> add_halves(Vec<float> a, Vec<float> b) {
  if constexpr (K == 2) {
    const __m128 kept = _mm_shuffle_ps(a.v, b.v, 0xE4);
    return {_mm_add_ps(kept, _mm_shuffle_ps(a.v, b.v, 0x4E))};
  }
  const __m128 even = _mm_shuffle_ps(a.v, b.v, 0x88), odd = _mm_shuffle_ps(a.v, b.v, 0xDD);
  const __m128 sum = _mm_add_ps(even, odd);
  return {_mm_shuffle_ps(sum, sum, 0xD8)};
}
template <size_t K>
[[gnu::always_inline]] inline Vec<double> add_halves(Vec<double> a, Vec<double> b) {
  return {_mm_add_pd(_mm_shuffle_pd(a.v, b.v, 2), _mm_shuffle_pd(a.v, b.v, 1))};
}

}  // namespace lamella::simd::LAMELLA_ISA_NAMESPACE
