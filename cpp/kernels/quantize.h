// SPDX-License-Identifier: Apache-2.0
// Linear quantisation: q = saturate(round(x / scale) + zero), x = (q - zero) * scale.
//
// Rounds halves to even and divides, as ONNX defines it (multiplying by 1 / scale gives other
// integers). What is no number becomes the least integer, as in ONNX Runtime and PyTorch.
#pragma once

#include "kernels/table.h"
#include "simd/dot.h"

namespace lamella::kernels::LAMELLA_ISA_NAMESPACE {

namespace quantization {

template <class T>
using Vec = simd::LAMELLA_ISA_NAMESPACE::Vec<T>;
using simd::LAMELLA_ISA_NAMESPACE::load_bytes;
using simd::LAMELLA_ISA_NAMESPACE::store_bytes;

inline constexpr size_t kLanes = Vec<float>::lanes;

template <class Q>
inline constexpr int kLeast = Q(-1) < Q(0) ? -128 : 0;

// max_or_second takes the bound where the other is NaN.
template <class Q, class T>
[[gnu::always_inline]] inline Vec<T> to_range(Vec<T> quotient, Vec<T> zero) {
  const Vec<T> least = Vec<T>::broadcast(T(kLeast<Q>));
  const Vec<T> most = Vec<T>::broadcast(T(kLeast<Q> + 255));
  return min_or_second(max_or_second(round_even(quotient) + zero, least), most);
}

// A register full of bytes; Each: scale and zero step with x.
template <class Q, bool Each>
[[gnu::always_inline]] inline void quantize_lanes(const float* x, const float* scale, const Q* zero,
                                                  Q* y) {
  const Vec<float> divisor = Each ? Vec<float>::load(scale) : Vec<float>::broadcast(*scale);
  Vec<float> shift = Vec<float>::zero();
  if (zero) shift = Each ? to_float(load_bytes(zero)) : Vec<float>::broadcast(float(*zero));
  store_bytes(round_to_int(to_range<Q>(Vec<float>::load(x) / divisor, shift)), y);
}

template <class Q, bool Each>
[[gnu::always_inline]] inline void quantize_lanes(const double* x, const double* scale,
                                                  const Q* zero, Q* y) {
  constexpr size_t half = Vec<double>::lanes;
  Vec<float> shift = Vec<float>::zero();
  if (zero) shift = Each ? to_float(load_bytes(zero)) : Vec<float>::broadcast(float(*zero));
  const auto part = [&](size_t at, Vec<double> by) {
    const Vec<double> divisor =
        Each ? Vec<double>::load(scale + at) : Vec<double>::broadcast(*scale);
    return to_range<Q>(Vec<double>::load(x + at) / divisor, by);
  };
  store_bytes(round_to_int(narrow(part(0, widen_low(shift)), part(half, widen_high(shift)))), y);
}

}  // namespace quantization

template <class T, class Q, bool Each>
static void quantize_run(const T* x, const T* scale, const Q* zero, Q* y, size_t n) {
  using namespace quantization;
  size_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    const size_t at = Each ? i : 0;
    quantize_lanes<Q, Each>(x + i, scale + at, zero ? zero + at : nullptr, y + i);
  }
  if (i == n) return;
  T values[kLanes] = {}, scales[kLanes];
  Q zeros[kLanes] = {}, results[kLanes];
  for (size_t lane = 0; lane < kLanes; ++lane) {
    const bool inside = i + lane < n;
    const size_t at = Each ? (inside ? i + lane : i) : 0;
    if (inside) values[lane] = x[i + lane];
    scales[lane] = scale[at];
    if (zero) zeros[lane] = zero[at];
  }
  quantize_lanes<Q, true>(values, scales, zeros, results);
  for (size_t lane = 0; i + lane < n; ++lane) y[i + lane] = results[lane];
}

template <class T, class Q>
static void quantize(const T* x, const T* scale, const Q* zero, ptrdiff_t step, Q* y, size_t n) {
  (step == 0 ? quantize_run<T, Q, false> : quantize_run<T, Q, true>)(x, scale, zero, y, n);
}

template <class T, class Q>
static void dequantize(const Q* x, const T* scale, const Q* zero, ptrdiff_t step, T* y, size_t n) {
  if (step == 0) {
    const T factor = *scale, shift = zero ? static_cast<T>(*zero) : T(0);
    for (size_t i = 0; i < n; ++i) y[i] = (static_cast<T>(x[i]) - shift) * factor;
  } else {
    for (size_t i = 0; i < n; ++i) {
      y[i] = (static_cast<T>(x[i]) - (zero ? static_cast<T>(zero[i]) : T(0))) * scale[i];
    }
  }
}

// The least and the greatest of 0 and x; NaN where there is one.
static void extremes(const float* x, size_t n, float* least, float* greatest) {
  using V = quantization::Vec<float>;
  V low = V::zero(), high = V::zero();
  size_t i = 0;
  for (; i + V::lanes <= n; i += V::lanes) {
    const V some = V::load(x + i);
    low = min(low, some);
    high = max(high, some);
  }
  if (i < n) {
    const V some = V::load_partial(x + i, n - i);
    low = min(low, some);
    high = max(high, some);
  }
  *least = fold_lanes(low, [](V a, V b) { return min(a, b); });
  *greatest = fold_lanes(high, [](V a, V b) { return max(a, b); });
}

}  // namespace lamella::kernels::LAMELLA_ISA_NAMESPACE
