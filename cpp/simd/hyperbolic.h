// SPDX-License-Identifier: Apache-2.0
// float and double: sinh, cosh and their inverses.
//
// sinh and cosh come from exp(|x|) as a pair, whose reciprocal is all that the other exponential
// adds; sinh below 1, where the two would cancel, is an odd polynomial. The inverses are log1p of
// a pair, asinh: a + a^2 / (1 + sqrt(1 + a^2)), acosh: t + sqrt(2 t + t^2) with t = x - 1, atanh:
// 2 a / (1 - a) (Kahan, "Branch cuts for complex elementary functions", 1987). float runs in double.
#pragma once

#include "simd/log_double.h"

namespace lamella::simd::LAMELLA_ISA_NAMESPACE {

// (exp(a) + sign exp(-a)) / 2 for a >= 0, for sign = -1 from 1 on.
template <int sign>
[[gnu::always_inline]] inline Vec<double> half_of_exponentials(Vec<double> a) {
  using V = Vec<double>;
  const ExpTerms e = exp_terms(at_most(711.0, a), V::zero());
  const Pair m = exp_mantissa(e);
  // Beyond 2^-1000 the reciprocal is nothing beside the mantissa.
  const V inverse = power_of_two(at_most(500.0, e.n) * V::broadcast(-2.0)) / m.high;
  const V rest = sign > 0 ? m.low + inverse : m.low - inverse;
  return scale(m.high + rest, e.n - V::broadcast(1.0));
}

[[gnu::always_inline]] inline Vec<double> cosh(Vec<double> x) {
  return half_of_exponentials<1>(abs(x));
}
[[gnu::always_inline]] inline Vec<double> sinh(Vec<double> x) {
  using V = Vec<double>;
  // (sinh(a) / a - 1) / a^2 in a^2 for a <= 1: 2^-56.6 relative to sinh(a).
  constexpr double kSinh[] = {0x1.5555555555555p-3,  0x1.11111111110fdp-7,  0x1.a01a01a01ee70p-13,
                              0x1.71de3a4e14f40p-19, 0x1.ae6460fae3728p-26, 0x1.611cb330c1fe8p-33,
                              0x1.b41232cf9950fp-41};
  const V a = abs(x), less = at_most(1.0, a), z = less * less;
  const V near = mul_add(less * z, two_chains(z, kSinh), less);
  const V y = select(a < V::broadcast(1.0), near, half_of_exponentials<-1>(a));
  return copysign(y, x);
}

// At 90 the results are beyond float.
[[gnu::always_inline]] inline Vec<double> cosh_wide(Vec<double> x) {
  using V = Vec<double>;
  const V e = exp_wide(at_most(90.0, abs(x)));
  return (e + V::broadcast(1.0) / e) * V::broadcast(0.5);
}
[[gnu::always_inline]] inline Vec<double> sinh_wide(Vec<double> x) {
  using V = Vec<double>;
  const V e = expm1_wide(at_most(90.0, abs(x)));
  return copysign((e + e / (e + V::broadcast(1.0))) * V::broadcast(0.5), x);
}
[[gnu::always_inline]] inline Vec<float> cosh(Vec<float> x) {
  return narrow(cosh_wide(widen_low(x)), cosh_wide(widen_high(x)));
}
[[gnu::always_inline]] inline Vec<float> sinh(Vec<float> x) {
  return narrow(sinh_wide(widen_low(x)), sinh_wide(widen_high(x)));
}

// a + b as a pair, whichever is larger.
[[gnu::always_inline]] inline Pair any_sum(Vec<double> a, Vec<double> b) {
  const Vec<double> high = a + b, taken = high - a;
  return {high, (a - (high - taken)) + (b - taken)};
}

// y below 2^28; from there on log(2 a), which is the same to the last place, and a at infinity.
[[gnu::always_inline]] inline Vec<double> with_logarithm(Vec<double> a, Vec<double> y) {
  using V = Vec<double>;
  const LogParts parts = log_parts(a);
  const V e = exponent_of(parts) + V::broadcast(1.0);
  const V far = log_of_parts<false>(e, parts.m, V::zero());
  const V finite = select(a < V::broadcast(0x1p+28), y, far);
  return select(a < V::broadcast(__builtin_inf()), finite, a);
}

[[gnu::always_inline]] inline Vec<double> asinh(Vec<double> x) {
  using V = Vec<double>;
  const V one = V::broadcast(1.0), a = abs(x), less = at_most(0x1p+28, a), square = less * less;
  const Pair t = quick_sum(less, square / (one + sqrt(one + square)));
  return copysign(with_logarithm(a, log_of_sum(t.high, t.low)), x);
}

[[gnu::always_inline]] inline Vec<double> acosh(Vec<double> x) {
  using V = Vec<double>;
  const V zero = V::zero(), less = at_most(0x1p+28, x), two = V::broadcast(2.0);
  const Pair t = any_sum(less, V::broadcast(-1.0));
  const V square = t.high * t.high;
  const Pair s = any_sum(t.high * two, square);
  const V s_low = s.low + product_error(t.high, t.high, square) + two * t.low * less;
  const V root = sqrt(s.high);
  const V rest = remainder_of(s.high, root, root) + s_low;
  const V root_low = select(s.high > zero, rest / (root + root), zero);
  const Pair sum = any_sum(t.high, root);
  const V y = with_logarithm(x, log_of_sum(sum.high, sum.low + root_low + t.low));
  return select(x >= V::broadcast(1.0), y, V::broadcast(__builtin_nan("")) + x);
}

[[gnu::always_inline]] inline Vec<double> atanh(Vec<double> x) {
  using V = Vec<double>;
  const V one = V::broadcast(1.0), a = abs(x), less = at_most(1.0 - 0x1p-53, a);
  const Pair ratio = quotient({less + less, V::zero()}, any_sum(one, -less));
  const V y = log_of_sum(ratio.high, ratio.low) * V::broadcast(0.5);
  const V outside = select(a > one, V::broadcast(__builtin_nan("")), V::broadcast(__builtin_inf()));
  const V usual = select(a < V::broadcast(0x1p-28), a, y);
  return copysign(select(a >= one, outside, usual), x);
}

[[gnu::always_inline]] inline Vec<float> asinh(Vec<float> x) {
  return narrow(asinh(widen_low(x)), asinh(widen_high(x)));
}
[[gnu::always_inline]] inline Vec<float> acosh(Vec<float> x) {
  return narrow(acosh(widen_low(x)), acosh(widen_high(x)));
}
[[gnu::always_inline]] inline Vec<float> atanh(Vec<float> x) {
  return narrow(atanh(widen_low(x)), atanh(widen_high(x)));
}

}  // namespace lamella::simd::LAMELLA_ISA_NAMESPACE
