// SPDX-License-Identifier: Apache-2.0
// float: erf, erfc and gelu.
//
// The tails come from the scaled complement exp(v^2) erfc(v), which is smooth, times exp(-v^2)
// with the square exact in double; 1 + erf is never formed, so that erfc and gelu are accurate
// down to the last subnormal.
#pragma once

#include "simd/exp.h"

namespace lamella::simd::LAMELLA_ISA_NAMESPACE {

// erf(x) / x = P(x^2) / Q(x^2) for |x| <= 3.93: 2^-29.0. Beyond, erf rounds to 1.
[[gnu::always_inline]] inline Vec<double> erf_wide(Vec<double> x) {
  constexpr double kP[] = {0x1.20dd750d1b6e0p+0,  0x1.7b2eb7902bd2dp-3,  0x1.bc746416de259p-5,
                           0x1.f75ac9b343be3p-9,  0x1.8b7cdd7ea6be8p-12, 0x1.360b85f5e3f34p-18,
                           -0x1.b9caad4e0dd71p-27};
  constexpr double kQ[] = {1.0,
                           0x1.fd5ab1bca6cdcp-2,
                           0x1.d27b1b1641e54p-4,
                           0x1.f9c4c1cd9ef01p-7,
                           0x1.556b19e931116p-10,
                           0x1.0625823e15531p-14};
  const Vec<double> square = x * x;
  return x * horner(square, kP) / horner(square, kQ);
}

[[gnu::always_inline]] inline Vec<float> erf(Vec<float> x) {
  const Vec<float> limited = at_most(3.93f, at_least(-3.93f, x));
  return narrow(erf_wide(widen_low(limited)), erf_wide(widen_high(limited)));
}

// exp(v^2) erfc(v) = P(v) / Q(v) for 0 <= v <= 10.1: 2^-27.4. Negative x by erfc(-v) = 2 - erfc(v).
[[gnu::always_inline]] inline Vec<double> erfc_wide(Vec<double> x) {
  using V = Vec<double>;
  constexpr double kP[] = {0x1.00000018a8f75p+0, 0x1.3d09720b5a7e8p+0, 0x1.7696db2017030p-1,
                           0x1.d57487e124bd3p-3, 0x1.0cae7fe7b31efp-5};
  constexpr double kQ[] = {1.0,
                           0x1.2ef37862b1915p+1,
                           0x1.337d627a1bfdcp+1,
                           0x1.534d41ea7f143p+0,
                           0x1.a0122495978aap-2,
                           0x1.dc385748f54b8p-5};
  const V v = abs(x);
  const V tail = exp_wide<-1>(v * v) * horner(v, kP) / horner(v, kQ);
  return select(x < V::zero(), V::broadcast(2.0) - tail, tail);
}

[[gnu::always_inline]] inline Vec<float> erfc(Vec<float> x) {
  const Vec<float> limited = at_most(10.1f, at_least(-10.1f, x));
  return narrow(erfc_wide(widen_low(limited)), erfc_wide(widen_high(limited)));
}

// u Phi(-u) with Phi the normal distribution, u >= 0:
// exp(u^2 / 2) Phi(-u) = P(u) / Q(u) for u <= 14.5: 2^-27.3.
[[gnu::always_inline]] inline Vec<double> gelu_tail_wide(Vec<double> u) {
  using V = Vec<double>;
  constexpr double kP[] = {0x1.0000001965396p-1, 0x1.c0d03ca954c47p-2, 0x1.7743beb8e04f2p-3,
                           0x1.4cddb82d69133p-5, 0x1.0dc3cabce88cdp-8};
  constexpr double kQ[] = {1.0,
                           0x1.acaa4f01255f6p+0,
                           0x1.33d71fdf718adp+0,
                           0x1.e0bc97b5f0a59p-2,
                           0x1.a13651d208202p-4,
                           0x1.52189bebb3212p-7};
  const V e = exp_wide<-1>(u * u * V::broadcast(0.5));
  return u * e * horner(u, kP) / horner(u, kQ);
}

// x Phi(x) = max(x, 0) - |x| Phi(-|x|).
[[gnu::always_inline]] inline Vec<float> gelu(Vec<float> x) {
  const Vec<float> u = at_most(14.5f, abs(x));
  const Vec<float> relu = at_least(0.0f, x);
  return narrow(widen_low(relu) - gelu_tail_wide(widen_low(u)),
                widen_high(relu) - gelu_tail_wide(widen_high(u)));
}

}  // namespace lamella::simd::LAMELLA_ISA_NAMESPACE
