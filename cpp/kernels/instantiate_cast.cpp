// SPDX-License-Identifier: Apache-2.0
// The matrix of casts of one instruction set: compiled once per ISA, tables only.
#include "kernels/cast.h"
#include "kernels/cost.h"
#include "kernels/families.h"

namespace lamella::kernels::LAMELLA_ISA_NAMESPACE {

// What was measured, and a guess for the other casts: moving the bytes, and what is not done by a
// register at once.
template <class From, class To>
constexpr Nanoseconds kCastCost = {0.3, 0.2, 0.2};
template <>
constexpr Nanoseconds kCastCost<float, double> = {0.14, 0.10, 0.10};
template <>
constexpr Nanoseconds kCastCost<double, float> = {0.10, 0.10, 0.10};
template <>
constexpr Nanoseconds kCastCost<Truth, float> = {0.08, 0.05, 0.05};
template <>
constexpr Nanoseconds kCastCost<Truth, double> = {0.14, 0.12, 0.11};
template <>
constexpr Nanoseconds kCastCost<std::int64_t, float> = {0.27, 0.27, 0.10};
template <>
constexpr Nanoseconds kCastCost<std::int64_t, double> = {0.27, 0.27, 0.14};
template <>
constexpr Nanoseconds kCastCost<float, Truth> = {0.12, 0.06, 0.04};
template <>
constexpr Nanoseconds kCastCost<double, Truth> = {0.54, 0.13, 0.09};

template <size_t kFrom, size_t kTo>
consteval void set_cast(CastKernels& casts) {
  using From = ElementType<Element(kFrom)>::type;
  using To = ElementType<Element(kTo)>::type;
  if constexpr (kCasts<From, To>) {
    casts.entries[kFrom][kTo] = {"cast", 0, kCastCost<From, To>.here(), cast<From, To>};
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
