// SPDX-License-Identifier: Apache-2.0
// float: log, log1p, softplus, logsigmoid.
//
// log(2^e (1 + f)) = e ln 2 + log(1 + f) with 1 + f in [3/4, 3/2), so that neither part cancels the
// other. f is exact in log, and rounded once in log1p, where the 1 is added to x only after both
// are scaled. softplus and logsigmoid are piecewise polynomials, or run in double.
#pragma once

#include "simd/exp.h"

namespace lamella::simd::LAMELLA_ISA_NAMESPACE {

// -e 2^23 for positive normal x = 2^e (1 + f), as an integer. Kept negative because -0 in log1p
// survives a product with a negative constant only. 3/2 itself counts as 1 + f: in log1p it may be
// the rounded value of a sum just below, whose f would else be inexact.
[[gnu::always_inline]] inline VecInt<float> negative_exponent(Vec<float> x) {
  using I = VecInt<float>;
  return (I::broadcast(0x3F400000 + 0x007FFFFF) - bits(x)) & I::broadcast(-0x00800000);
}

// e ln 2 + log(1 + f).
[[gnu::always_inline]] inline Vec<float> log_of_parts(Vec<float> minus_e_scaled, Vec<float> f) {
  // (log(1 + f) - f) / f^2 on [-1/4, 1/2]: 2^-27.6 relative to log(1 + f), each coefficient fitted
  // after those before it were rounded to float.
  constexpr float kLog[] = {-0x1.000000p-1f, 0x1.5555a4p-2f,  -0x1.00004ap-2f,
                            0x1.99699ep-3f,  -0x1.54ed96p-3f, 0x1.28807ap-3f,
                            -0x1.0d98f0p-3f, 0x1.acf4a8p-4f,  -0x1.71e32cp-5f};
  constexpr float kMinusLn2 = static_cast<float>(-kLn2 * 0x1p-23);
  const Vec<float> y = fma(f * f, horner(f, kLog), f);
  return fma(minus_e_scaled, Vec<float>::broadcast(kMinusLn2), y);
}

// log of +-0, negative numbers, +inf and NaN; y for all others.
[[gnu::always_inline]] inline Vec<float> log_special(Vec<float> x, Vec<float> y) {
  using V = Vec<float>;
  constexpr float kInf = __builtin_inff();
  const Mask<float> positive = x > V::zero();
  // Anything not positive: -inf at zero, else NaN; NaN itself passes through the sum.
  const V other = select(x == V::zero(), V::broadcast(-kInf), x + V::broadcast(__builtin_nanf("")));
  return select(positive, select(x == V::broadcast(kInf), x, y), other);
}

// log of positive normal numbers, and the test for them. The bits are log's.
[[gnu::always_inline]] inline Mask<float> log_is_usual(Vec<float> x) {
  return (x >= Vec<float>::broadcast(0x1p-126f)) & (x < Vec<float>::broadcast(__builtin_inff()));
}
[[gnu::always_inline]] inline Vec<float> log_usual(Vec<float> x) {
  const VecInt<float> minus_e = negative_exponent(x);
  const Vec<float> f = from_bits(bits(x) + minus_e) - Vec<float>::broadcast(1.0f);
  return log_of_parts(to_float(minus_e), f);
}

[[gnu::always_inline]] inline Vec<float> log(Vec<float> x) {
  using V = Vec<float>;
  const Mask<float> subnormal = x < V::broadcast(0x1p-126f);
  const V normal = select(subnormal, x * V::broadcast(0x1p+24f), x);
  const VecInt<float> minus_e = negative_exponent(normal);
  const V f = from_bits(bits(normal) + minus_e) - V::broadcast(1.0f);
  const V shift = select(subnormal, V::broadcast(24.0f * 0x1p+23f), V::zero());
  return log_special(x, log_of_parts(to_float(minus_e) + shift, f));
}

// -e of 1 + x. A positive x counts as a little less: one below 1/2 whose 1 + x rounds up to 3/2 must
// not be taken for 3/2, as its f would then fall below -1/4 and lose a bit.
[[gnu::always_inline]] inline VecInt<float> negative_exponent_of_sum(Vec<float> x) {
  using V = Vec<float>;
  const V less = min_or_second(x * V::broadcast(1.0f - 0x1p-22f), x);
  return negative_exponent(V::broadcast(1.0f) + less);
}
// log1p of numbers in (-1, 2^64), and the test for them. The bits are log1p's.
[[gnu::always_inline]] inline Mask<float> log1p_is_usual(Vec<float> x) {
  return (x > Vec<float>::broadcast(-1.0f)) & (x < Vec<float>::broadcast(0x1p+64f));
}
[[gnu::always_inline]] inline Vec<float> log1p_usual(Vec<float> x) {
  using V = Vec<float>;
  const V one = V::broadcast(1.0f);
  const VecInt<float> minus_e = negative_exponent_of_sum(x);
  const V scale = from_bits(bits(one) + minus_e);
  const V f = fma(x, scale, -(one - scale));  // (1 + x) 2^-e - 1
  return log_of_parts(to_float(minus_e), f);
}

[[gnu::always_inline]] inline Vec<float> log1p(Vec<float> x) {
  using V = Vec<float>;
  using I = VecInt<float>;
  const V one = V::broadcast(1.0f);
  const V sum = one + x;
  // From 2^64 on the 1 is nothing; 2^-64 is taken out of x first, lest its scale be subnormal.
  const Mask<float> huge = x >= V::broadcast(0x1p+64f);
  const V smaller = select(huge, x * V::broadcast(0x1p-64f), x);
  const I minus_e = negative_exponent_of_sum(x);
  const V scale = from_bits(bits(one) + minus_e);
  const V huge_scale = from_bits(bits(V::broadcast(0x1p+64f)) + minus_e);
  const V rest = select(huge, -one, -(one - scale));
  const V f = fma(smaller, select(huge, huge_scale, scale), rest);
  // sum has the sign, the zero and the infinity of the exact 1 + x.
  return log_special(sum, log_of_parts(to_float(minus_e), f));
}

// log(1 + exp(-u)) for 0 <= u <= 700.
[[gnu::always_inline]] inline Vec<double> softplus_tail_wide(Vec<double> u) {
  // log(1 + e) / e = P(e) / Q(e) for 0 <= e <= 1: 2^-30.0.
  constexpr double kP[] = {0x1.fffffff7eccddp-1, 0x1.10f3b04cc885fp+0, 0x1.e7bf1d05bbca5p-3,
                           0x1.bfe8ec68c829ap-9};
  constexpr double kQ[] = {1.0, 0x1.90f3ae1c22ac4p+0, 0x1.60392ce735828p-1, 0x1.34606ce2d1e06p-4};
  const Vec<double> e = exp_wide<-1>(u);
  return e * horner(e, kP) / horner(e, kQ);
}

// log(1 + exp(x)) = max(x, 0) + log(1 + exp(-|x|)).
[[gnu::always_inline]] inline Vec<double> softplus_wide(Vec<double> x) {
  return at_least(0.0, x) + softplus_tail_wide(at_most(700.0, abs(x)));
}

// The same with FMA in float: log(1 + exp(-a)), a = |x|, is a piecewise polynomial for a < 9.6, and
// beyond that e - e^2 / 2 with e = exp(-a).
[[gnu::always_inline]] inline Mask<float> softplus_is_usual(Vec<float> x) {
  return abs(x) < Vec<float>::broadcast(9.6f);
}
[[gnu::always_inline]] inline Vec<float> softplus_tail_usual(Vec<float> a) {
  using V = Vec<float>;
  // Around the centre 5/8 i of segment i: 2^-24.2, most of it the rounding of c[0].
  constexpr float kTail[][16] = {
      {0x1.62e430p-1f, 0x1.b6fd50p-2f, 0x1.01f9b2p-2f, 0x1.2432d2p-3f, 0x1.4321e2p-4f,
       0x1.603f9ap-5f, 0x1.7cda8cp-6f, 0x1.99e9e2p-7f, 0x1.b818dap-8f, 0x1.d7de7ap-9f,
       0x1.f991b2p-10f, 0x1.0ebba2p-10f, 0x1.21e534p-11f, 0x1.366124p-12f, 0x1.4c4a8ap-13f,
       0x1.63bd06p-14f},
      {-0x1.00000ep-1f, -0x1.65033cp-2f, -0x1.c81702p-3f, -0x1.104f8ep-3f, -0x1.36b712p-4f,
       -0x1.58c85cp-5f, -0x1.787614p-6f, -0x1.975c40p-7f, -0x1.b69f68p-8f, -0x1.d7054cp-9f,
       -0x1.f914f8p-10f, -0x1.0e97dcp-10f, -0x1.21d0b0p-11f, -0x1.365562p-12f, -0x1.4c43ccp-13f,
       -0x1.63b92ap-14f},
      {0x1.0007dcp-3f, 0x1.d1142ap-4f, 0x1.6285f2p-4f, 0x1.d83508p-5f, 0x1.1f24dcp-5f,
       0x1.4a46acp-6f, 0x1.6fcec6p-7f, 0x1.924b54p-8f, 0x1.b3b00ep-9f, 0x1.d5534ap-10f,
       0x1.f81d0ap-11f, 0x1.0e4f26p-11f, 0x1.21a8b8p-12f, 0x1.363e10p-13f, 0x1.4c3568p-14f,
       0x1.63b1ccp-15f},
      {-0x1.a0d96ap-13f, -0x1.776272p-7f, -0x1.0629e0p-6f, -0x1.ce2ecep-7f, -0x1.44c508p-7f,
       -0x1.934e9ep-8f, -0x1.d3de1ep-9f, -0x1.05863cp-9f, -0x1.1e91cep-10f, -0x1.36a19cp-11f,
       -0x1.4ec8cap-12f, -0x1.67a7dap-13f, -0x1.81cae0p-14f, -0x1.9d6912p-15f, -0x1.bacdc8p-16f,
       -0x1.da2cfap-17f},
      {-0x1.06ca0ap-8f, -0x1.bd8fbap-9f, -0x1.412c8ep-12f, 0x1.8382a0p-10f, 0x1.bc3686p-10f,
       0x1.4c0c76p-10f, 0x1.a9b08cp-11f, 0x1.f19fa4p-12f, 0x1.16bf9ep-12f, 0x1.32b218p-13f,
       0x1.4b4fd6p-14f, 0x1.6802e4p-15f, 0x1.7f620cp-16f, 0x1.9ca5d6p-17f, 0x1.bbfd86p-18f,
       0x1.d97a1cp-19f},
      {-0x1.b64708p-9f, 0x1.fadf56p-11f, 0x1.c65474p-11f, 0x1.1ef77ap-12f, -0x1.480a84p-14f,
       -0x1.470362p-13f, -0x1.1347a2p-13f, -0x1.66ba3cp-14f, -0x1.a69f7ap-15f, -0x1.de6a8cp-16f,
       -0x1.04e3d6p-16f, -0x1.201b0ap-17f, -0x1.30e1d0p-18f, -0x1.4a3e66p-19f, -0x1.6398bcp-20f,
       -0x1.7bc9e8p-21f},
      {0x1.f906f8p-9f, -0x1.4d08bcp-14f, 0x1.e183bcp-16f, -0x1.f7f924p-14f, -0x1.057f98p-14f,
       0x1.5cdc1cp-15f, -0x1.d838fcp-19f, 0x1.c69334p-18f, 0x1.111f08p-17f, 0x1.802ea2p-19f,
       0x1.fc23e2p-19f, 0x1.f5c0f2p-25f, 0x1.5faf06p-20f, 0x1.e9384ep-22f, 0x1.57ca00p-24f,
       0x1.312842p-23f}};
  constexpr float kWidth = 0.625f, kWhole = 0x1.8p+23f;
  const V sum = fma(a, V::broadcast(1.0f / kWidth), V::broadcast(kWhole));
  const V u = fma(sum - V::broadcast(kWhole), V::broadcast(-kWidth), a);  // exact
  return segment_polynomial(u, bits(sum), kTail);
}
[[gnu::always_inline]] inline Vec<float> softplus_tail(Vec<float> a) {
  const Mask<float> usual = softplus_is_usual(a);
  const Vec<float> near = softplus_tail_usual(a);
  if (all(usual)) return near;
  const Vec<float> e = exp(-a);
  return select(usual, near, fma(e * Vec<float>::broadcast(-0.5f), e, e));
}

// log(1 + exp(x)), and where |x| < 9.6. The bits are the same.
[[gnu::always_inline]] inline Vec<float> softplus_usual(Vec<float> x) {
  if constexpr (!kHasFma) return narrow(softplus_wide(widen_low(x)), softplus_wide(widen_high(x)));
  return at_least(0.0f, x) + softplus_tail_usual(abs(x));
}
[[gnu::always_inline]] inline Vec<float> softplus(Vec<float> x) {
  if constexpr (!kHasFma) return softplus_usual(x);
  return at_least(0.0f, x) + softplus_tail(abs(x));
}

// log(1 + exp(beta x)) / beta. beta holds one value in all lanes.
[[gnu::always_inline]] inline Vec<float> softplus(Vec<float> x, Vec<float> beta) {
  const Vec<double> low = widen_low(beta), high = widen_high(beta);
  return narrow(softplus_wide(widen_low(x) * low) / low,
                softplus_wide(widen_high(x) * high) / high);
}

// log(sigmoid(x)) = min(x, 0) - log(1 + exp(-|x|)).
[[gnu::always_inline]] inline Vec<float> logsigmoid_usual(Vec<float> x) {
  const Vec<float> below = at_most(-0.0f, x);
  if constexpr (!kHasFma) {
    const Vec<float> u = at_most(200.0f, abs(x));
    return narrow(widen_low(below) - softplus_tail_wide(widen_low(u)),
                  widen_high(below) - softplus_tail_wide(widen_high(u)));
  }
  return below - softplus_tail_usual(abs(x));
}
[[gnu::always_inline]] inline Vec<float> logsigmoid(Vec<float> x) {
  if constexpr (!kHasFma) return logsigmoid_usual(x);
  return at_most(-0.0f, x) - softplus_tail(abs(x));  // -0 where the tail vanishes
}

}  // namespace lamella::simd::LAMELLA_ISA_NAMESPACE
