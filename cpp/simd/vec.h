// SPDX-License-Identifier: Apache-2.0
// One register of floats or doubles, the same words on every instruction set.
//
// Each instruction set has a folder, a file a family: what follows is their contract. All of it is
// force-inlined and lives in the ISA's own namespace, so no object file exports vector code. What a
// new one takes beside its folder is in CONTRIBUTING.md.
//
//   Vec<T>          T = float, double; `lanes` of them.
//     load(p) store(p)                 any alignment
//     load_partial(p, n)               n < lanes; reads n elements, the other lanes are zero
//     store_partial(p, n)              n < lanes; writes n elements
//     broadcast(x) zero() first()      first() is lane 0
//     + - * / unary-                   IEEE, rounded to nearest even
//   HalfVec<float>  8 lanes, where Vec<float> has 16 (AVX-512): moves, broadcast, zero, + * mul_add
//   fma(a, b, c)    a * b + c rounded once on every ISA (slow where there is no instruction)
//   mul_add(a, b, c)  the FMA instruction, or a product and a sum where there is none
//   kHasFma         whether there is such an instruction
//   kMaskedMoves    whether the partial moves are one instruction, as quick as the whole ones
//   min max         NaN if either is NaN; -0 < +0
//   min_or_second(a, b), max_or_second(a, b)   one instruction: b if either is NaN or both are 0
//   scale(v, n)     v 2^n for whole n, |n| <= 1100, and normal v near 1; double only
//   abs sqrt floor ceil round_even copysign(magnitude, sign)
//   < <= > >= == != IEEE comparisons, giving Mask<T>
//   Mask<T>         & | ! any(m) all(m); select(m, a, b) is lane by lane m ? a : b
//                   first_lanes<T>(n): true in lanes below n
//                   store_truth(m, p) store_truth_partial(m, p, n): bytes 0 or 1
//                   load_truth<T>(p) load_truth_partial<T>(p, n): true where the byte is not 0
//   VecInt<T>       integers of T's size: broadcast, + - & | ^, shift_left<k>, shift_right<k>
//                   (zeros come in); for float also == and >, and max of signed numbers
//                   for double also multiply_low32: 64-bit products of the low unsigned halves
//   bits(v) from_bits(i)               reinterpretation
//   to_int(v) round_to_int(v) to_float(i)   float only; truncation, nearest even, conversion
//   widen_low(v) widen_high(v) narrow(low, high)   float <-> double
//   lookup8(table, i) lookup16(table, i)    table[low 3, 4 bits of i]; float only
//   upper<k>(v)     lanes k .. 2k-1 in lanes 0 .. k-1; the lanes behind those are unspecified
//   transpose(rows) in place, `lanes` rows
//   add_halves<k>(a, b)   of every 2k lanes of a, lane i + lane i + k in the lower k; of b in the
//                   upper k
#pragma once

#include <cstddef>
#include <cstdint>

namespace lamella::simd::LAMELLA_ISA_NAMESPACE {

using std::size_t;

template <class T>
struct Vec;
template <class T>
struct HalfVec;
template <class T>
struct Mask;
template <class T>
struct VecInt;

}  // namespace lamella::simd::LAMELLA_ISA_NAMESPACE

#if defined(__AVX512F__) && defined(__AVX512BW__) && defined(__AVX512DQ__) && defined(__AVX512VL__)
#include "simd/avx512/vec.h"
#elif defined(__AVX2__) && defined(__FMA__)
#include "simd/avx2/vec.h"
#elif defined(__SSE2__)
#include "simd/sse2/vec.h"
#else
#error "no simd/<isa>/vec.h for this instruction set"
#endif

namespace lamella::simd::LAMELLA_ISA_NAMESPACE {

#if !defined(__AVX512F__)
// Rounded once, into the subnormal range or to infinity, as the first factor leaves v exact: the
// bits of the instruction that AVX-512 has for it.
[[gnu::always_inline]] inline Vec<double> scale(Vec<double> v, Vec<double> n) {
  const VecInt<double> biased = bits(n + Vec<double>::broadcast(0x1.8p+52 + 2046.0));
  const VecInt<double> half = shift_right<1>(biased);
  return v * from_bits(shift_left<52>(half)) * from_bits(shift_left<52>(biased - half));
}
#endif

// load_partial with a value of the caller's choice in the lanes behind n.
template <class T>
[[gnu::always_inline]] inline Vec<T> load_partial(const T* p, size_t n, T fill) {
  return select(first_lanes<T>(n), Vec<T>::load_partial(p, n), Vec<T>::broadcast(fill));
}

// Whether |x| <= limit throughout; not for NaN. As integers, which any of the machine's pipes take:
// a comparison of floats keeps those that multiply busy.
template <size_t N>
[[gnu::always_inline]] inline bool all_within(float limit, const Vec<float> (&x)[N]) {
  VecInt<float> largest = bits(abs(x[0]));
#pragma GCC unroll 8
  for (size_t i = 1; i < N; ++i) largest = max(largest, bits(abs(x[i])));
  return !any(largest > VecInt<float>::broadcast(__builtin_bit_cast(std::int32_t, limit)));
}
template <size_t N>
[[gnu::always_inline]] inline bool all_within(double limit, const Vec<double> (&x)[N]) {
  Mask<double> within = abs(x[0]) <= Vec<double>::broadcast(limit);
#pragma GCC unroll 8
  for (size_t i = 1; i < N; ++i) within = within & (abs(x[i]) <= Vec<double>::broadcast(limit));
  return all(within);
}

// Folds the lanes of one register by the tree + lanes/2, ..., + 2, + 1.
template <class T, class Op>
[[gnu::always_inline]] inline T fold_lanes(Vec<T> v, Op op) {
  if constexpr (Vec<T>::lanes >= 16) v = op(v, upper<8>(v));
  if constexpr (Vec<T>::lanes >= 8) v = op(v, upper<4>(v));
  if constexpr (Vec<T>::lanes >= 4) v = op(v, upper<2>(v));
  v = op(v, upper<1>(v));
  return v.first();
}

// The virtual register of every reduction: 16 lanes, whatever the hardware has. Lane l of the
// whole is lane l % lanes of part l / lanes.
template <class T>
struct Lanes16 {
  static constexpr size_t lanes = 16;
  static constexpr size_t count = lanes / Vec<T>::lanes;
  Vec<T> part[count];

  [[gnu::always_inline]] static Lanes16 broadcast(T x) {
    Lanes16 r;
#pragma GCC unroll 16
    for (size_t i = 0; i < count; ++i) r.part[i] = Vec<T>::broadcast(x);
    return r;
  }

  [[gnu::always_inline]] static Lanes16 load(const T* p) {
    Lanes16 r;
#pragma GCC unroll 16
    for (size_t i = 0; i < count; ++i) r.part[i] = Vec<T>::load(p + i * Vec<T>::lanes);
    return r;
  }

  // n < 16; the lanes behind n hold `fill`.
  [[gnu::always_inline]] static Lanes16 load_partial(const T* p, size_t n, T fill) {
    Lanes16 r;
#pragma GCC unroll 16
    for (size_t i = 0; i < count; ++i) {
      const size_t begin = i * Vec<T>::lanes;
      if (n >= begin + Vec<T>::lanes) {
        r.part[i] = Vec<T>::load(p + begin);
      } else if (n > begin) {
        r.part[i] = simd::LAMELLA_ISA_NAMESPACE::load_partial(p + begin, n - begin, fill);
      } else {
        r.part[i] = Vec<T>::broadcast(fill);
      }
    }
    return r;
  }

  // op(a, b) lane by lane.
  template <class Op>
  [[gnu::always_inline]] static Lanes16 map(const Lanes16& a, const Lanes16& b, Op op) {
    Lanes16 r;
#pragma GCC unroll 16
    for (size_t i = 0; i < count; ++i) r.part[i] = op(a.part[i], b.part[i]);
    return r;
  }

  // op(lane l, lane l + 8), then + 4, + 2, + 1: the same tree at every register width.
  template <class Op>
  [[gnu::always_inline]] T fold(Op op) const {
    return fold_lanes(fold_parts(op), op);
  }

  // The tree down to one register.
  template <class Op>
  [[gnu::always_inline]] Vec<T> fold_parts(Op op) const {
    Vec<T> r[count];
#pragma GCC unroll 16
    for (size_t i = 0; i < count; ++i) r[i] = part[i];
#pragma GCC unroll 8
    for (size_t half = count / 2; half > 0; half /= 2) {
#pragma GCC unroll 16
      for (size_t i = 0; i < half; ++i) r[i] = op(r[i], r[i + half]);
    }
    return r[0];
  }
};

}  // namespace lamella::simd::LAMELLA_ISA_NAMESPACE
