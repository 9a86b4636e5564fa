// SPDX-License-Identifier: Apache-2.0
// float: tanh and tanhshrink (x - tanh x).
//
// tanh: with FMA a polynomial of degree 5 on each of 16 segments of |x|, without an odd rational in
// double. tanhshrink is an odd rational in double: the difference would cancel.
#pragma once

#include "simd/segments.h"

namespace lamella::simd::LAMELLA_ISA_NAMESPACE {

// tanh(x) / x = P(x^2) / Q(x^2) for |x| <= 9.1: 2^-29.8. Beyond, tanh rounds to 1.
[[gnu::always_inline]] inline Vec<double> tanh_wide(Vec<double> x) {
  constexpr double kP[] = {0x1.fffffff6ff356p-1, 0x1.1a3ed96233700p-3, 0x1.066161445f911p-8,
                           0x1.0817e6d677e1ep-15, 0x1.b0d25f8251a81p-25};
  constexpr double kQ[] = {1.0,
                           0x1.e274c15756b2bp-2,
                           0x1.c6293e0030a84p-6,
                           0x1.b83fbb07f5f92p-12,
                           0x1.aff828cf96153p-20,
                           0x1.9142f25b83595p-31};
  const Vec<double> square = x * x;
  return x * horner(square, kP) / horner(square, kQ);
}

// The segments of |x| are those of s = 2 + kTanhScale |x| < 32 by exponent and two bits more: they
// double in width from octave to octave, as tanh flattens. In the first, value and centre are 0 and
// the slope is that of tanh(x) - x. Error 0.38 ULP in one segment, 0.32 in two, below 0.17 in the
// others, 2^-25.9 in the first. tanh(9.03) rounds to 1.
inline constexpr float kTanhLimit = 9.03f, kTanhScale = 0x1.a93fc8p+1f;
alignas(64) inline constexpr float kTanhSegments[][16] = {
    {0.0f, 0x1.cc041ap-3f, 0x1.81287cp-2f, 0x1.0d6770p-1f, 0x1.806ecep-1f, 0x1.0d549cp+0f,
     0x1.5a8788p+0f, 0x1.a7fd90p+0f, 0x1.0d9f1ap+1f, 0x1.5a9ad8p+1f, 0x1.a7c9fcp+1f, 0x1.f4d3acp+1f,
     0x1.340144p+2f, 0x1.817480p+2f, 0x1.ce06acp+2f, 0x1.0a2b20p+3f},
    {0.0f, 0x1.c46ec2p-3f, 0x1.6ff78cp-2f, 0x1.ee08d0p-2f, 0x1.457450p-1f, 0x1.90b25ap-1f,
     0x1.bff3e0p-1f, 0x1.dc0254p-1f, 0x1.f10fc0p-1f, 0x1.fb779cp-1f, 0x1.fea382p-1f, 0x1.ff9754p-1f,
     0x1.ffeeb0p-1f, 0x1.fffe76p-1f, 0x1.ffffdcp-1f, 0x1.fffffcp-1f},
    {0.0f, 0x1.e70346p-1f, 0x1.bde30ap-1f, 0x1.88d340p-1f, 0x1.311fbep-1f, 0x1.8cd22cp-2f,
     0x1.e054dep-3f, 0x1.15ceaep-3f, 0x1.d70ea6p-5f, 0x1.20d04ap-6f, 0x1.5c0734p-8f,
     0x1.a28558p-10f, 0x1.14ff86p-12f, 0x1.8a0c4cp-16f, 0x1.20012ep-19f, 0x1.ffd6aep-23f},
    {0x1.cea212p-20f, -0x1.ae5970p-3f, -0x1.40730ep-2f, -0x1.7b09fep-2f, -0x1.83e806p-2f,
     -0x1.368f9ap-2f, -0x1.a4408cp-3f, -0x1.0247eap-3f, -0x1.c94d74p-5f, -0x1.1e3866p-6f,
     -0x1.5b0e82p-8f, -0x1.a21c30p-10f, -0x1.143930p-12f, -0x1.8906ecp-16f, -0x1.1f4130p-19f,
     -0x1.ff3b12p-23f},
    {-0x1.55654cp-2f, -0x1.152552p-2f, -0x1.6c378ap-3f, -0x1.3c08a6p-4f, 0x1.592202p-5f,
     0x1.bb0f5ap-4f, 0x1.9f244ep-4f, 0x1.270dc6p-4f, 0x1.1efa84p-5f, 0x1.76e1f4p-7f, 0x1.cc5736p-9f,
     0x1.164d3ep-10f, 0x1.706828p-13f, 0x1.05c4d0p-16f, 0x1.7f5a4cp-20f, 0x1.58590cp-23f},
    {0x1.ac7c08p-11f, 0x1.087b54p-3f, 0x1.56792ep-3f, 0x1.477a26p-3f, 0x1.977b02p-4f,
     0x1.177a48p-6f, -0x1.45786ap-6f, -0x1.967606p-6f, -0x1.fa7726p-7f, -0x1.6e760ep-8f,
     -0x1.ce7468p-10f, -0x1.1a72c0p-11f, -0x1.8a7038p-14f, -0x1.186cc4p-17f, -0x1.9a6944p-21f,
     -0x1.6665dep-24f}};

// tanh(x) with the sign apart; a = |x| <= kTanhLimit.
[[gnu::always_inline]] inline Vec<float> tanh_of_size(Vec<float> a) {
  using V = Vec<float>;
  const V s = fma(a, V::broadcast(kTanhScale), V::broadcast(2.0f));
  const VecInt<float> i = shift_right<21>(bits(s));
  const V u = a - lookup16(kTanhSegments[0], i);
  // The first segment needs u itself as the larger term, the others the value at the centre, which
  // is larger than u.
  const V larger = max_or_second(lookup16(kTanhSegments[1], i), u);
  return fma(segment_slope(u, i, kTanhSegments), u, larger);
}

[[gnu::always_inline]] inline Vec<float> tanh(Vec<float> x) {
  using V = Vec<float>;
  if constexpr (!kHasFma) {
    const V limited = at_most(9.1f, at_least(-9.1f, x));
    return narrow(tanh_wide(widen_low(limited)), tanh_wide(widen_high(limited)));
  }
  return copysign(tanh_of_size(at_most(kTanhLimit, abs(x))), x);
}

// The same bits where nothing has to be limited (false for NaN).
[[gnu::always_inline]] inline Mask<float> tanh_is_usual(Vec<float> x) {
  return abs(x) <= Vec<float>::broadcast(kTanhLimit);
}
[[gnu::always_inline]] inline Vec<float> tanh_usual(Vec<float> x) {
  if constexpr (!kHasFma) return tanh(x);
  return copysign(tanh_of_size(abs(x)), x);
}

// (x - tanh(x)) / x^3 = P(x^2) / Q(x^2) for |x| <= 9.1: 2^-35.9. Beyond, tanh is 1.
[[gnu::always_inline]] inline Vec<double> tanhshrink_wide(Vec<double> x) {
  constexpr double kP[] = {0x1.555555553fb07p-2, 0x1.96ea4c65da4ffp-6, 0x1.e5144c88afd39p-12,
                           0x1.55cf27fe873b3p-19, 0x1.a1fe05345af69p-29};
  constexpr double kQ[] = {1.0,
                           0x1.e5e587ea79ed8p-2,
                           0x1.dfd428e581cebp-6,
                           0x1.0907a9d55f7e3p-11,
                           0x1.65342a49d8dcep-19,
                           0x1.a7561b87f76eep-29};
  const Vec<double> square = x * x;
  return x * square * horner(square, kP) / horner(square, kQ);
}

[[gnu::always_inline]] inline Vec<float> tanhshrink(Vec<float> x) {
  using V = Vec<float>;
  const V limited = at_most(9.1f, at_least(-9.1f, x));
  const V near = narrow(tanhshrink_wide(widen_low(limited)), tanhshrink_wide(widen_high(limited)));
  return select(abs(x) > V::broadcast(9.1f), x - copysign(V::broadcast(1.0f), x), near);
}

}  // namespace lamella::simd::LAMELLA_ISA_NAMESPACE
