// SPDX-License-Identifier: Apache-2.0
// double: sigmoid and its products: silu, gelu_tanh, mish.
//
// All are quotients of small polynomials in z = exp(-|x|), taken as pairs. For negative x they have
// a factor z, which is left as mantissa and exponent until the end: its underflow then costs no
// precision that the result still has.
#pragma once

#include "simd/exp_double.h"

namespace lamella::simd::LAMELLA_ISA_NAMESPACE {

// z = exp(x + low) for x <= 0 as 2^n mantissa, and as a plain pair: that one stops at 2^-1000, which
// is nothing beside the 1 it is added to.
struct SmallExp {
  Pair mantissa, value;
  Vec<double> n;
};
[[gnu::always_inline]] inline SmallExp small_exp(Vec<double> x, Vec<double> low) {
  const ExpTerms e = exp_terms(at_least(-800.0, x), low);
  const Pair m = exp_mantissa(e);
  const Vec<double> power = power_of_two(at_least(-1000.0, e.n));
  return {m, {m.high * power, m.low * power}, e.n};
}

// 2^n pair.
struct Scaled {
  Pair value;
  Vec<double> n;
};

// sigmoid(x + low), low a small correction of x: 1 / (1 + z) or z / (1 + z), never a difference.
[[gnu::always_inline]] inline Scaled sigmoid_parts(Vec<double> x, Vec<double> low) {
  using V = Vec<double>;
  const V one = V::broadcast(1.0);
  const Mask<double> negative = x < V::zero();
  const SmallExp z = small_exp(-abs(x), select(negative, low, -low));
  const Pair sum = quick_sum(one, z.value.high);
  const Pair top = {select(negative, z.mantissa.high, one),
                    select(negative, z.mantissa.low, V::zero())};
  return {quotient(top, {sum.high, sum.low + z.value.low}), select(negative, z.n, V::zero())};
}

// y times the parts. A y above 1000 is the result, as y may be infinite.
[[gnu::always_inline]] inline Vec<double> product(Vec<double> y, Scaled factor) {
  const Vec<double> value = mul_add(y, factor.value.high, y * factor.value.low);
  const Vec<double> scaled = copysign(scale(value, factor.n), y);  // zeros have y's sign, too
  return select(y > Vec<double>::broadcast(1000.0), y, scaled);
}

[[gnu::always_inline]] inline Vec<double> sigmoid(Vec<double> x) {
  const Scaled s = sigmoid_parts(x, Vec<double>::zero());
  return scale(s.value.high + s.value.low, s.n);
}

[[gnu::always_inline]] inline Vec<double> silu(Vec<double> x) {
  const Vec<double> factor = at_least(-800.0, x);
  return product(factor, sigmoid_parts(factor, Vec<double>::zero()));
}

// x sigmoid(u) with u = 2 sqrt(2/pi) (x + 0.044715 x^3). The exponential multiplies the relative
// error of u by u, hundreds in the tail, so u is carried as a pair.
[[gnu::always_inline]] inline Vec<double> gelu_tanh(Vec<double> x) {
  using V = Vec<double>;
  const V linear = V::broadcast(0x1.9884533d43651p+0),
          linear_low = V::broadcast(-0x1.cbc0d30ebfd15p-54);
  const V cubic = V::broadcast(0x1.2444f2a4d8b4bp-4),
          cubic_low = V::broadcast(-0x1.6c843a29d1c70p-61);
  const V factor = at_least(-40.0, x), limited = at_most(40.0, factor);
  const V square = limited * limited, square_low = product_error(limited, limited, square);
  const V term = cubic * square;
  const V term_low =
      product_error(cubic, square, term) + mul_add(cubic, square_low, cubic_low * square);
  const V slope = linear + term, part = slope - linear;
  const V slope_low = (linear - (slope - part)) + (term - part) + (term_low + linear_low);
  const V u = limited * slope;
  const V u_low = mul_add(limited, slope_low, product_error(limited, slope, u));
  return product(factor, sigmoid_parts(u, u_low));
}

// x tanh(log(1 + e^x)), rational in z: z (z + 2) / (z (z + 2) + 2) for negative x, and
// (1 + 2 z) / (1 + 2 z + 2 z^2).
[[gnu::always_inline]] inline Vec<double> mish(Vec<double> x) {
  using V = Vec<double>;
  const V two = V::broadcast(2.0);
  const V factor = at_least(-800.0, x);
  const Mask<double> negative = x < V::zero();
  const SmallExp z = small_exp(-abs(factor), V::zero());
  const V power = power_of_two(at_least(-1000.0, z.n));
  const Pair more = quick_sum(two, z.value.high);
  const V first = z.mantissa.high * more.high;
  const V first_low = product_error(z.mantissa.high, more.high, first) +
                      mul_add(z.mantissa.high, more.low + z.value.low, z.mantissa.low * more.high);
  const V twice = z.value.high * two, twice_low = z.value.low * two;
  const Pair second = quick_sum(V::broadcast(1.0), twice);
  const V square = twice * z.value.high;
  const V square_low = mul_add(twice, twice_low, product_error(twice, z.value.high, square));
  const Pair top = {select(negative, first, second.high),
                    select(negative, first_low, second.low + twice_low)};
  const Pair bottom =
      quick_sum(select(negative, two, second.high), select(negative, first * power, square));
  const V bottom_low = select(negative, first_low * power, square_low + top.low);
  const Pair ratio = quotient(top, {bottom.high, bottom.low + bottom_low});
  return product(factor, {ratio, select(negative, z.n, V::zero())});
}

}  // namespace lamella::simd::LAMELLA_ISA_NAMESPACE
