// SPDX-License-Identifier: Apache-2.0
// float and double: asin, acos, atan.
//
// atan(a) = atan(c) + atan((a - c) / (1 + c a)), c the nearest of 0, 1/2, 1, 3/2 and infinity (the
// reduction of FreeBSD's s_atan.c, Sun Microsystems, 1993); float takes the smaller of a and 1 / a.
// asin(a) = pi/2 - 2 asin(sqrt((1 - a) / 2)) from 1/2 on, where 1 - a is exact. What quotient and
// root lose is found and added to the small terms, so that only the last addition rounds visibly.
// float results come from double arithmetic.
#pragma once

#include "simd/pair.h"

namespace lamella::simd::LAMELLA_ISA_NAMESPACE {

inline constexpr double kHalfPi = 0x1.921fb54442d18p+0, kHalfPiLow = 0x1.1a62633145c07p-54;

// atan(a) for a >= 0.
[[gnu::always_inline]] inline Vec<double> atan_of_size(Vec<double> a) {
  using V = Vec<double>;
  // (atan(t) / t - 1) / t^2 in t^2 for |t| <= 7/16: 2^-57.9 relative to atan(t).
  constexpr double kAtan[] = {-0x1.5555555555555p-2, 0x1.99999999998c5p-3,  -0x1.2492492485503p-3,
                              0x1.c71c71bd2b8bcp-4,  -0x1.745d154c84f7ap-4, 0x1.3b1375ce5bdc6p-4,
                              -0x1.110c9ce7b0572p-4, 0x1.e170800a46210p-5,  -0x1.ab59b417b2d3fp-5,
                              0x1.7001816fd063fp-5,  -0x1.0f62bba6a2558p-5, 0x1.e4167464d3de8p-7};
  const V one = V::broadcast(1.0), zero = V::zero();
  const Mask<double> from_half = a >= V::broadcast(0.4375), from_one = a >= V::broadcast(0.6875);
  const Mask<double> from_more = a >= V::broadcast(1.1875), last = a >= V::broadcast(2.4375);
  const auto choose = [&](double half, double whole, double more) __attribute__((always_inline)) {
    const V c = select(from_half, V::broadcast(half), zero);
    return select(from_more, V::broadcast(more), select(from_one, V::broadcast(whole), c));
  };
  const V c = choose(0.5, 1.0, 1.5);
  const V base = select(last, V::broadcast(kHalfPi),
                        choose(0x1.dac670561bb4fp-2, 0x1.921fb54442d18p-1, 0x1.f730bd281f69bp-1));
  const V base_low =
      select(last, V::broadcast(kHalfPiLow),
             choose(0x1.a2b7f222f65e2p-56, 0x1.1a62633145c07p-55, 0x1.007887af0cbbdp-56));
  const V product = c * a, sum = one + product, taken = sum - one;
  const V lost = (one - (sum - taken)) + (product - taken) + product_error(c, a, product);
  const Pair t =
      quotient({select(last, -one, a - c), zero}, {select(last, a, sum), select(last, zero, lost)});
  const V z = t.high * t.high;
  const Pair whole = quick_sum(base, t.high);
  const V curve = mul_add(t.high * z, two_chains(z, kAtan), t.low + base_low);
  return whole.high + (whole.low + curve);
}
// Beyond 2^60 the result is pi/2 to the last place.
[[gnu::always_inline]] inline Vec<double> atan(Vec<double> x) {
  return copysign(atan_of_size(at_most(0x1p+60, abs(x))), x);
}

[[gnu::always_inline]] inline Vec<double> atan_wide(Vec<double> x) {
  using V = Vec<double>;
  // atan(t) / t in t^2 for |t| <= 1: 2^-33.7.
  constexpr double kAtan[] = {0x1.ffffffff64898p-1,  -0x1.555553f671b9ap-2, 0x1.999914dc909cfp-3,
                              -0x1.2488519fa5a60p-3, 0x1.c6533dfc9a77bp-4,  -0x1.6f95036b2d2f5p-4,
                              0x1.2811fdeff7003p-4,  -0x1.ba035c4e8d652p-5, 0x1.151ab904c9279p-5,
                              -0x1.0354cc23b8650p-6, 0x1.3625e8d6eefb9p-8,  -0x1.5bcf6e5741041p-11};
  const V one = V::broadcast(1.0), a = abs(x);
  const Mask<double> large = a > one;
  const V t = select(large, one, a) / select(large, a, one), z = t * t;
  const V y = t * two_chains(z, kAtan);
  return copysign(select(large, V::broadcast(kHalfPi) - y, y), x);
}
[[gnu::always_inline]] inline Vec<float> atan(Vec<float> x) {
  return narrow(atan_wide(widen_low(x)), atan_wide(widen_high(x)));
}

// asin(u) = u + u z P(z), z = u^2 <= 1/4: asin(a) itself, or what is taken twice from pi/2. u is
// |x| or, with its rest, twice the root of (1 - |x|) / 2; NaN beyond 1.
struct ArcTerms {
  Vec<double> u, u_low, z;
  Mask<double> near;  // |x| < 1/2
};
template <bool Exact>
[[gnu::always_inline]] inline ArcTerms arc_terms(Vec<double> x) {
  using V = Vec<double>;
  const V a = abs(x), zero = V::zero();
  const Mask<double> near = a < V::broadcast(0.5);
  const V z = select(near, a * a, (V::broadcast(1.0) - a) * V::broadcast(0.5));
  const V root = sqrt(z), twice = root + root;
  V low = zero;
  if constexpr (Exact) {
    // Twice the rest of the root; none where the root is 0.
    low = select(near | (z <= zero), zero, remainder_of(z, root, root) / root);
  }
  return {select(near, a, twice), low, z, near};
}

// (asin(u) / u - 1) / u^2 in u^2 <= 1/4.
template <bool Exact>
[[gnu::always_inline]] inline Vec<double> arc_curve(Vec<double> z) {
  // 2^-58.6 relative to asin(u), and 2^-34.0.
  constexpr double kAsin[] = {0x1.5555555555555p-3,  0x1.3333333333388p-4, 0x1.6db6db6dac1e0p-5,
                              0x1.f1c71c7a52ba3p-6,  0x1.6e8ba123e494cp-6, 0x1.1c4efce23019fp-6,
                              0x1.c990ad3d8fdcap-7,  0x1.7b027ee1dd585p-7, 0x1.3b49de7121487p-7,
                              0x1.31622469ce5adp-7,  0x1.8f193743418ffp-9, 0x1.406192d124629p-6,
                              -0x1.3b416bb7d9257p-6, 0x1.e529c6fce9bb4p-6};
  constexpr double kAsinWide[] = {0x1.5555555c0171dp-3, 0x1.33331ecf8b70bp-4, 0x1.6dc0f007c13e8p-5,
                                  0x1.efedf83ab6506p-6, 0x1.82db23768c84fp-6, 0x1.5a80a068e3ee2p-7,
                                  0x1.fb7ca379d49c6p-6};
  if constexpr (Exact) return two_chains(z, kAsin);
  return horner(z, kAsinWide);
}

// base + base_low + sign asin(u), where what is doubled is already twice as large.
template <bool Exact>
[[gnu::always_inline]] inline Vec<double> arc_sum(Vec<double> base, Vec<double> base_low,
                                                  Vec<double> u, Vec<double> u_low, Vec<double> z) {
  const Pair whole = quick_sum(base, u);
  return whole.high + (whole.low + mul_add(u * z, arc_curve<Exact>(z), u_low + base_low));
}

template <bool Exact>
[[gnu::always_inline]] inline Vec<double> asin_of(Vec<double> x) {
  using V = Vec<double>;
  const V zero = V::zero();
  const ArcTerms t = arc_terms<Exact>(x);
  const V y = arc_sum<Exact>(select(t.near, zero, V::broadcast(kHalfPi)),
                             select(t.near, zero, V::broadcast(kHalfPiLow)),
                             select(t.near, t.u, -t.u), select(t.near, t.u_low, -t.u_low), t.z);
  return copysign(y, x);
}

template <bool Exact>
[[gnu::always_inline]] inline Vec<double> acos_of(Vec<double> x) {
  using V = Vec<double>;
  const V zero = V::zero();
  const ArcTerms t = arc_terms<Exact>(x);
  const Mask<double> negative = x < zero;
  // pi/2 - x, pi - 2 asin(..), 2 asin(..).
  const V far = select(negative, V::broadcast(2.0), zero);
  const V turns = select(t.near, V::broadcast(1.0), far);
  const V u = select(t.near, -x, select(negative, -t.u, t.u));
  return arc_sum<Exact>(turns * V::broadcast(kHalfPi), turns * V::broadcast(kHalfPiLow), u,
                        select(negative, -t.u_low, t.u_low), t.z);
}

[[gnu::always_inline]] inline Vec<double> asin(Vec<double> x) { return asin_of<true>(x); }
[[gnu::always_inline]] inline Vec<double> acos(Vec<double> x) { return acos_of<true>(x); }
[[gnu::always_inline]] inline Vec<float> asin(Vec<float> x) {
  return narrow(asin_of<false>(widen_low(x)), asin_of<false>(widen_high(x)));
}
[[gnu::always_inline]] inline Vec<float> acos(Vec<float> x) {
  return narrow(acos_of<false>(widen_low(x)), acos_of<false>(widen_high(x)));
}

}  // namespace lamella::simd::LAMELLA_ISA_NAMESPACE
