// SPDX-License-Identifier: Apache-2.0
// float: sigmoid and its products: silu, gelu_tanh, mish.
//
// All are quotients over 1 + exp(-x), formed in double, where exp(-x) neither overflows nor loses
// the small values; so the tails keep full precision down to the last subnormal.
#pragma once

#include "simd/exp.h"

namespace lamella::simd::LAMELLA_ISA_NAMESPACE {

// 1 / (1 + exp(-x)).
[[gnu::always_inline]] inline Vec<double> sigmoid_wide(Vec<double> x) {
  const Vec<double> one = Vec<double>::broadcast(1.0);
  return one / (one + exp_wide<-1>(x));
}

[[gnu::always_inline]] inline Vec<float> sigmoid(Vec<float> x) {
  const Vec<float> limited = at_most(120.0f, at_least(-120.0f, x));
  return narrow(sigmoid_wide(widen_low(limited)), sigmoid_wide(widen_high(limited)));
}

// y / (1 + exp(-x)).
[[gnu::always_inline]] inline Vec<double> gated_wide(Vec<double> y, Vec<double> x) {
  return y / (Vec<double>::broadcast(1.0) + exp_wide<-1>(x));
}

// x sigmoid(x); the factor x is limited below only, so that silu(-inf) = -0 and silu(inf) = inf.
[[gnu::always_inline]] inline Vec<float> silu(Vec<float> x) {
  const Vec<float> factor = at_least(-120.0f, x);
  const Vec<float> limited = at_most(120.0f, factor);
  return narrow(gated_wide(widen_low(factor), widen_low(limited)),
                gated_wide(widen_high(factor), widen_high(limited)));
}

// x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))) = x sigmoid(2 sqrt(2/pi) (x + 0.044715 x^3)).
[[gnu::always_inline]] inline Vec<double> gelu_tanh_wide(Vec<double> factor, Vec<double> x) {
  constexpr double kLinear = 1.5957691216057308, kCubic = kLinear * 0.044715;
  const Vec<double> slope =
      mul_add(x * x, Vec<double>::broadcast(kCubic), Vec<double>::broadcast(kLinear));
  return gated_wide(factor, x * slope);
}
[[gnu::always_inline]] inline Vec<float> gelu_tanh(Vec<float> x) {
  const Vec<float> factor = at_least(-13.0f, x);
  const Vec<float> limited = at_most(13.0f, factor);
  return narrow(gelu_tanh_wide(widen_low(factor), widen_low(limited)),
                gelu_tanh_wide(widen_high(factor), widen_high(limited)));
}

// x tanh(log(1 + e)) with e = exp(x): tanh of a logarithm is rational, x e (e + 2) / (e (e + 2) + 2).
[[gnu::always_inline]] inline Vec<double> mish_wide(Vec<double> factor, Vec<double> x) {
  const Vec<double> two = Vec<double>::broadcast(2.0);
  const Vec<double> e = exp_wide(x);
  const Vec<double> product = e * (e + two);
  return factor * product / (product + two);
}
[[gnu::always_inline]] inline Vec<float> mish(Vec<float> x) {
  const Vec<float> factor = at_least(-120.0f, x);
  const Vec<float> limited = at_most(40.0f, factor);
  return narrow(mish_wide(widen_low(factor), widen_low(limited)),
                mish_wide(widen_high(factor), widen_high(limited)));
}

}  // namespace lamella::simd::LAMELLA_ISA_NAMESPACE
