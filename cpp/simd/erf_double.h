// SPDX-License-Identifier: Apache-2.0
// double: erf, erfc, gelu.
//
// erfc(v) = exp(-v^2) w(v), and (1 + 2 v) w(v) = 1 + p with p small and smooth over the whole
// half-line as a polynomial in q = (v - 4) / (v + 4) (Shepherd and Laframboise, "Chebyshev
// approximation of (1 + 2x) exp(x^2) erfc x in 0 <= x < inf", Math. Comp. 36, 1981). One branch
// serves all v, and 1 - erf is never formed: tails are accurate down to the last subnormal.
#pragma once

#include "simd/exp_double.h"

namespace lamella::simd::LAMELLA_ISA_NAMESPACE {

// w(v + low) = exp(v^2) erfc(v) for 0 <= v <= 27.35.
[[gnu::always_inline]] inline Pair scaled_erfc(Vec<double> v, Vec<double> low) {
  using V = Vec<double>;
  // p / z: 2^-56.1 relative to 1 + p.
  constexpr double kP[] = {0x1.dd2c8b74febf6p-2,   -0x1.7d8f1c4524743p-1,  0x1.8d4ecb405c5fap-1,
                           -0x1.47938f4c730cbp-1,  0x1.c0398cb6f1cafp-2,   -0x1.00428c8fe9f56p-2,
                           0x1.e1a95642feb59p-4,   -0x1.625ed09844953p-5,  0x1.63f260563c811p-7,
                           -0x1.a2bede9a8bf0ep-11, -0x1.77d659e04545ap-11, 0x1.4dcd9f88d881ep-12,
                           -0x1.1ed33f4750f77p-16, -0x1.09f167afe5f2ep-15, 0x1.36a9d23eee015p-17,
                           0x1.2232d2d8ee9d0p-19,  -0x1.a66f92afe97a8p-20, -0x1.51788fcf36d27p-24,
                           0x1.e667c69560788p-23,  -0x1.813be249b3d68p-28, -0x1.f2d2cc6c4a1e9p-26,
                           0x1.e06cb78b2d8adp-31,  0x1.43ea040d90452p-29};
  const V one = V::broadcast(1.0), middle = V::broadcast(4.0);
  // p vanishes with z = v / (v + 4), whose relative error counts less than that of q = 2 z - 1 near -1.
  // One division serves z and the quotient by 1 + 2 v.
  const V sum = v + middle, slope = mul_add(v, V::broadcast(2.0), one);
  const V inverse = one / (sum * slope);
  const V over_sum = inverse * slope, over_slope = inverse * sum;
  // z with the error of sum and of the quotient taken out: v (1 - z) = 4 z.
  const V near = v * over_sum;
  const V left = mul_add(-near, v, mul_add(near, -middle, v));
  const V z = mul_add(left, over_sum, near);
  const V p = z * two_chains<6>(mul_add(z, V::broadcast(2.0), -one), kP);
  const V w = mul_add(p, over_slope, over_slope);
  // 1 + p - w - 2 v w: w is taken off where that loses nothing, and its partner is not 1.
  const V from_one = select(v < V::broadcast(0.75), w, V::zero());
  const V rest = remainder_of(one - from_one, w + w, v) + (p - (w - from_one));
  // w' = 2 v w - 2 / sqrt pi.
  const V change = mul_add(v + v, w, V::broadcast(-0x1.20dd750429b6dp+0));
  return {w, mul_add(rest, over_slope, low * change)};
}

// exp(-square) w as 2^n times a pair.
struct Tail {
  Pair mantissa;
  Vec<double> n;
};
[[gnu::always_inline]] inline Tail tail_of(Pair minus_square, Pair w) {
  const ExpTerms e = exp_terms(minus_square.high, minus_square.low);
  const Pair m = exp_mantissa(e);
  const Vec<double> high = m.high * w.high;
  const Vec<double> low =
      product_error(m.high, w.high, high) + mul_add(m.high, w.low, m.low * w.high);
  return {{high, low}, e.n};
}

[[gnu::always_inline]] inline Vec<double> erfc(Vec<double> x) {
  using V = Vec<double>;
  const V v = at_most(27.3, abs(x));
  const V square = v * v, square_low = product_error(v, v, square);
  const Tail t = tail_of({-square, -square_low}, scaled_erfc(v, V::zero()));
  const V y = scale(t.mantissa.high + t.mantissa.low, t.n);
  return select(x < V::zero(), V::broadcast(2.0) - y, y);
}

// x Phi(x) = max(x, 0) - u Phi(-u) with u = |x| and Phi(-u) = erfc(u / sqrt 2) / 2.
[[gnu::always_inline]] inline Vec<double> gelu(Vec<double> x) {
  using V = Vec<double>;
  constexpr double kHigh = 0x1.6a09e667f3bcdp-1, kLow = -0x1.bdd3413b26456p-55;  // 1 / sqrt 2
  const V u = at_most(38.6, abs(x)), half = u * V::broadcast(0.5);
  const V v = u * V::broadcast(kHigh);
  const V v_low = mul_add(u, V::broadcast(kLow), product_error(u, V::broadcast(kHigh), v));
  const V square = half * u, square_low = product_error(half, u, square);
  const Tail t = tail_of({-square, -square_low}, scaled_erfc(v, v_low));
  const V y = scale(mul_add(half, t.mantissa.high, half * t.mantissa.low), t.n);
  return copysign(at_least(0.0, x) - y, x);
}

// |x| < 3/4: x + x P(x^2), 2^-56.3. Beyond: 1 - exp(P(|x| - 3/4)), P being the logarithm of erfc, to
// 2^-56.8 relative to erf; from 5.94 on erf rounds to 1.
[[gnu::always_inline]] inline Vec<double> erf(Vec<double> x) {
  using V = Vec<double>;
  constexpr double kNear[] = {
      0x1.06eba8214db69p-3,  -0x1.812746b037a32p-2,  0x1.ce2f21a046d44p-4,  -0x1.b82ce313e8c1fp-6,
      0x1.565bcd4a36f59p-8,  -0x1.c02dbf85710fep-11, 0x1.f9a47833efb13p-14, -0x1.f4e8f4b3f7dabp-17,
      0x1.bab0810fd7b1fp-20, -0x1.6113ca3abf091p-23, 0x1.c6a4b095ccf12p-27};
  constexpr double kFirst = -0x1.3deb034696c3ep+0, kFirstLow = -0x1.2c7da3a05acccp-54;
  constexpr double kFar[] = {-0x1.1ce96da880960p+1,  -0x1.9d9eb7a12338fp-1,  -0x1.b15b51a4d4a50p-5,
                             0x1.a0568225d3a8ep-7,   -0x1.299787e2dd910p-9,  0x1.0fd22326de831p-13,
                             0x1.bc2efeba11c25p-14,  -0x1.c7a0e340cd4d0p-15, 0x1.e19ab9f4cb25cp-17,
                             -0x1.810b7a4b2cb11p-20, -0x1.7b56ef69a8716p-21, 0x1.fc25747aa4a50p-22,
                             -0x1.5e60bd8ee1fbdp-23, 0x1.4db0559d539c2p-25,  -0x1.c5965aaba96cap-28,
                             0x1.a7463b70c17a0p-31,  -0x1.e71c27fa83c60p-35, 0x1.0472f51cf04b0p-39};
  const V size = abs(x), square = x * x, edge = V::broadcast(0.75);
  const V near = mul_add(x, two_chains(square, kNear), x);
  const V past = at_most(5.94, size) - edge;
  const Pair logarithm = quick_sum(V::broadcast(kFirst), past * two_chains(past, kFar));
  const ExpTerms e = exp_terms(logarithm.high, logarithm.low + V::broadcast(kFirstLow));
  const V power = power_of_two(e.n);
  const V far = mul_add(-power, e.high + e.rest, V::broadcast(1.0) - power);
  return select(size < edge, near, copysign(far, x));
}

}  // namespace lamella::simd::LAMELLA_ISA_NAMESPACE
