// SPDX-License-Identifier: Apache-2.0
// float: sigmoid and its products: silu, gelu_tanh, mish.
//
// With FMA, ordinary arguments take a polynomial on each of 16 segments: for sigmoid(-|x|), which
// serves both signs, for the same of gelu_tanh's cubic, and for mish(x) / x. The others, and all
// without FMA, are quotients over 1 + exp(-x) formed in double, where exp(-x) neither overflows nor
// loses the small values; so the tails keep full precision down to the last subnormal.
#pragma once

#include "simd/exp.h"
#include "simd/segments.h"

namespace lamella::simd::LAMELLA_ISA_NAMESPACE {

// ---- in double
// 1 / (1 + exp(-x)).
[[gnu::always_inline]] inline Vec<double> sigmoid_wide(Vec<double> x) {
  const Vec<double> one = Vec<double>::broadcast(1.0);
  return one / (one + exp_wide<-1>(x));
}
[[gnu::always_inline]] inline Vec<float> sigmoid_in_double(Vec<float> x) {
  const Vec<float> limited = at_most(120.0f, at_least(-120.0f, x));
  return narrow(sigmoid_wide(widen_low(limited)), sigmoid_wide(widen_high(limited)));
}

// y / (1 + exp(-x)).
[[gnu::always_inline]] inline Vec<double> gated_wide(Vec<double> y, Vec<double> x) {
  return y / (Vec<double>::broadcast(1.0) + exp_wide<-1>(x));
}

// x sigmoid(x); the factor x is limited below only, so that silu(-inf) = -0 and silu(inf) = inf.
[[gnu::always_inline]] inline Vec<float> silu_in_double(Vec<float> x) {
  const Vec<float> factor = at_least(-120.0f, x);
  const Vec<float> limited = at_most(120.0f, factor);
  return narrow(gated_wide(widen_low(factor), widen_low(limited)),
                gated_wide(widen_high(factor), widen_high(limited)));
}

// x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))) = x sigmoid(2 sqrt(2/pi) (x + 0.044715 x^3)).
[[gnu::always_inline]] inline Vec<double> gelu_tanh_wide(Vec<double> factor, Vec<double> x) {
  constexpr double kLinear = 1.5957691216057308, kCubic = kLinear * 0.044715;
  const Vec<double> slope =
      mul_add(x * x, Vec<double>::broadcast(kCubic), Vec<double>::broadcast(kLinear));
  return gated_wide(factor, x * slope);
}
[[gnu::always_inline]] inline Vec<float> gelu_tanh_in_double(Vec<float> x) {
  const Vec<float> factor = at_least(-13.0f, x);
  const Vec<float> limited = at_most(13.0f, factor);
  return narrow(gelu_tanh_wide(widen_low(factor), widen_low(limited)),
                gelu_tanh_wide(widen_high(factor), widen_high(limited)));
}

// x tanh(log(1 + e)) with e = exp(x): tanh of a logarithm is rational, x e (e + 2) / (e (e + 2) + 2).
[[gnu::always_inline]] inline Vec<double> mish_wide(Vec<double> factor, Vec<double> x) {
  const Vec<double> two = Vec<double>::broadcast(2.0);
  const Vec<double> e = exp_wide(x);
  const Vec<double> product = e * (e + two);
  return factor * product / (product + two);
}
[[gnu::always_inline]] inline Vec<float> mish_in_double(Vec<float> x) {
  const Vec<float> factor = at_least(-120.0f, x);
  const Vec<float> limited = at_most(40.0f, factor);
  return narrow(mish_wide(widen_low(factor), widen_low(limited)),
                mish_wide(widen_high(factor), widen_high(limited)));
}

// ---- in float
// Where an argument is not usual the double form is called, not inlined, so that loops keep their
// registers for what is usual.
[[gnu::noinline, maybe_unused]] static Vec<float> sigmoid_unusual(Vec<float> x) {
  return sigmoid_in_double(x);
}
[[gnu::noinline, maybe_unused]] static Vec<float> silu_unusual(Vec<float> x) {
  return silu_in_double(x);
}
[[gnu::noinline, maybe_unused]] static Vec<float> gelu_tanh_unusual(Vec<float> x) {
  return gelu_tanh_in_double(x);
}
[[gnu::noinline, maybe_unused]] static Vec<float> mish_unusual(Vec<float> x) {
  return mish_in_double(x);
}

// sigmoid(-a), 0 <= a <= 11.6, on segments of 3/4: 0.16 ULP.
alignas(64) inline constexpr float kSigmoidSegments[][16] = {
    {0.0f, 0x1.7f2dc4p-1f, 0x1.7e6c08p+0f, 0x1.1f4d80p+1f, 0x1.802d1ep+1f, 0x1.dffa36p+1f,
     0x1.203114p+2f, 0x1.500e04p+2f, 0x1.80171cp+2f, 0x1.b01a38p+2f, 0x1.dff814p+2f, 0x1.080e46p+3f,
     0x1.2005d0p+3f, 0x1.3804a0p+3f, 0x1.50255ep+3f, 0x1.684586p+3f},
    {0x1.000000p-1f, 0x1.48e106p-2f, 0x1.777e76p-3f, 0x1.887af4p-4f, 0x1.8400e6p-5f, 0x1.7886b6p-6f,
     0x1.66f482p-7f, 0x1.55d0aep-8f, 0x1.43a2d0p-9f, 0x1.321728p-10f, 0x1.21f48ep-11f,
     0x1.1166b8p-12f, 0x1.0297fap-13f, 0x1.e8b4e4p-15f, 0x1.cbdeaep-16f, 0x1.b0c22ep-17f},
    {-0x1.000000p-2f, -0x1.be815cp-3f, -0x1.32a602p-3f, -0x1.62df68p-4f, -0x1.71a04ep-5f,
     -0x1.6fdf86p-6f, -0x1.6305e0p-7f, -0x1.54084ap-8f, -0x1.42d63ep-9f, -0x1.31bbaap-10f,
     -0x1.21cb84p-11f, -0x1.115478p-12f, -0x1.028fd2p-13f, -0x1.e8ada0p-15f, -0x1.cbdb74p-16f,
     -0x1.b0c0c2p-17f},
    {0x1.a6220ep-24f, 0x1.3f646cp-5f, 0x1.8467a8p-5f, 0x1.1edd58p-5f, 0x1.4e9ccep-6f,
     0x1.5ef6f6p-7f, 0x1.5b3eacp-8f, 0x1.507c40p-9f, 0x1.413e1cp-10f, 0x1.3104e2p-11f,
     0x1.217982p-12f, 0x1.113000p-13f, 0x1.027f92p-14f, 0x1.e89f36p-16f, 0x1.cbd4fep-17f,
     0x1.b0bde2p-18f},
    {0x1.554a26p-6f, 0x1.6ee7b2p-7f, -0x1.4c2b7ap-9f, -0x1.c6667ap-8f, -0x1.676df6p-8f,
     -0x1.a86cbap-9f, -0x1.ba984ep-10f, -0x1.b74192p-11f, -0x1.a81562p-12f, -0x1.94c8d2p-13f,
     -0x1.8118b4p-14f, -0x1.6bde38p-15f, -0x1.587c68p-16f, -0x1.45a84ep-17f, -0x1.328498p-18f,
     -0x1.207906p-19f},
    {0x1.b3e04ap-16f, -0x1.580d22p-8f, -0x1.9c9e8cp-9f, -0x1.e5fc5cp-14f, 0x1.99253cp-11f,
     0x1.55e07cp-11f, 0x1.92cc18p-12f, 0x1.a4b67ep-13f, 0x1.9fa88ap-14f, 0x1.90fedap-15f,
     0x1.7f4e78p-16f, 0x1.6b193ap-17f, 0x1.580e60p-18f, 0x1.45617ap-19f, 0x1.327612p-20f,
     0x1.20722cp-21f},
    {-0x1.207308p-9f, -0x1.447416p-12f, 0x1.006ed6p-10f, 0x1.09722ep-11f, 0x1.7770d0p-15f,
     -0x1.2b6d5cp-14f, -0x1.046d80p-14f, -0x1.346d4ep-15f, -0x1.406c88p-16f, -0x1.3c6b96p-17f,
     -0x1.326aa0p-18f, -0x1.226980p-19f, -0x1.14687cp-20f, -0x1.066772p-21f, -0x1.ec6646p-23f,
     -0x1.d06536p-24f}};
[[gnu::always_inline]] inline Vec<float> sigmoid_below(Vec<float> a) {
  using V = Vec<float>;
  const V whole = fma(a, V::broadcast(4.0f / 3.0f), V::broadcast(kRoundsToWhole));
  return segment_value(a, bits(whole), kSigmoidSegments);
}

// Sizes of arguments for *_usual; the bits are those of the whole function.
inline constexpr float kSigmoidUsual = 11.6f;
[[gnu::always_inline]] inline Vec<float> sigmoid_usual(Vec<float> x) {
  using V = Vec<float>;
  if constexpr (!kHasFma) return sigmoid_in_double(x);
  const V below = sigmoid_below(abs(x));
  return select(x < V::zero(), below, V::broadcast(1.0f) - below);
}
[[gnu::always_inline]] inline Vec<float> sigmoid(Vec<float> x) {
  const Mask<float> usual = abs(x) <= Vec<float>::broadcast(kSigmoidUsual);
  const Vec<float> y = sigmoid_usual(x);
  return !kHasFma || all(usual) ? y : select(usual, y, sigmoid_unusual(x));
}

// x sigmoid(x) = max(x, 0) - |x| sigmoid(-|x|).
[[gnu::always_inline]] inline Vec<float> silu_usual(Vec<float> x) {
  if constexpr (!kHasFma) return silu_in_double(x);
  const Vec<float> a = abs(x);
  return fma(a, -sigmoid_below(a), at_least(0.0f, x));
}
[[gnu::always_inline]] inline Vec<float> silu(Vec<float> x) {
  const Mask<float> usual = abs(x) <= Vec<float>::broadcast(kSigmoidUsual);
  const Vec<float> y = silu_usual(x);
  return !kHasFma || all(usual) ? y : select(usual, y, silu_unusual(x));
}

// The same with sigmoid(-u(a)), u the cubic above, as a function of a = |x| <= 5.1: 0.07 ULP. Only
// the choice of the segment needs the cubic, so its rounding does no harm. Above 5.1 the result is x.
inline constexpr float kGeluTanhLimit = 5.1f;
alignas(64) inline constexpr float kGeluTanhSegments[][16] = {
    {0.0f, 0x1.9865c4p-1f, 0x1.5e7ce6p+0f, 0x1.d2f6eep+0f, 0x1.1b0adcp+1f, 0x1.47fbc0p+1f,
     0x1.7036c2p+1f, 0x1.94f930p+1f, 0x1.b7e0fep+1f, 0x1.d8d020p+1f, 0x1.f7ff8ep+1f, 0x1.0abdcep+2f,
     0x1.18cec6p+2f, 0x1.268faap+2f, 0x1.33afecp+2f, 0x1.403eaap+2f},
    {0x1.000000p-1f, 0x1.b37d02p-3f, 0x1.5ed888p-4f, 0x1.1750ecp-5f, 0x1.b693e4p-7f, 0x1.48f362p-8f,
     0x1.e5be58p-10f, 0x1.5ee90ap-11f, 0x1.e10ab2p-13f, 0x1.3ccdacp-14f, 0x1.91ec8ep-16f,
     0x1.ef2d04p-18f, 0x1.26c686p-19f, 0x1.4a4490p-21f, 0x1.68447ap-23f, 0x1.7f65b8p-25f},
    {-0x1.988454p-2f, -0x1.28eef4p-2f, -0x1.4050aap-3f, -0x1.3757d6p-4f, -0x1.1ddb06p-5f,
     -0x1.eb27dep-7f, -0x1.982440p-8f, -0x1.47c11cp-9f, -0x1.efd27ap-11f, -0x1.65b0a0p-12f,
     -0x1.edcf6ep-14f, -0x1.48ef00p-15f, -0x1.a54a3ap-17f, -0x1.fa29a8p-19f, -0x1.26acc6p-20f,
     -0x1.4d57eap-22f},
    {0x1.12cd58p-21f, 0x1.da0952p-4f, 0x1.b412fep-4f, 0x1.1a1e6cp-4f, 0x1.3c5e38p-5f,
     0x1.3ff0aep-6f, 0x1.30faf2p-7f, 0x1.143bd2p-8f, 0x1.d2b714p-10f, 0x1.74831ep-11f,
     0x1.1a2becp-12f, 0x1.99640ap-14f, 0x1.1bbf38p-15f, 0x1.6f87e8p-17f, 0x1.cae04ep-19f,
     0x1.14fd9cp-20f},
    {0x1.11a914p-4f, 0x1.194944p-6f, -0x1.7414a0p-6f, -0x1.d8921ap-6f, -0x1.6cb116p-6f,
     -0x1.cc3c1cp-7f, -0x1.047914p-7f, -0x1.108044p-8f, -0x1.05d9a8p-9f, -0x1.d53676p-11f,
     -0x1.8aa19ap-12f, -0x1.3ac860p-13f, -0x1.dc1104p-15f, -0x1.4eb14ep-16f, -0x1.c2b2f6p-18f,
     -0x1.23c6b4p-19f},
    {0x1.d79932p-15f, -0x1.7767c8p-6f, -0x1.3bd664p-7f, 0x1.e61c5ap-10f, 0x1.783748p-8f,
     0x1.6b8bd6p-8f, 0x1.09f22ep-8f, 0x1.511302p-9f, 0x1.7c84d0p-10f, 0x1.87c9a4p-11f,
     0x1.747514p-12f, 0x1.4b45f6p-13f, 0x1.146216p-14f, 0x1.a9cd0ep-16f, 0x1.3791f4p-17f,
     0x1.b36a8ap-19f},
    {-0x1.5529d4p-7f, 0x1.47f942p-10f, 0x1.916c3ap-8f, 0x1.c7c7d4p-9f, 0x1.6958e8p-11f,
     -0x1.748844p-11f, -0x1.18c6f0p-10f, -0x1.f301aep-11f, -0x1.64c15ap-11f, -0x1.b9e86ep-12f,
     -0x1.e9f7a8p-13f, -0x1.f0fec6p-14f, -0x1.d1607ap-15f, -0x1.8e1060p-16f, -0x1.3ff1aap-17f,
     -0x1.e6d964p-19f},
    {0x1.aa74d8p-12f, 0x1.7f741ap-9f, -0x1.c17460p-13f, -0x1.5b6eaep-10f, -0x1.f272dcp-11f,
     -0x1.9872b2p-12f, -0x1.b871fep-16f, 0x1.227058p-13f, 0x1.736b4ap-13f, 0x1.3b6f7ap-13f,
     0x1.b76fc8p-14f, 0x1.096f76p-14f, 0x1.1f6ee4p-15f, 0x1.176e1cp-16f, 0x1.f76d2ap-18f,
     0x1.a56c0ep-19f}};

// a = |x| or the limit.
[[gnu::always_inline]] inline Vec<float> gelu_tanh_of_size(Vec<float> x, Vec<float> a) {
  using V = Vec<float>;
  constexpr float kDensity = 0x1.b60c96p-1f, kGrowth = 0x1.b60c96p-2f;
  const V density = fma(a, V::broadcast(kGrowth), V::broadcast(kDensity));
  const V whole = fma(a, density, V::broadcast(kRoundsToWhole));
  return fma(a, -segment_value(a, bits(whole), kGeluTanhSegments), at_least(0.0f, x));
}
[[gnu::always_inline]] inline Vec<float> gelu_tanh_usual(Vec<float> x) {
  if constexpr (!kHasFma) return gelu_tanh_in_double(x);
  return gelu_tanh_of_size(x, abs(x));
}
[[gnu::always_inline]] inline Vec<float> gelu_tanh(Vec<float> x) {
  if constexpr (!kHasFma) return gelu_tanh_in_double(x);
  const Vec<float> y = gelu_tanh_of_size(x, at_most(kGeluTanhLimit, abs(x)));
  const Mask<float> near = x >= Vec<float>::broadcast(-kGeluTanhLimit);
  return all(near) ? y : select(near, y, gelu_tanh_unusual(x));
}

// mish(x) / x for -6.25 <= x <= 9.15, where it rounds to 1, on segments of 31/32, number -6 to 9:
// 0.17 ULP. The low four bits of a negative number are those of it plus 16.
alignas(64) inline constexpr float kMishSegments[][16] = {
    {-0x1.8e172ap-11f, 0x1.f0c460p-1f, 0x1.efe8fcp+0f, 0x1.73013ep+1f, 0x1.f00e46p+1f,
     0x1.35f286p+2f, 0x1.73e974p+2f, 0x1.b2163ap+2f, 0x1.f12780p+2f, 0x1.1540d6p+3f,
     -0x1.73e650p+2f, -0x1.3627bcp+2f, -0x1.f005f4p+1f, -0x1.72d41ap+1f, -0x1.ef8d86p+0f,
     -0x1.f78d26p-1f},
    {0x1.33135ap-1f, 0x1.b8163ep-1f, 0x1.f001b6p-1f, 0x1.fd36dap-1f, 0x1.ff93c4p-1f, 0x1.ffeff6p-1f,
     0x1.fffdaap-1f, 0x1.ffffaap-1f, 0x1.fffff4p-1f, 0x1.fffffep-1f, 0x1.87ece6p-9f, 0x1.007dd6p-7f,
     0x1.507360p-6f, 0x1.b79aeep-5f, 0x1.126c78p-3f, 0x1.3ad416p-2f},
    {0x1.47b46ap-2f, 0x1.83e514p-3f, 0x1.b85596p-5f, 0x1.510806p-7f, 0x1.a7f6aap-10f,
     0x1.fd343ap-13f, 0x1.2a1ad6p-15f, 0x1.579c28p-18f, 0x1.7fd6b0p-21f, 0x1.ffe9e0p-24f,
     0x1.875672p-9f, 0x1.fef5b0p-8f, 0x1.4cecf0p-6f, 0x1.ab2f60p-5f, 0x1.fb4af0p-4f,
     0x1.f8c47ap-3f},
    {-0x1.04718ap-6f, -0x1.78f4a6p-4f, -0x1.591d70p-5f, -0x1.34e348p-7f, -0x1.9ab236p-10f,
     -0x1.f72b5ep-13f, -0x1.28c49ap-15f, -0x1.5705f4p-18f, -0x1.7fa072p-21f, -0x1.ffe760p-24f,
     0x1.86298ep-10f, 0x1.fae9d0p-9f, 0x1.45e12ap-7f, 0x1.927256p-6f, 0x1.aa2b8cp-5f,
     0x1.1ae2fcp-4f},
    {-0x1.77b550p-5f, 0x1.084550p-8f, 0x1.2b63dcp-6f, 0x1.66a5f8p-8f, 0x1.04c918p-10f,
     0x1.4973eep-13f, 0x1.8903bep-16f, 0x1.c833e8p-19f, 0x1.fef45ap-22f, 0x1.5515d4p-24f,
     0x1.028a80p-11f, 0x1.4c8c5ap-10f, 0x1.9fbd88p-9f, 0x1.d72864p-8f, 0x1.69b57cp-7f,
     -0x1.78f472p-8f},
    {-0x1.94a8b6p-12f, 0x1.d75d40p-7f, -0x1.befa5ep-9f, -0x1.1d04c2p-9f, -0x1.e3854ep-12f,
     -0x1.406e5ap-14f, -0x1.84c17ap-17f, -0x1.c66612p-20f, -0x1.fca328p-23f, -0x1.516562p-25f,
     0x1.fecb62p-14f, 0x1.41c36ep-12f, 0x1.7a5304p-11f, 0x1.566430p-10f, -0x1.fb57c0p-14f,
     -0x1.51fbfep-7f},
    {0x1.fe1e00p-8f, -0x1.1a4b58p-8f, -0x1.efe8e2p-11f, 0x1.29a72cp-11f, 0x1.56f574p-13f,
     0x1.eba724p-16f, 0x1.3258bcp-18f, 0x1.69453ap-21f, 0x1.98463ap-24f, 0x1.0e9a06p-26f,
     0x1.8e9428p-16f, 0x1.e04eb0p-15f, 0x1.e5ff5cp-14f, 0x1.269a24p-14f, -0x1.02906cp-10f,
     -0x1.5b0b82p-9f},
    {0x1.83752ap-11f, -0x1.7c74fcp-10f, 0x1.bf72c4p-11f, -0x1.bf6fcap-15f, -0x1.786e20p-15f,
     -0x1.3a6c42p-17f, -0x1.9c69c2p-20f, -0x1.e86716p-23f, -0x1.26641cp-25f, -0x1.ce621cp-28f,
     0x1.fc6a08p-19f, 0x1.126aa2p-17f, 0x1.416b4ep-17f, -0x1.a76f6ap-15f, -0x1.897108p-12f,
     0x1.fe7400p-12f}};

[[gnu::always_inline]] inline Mask<float> mish_is_usual(Vec<float> x) {
  return x >= Vec<float>::broadcast(-6.25f);
}
[[gnu::always_inline]] inline Vec<float> mish_usual(Vec<float> x) {
  using V = Vec<float>;
  if constexpr (!kHasFma) return mish_in_double(x);
  const V limited = at_most(9.15f, x);
  const V whole = fma(limited, V::broadcast(32.0f / 31.0f), V::broadcast(kRoundsToWhole));
  return x * segment_value(limited, bits(whole), kMishSegments);
}
[[gnu::always_inline]] inline Vec<float> mish(Vec<float> x) {
  const Mask<float> usual = mish_is_usual(x);
  const Vec<float> y = mish_usual(x);
  return !kHasFma || all(usual) ? y : select(usual, y, mish_unusual(x));
}

}  // namespace lamella::simd::LAMELLA_ISA_NAMESPACE
