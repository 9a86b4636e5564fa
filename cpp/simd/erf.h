// SPDX-License-Identifier: Apache-2.0
// float: erf, erfc and gelu.
//
// With FMA, piecewise polynomials on 16 segments of |x|, each coefficient picked by one permute of
// its table. Without, and in the tails, the scaled complement exp(v^2) erfc(v), which is smooth,
// times exp(-v^2) with the square exact, or in two parts; 1 + erf is never formed, so that erfc and
// gelu are accurate down to the last subnormal.
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

// With FMA erf(a) = k a + e(u), a = |x|, k = erf(c) / c at the centre c = a - u of a's segment (1 in
// the first): e is small, so that only the last sum rounds visibly. The polynomials' own error is
// 2^-30; at 3.929 the result is 1.
[[gnu::always_inline]] inline Vec<float> erf(Vec<float> x) {
  using V = Vec<float>;
  if constexpr (!kHasFma) {
    const V limited = at_most(3.93f, at_least(-3.93f, x));
    return narrow(erf_wide(widen_low(limited)), erf_wide(widen_high(limited)));
  }
  constexpr float kSlope[16] = {0x1.000000p+0f, 0x1.1ac698p+0f, 0x1.09d7f0p+0f, 0x1.e3087cp-1f,
                                0x1.ac0b3ap-1f, 0x1.7605b4p-1f, 0x1.459856p-1f, 0x1.1ca08ep-1f,
                                0x1.f61226p-2f, 0x1.bf8ed8p-2f, 0x1.932a5ep-2f, 0x1.6e9b36p-2f,
                                0x1.501398p-2f, 0x1.363a88p-2f, 0x1.2011f8p-2f, 0x1.0cdd9ap-2f};
  constexpr float kRest[][16] = {
      {0.0f, -0x1.fd2b6cp-28f, -0x1.3700eap-26f, -0x1.7e4d64p-26f, 0x1.6d9148p-26f, 0x1.341fdcp-29f,
       0x1.40a848p-27f, 0x1.34301ap-27f, -0x1.23ad6ep-26f, -0x1.7ec8b6p-26f, -0x1.1acde8p-30f,
       0x1.647432p-28f, -0x1.6f7808p-33f, 0x1.fd275cp-27f, -0x1.f6a8cap-27f, -0x1.2d46e6p-25f},
      {0x1.06eba8p-3f, -0x1.7e43b2p-5f, -0x1.551db6p-3f, -0x1.3f43ecp-2f, -0x1.bc323cp-2f,
       -0x1.02bd0ap-1f, -0x1.0cde4cp-1f, -0x1.041740p-1f, -0x1.e369b0p-2f, -0x1.b95278p-2f,
       -0x1.915560p-2f, -0x1.6e2218p-2f, -0x1.4ff81ap-2f, -0x1.36350cp-2f, -0x1.201102p-2f,
       -0x1.0cdd74p-2f},
      {0x1.85ca72p-22f, -0x1.130fc6p-2f, -0x1.c56214p-2f, -0x1.ecae30p-2f, -0x1.a253cap-2f,
       -0x1.24b680p-2f, -0x1.59ada8p-3f, -0x1.5ce058p-4f, -0x1.2f3178p-5f, -0x1.c7ff1cp-7f,
       -0x1.29b3c2p-8f, -0x1.5246aap-10f, -0x1.4f16bap-12f, -0x1.21c062p-14f, -0x1.b5df64p-17f,
       -0x1.21595ep-19f},
      {-0x1.812cf2p-2f, -0x1.3a8b1ap-2f, -0x1.203bbap-3f, 0x1.14a72ep-5f, 0x1.23e26cp-3f,
       0x1.55c2fep-3f, 0x1.136ee4p-3f, 0x1.5bfaf0p-4f, 0x1.68d072p-5f, 0x1.3a2044p-6f,
       0x1.d109b4p-8f, 0x1.26b624p-9f, 0x1.43179cp-11f, 0x1.342c92p-13f, 0x1.045aa2p-15f,
       0x1.5f2144p-18f},
      {0x1.cc19fap-12f, 0x1.073424p-3f, 0x1.776f8ep-3f, 0x1.2e1b84p-3f, 0x1.055600p-4f,
       -0x1.5cb17ep-7f, -0x1.7a5698p-5f, -0x1.81d984p-5f, -0x1.096596p-5f, -0x1.1adec8p-6f,
       -0x1.eae676p-8f, -0x1.633954p-9f, -0x1.b2ab4cp-11f, -0x1.c5a986p-13f, -0x1.964330p-15f,
       -0x1.398064p-17f},
      {0x1.c0921ep-4f, 0x1.423744p-4f, 0x1.4ec526p-8f, -0x1.bd9c52p-5f, -0x1.17ae46p-4f,
       -0x1.6ca19ep-5f, -0x1.8a5508p-7f, 0x1.eef954p-8f, 0x1.acd662p-7f, 0x1.442daep-7f,
       0x1.5dff38p-8f, 0x1.3785a6p-9f, 0x1.7de250p-11f, 0x1.3a4c1cp-13f, -0x1.72f3bcp-18f,
       0x1.03c40cp-16f},
      {0x1.399256p-8f, -0x1.4817bcp-5f, -0x1.955f78p-5f, -0x1.9e743cp-6f, 0x1.8735a6p-8f,
       0x1.609582p-6f, 0x1.2ec35cp-6f, 0x1.0154fep-7f, -0x1.8649dep-13f, -0x1.8a2868p-9f,
       -0x1.5932a0p-9f, -0x1.81b3cap-10f, -0x1.462f58p-11f, -0x1.ba7106p-13f, -0x1.ef166ep-15f,
       -0x1.d0412ap-17f}};
  constexpr float kWidth = 0x1.04p-2f, kWhole = 0x1.8p+23f;
  const V a = at_most(3.929f, abs(x));
  const V sum = fma(a, V::broadcast(1.0f / kWidth), V::broadcast(kWhole));
  const V u = fma(sum - V::broadcast(kWhole), V::broadcast(-kWidth), a);  // exact
  const V rest = segment_polynomial(u, bits(sum), kRest);
  return copysign(fma(lookup16(kSlope, bits(sum)), a, rest), x);
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
[[gnu::always_inline]] inline Vec<float> gelu_in_double(Vec<float> x) {
  const Vec<float> u = at_most(14.5f, abs(x));
  const Vec<float> relu = at_least(0.0f, x);
  return narrow(widen_low(relu) - gelu_tail_wide(widen_low(u)),
                widen_high(relu) - gelu_tail_wide(widen_high(u)));
}

// gelu for |x| < 4.6875 (false for NaN). The bits are gelu's.
[[gnu::always_inline]] inline Mask<float> gelu_is_usual(Vec<float> x) {
  return abs(x) < Vec<float>::broadcast(4.6875f);
}
[[gnu::always_inline]] inline Vec<float> gelu_usual(Vec<float> x) {
  using V = Vec<float>;
  if constexpr (!kHasFma) return gelu_in_double(x);
  // a Phi(-a), a = |x|, around the centre 5/16 i of segment i: 2^-24.5, with c[0] rounded; the other
  // coefficients, fitted to that, leave 2^-27.
  constexpr float kTail[][16] = {
      {0.0f, 0x1.e2fb96p-4f, 0x1.547624p-3f, 0x1.4e8fb6p-3f, 0x1.0e76a2p-3f, 0x1.7a2510p-4f,
       0x1.d2e35cp-5f, 0x1.0134c6p-5f, 0x1.fcb21ep-7f, 0x1.c50a54p-8f, 0x1.6c2510p-9f,
       0x1.088752p-10f, 0x1.5babc0p-12f, 0x1.9da14ap-14f, 0x1.bda8bep-16f, 0x1.b2fedap-18f},
      {0x1.000000p-1f, 0x1.08cef4p-2f, 0x1.f2c4f2p-5f, -0x1.116ed2p-4f, -0x1.f66bfcp-4f,
       -0x1.ff3f8ap-4f, -0x1.93c66ep-4f, -0x1.0be62ap-4f, -0x1.341c2ap-5f, -0x1.37e6a8p-6f,
       -0x1.185900p-7f, -0x1.c1e894p-9f, -0x1.437006p-10f, -0x1.a1ab96p-12f, -0x1.e54a68p-14f,
       -0x1.fc03bep-16f},
      {-0x1.988454p-2f, -0x1.720d54p-2f, -0x1.0e687cp-2f, -0x1.271faap-3f, -0x1.4746b6p-5f,
       0x1.a99f82p-6f, 0x1.ab056ep-5f, 0x1.9ff214p-5f, 0x1.312288p-5f, 0x1.720640p-6f,
       0x1.8086b8p-7f, 0x1.5cab90p-8f, 0x1.16bce4p-9f, 0x1.8b8224p-11f, 0x1.f4445cp-13f,
       0x1.1aebbep-14f},
      {0x1.59c37ep-21f, 0x1.3c4b2cp-4f, 0x1.f95cacp-4f, 0x1.00c0c0p-3f, 0x1.7be616p-4f,
       0x1.875548p-5f, 0x1.5538aap-7f, -0x1.560340p-7f, -0x1.0d3d2ep-6f, -0x1.cb06bap-7f,
       -0x1.296340p-7f, -0x1.3e1f92p-8f, -0x1.22a77ep-9f, -0x1.cdb9a4p-11f, -0x1.423416p-12f,
       -0x1.8df634p-14f},
      {0x1.104c8ep-4f, 0x1.af1886p-5f, 0x1.43c670p-6f, -0x1.df914ap-7f, -0x1.1b7db6p-5f,
       -0x1.1ff34ap-5f, -0x1.8295e4p-6f, -0x1.489ab4p-7f, -0x1.15679cp-11f, 0x1.d37914p-9f,
       0x1.002c7ap-8f, 0x1.683b12p-9f, 0x1.8db300p-10f, 0x1.6dab8ap-11f, 0x1.1f8280p-12f,
       0x1.875c98p-14f},
      {0x1.27c010p-14f, -0x1.11be96p-6f, -0x1.81cf24p-6f, -0x1.2b355ap-6f, -0x1.8d6008p-8f,
       0x1.24b2b8p-8f, 0x1.21efe8p-7f, 0x1.ff1294p-8f, 0x1.18e6e4p-8f, 0x1.342ec8p-10f,
       -0x1.e67982p-12f, -0x1.be9ae6p-11f, -0x1.600ba2p-11f, -0x1.930d1ep-12f, -0x1.740d38p-13f,
       -0x1.25b816p-14f},
      {-0x1.4aa770p-7f, -0x1.a0aa6ap-8f, -0x1.4f37a0p-7f, 0x1.a064fep-10f, 0x1.1226fap-6f,
       0x1.2405e6p-7f, -0x1.2ea68cp-11f, -0x1.817662p-10f, -0x1.4e9d78p-10f, -0x1.520cccp-10f,
       -0x1.2a4fbcp-11f, 0x1.1a97fap-14f, 0x1.688b94p-13f, 0x1.144532p-13f, 0x1.5096b8p-14f,
       0x1.426950p-15f}};

  constexpr float kWidth = 0.3125f, kWhole = 0x1.8p+23f;
  const V a = abs(x);
  const V sum = fma(a, V::broadcast(1.0f / kWidth), V::broadcast(kWhole));
  const V u = fma(sum - V::broadcast(kWhole), V::broadcast(-kWidth), a);  // exact
  return at_least(-0.0f, x) - segment_polynomial(u, bits(sum), kTail);    // -0 for x < 0
}

// The far tail: exp(-a^2 / 2), with the low half of the square added where the argument is reduced,
// times a nearly constant factor.
[[gnu::always_inline]] inline Vec<float> gelu_far(Vec<float> x) {
  using V = Vec<float>;
  // exp(a^2 / 2) a Phi(-a) in 1 / a^2 for 4.6875 <= a <= 14.6: 2^-27.6.
  constexpr float kScaled[] = {-0x1.987eacp-2f, 0x1.317ffcp+0f, -0x1.6dd5d4p+2f, 0x1.eb58a8p+4f,
                               -0x1.aef94ep+6f};
  const V c0 = V::broadcast(0x1.988450p-2f);
  const V a = at_most(14.5f, abs(x)), square = a * a;
  ExpFloatRest rest = exp_float_rest(square * V::broadcast(-0.5f));
  rest.r = fma(fma(a, a, -square), V::broadcast(-0.5f), rest.r);
  const ExpFloatParts e = exp_float_parts(rest);
  const V power = from_bits(e.power + VecInt<float>::broadcast(64 << 23));
  const V y = V::broadcast(1.0f) / square, small = y * horner(y, kScaled);
  const V scaled = c0 + fma(c0 + small, e.fraction, small);
  return at_least(-0.0f, x) - scaled * power * V::broadcast(0x1p-64f);
}

[[gnu::always_inline]] inline Vec<float> gelu(Vec<float> x) {
  if constexpr (!kHasFma) return gelu_in_double(x);
  const Mask<float> usual = gelu_is_usual(x);
  const Vec<float> y = gelu_usual(x);
  return all(usual) ? y : select(usual, y, gelu_far(x));
}

}  // namespace lamella::simd::LAMELLA_ISA_NAMESPACE
