// SPDX-License-Identifier: Apache-2.0
// float: tanh and tanhshrink (x - tanh x), as odd rationals in double.
#pragma once

#include "simd/polynomial.h"

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

[[gnu::always_inline]] inline Vec<float> tanh(Vec<float> x) {
  const Vec<float> limited = at_most(9.1f, at_least(-9.1f, x));
  return narrow(tanh_wide(widen_low(limited)), tanh_wide(widen_high(limited)));
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
