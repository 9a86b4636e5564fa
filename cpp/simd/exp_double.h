// SPDX-License-Identifier: Apache-2.0
// double: exp, expm1, the negative branches of elu, selu and celu, tanh, tanhshrink.
//
// exp(x) = 2^n exp(r), n = round(x / ln 2), |r| <= ln 2 / 2. r is carried as a sum of two doubles
// and so is exp(r) = 1 + high + rest, whose last addition is the only rounding that shows. The
// reduction is Cody and Waite's: n times the first 42 bits of ln 2 is exact.
#pragma once

#include "simd/exp.h"
#include "simd/pair.h"

namespace lamella::simd::LAMELLA_ISA_NAMESPACE {

// exp = 2^n (1 + high + rest): high has no error, |high| <= ln 2 / 2, |rest| <= high^2.
struct ExpTerms {
  Vec<double> high, rest, n;
};

// exp(x + low) for a small correction low, |x| <= 1500.
[[gnu::always_inline]] inline ExpTerms exp_terms(Vec<double> x, Vec<double> low) {
  using V = Vec<double>;
  constexpr double kHigh = 0x1.62e42fefa3800p-1, kLow = 0x1.ef35793c76730p-45;  // ln 2
  // (exp(r) - 1 - r - r^2 / 2) / r^3: 2^-63.5 relative to exp(r), 2^-61.7 to exp(r) - 1.
  constexpr double kExp[] = {0x1.555555555555dp-3,  0x1.555555555556cp-5,  0x1.111111110e549p-7,
                             0x1.6c16c16c0a3fap-10, 0x1.a01a01b5f50b1p-13, 0x1.a01a01e8c5b71p-16,
                             0x1.71ddeaaa7f56ap-19, 0x1.27e44a0726e14p-22, 0x1.af744e5011b0dp-26,
                             0x1.2051baf4e83edp-29};
  const V rounder = V::broadcast(0x1.8p+52);
  const V n = mul_add(x, V::broadcast(kLog2E), rounder) - rounder;
  const V high = mul_add(n, V::broadcast(-kHigh), x);
  const V less = mul_add(n, V::broadcast(-kLow), low);
  const V r = high + less;
  // r^2 / 2 = high^2 / 2 + high less, as r itself is rounded.
  const V cubic = mul_add(r * r * r, two_chains(r, kExp), mul_add(high, less, less));
  return {high, mul_add(high * V::broadcast(0.5), high, cubic), n};
}

// exp(r) = 1 + high + rest as a pair.
[[gnu::always_inline]] inline Pair exp_mantissa(ExpTerms e) {
  const Pair sum = quick_sum(Vec<double>::broadcast(1.0), e.high);
  return quick_sum(sum.high, sum.low + e.rest);
}

// exp(r) = 1 + high + rest, rounded.
[[gnu::always_inline]] inline Vec<double> rounded_mantissa(ExpTerms e) {
  const Pair sum = quick_sum(Vec<double>::broadcast(1.0), e.high);
  return sum.high + (sum.low + e.rest);
}

[[gnu::always_inline]] inline Vec<double> exp(Vec<double> x) {
  const ExpTerms e = exp_terms(at_most(710.0, at_least(-746.0, x)), Vec<double>::zero());
  return scale(rounded_mantissa(e), e.n);
}

// exp where the result is normal, |x| <= kExpUsual. The bits are exp's.
[[gnu::always_inline]] inline Vec<double> exp_usual(Vec<double> x) {
  const ExpTerms e = exp_terms(x, Vec<double>::zero());
  return rounded_mantissa(e) * power_of_two(e.n);
}

// exp(x) kRaised for x <= 0; that of -746 from there on, which lowered rounds to 0.
[[gnu::always_inline]] inline Vec<double> exp_raised(Vec<double> x) {
  const ExpTerms e = exp_terms(at_least(-746.0, x), Vec<double>::zero());
  return rounded_mantissa(e) * power_of_two(e.n + Vec<double>::broadcast(64.0));
}

// (exp(x + low) - 1) / 2 for -700 <= x <= 710: halved, so that no power of two overflows. Below -37,
// where the power is less than the last place of 1/2, only the form for negative x keeps it.
template <bool negative>
[[gnu::always_inline]] inline Pair half_expm1(Vec<double> x, Vec<double> low) {
  using V = Vec<double>;
  const ExpTerms e = exp_terms(x, low);
  const V half = V::broadcast(0.5), power = power_of_two(e.n - V::broadcast(1.0));
  const Pair whole = negative ? quick_sum(-half, power) : quick_sum(power, -half);
  const Pair sum = quick_sum(whole.high, power * e.high);
  return {sum.high, mul_add(power, e.rest, sum.low + whole.low)};
}

// The factor 1 / 2 would cost subnormal numbers a bit; x is the rounded result long before them.
[[gnu::always_inline]] inline Vec<double> expm1_near(Vec<double> x, Vec<double> low) {
  using V = Vec<double>;
  const Pair half = half_expm1<false>(at_most(710.0, at_least(-100.0, x)), low);
  return select(abs(x) < V::broadcast(0x1p-54), x, (half.high + half.low) * V::broadcast(2.0));
}
[[gnu::always_inline]] inline Vec<double> expm1(Vec<double> x) {
  return expm1_near(x, Vec<double>::zero());
}

[[gnu::always_inline]] inline Vec<double> scaled_expm1(Vec<double> x, Vec<double> factor) {
  return factor * expm1(x);
}

// alpha holds one value in all lanes. The quotient's own error is handed on.
[[gnu::always_inline]] inline Vec<double> expm1_of_ratio(Vec<double> x, Vec<double> alpha) {
  using V = Vec<double>;
  const V inverse = V::broadcast(1.0) / alpha;
  const V ratio = at_most(710.0, at_least(-100.0, x / alpha));
  const V low = remainder_of(x, ratio, alpha) * inverse;
  const Mask<double> usual = (abs(ratio) < V::broadcast(100.0)) & (abs(x) < V::broadcast(0x1p+900));
  return alpha * expm1_near(ratio, select(usual, low, V::zero()));
}

[[gnu::always_inline]] inline Vec<double> selu(Vec<double> x) {
  using V = Vec<double>;
  const V below = V::broadcast(0x1.c212cc640f031p+0) * expm1(x);
  return select(x > V::zero(), V::broadcast(kSeluScale) * x, below);
}

// |tanh(x)| = -u / (2 + u) with u = exp(-2 |x|) - 1.
[[gnu::always_inline]] inline Pair tanh_pair(Vec<double> x) {
  using V = Vec<double>;
  const Pair half = half_expm1<true>(at_least(-50.0, abs(x) * V::broadcast(-2.0)), V::zero());
  const Pair u = quick_sum(half.high, half.low);
  const Pair sum = quick_sum(V::broadcast(1.0), u.high);
  return quotient({-u.high, -u.low}, {sum.high, sum.low + u.low});
}

[[gnu::always_inline]] inline Vec<double> tanh(Vec<double> x) {
  const Pair t = tanh_pair(x);
  return copysign(t.high + t.low, x);
}

// From 1/2 on x - tanh x; nearer to 0, where that cancels, x^3 (1/3 + x^2 P(x^2)): 2^-58.
[[gnu::always_inline]] inline Vec<double> tanhshrink(Vec<double> x) {
  using V = Vec<double>;
  constexpr double kNear[] = {-0x1.11111111110f8p-3,  0x1.ba1ba1ba16dd6p-5,  -0x1.664f48803d12ap-6,
                              0x1.226e34b5ced1ep-7,   -0x1.d6d39e0254d44p-9, 0x1.7d9ea07a881dap-10,
                              -0x1.350ea56ad6a3ep-11, 0x1.efc163a02adcap-13, -0x1.7238663ff928fp-14,
                              0x1.81fde12b02acdp-16};
  constexpr double kThird = 0x1.5555555555555p-2, kThirdLow = 0x1.5555555555555p-56;
  const V size = abs(x), square = x * x;
  const V cube = x * square;
  const V cube_low = mul_add(x, product_error(x, x, square), product_error(x, square, cube));
  const V curve = mul_add(square, two_chains(square, kNear), V::broadcast(kThird));
  const V near = mul_add(cube, curve, mul_add(cube_low, curve, cube * V::broadcast(kThirdLow)));
  const Pair t = tanh_pair(x);
  const V far = (size - t.high) - t.low;
  return copysign(select(size < V::broadcast(0.5), near, far), x);
}

}  // namespace lamella::simd::LAMELLA_ISA_NAMESPACE
