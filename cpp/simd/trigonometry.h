// SPDX-License-Identifier: Apache-2.0
// float and double: sin, cos, tan.
//
// x = n pi/2 + r, |r| <= pi/4, and the last two bits of n choose between the sine and the cosine of
// r and their signs. pi/2 is taken off in parts whose products with n are exact (Cody and Waite);
// numbers too large for that are reduced one by one in integers (Payne and Hanek, "Radian reduction
// for trigonometric functions", SIGNUM Newsletter 18, 1983). Which way an element goes is decided
// by that element alone. float results come from double arithmetic.
#pragma once

#include "simd/pair.h"

namespace lamella::simd::LAMELLA_ISA_NAMESPACE {

// 2/pi after one word of zeros, as a binary fraction.
constexpr std::uint64_t kTwoOverPi[] = {
    0x0000000000000000, 0xa2f9836e4e441529, 0xfc2757d1f534ddc0, 0xdb6295993c439041,
    0xfe5163abdebbc561, 0xb7246e3a424dd2e0, 0x06492eea09d1921c, 0xfe1deb1cb129a73e,
    0xe88235f52ebb4484, 0xe99c7026b45f7e41, 0x3991d639835339f4, 0x9c845f8bbdf9283b,
    0x1ff897ffde05980f, 0xef2f118b5a0a6d1f, 0x6d367ecf27cb09b7, 0x4f463f669e5fea2d,
    0x7527bac7ebe5f17b, 0x3d0739f78a5292ea, 0x6bfb5fb11f8d5d08, 0x56033046fc7b6bab};

// A multiple of pi/2 as its last two bits and the rest, in units of pi/2, in two parts.
struct QuarterTurns {
  double high, low;
  std::int64_t n;
};

// x 2/pi mod 4 for |x| > 2^17. Of 2/pi, 192 bits matter: those before give multiples of 4, those
// behind less than 2^-137. No double is nearer to a multiple of pi/2 than 2^-62 (Muller, "Elementary
// Functions", 2016, section 11.3).
[[maybe_unused, gnu::noinline]] static QuarterTurns turns_of_large(double x) {
  __extension__ typedef unsigned __int128 Wide;
  using Word = std::uint64_t;
  Word pattern;
  __builtin_memcpy(&pattern, &x, sizeof x);
  const unsigned field = static_cast<unsigned>(pattern >> 52) & 0x7FF;
  if (field == 0x7FF) return {x - x, 0.0, 0};
  const Word mantissa = (pattern & 0x000FFFFFFFFFFFFF) | 0x0010000000000000;
  const unsigned first = field - 1075 + 62, word = first / 64, shift = first % 64;
  Word part[3];
  for (unsigned k = 0; k < 3; ++k) {
    const Wide both = Wide(kTwoOverPi[word + k]) << 64 | kTwoOverPi[word + k + 1];
    part[k] = static_cast<Word>(both >> (64 - shift));
  }
  const Wide last = Wide(mantissa) * part[2];
  const Wide middle = Wide(mantissa) * part[1] + static_cast<Word>(last >> 64);
  const Word top = mantissa * part[0] + static_cast<Word>(middle >> 64);
  std::int64_t n = static_cast<std::int64_t>(top >> 62);
  // The fraction, 128 and 64 bits; more than 1/2 counts down from the next multiple.
  Wide fraction =
      (Wide(top) << 64 | static_cast<Word>(middle)) << 2 | static_cast<Word>(last) >> 62;
  Word below = static_cast<Word>(last) << 2;
  bool negative = false;
  if (fraction >> 127 != 0) {
    fraction = ~fraction + (below == 0 ? 1 : 0);
    below = -below;
    negative = true;
    ++n;
  }
  int zeros = 0;
  while (fraction >> 127 == 0) {
    fraction = fraction << 1 | below >> 63;
    below <<= 1;
    ++zeros;
  }
  const Word unit = static_cast<Word>(1023 - 53 - zeros) << 52;
  double scale;
  __builtin_memcpy(&scale, &unit, sizeof scale);
  if (negative != (pattern >> 63 != 0)) scale = -scale;
  const Word digits = static_cast<Word>(fraction >> 75), more = static_cast<Word>(fraction >> 22);
  return {scale * static_cast<double>(digits),
          scale * 0x1p-53 * static_cast<double>(more & 0x001FFFFFFFFFFFFF),
          pattern >> 63 != 0 ? -n : n};
}

// x = n pi/2 + high + low; of n only the last bits count.
struct Angle {
  Pair rest;
  VecInt<double> n;
};

// Beyond this |x| the products with n are no longer exact.
inline constexpr double kTurnsLimit = 800000.0;

// Replaces what was found for lanes of large numbers, infinities and NaN.
[[gnu::always_inline]] inline Angle with_large_lanes(Vec<double> x, Angle angle) {
  using V = Vec<double>;
  double number[V::lanes], high[V::lanes], low[V::lanes];
  std::int64_t n[V::lanes];
  x.store(number);
  const V zero = V::zero();
  zero.store(high);
  zero.store(low);
  for (size_t i = 0; i < V::lanes; ++i) n[i] = 0;
  for (size_t i = 0; i < V::lanes; ++i) {
    if (__builtin_fabs(number[i]) <= kTurnsLimit) continue;
    const QuarterTurns turns = turns_of_large(number[i]);
    high[i] = turns.high;
    low[i] = turns.low;
    n[i] = turns.n;
  }
  double pattern[V::lanes];
  __builtin_memcpy(pattern, n, sizeof n);
  const V quarter = V::broadcast(0x1.921fb54442d18p+0), a = V::load(high);
  const V product = a * quarter;
  const V error = product_error(a, quarter, product) +
                  mul_add(a, V::broadcast(0x1.1a62633145c07p-54), V::load(low) * quarter);
  const Mask<double> usual = abs(x) <= V::broadcast(kTurnsLimit);
  return {{select(usual, angle.rest.high, product), select(usual, angle.rest.low, error)},
          bits(select(usual, from_bits(angle.n), V::load(pattern)))};
}

// Four parts of pi/2, 152 bits, for double results.
[[gnu::always_inline]] inline Angle quarter_turns(Vec<double> x) {
  using V = Vec<double>;
  const V rounder = V::broadcast(0x1.8p+52);
  const V rounded = mul_add(x, V::broadcast(0x1.45f306dc9c883p-1), rounder);
  const V n = rounded - rounder;
  const V second = V::broadcast(-0x1.0b4611a600000p-34),
          third = V::broadcast(-0x1.3198a2e000000p-69);
  const V a = mul_add(n, V::broadcast(-0x1.921fb54400000p+0), x);
  const V b = mul_add(n, second, a), b_low = mul_add(n, second, a - b);
  const V c = mul_add(n, third, b), c_low = mul_add(n, third, b - c);
  const V low = mul_add(n, V::broadcast(-0x1.b839a252049c1p-104), b_low + c_low);
  const Angle angle = {quick_sum(c, low), bits(rounded)};
  if (any(!(abs(x) <= V::broadcast(kTurnsLimit)))) [[unlikely]]
    return with_large_lanes(x, angle);
  return angle;
}

// Two parts of pi/2, 86 bits, for float results.
[[gnu::always_inline]] inline Angle quarter_turns_wide(Vec<double> x) {
  using V = Vec<double>;
  const V rounder = V::broadcast(0x1.8p+52);
  const V rounded = mul_add(x, V::broadcast(0x1.45f306dc9c883p-1), rounder);
  const V n = rounded - rounder;
  const V a = mul_add(n, V::broadcast(-0x1.921fb54400000p+0), x);
  const Angle angle = {{mul_add(n, V::broadcast(-0x1.0b4611a626331p-34), a), V::zero()},
                       bits(rounded)};
  if (any(!(abs(x) <= V::broadcast(kTurnsLimit)))) [[unlikely]]
    return with_large_lanes(x, angle);
  return angle;
}

// Whether the number of quarter turns is odd.
[[gnu::always_inline]] inline Mask<double> is_odd(VecInt<double> n) {
  using I = VecInt<double>;
  return from_bits(shift_left<62>(n) & I::broadcast(0x4000000000000000)) > Vec<double>::zero();
}

// The function of quarter turn n from sine and cosine: s, c, -s, -c.
[[gnu::always_inline]] inline Vec<double> of_quarter(VecInt<double> n, Vec<double> sine,
                                                     Vec<double> cosine) {
  using I = VecInt<double>;
  const I sign = shift_left<62>(n) & bits(Vec<double>::broadcast(-0.0));
  return from_bits(bits(select(is_odd(n), cosine, sine)) ^ sign);
}

// Sine and cosine of what is left after the quarter turns, |r| <= pi/4: 2^-57.9 and 2^-63.9.
struct SineCosine {
  Pair sine, cosine;
};
[[gnu::always_inline]] inline SineCosine sine_and_cosine(Pair rest) {
  using V = Vec<double>;
  constexpr double kSine[] = {-0x1.5555555555548p-3, 0x1.111111110f730p-7,   -0x1.a01a019be9216p-13,
                              0x1.71de35552b2e2p-19, -0x1.ae5e4b83b3c7fp-26, 0x1.5d8b5580b8e41p-33};
  constexpr double kCosine[] = {0x1.555555555554bp-5,  -0x1.6c16c16c15015p-10,
                                0x1.a01a019c8f254p-16, -0x1.27e4f7f191468p-22,
                                0x1.1ee9dbcef7bdap-29, -0x1.8fa684836d179p-37};
  const V r = rest.high, low = rest.low;
  const V square = r * r, half = square * V::broadcast(-0.5);
  const V sine_low = mul_add(square * r, horner(square, kSine), mul_add(half, low, low));
  const Pair bend = quick_sum(V::broadcast(1.0), half);
  const V curve = mul_add(square * square, horner(square, kCosine), bend.low);
  return {quick_sum(r, sine_low), quick_sum(bend.high, mul_add(-r, low, curve))};
}
[[gnu::always_inline]] inline Vec<double> sine_or_cosine(Angle angle, std::int64_t turn) {
  const SineCosine both = sine_and_cosine(angle.rest);
  return of_quarter(angle.n + VecInt<double>::broadcast(turn), both.sine.high, both.cosine.high);
}

// Tiny numbers are their own sine; so is -0.
[[gnu::always_inline]] inline Vec<double> sin(Vec<double> x) {
  const Vec<double> y = sine_or_cosine(quarter_turns(x), 0);
  return select(abs(x) < Vec<double>::broadcast(0x1p-27), x, y);
}
[[gnu::always_inline]] inline Vec<double> cos(Vec<double> x) {
  return sine_or_cosine(quarter_turns(x), 1);
}

// Sine over cosine, or minus cosine over sine.
[[gnu::always_inline]] inline Vec<double> tan(Vec<double> x) {
  using V = Vec<double>;
  const Angle angle = quarter_turns(x);
  const auto [sine, cosine] = sine_and_cosine(angle.rest);
  const Mask<double> odd = is_odd(angle.n);
  const Pair y =
      quotient({select(odd, -cosine.high, sine.high), select(odd, -cosine.low, sine.low)},
               {select(odd, sine.high, cosine.high), select(odd, sine.low, cosine.low)});
  return select(abs(x) < V::broadcast(0x1p-27), x, y.high + y.low);
}

// |r| <= pi/4: sine 2^-37.5, cosine 2^-33.0.
struct SineCosineWide {
  Vec<double> sine, cosine;
};
[[gnu::always_inline]] inline SineCosineWide sine_and_cosine_wide(Vec<double> r) {
  using V = Vec<double>;
  constexpr double kSine[] = {1.0, -0x1.5555554c71ce0p-3, 0x1.1111086a5f056p-7,
                              -0x1.a00f7f26cdc19p-13, 0x1.6cd1f234e2670p-19};
  constexpr double kCosine[] = {1.0, -0.5, 0x1.55554a1155f45p-5, -0x1.6c0c33a4fa2e4p-10,
                                0x1.99eb9b6b3ec34p-16};
  const V square = r * r;
  return {r * horner(square, kSine), horner(square, kCosine)};
}
[[gnu::always_inline]] inline Vec<double> sine_or_cosine_wide(Vec<double> x, std::int64_t turn) {
  const Angle angle = quarter_turns_wide(x);
  const auto [sine, cosine] = sine_and_cosine_wide(angle.rest.high);
  return of_quarter(angle.n + VecInt<double>::broadcast(turn), sine, cosine);
}
[[gnu::always_inline]] inline Vec<double> tan_wide(Vec<double> x) {
  const Angle angle = quarter_turns_wide(x);
  const auto [sine, cosine] = sine_and_cosine_wide(angle.rest.high);
  const Mask<double> odd = is_odd(angle.n);
  return select(odd, -cosine, sine) / select(odd, sine, cosine);
}
[[gnu::always_inline]] inline Vec<float> sin(Vec<float> x) {
  return narrow(sine_or_cosine_wide(widen_low(x), 0), sine_or_cosine_wide(widen_high(x), 0));
}
[[gnu::always_inline]] inline Vec<float> cos(Vec<float> x) {
  return narrow(sine_or_cosine_wide(widen_low(x), 1), sine_or_cosine_wide(widen_high(x), 1));
}
[[gnu::always_inline]] inline Vec<float> tan(Vec<float> x) {
  return narrow(tan_wide(widen_low(x)), tan_wide(widen_high(x)));
}

}  // namespace lamella::simd::LAMELLA_ISA_NAMESPACE
