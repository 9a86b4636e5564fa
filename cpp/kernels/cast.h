// SPDX-License-Identifier: Apache-2.0
// Conversions between element types, the same on every instruction set.
//
// To floating types: round to nearest even. To truth values: "not zero", so NaN is true. Between
// integers: modulo 2^bits. Floating to int64 and int32 truncates, and gives the minimum for NaN and
// for what does not fit, as x86 does; to narrower integers it goes by way of int32. Storage types are
// rounded once, also from double; a NaN stays one with the upper bits of its payload, and is quiet.
#pragma once

#include "kernels/element.h"
#include "kernels/table.h"

namespace lamella::kernels::LAMELLA_ISA_NAMESPACE {

template <class T>
inline constexpr bool kIsFloat = kClassOf<T> == ElementClass::floating;
template <class T>
inline constexpr bool kIsInteger = kClassOf<T> == ElementClass::integer;

template <class To, class From>
[[gnu::always_inline]] inline To bits_as(From x) {
  return __builtin_bit_cast(To, x);
}

// The float next to x on the side of zero or away from it whose last digit is odd, where x is none:
// rounded once more, to half its digits, it gives what x itself is rounded to. What is left of x is
// scaled so that its sign survives as a float; it is lost below 2^-1049, where it decides nothing.
[[gnu::always_inline]] inline float rounded_to_odd(double x) {
  const float near = static_cast<float>(x);
  const auto bits = bits_as<std::uint32_t>(near);
  const auto rest =
      bits_as<std::uint32_t>(static_cast<float>((x - static_cast<double>(near)) * 0x1p900));
  const bool inexact = rest + rest - 1 < 0xff000000;  // neither zero nor NaN
  const std::uint32_t step = (rest ^ bits) >> 31 != 0 ? ~std::uint32_t(0) : 1;
  return bits_as<float>(bits + (inexact && (bits & 1) == 0 ? step : 0));
}

[[gnu::always_inline]] inline Bfloat16 to_bfloat16(float x) {
  const auto bits = bits_as<std::uint32_t>(x);
  const std::uint32_t rounded = (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
  const std::uint32_t quiet = bits >> 16 | 0x40;
  return {static_cast<std::uint16_t>((bits & 0x7fffffff) > 0x7f800000 ? quiet : rounded)};
}

[[gnu::always_inline]] inline float from_bfloat16(Bfloat16 x) {
  return bits_as<float>(static_cast<std::uint32_t>(x.bits) << 16);
}

// Both after Maratyszcza's FP16 (MIT licence): additions of floats do the rounding of subnormal
// halves, and scaling by powers of two the overflow to infinity.
[[gnu::always_inline]] inline Float16 to_float16(float x) {
  const auto bits = bits_as<std::uint32_t>(x);
  const std::uint32_t twice = bits + bits;
  const float scaled = __builtin_fabsf(x) * 0x1p112f * 0x1p-110f;
  const std::uint32_t exponent = twice & 0xff000000;
  const std::uint32_t bias = exponent < 0x71000000 ? 0x71000000 : exponent;
  const auto sum = bits_as<std::uint32_t>(bits_as<float>((bias >> 1) + 0x07800000) + scaled);
  const std::uint32_t number = (sum >> 13 & 0x7c00) + (sum & 0xfff);
  const std::uint32_t quiet = (bits >> 13 & 0x3ff) | 0x7e00;
  const std::uint32_t magnitude = twice > 0xff000000 ? quiet : number;
  return {static_cast<std::uint16_t>((bits >> 16 & 0x8000) | magnitude)};
}

[[gnu::always_inline]] inline float from_float16(Float16 x) {
  const std::uint32_t bits = static_cast<std::uint32_t>(x.bits) << 16;
  const std::uint32_t twice = bits + bits;
  const float normal = bits_as<float>((twice >> 4) + (std::uint32_t{0xe0} << 23)) * 0x1p-112f;
  const float subnormal = bits_as<float>((twice >> 17) | (std::uint32_t{126} << 23)) - 0.5f;
  const auto magnitude = bits_as<std::uint32_t>(twice < (1u << 27) ? subnormal : normal);
  return bits_as<float>((bits & 0x80000000) | magnitude);
}

template <class To, class From>
[[gnu::always_inline]] inline To truncated(From x) {
  if constexpr (sizeof(To) < 4) {
    return static_cast<To>(truncated<std::int32_t>(x));
  } else {
    constexpr From kBound = sizeof(To) == 8 ? From(0x1p63) : From(0x1p31);
    constexpr To kLowest = static_cast<To>(std::uint64_t{1} << (8 * sizeof(To) - 1));
    return x >= -kBound && x < kBound ? static_cast<To>(x) : kLowest;
  }
}

template <class To, class From>
[[gnu::always_inline]] inline To converted(From x) {
  if constexpr (kClassOf<From> == ElementClass::truth) {
    return converted<To>(static_cast<std::uint8_t>(x));
  } else if constexpr (kClassOf<To> == ElementClass::truth) {
    return static_cast<To>(x != From(0));
  } else if constexpr (kClassOf<From> == ElementClass::storage) {
    if constexpr (ElementOf<From>::value == Element::bf16) return To(from_bfloat16(x));
    if constexpr (ElementOf<From>::value == Element::f16) return To(from_float16(x));
  } else if constexpr (kClassOf<To> == ElementClass::storage) {
    float narrow;
    if constexpr (sizeof(From) == 8) {
      narrow = rounded_to_odd(x);
    } else {
      narrow = x;
    }
    if constexpr (ElementOf<To>::value == Element::bf16) return to_bfloat16(narrow);
    if constexpr (ElementOf<To>::value == Element::f16) return to_float16(narrow);
  } else if constexpr (kIsFloat<From> && kIsInteger<To>) {
    return truncated<To>(x);
  } else {
    return static_cast<To>(x);
  }
}

template <class From, class To>
void cast(const void* from, void* to, size_t n) {
  const From* const x = static_cast<const From*>(from);
  To* const y = static_cast<To*>(to);
#pragma GCC ivdep  // y may be exactly x, where the types have one size
  for (size_t i = 0; i < n; ++i) y[i] = converted<To>(x[i]);
}

// Which casts there are: among all types that are computed with, and between floating and storage.
template <class From, class To>
inline constexpr bool kCasts = ElementOf<From>::value != ElementOf<To>::value &&
                               (kClassOf<From> == ElementClass::storage ? kIsFloat<To>
                                : kClassOf<To> == ElementClass::storage ? kIsFloat<From>
                                                                        : true);

}  // namespace lamella::kernels::LAMELLA_ISA_NAMESPACE
