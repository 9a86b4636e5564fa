// SPDX-License-Identifier: Apache-2.0
// float: exp, expm1 and the negative branches of elu, selu and celu.
//
// exp(x) = 2^n exp(r), r the rest of x / ln 2 after n, a whole number (in double) or one of eighths
// (in float). n is rounded by adding 1.5 times a power of two; shifting the bits of that sum left
// gives 2^n without further arithmetic (Cody and Waite, "Software Manual for the Elementary
// Functions", 1980, for the reduction).
#pragma once

#include "simd/polynomial.h"

namespace lamella::simd::LAMELLA_ISA_NAMESPACE {

inline constexpr double kLog2E = 0x1.71547652b82fep+0;
inline constexpr double kLn2 = 0x1.62e42fefa39efp-1;
inline constexpr double kWideBias = 0x1.8p+52 + 1023.0;

// (exp(r) - 1 - r) / r^2 for |r| <= ln 2 / 2: 2^-28.2 relative to exp(r).
inline constexpr double kExpWide[] = {0x1.00000051c428fp-1, 0x1.55548eec53d7bp-3,
                                      0x1.55545de85943bp-5, 0x1.123b550fe56f4p-7,
                                      0x1.6db4292ef8ac1p-10};

// The same, 2^-31.9 relative to exp(r) - 1.
inline constexpr double kExpm1Wide[] = {0x1.00000025efc3dp-1,  0x1.555554ef8d3e6p-3,
                                        0x1.5554b12ef04b4p-5,  0x1.1111896aeb1fdp-7,
                                        0x1.6d71f75b090b1p-10, 0x1.a032b896611cep-13};

// exp(sign x) = 2^n (1 + fraction), n <= 1023 in size. The sign costs nothing: it is absorbed by
// the constants, r being carried as sign * r.
struct ExpParts {
  Vec<double> fraction, power;
};

template <int sign, size_t N>
[[gnu::always_inline]] inline ExpParts exp_parts(Vec<double> x, const double (&c)[N]) {
  using V = Vec<double>;
  const V biased = mul_add(x, V::broadcast(sign * kLog2E), V::broadcast(kWideBias));
  const V n = biased - V::broadcast(kWideBias);
  const V r = mul_add(n, V::broadcast(-sign * kLn2), x);
  V q = V::broadcast((N % 2 == 1 ? 1 : sign) * c[N - 1]);
#pragma GCC unroll 8
  for (size_t i = N - 1; i > 0; --i) {
    q = mul_add(q, r, V::broadcast((i % 2 == 1 ? 1 : sign) * c[i - 1]));
  }
  return {mul_add(q, r, V::broadcast(sign)) * r, from_bits(shift_left<52>(bits(biased)))};
}

// exp(sign x), |x| <= 700.
template <int sign = 1>
[[gnu::always_inline]] inline Vec<double> exp_wide(Vec<double> x) {
  const ExpParts e = exp_parts<sign>(x, kExpWide);
  return mul_add(e.fraction, e.power, e.power);
}

// |x| <= 700.
[[gnu::always_inline]] inline Vec<double> expm1_wide(Vec<double> x) {
  const ExpParts e = exp_parts<1>(x, kExpm1Wide);
  return mul_add(e.fraction, e.power, -(Vec<double>::broadcast(1.0) - e.power));  // keeps -0
}

// ln 2 in two floats: n times the first, taken off x by one fma, leaves an exact rest.
inline constexpr float kLn2High = 0x1.62e430p-1f, kLn2Low = -0x1.05c610p-29f;

// exp(x) = power (1 + fraction) for float. Here n counts eighths of ln 2, so that r is small and
// 2^(n/8) = 2^i 2^(j/8) takes its second factor from a table; Tang, "Table-driven implementation of
// the exponential function", 1989. The sum that rounds n has i and j in its last bits: shifted, they
// are 2^i (1 + j/8), and adding the integer bits(2^(j/8)) - (j << 20) of the table gives the power.
// The table's own rounding, 0.34 ULP at most, is all that is lost besides the last sum's.
struct ExpFloatRest {
  Vec<float> sum, r;
};
[[gnu::always_inline]] inline ExpFloatRest exp_float_rest(Vec<float> x) {
  using V = Vec<float>;
  constexpr float kEighths = 0x1.8p+20f;
  const V sum = fma(x, V::broadcast(static_cast<float>(kLog2E)), V::broadcast(kEighths));
  const V n = sum - V::broadcast(kEighths);
  const V high = fma(n, V::broadcast(-kLn2High), x);  // exact
  return {sum, fma(n, V::broadcast(-kLn2Low), high)};
}

struct ExpFloatParts {
  Vec<float> fraction;
  VecInt<float> power;
};
[[gnu::always_inline]] inline ExpFloatParts exp_float_parts(ExpFloatRest x) {
  constexpr float kPowers[] = {0x1.000000p+0f, 0x1.f72b84p-1f, 0x1.f06fe0p-1f, 0x1.ebfdaep-1f,
                               0x1.ea09e6p-1f, 0x1.eace54p-1f, 0x1.ee89fap-1f, 0x1.f5818ep-1f};
  // (exp(r) - 1 - r) / r^2 for |r| <= ln 2 / 16: 2^-32.4 relative to exp(r), each coefficient fitted
  // after those before it were rounded to float.
  constexpr float kExp[] = {0x1.000000p-1f, 0x1.555c6ep-3f, 0x1.555660p-5f};
  return {fma(x.r * x.r, horner(x.r, kExp), x.r),
          shift_left<20>(bits(x.sum)) + bits(lookup8(kPowers, bits(x.sum)))};
}

// exp where the result is normal, |x| <= kExpUsual. The bits are exp's. Without an FMA instruction
// the double evaluation is four times as fast.
template <class T>
inline constexpr T kExpUsual = T(708);
template <>
inline constexpr float kExpUsual<float> = 87.0f;
[[gnu::always_inline]] inline Vec<float> exp_usual(Vec<float> x) {
  if constexpr (!kHasFma) return narrow(exp_wide(widen_low(x)), exp_wide(widen_high(x)));
  const ExpFloatParts e = exp_float_parts(exp_float_rest(x));
  const Vec<float> power = from_bits(e.power);
  return fma(power, e.fraction, power);
}

// Any x: the sum is formed 2^64 nearer to 1. The product that takes it back rounds once more only
// into the subnormal range, or to infinity.
[[gnu::always_inline]] inline Vec<float> exp(Vec<float> x) {
  using V = Vec<float>;
  using I = VecInt<float>;
  const V limited = at_most(89.0f, at_least(-104.0f, x));
  if constexpr (!kHasFma) return exp_usual(limited);
  const ExpFloatParts e = exp_float_parts(exp_float_rest(limited));
  const Mask<float> small = x < V::zero();
  const V up = from_bits(e.power + I::broadcast(64 << 23));
  const V down = from_bits(e.power - I::broadcast(64 << 23));
  const V power = select(small, up, down);
  return fma(power, e.fraction, power) *
         select(small, V::broadcast(0x1p-64f), V::broadcast(0x1p+64f));
}

// What exp_raised multiplies by, so that no result is subnormal, and what undoes it.
template <class T>
inline constexpr T kRaised = T(0x1p+64);
template <>
inline constexpr float kRaised<float> = 0x1p+32f;
template <class T>
inline constexpr T kLowered = T(1) / kRaised<T>;

// exp(x) kRaised for x <= 0; that of -104 from there on, which lowered rounds to 0. For sums that
// are divided by: any x takes the one way, and what was lost on the way down comes back with the
// division. ln 2 as one constant adds |x| 2^-28.4, a twentieth of what the rounding of such an
// argument is worth; the rest is below 1 ULP.
[[gnu::always_inline]] inline Vec<float> exp_raised(Vec<float> x) {
  using V = Vec<float>;
  const V limited = at_least(-104.0f, x);
  if constexpr (!kHasFma) {
    return narrow(exp_wide(widen_low(limited)) * Vec<double>::broadcast(double(kRaised<float>)),
                  exp_wide(widen_high(limited)) * Vec<double>::broadcast(double(kRaised<float>)));
  }
  constexpr float kEighths = 0x1.8p+20f;
  constexpr float kPowers[] = {0x1.000000p+32f, 0x1.f72b84p+31f, 0x1.f06fe0p+31f, 0x1.ebfdaep+31f,
                               0x1.ea09e6p+31f, 0x1.eace54p+31f, 0x1.ee89fap+31f, 0x1.f5818ep+31f};
  // (exp(r) - 1 - r) / r^2 for |r| <= ln 2 / 16: 2^-25.2 relative to exp(r).
  constexpr float kExp[] = {0x1.00087cp-1f, 0x1.555d88p-3f};
  const V sum = fma(limited, V::broadcast(static_cast<float>(kLog2E)), V::broadcast(kEighths));
  const V r = fma(sum - V::broadcast(kEighths), V::broadcast(-kLn2High), limited);
  const V fraction = fma(r * r, horner(r, kExp), r);
  const V power = from_bits(shift_left<20>(bits(sum)) + bits(lookup8(kPowers, bits(sum))));
  return fma(power, fraction, power);
}

[[gnu::always_inline]] inline Vec<float> expm1(Vec<float> x) {
  const Vec<float> limited = at_most(104.0f, at_least(-104.0f, x));
  return narrow(expm1_wide(widen_low(limited)), expm1_wide(widen_high(limited)));
}

// expm1(x) for x <= 0, in float: 2^n p + (2^n - 1) with p = expm1(r), and exactly p where n = 0. A
// rounding of p counts most where the sum is small beside it; n = x / ln 2 + 1/4, rounded, keeps p
// below 0.19 at n < 0. 0.92 ULP; 0 for -0.
[[gnu::always_inline]] inline Vec<float> expm1_below(Vec<float> x) {
  using V = Vec<float>;
  constexpr float kWhole = 0x1.8p+23f + 127.0f;
  // (expm1(r) - r) / r^2 for |r| <= 3/4 ln 2: 2^-27.7 relative to expm1(r), each coefficient fitted
  // after those before it were rounded to float.
  constexpr float kExpm1[] = {0x1.000002p-1f, 0x1.555558p-3f,  0x1.5551dep-5f,
                              0x1.110e8cp-7f, 0x1.6f3520p-10f, 0x1.a34d92p-13f};
  const V limited = at_least(-25.0f, x);  // the result is -1 there
  const V near = fma(limited, V::broadcast(static_cast<float>(kLog2E)), V::broadcast(0.25f));
  const V sum = near + V::broadcast(kWhole), n = sum - V::broadcast(kWhole);
  const V high = fma(n, V::broadcast(-kLn2High), limited);
  const V r = fma(n, V::broadcast(-kLn2Low), high);
  const V p = fma(r * r, horner(r, kExpm1), r);
  const V power = from_bits(shift_left<23>(bits(sum)));
  return fma(power, p, power - V::broadcast(1.0f));
}

// scale * expm1(x) for x < 0: the negative branch of elu.
[[gnu::always_inline]] inline Vec<float> scaled_expm1(Vec<float> x, Vec<float> scale) {
  using V = Vec<float>;
  if constexpr (!kHasFma) {
    const V limited = at_most(700.0f, at_least(-700.0f, x));
    return narrow(widen_low(scale) * expm1_wide(widen_low(limited)),
                  widen_high(scale) * expm1_wide(widen_high(limited)));
  }
  return scale * expm1_below(at_most(0.0f, x));
}

// scale * (x > 0 ? x : alpha expm1(x)), Klambauer et al., "Self-normalizing neural networks", 2017.
inline constexpr double kSeluScale = 1.0507009873554804934193349852946;
inline constexpr double kSeluAlpha = 1.6732632423543772848170429916717;
[[gnu::always_inline]] inline Vec<double> selu_wide(Vec<double> x) {
  using V = Vec<double>;
  const V below = V::broadcast(kSeluAlpha) * expm1_wide(at_most(0.0, at_least(-700.0, x)));
  return V::broadcast(kSeluScale) * select(x > V::zero(), x, below);
}
[[gnu::always_inline]] inline Vec<float> selu(Vec<float> x) {
  using V = Vec<float>;
  if constexpr (!kHasFma) return narrow(selu_wide(widen_low(x)), selu_wide(widen_high(x)));
  constexpr double kProduct = kSeluScale * kSeluAlpha;
  constexpr float kHigh = static_cast<float>(kProduct);
  constexpr float kLow = static_cast<float>(kProduct - static_cast<double>(kHigh));
  const V y = expm1_below(at_most(0.0f, x));
  const V below = fma(y, V::broadcast(kHigh), y * V::broadcast(kLow));
  return select(x < V::zero(), below, x * V::broadcast(static_cast<float>(kSeluScale)));
}

// alpha * expm1(x / alpha), rounded once: the negative branch of celu. alpha holds one value in all
// lanes.
[[gnu::always_inline]] inline Vec<float> expm1_of_ratio(Vec<float> x, Vec<float> alpha) {
  const Vec<double> scale = widen_low(alpha), inverse = Vec<double>::broadcast(1.0) / scale;
  const Vec<double> low = at_most(700.0, at_least(-700.0, widen_low(x) * inverse));
  const Vec<double> high = at_most(700.0, at_least(-700.0, widen_high(x) * inverse));
  return narrow(scale * expm1_wide(low), scale * expm1_wide(high));
}

}  // namespace lamella::simd::LAMELLA_ISA_NAMESPACE
