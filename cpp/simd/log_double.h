// SPDX-License-Identifier: Apache-2.0
// double: log, log1p, softplus, logsigmoid.
//
// log(2^e (1 + f)) = e ln 2 + log(1 + f) with 1 + f in [sqrt(1/2), sqrt 2), and with s = f / (2 + f)
// log(1 + f) = f - f^2 / 2 + s (f^2 / 2 + s^2 P(s^2)), the form of FreeBSD's e_log.c (Sun
// Microsystems, 1993). Here the errors of f^2 / 2 and of the first two sums are found and added to
// the small terms, so that only the last addition rounds visibly.
#pragma once

#include "simd/exp_double.h"

namespace lamella::simd::LAMELLA_ISA_NAMESPACE {

// Positive normal x = 2^e m with m in [sqrt(1/2), sqrt 2).
struct LogParts {
  VecInt<double> exponent;  // e + 1023 in the place of a double's exponent, anything below it
  Vec<double> m;
};
[[gnu::always_inline]] inline LogParts log_parts(Vec<double> x) {
  using I = VecInt<double>;
  constexpr std::int64_t kOne = 0x3FF0000000000000, kRootHalf = 0x3FE6A09E667F3BCD;
  const I moved = bits(x) + I::broadcast(kOne - kRootHalf);
  const I whole = moved & I::broadcast(0x7FF0000000000000);
  return {whole, from_bits(bits(x) - whole + I::broadcast(kOne))};
}

// log of 2^e (m + low), low being small beside m; or of 2^e m.
template <bool has_low>
[[gnu::always_inline]] inline Vec<double> log_of_parts(Vec<double> e, Vec<double> m,
                                                       Vec<double> low) {
  using V = Vec<double>;
  constexpr double kHigh = 0x1.62e42fefa3800p-1, kLow = 0x1.ef35793c76730p-45;  // ln 2
  // (2 atanh(s) - 2 s) / s^3 in s^2: 2^-59.5 relative to log(1 + f).
  constexpr double kLog[] = {0x1.5555555555592p-1, 0x1.999999997ff04p-2, 0x1.24924941e33bcp-2,
                             0x1.c71c521253dd1p-3, 0x1.74663d68f3476p-3, 0x1.39a1daae76fe1p-3,
                             0x1.2f04572142c27p-3};
  const V f = m - V::broadcast(1.0);
  const V s = f / (f + V::broadcast(2.0)), square = s * s;
  const V half = f * V::broadcast(0.5), bend = half * f;
  const V bend_low = product_error(half, f, bend);
  const V e_high = V::broadcast(kHigh);
  const V first = mul_add(e, e_high, f), first_low = mul_add(e, e_high, -first) + f;
  const Pair second = quick_sum(first, -bend);
  const V curve = mul_add(square, horner(square, kLog), bend);
  // 1 / (1 + f) = 1 - 2 s (1 - s) + ..., 2 s^3 < 0.011 being left out of a term below half a unit.
  const V shift = mul_add(low * V::broadcast(-2.0), s - square, low);
  const V rest = mul_add(s, curve, e * V::broadcast(kLow));
  const V lost = first_low + second.low - bend_low;
  return second.high + (rest + (has_low ? lost + shift : lost));
}

// The exponent as a number, by way of the digits of 2^52 + exponent.
[[gnu::always_inline]] inline Vec<double> exponent_of(LogParts parts) {
  using I = VecInt<double>;
  const I digits = shift_right<52>(parts.exponent) | I::broadcast(0x4330000000000000);
  return from_bits(digits) - Vec<double>::broadcast(0x1p+52 + 1023.0);
}

// log of +-0, negative numbers, +inf and NaN; y for all others.
[[gnu::always_inline]] inline Vec<double> log_special(Vec<double> x, Vec<double> y) {
  using V = Vec<double>;
  const V infinity = V::broadcast(__builtin_inf());
  // Anything not positive: -inf at zero, else NaN; NaN itself passes through the sum.
  const V other = select(x == V::zero(), -infinity, x + V::broadcast(__builtin_nan("")));
  return select(x > V::zero(), select(x == infinity, x, y), other);
}

[[gnu::always_inline]] inline Vec<double> log(Vec<double> x) {
  using V = Vec<double>;
  const Mask<double> subnormal = x < V::broadcast(0x1p-1022);
  const LogParts parts = log_parts(select(subnormal, x * V::broadcast(0x1p+54), x));
  const V e = exponent_of(parts) - select(subnormal, V::broadcast(54.0), V::zero());
  return log_special(x, log_of_parts<false>(e, parts.m, V::zero()));
}

// log of positive normal numbers, and the test for them. The bits are log's.
[[gnu::always_inline]] inline Mask<double> log_is_usual(Vec<double> x) {
  return (x >= Vec<double>::broadcast(0x1p-1022)) & (x < Vec<double>::broadcast(__builtin_inf()));
}
[[gnu::always_inline]] inline Vec<double> log_usual(Vec<double> x) {
  const LogParts parts = log_parts(x);
  return log_of_parts<false>(exponent_of(parts), parts.m, Vec<double>::zero());
}

// log(1 + x + low) for positive normal sums, low small beside x: the part of x that does not fit into
// the sum is scaled with it. For small x that part is large, and x - x^2 / 2 better; NaN goes there,
// and with low = -0 so do both zeros.
[[gnu::always_inline]] inline Vec<double> log_of_sum(Vec<double> x, Vec<double> low) {
  using V = Vec<double>;
  const V one = V::broadcast(1.0);
  const V sum = one + x, taken = sum - one;
  const V lost = (one - (sum - taken)) + (x - taken) + low;
  const LogParts parts = log_parts(sum);
  const V e = exponent_of(parts);
  const V inverse = power_of_two(-at_most(1000.0, e));  // beyond, nothing that matters is lost
  const V y = log_of_parts<true>(e, parts.m, lost * inverse);
  const V small = x + mul_add(x * V::broadcast(-0.5), x, low);
  return select(abs(x) >= V::broadcast(0x1p-29), y, small);
}
[[gnu::always_inline]] inline Vec<double> log1p(Vec<double> x) {
  return log_special(Vec<double>::broadcast(1.0) + x, log_of_sum(x, -Vec<double>::zero()));
}

// log(1 + exp(x + low)) for x <= 0.
[[gnu::always_inline]] inline Vec<double> softplus_tail(Vec<double> x, Vec<double> low) {
  const ExpTerms e = exp_terms(at_least(-800.0, x), low);
  const Pair m = exp_mantissa(e);
  return log_of_sum(scale(m.high, e.n), scale(m.low, e.n));
}

// log(1 + exp(beta x)) / beta = max(x, 0) + log(1 + exp(-|beta x|)) / beta, and x itself where
// beta x > threshold. The error of beta x, which the exponential would multiply, is handed on.
[[gnu::always_inline]] inline Vec<double> softplus(Vec<double> x, Vec<double> beta,
                                                   Vec<double> threshold) {
  using V = Vec<double>;
  const V scaled = x * beta, size = abs(scaled);
  const V error = product_error(x, beta, scaled);
  const Mask<double> usual = size < V::broadcast(800.0);
  const Mask<double> positive = scaled > V::zero();
  const V low = select(usual, select(positive, -error, error), V::zero());
  const V tail = softplus_tail(-size, low) - select(positive, low, V::zero());
  const V y = (at_least(0.0, scaled) + tail) / beta;
  return select(scaled > threshold, x, y);
}
[[gnu::always_inline]] inline Vec<double> logsigmoid(Vec<double> x) {
  return -(at_least(0.0, -x) + softplus_tail(-abs(x), Vec<double>::zero()));
}

}  // namespace lamella::simd::LAMELLA_ISA_NAMESPACE
