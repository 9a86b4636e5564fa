// SPDX-License-Identifier: Apache-2.0
// The matrix of casts of one instruction set: compiled once per ISA, tables only.
#include "kernels/cast.h"
#include "kernels/cost.h"
#include "kernels/families.h"

namespace lamella::kernels::LAMELLA_ISA_NAMESPACE {

// Casts are bound by their bytes, but for those that no register does at once: from floating types to
// integers with their limits, of int64 where there is no instruction, and the rounding of storage.
template <class From, class To>
consteval Nanoseconds cast_cost() {
  constexpr bool kSingle = sizeof(From) == 4, kTruth = kClassOf<To> == ElementClass::truth;
  if constexpr (kIsFloat<From> && kIsInteger<To>) {
    if constexpr (sizeof(To) == 8) return {0.63, 0.63, 0.13};
    return kSingle ? Nanoseconds(0.20, 0.09, 0.065) : Nanoseconds(0.35, 0.24, 0.13);
  } else if constexpr (kIsFloat<From> && kTruth) {
    return kSingle ? Nanoseconds(0.12, 0.06, 0.04) : Nanoseconds(0.54, 0.13, 0.09);
  } else if constexpr (ElementOf<To>::value == Element::bf16) {
    return kSingle ? Nanoseconds(0.32, 0.16, 0.09) : Nanoseconds(1.20, 0.60, 0.43);
  } else if constexpr (ElementOf<To>::value == Element::f16) {
    return kSingle ? Nanoseconds(0.63, 0.26, 0.18) : Nanoseconds(1.75, 0.81, 0.57);
  } else if constexpr (ElementOf<From>::value == Element::f16) {
    return {0.37, 0.19, 0.14};
  } else if constexpr (ElementOf<From>::value == Element::i64 && kIsFloat<To>) {
    return {0.27, 0.38, 0.12};
  } else if constexpr (ElementOf<From>::value == Element::i64 && kTruth) {
    return {0.30, 0.13, 0.08};
  } else {
    constexpr double kBytes = sizeof(From) > sizeof(To) ? sizeof(From) : sizeof(To);
    return {0.018 * kBytes, 0.0145 * kBytes, 0.0145 * kBytes};
  }
}

template <size_t kFrom, size_t kTo>
consteval void set_cast(CastKernels& casts) {
  using From = ElementType<Element(kFrom)>::type;
  using To = ElementType<Element(kTo)>::type;
  if constexpr (kCasts<From, To>) {
    casts.entries[kFrom][kTo] = {"cast", 0, cast_cost<From, To>().here(), cast<From, To>};
  }
  if constexpr (kTo + 1 < kElementCount) {
    set_cast<kFrom, kTo + 1>(casts);
  } else if constexpr (kFrom + 1 < kElementCount) {
    set_cast<kFrom + 1, 0>(casts);
  }
}

consteval CastKernels all_casts() {
  CastKernels casts = {};
  set_cast<0, 0>(casts);
  return casts;
}

constinit const CastKernels kCastTable = all_casts();

}  // namespace lamella::kernels::LAMELLA_ISA_NAMESPACE
