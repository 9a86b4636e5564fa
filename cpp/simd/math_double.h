// SPDX-License-Identifier: Apache-2.0
// double: the C library's functions lane by lane, and stable formulas for the composite ones.
//
// Double precision serves gradient checks and callers who ask for it; it is written for accuracy,
// not for speed. No header of the standard library is included: the compiler's builtins call libm.
#pragma once

#include "simd/polynomial.h"

namespace lamella::simd::LAMELLA_ISA_NAMESPACE {

template <class T, class Fn>
[[gnu::always_inline]] inline Vec<T> each_lane(Vec<T> x, Fn fn) {
  T lane[Vec<T>::lanes];
  x.store(lane);
  for (size_t i = 0; i < Vec<T>::lanes; ++i) lane[i] = fn(lane[i]);
  return Vec<T>::load(lane);
}

[[gnu::always_inline]] inline Vec<float> sin(Vec<float> x) {
  return each_lane(x, [](float v) { return __builtin_sinf(v); });
}
[[gnu::always_inline]] inline Vec<float> cos(Vec<float> x) {
  return each_lane(x, [](float v) { return __builtin_cosf(v); });
}
[[gnu::always_inline]] inline Vec<double> sin(Vec<double> x) {
  return each_lane(x, [](double v) { return __builtin_sin(v); });
}
[[gnu::always_inline]] inline Vec<double> cos(Vec<double> x) {
  return each_lane(x, [](double v) { return __builtin_cos(v); });
}
[[gnu::always_inline]] inline Vec<double> exp(Vec<double> x) {
  return each_lane(x, [](double v) { return __builtin_exp(v); });
}
[[gnu::always_inline]] inline Vec<double> expm1(Vec<double> x) {
  return each_lane(x, [](double v) { return __builtin_expm1(v); });
}
[[gnu::always_inline]] inline Vec<double> log(Vec<double> x) {
  return each_lane(x, [](double v) { return __builtin_log(v); });
}
[[gnu::always_inline]] inline Vec<double> log1p(Vec<double> x) {
  return each_lane(x, [](double v) { return __builtin_log1p(v); });
}
[[gnu::always_inline]] inline Vec<double> tanh(Vec<double> x) {
  return each_lane(x, [](double v) { return __builtin_tanh(v); });
}
[[gnu::always_inline]] inline Vec<double> erf(Vec<double> x) {
  return each_lane(x, [](double v) { return __builtin_erf(v); });
}
[[gnu::always_inline]] inline Vec<double> erfc(Vec<double> x) {
  return each_lane(x, [](double v) { return __builtin_erfc(v); });
}

[[gnu::always_inline]] inline Vec<double> scaled_expm1(Vec<double> x, Vec<double> scale) {
  return scale * expm1(x);
}
[[gnu::always_inline]] inline Vec<double> expm1_of_ratio(Vec<double> x, Vec<double> alpha) {
  return alpha * expm1(x / alpha);
}

[[gnu::always_inline]] inline Vec<double> selu(Vec<double> x) {
  using V = Vec<double>;
  const V below = V::broadcast(1.6732632423543772848170429916717) * expm1(x);
  return V::broadcast(1.0507009873554804934193349852946) * select(x > V::zero(), x, below);
}

// With z = exp(-|x|): 1 / (1 + z) or z / (1 + z), never a difference.
[[gnu::always_inline]] inline Vec<double> sigmoid(Vec<double> x) {
  using V = Vec<double>;
  const V one = V::broadcast(1.0);
  const V z = exp(-abs(x));
  return select(x < V::zero(), z, one) / (one + z);
}

// y sigmoid(x + low), low a small correction of x. For negative x the factor exp(x) is applied as
// two halves, so that its underflow costs no precision the product still has.
[[gnu::always_inline]] inline Vec<double> gated(Vec<double> y, Vec<double> x, Vec<double> low) {
  using V = Vec<double>;
  const V one = V::broadcast(1.0);
  const Mask<double> negative = x < V::zero();
  const V whole = exp(abs(x) * V::broadcast(-0.5));
  const V half = fma(whole, select(negative, low, -low) * V::broadcast(0.5), whole);
  return select(negative, y * half, y) / mul_add(half, half, one) * select(negative, half, one);
}

[[gnu::always_inline]] inline Vec<double> silu(Vec<double> x) {
  const Vec<double> factor = at_least(-800.0, x);
  return gated(factor, factor, Vec<double>::zero());
}

// x sigmoid(u) with u = 2 sqrt(2/pi) (x + 0.044715 x^3). The exponential multiplies the relative
// error of u by u, hundreds in the tail, so u is carried as a sum of two doubles (Dekker, "A
// floating-point technique for extending the available precision", 1971).
[[gnu::always_inline]] inline Vec<double> gelu_tanh(Vec<double> x) {
  using V = Vec<double>;
  const V linear = V::broadcast(0x1.9884533d43651p+0),
          linear_low = V::broadcast(-0x1.cbc0d30ebfd15p-54);
  const V cubic = V::broadcast(0x1.2444f2a4d8b4bp-4),
          cubic_low = V::broadcast(-0x1.6c843a29d1c70p-61);
  const V factor = at_least(-40.0, x), limited = at_most(40.0, factor);
  const V square = limited * limited, square_low = fma(limited, limited, -square);
  const V term = cubic * square;
  const V term_low = fma(cubic, square, -term) + fma(cubic, square_low, cubic_low * square);
  const V slope = linear + term, part = slope - linear;
  const V slope_low = (linear - (slope - part)) + (term - part) + (term_low + linear_low);
  const V u = limited * slope;
  return gated(factor, u, fma(limited, slope, -u) + limited * slope_low);
}

// x tanh(log(1 + e^x)), rational in z = exp(-|x|) = half^2. For negative x the factor z is applied
// as two halves, as in gated().
[[gnu::always_inline]] inline Vec<double> mish(Vec<double> x) {
  using V = Vec<double>;
  const V two = V::broadcast(2.0), one = V::broadcast(1.0);
  const V factor = at_least(-800.0, x);
  const V half = exp(abs(factor) * V::broadcast(-0.5));
  const V z = half * half;
  const Mask<double> negative = x < V::zero();
  const V below = factor * half * (z + two) / mul_add(z, z + two, two) * half;
  const V above = factor * mul_add(two, z, one) / mul_add(two * z, z, mul_add(two, z, one));
  return select(negative, below, above);
}

[[gnu::always_inline]] inline Vec<double> softplus_tail(Vec<double> x) {
  return log1p(exp(-abs(x)));
}
[[gnu::always_inline]] inline Vec<double> softplus(Vec<double> x, Vec<double> beta,
                                                   Vec<double> threshold) {
  const Vec<double> scaled = x * beta;
  const Vec<double> y = (at_least(0.0, scaled) + softplus_tail(scaled)) / beta;
  return select(scaled > threshold, x, y);
}
[[gnu::always_inline]] inline Vec<double> logsigmoid(Vec<double> x) {
  return -(at_least(0.0, -x) + softplus_tail(x));
}

// x Phi(x) = x erfc(v) / 2 with v = -x / sqrt 2. In the tail erfc multiplies the rounding error of v
// by 2 v^2; its first-order effect, error * erfc'(v), is taken off again.
[[gnu::always_inline]] inline Vec<double> gelu(Vec<double> x) {
  using V = Vec<double>;
  constexpr double kHigh = -0x1.6a09e667f3bcdp-1, kLow = 0x1.bdd3413b26456p-55;  // -1 / sqrt 2
  constexpr double kSlope = 0x1.20dd750429b6dp+0;                                // 2 / sqrt pi
  const V factor = at_least(-40.0, x), limited = at_most(40.0, factor);
  const V v = limited * V::broadcast(kHigh);
  const V error = fma(limited, V::broadcast(kHigh), -v) + limited * V::broadcast(kLow);
  const V correction = error * V::broadcast(kSlope) * exp(-(v * v));
  return V::broadcast(0.5) * factor * (erfc(v) - correction);
}

// For |x| < 1, where the difference cancels: x^3 P(x^2) / Q(x^2), relative error 2^-57.
[[gnu::always_inline]] inline Vec<double> tanhshrink(Vec<double> x) {
  using V = Vec<double>;
  constexpr double kP[] = {0x1.5555555555555p-2, 0x1.5ec24c0393f8ap-6, 0x1.fe19aab35d522p-13,
                           0x1.28373ab3d7062p-26};
  constexpr double kQ[] = {1.0, 0x1.db5e07da45577p-2, 0x1.91a89b7ee499cp-6, 0x1.0a9aec35f4f75p-12};
  const V square = x * x;
  const V near = x * square * (horner(square, kP) / horner(square, kQ));
  return select(abs(x) < V::broadcast(1.0), near, x - tanh(x));
}

}  // namespace lamella::simd::LAMELLA_ISA_NAMESPACE
