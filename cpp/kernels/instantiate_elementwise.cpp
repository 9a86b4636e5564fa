// SPDX-License-Identifier: Apache-2.0
// The elementwise families of one instruction set: compiled once per ISA, tables only.
#include "kernels/binary.h"
#include "kernels/cost.h"
#include "kernels/families.h"
#include "kernels/random.h"
#include "kernels/unary.h"

namespace lamella::kernels::LAMELLA_ISA_NAMESPACE {

#define LAMELLA_UNARY_ENTRY(name, Functor, params, single, wide) \
  {name, params, cost<T>(Nanoseconds single, Nanoseconds wide), unary<T, Functor<T>>},
template <class T>
constexpr Entry<UnaryFn<T>> kUnaryEntries[] = {LAMELLA_UNARY_FUNCTIONS(LAMELLA_UNARY_ENTRY)};
#undef LAMELLA_UNARY_ENTRY

// Bound by memory, even in cache.
template <class T>
constexpr double kTwoOperands = cost<T>({0.10, 0.10, 0.10}, {0.20, 0.20, 0.21});
template <class T>
constexpr double kExtreme = cost<T>({0.12, 0.11, 0.11}, {0.24, 0.22, 0.22});

// The time of the C library's fmod grows with the quotient's logarithm, and is that of two guesses:
// 6 to 19 for the remainder, 6 to 18 for the quotient.
template <class T>
constexpr Entry<BinaryFn<T>> kBinaryEntries[] = {
    {"add", 0, kTwoOperands<T>, binary<T, Sum>},
    {"sub", 0, kTwoOperands<T>, binary<T, Difference>},
    {"mul", 0, kTwoOperands<T>, binary<T, Product>},
    {"div", 0, cost<T>({0.20, 0.10, 0.10}, {0.61, 0.30, 0.30}), binary<T, Quotient>},
    {"maximum", 0, kExtreme<T>, binary<T, Larger>},
    {"minimum", 0, kExtreme<T>, binary<T, Smaller>},
    {"clamp_min", 0, kExtreme<T>, binary<T, Larger>},
    {"clamp_max", 0, kExtreme<T>, binary<T, Smaller>},
    {"pow", 0, cost<T>({4.2, 4.2, 4.2}, {10, 10, 10}), binary<T, LaneByLane<PowerOfScalars>>},
    {"remainder", 0, cost<T>({9, 9, 13}, {8, 8, 8}), binary<T, LaneByLane<RemainderOfScalars>>},
    {"floor_divide", 0, cost<T>({11, 11, 11}, {11, 11, 11}),
     binary<T, LaneByLane<FloorQuotientOfScalars>>},
};

template <class T, class F>
constexpr Entry<CompareFn<T>> compare_entry(const char* name) {
  return {name, 0, cost<T>({0.15, 0.08, 0.08}, {0.32, 0.16, 0.15}), compare<T, F>};
}

template <class T>
constexpr Entry<CompareFn<T>> kCompareEntries[] = {
    compare_entry<T, Equal>("eq"),   compare_entry<T, NotEqual>("ne"),
    compare_entry<T, Less>("lt"),    compare_entry<T, LessEqual>("le"),
    compare_entry<T, Greater>("gt"), compare_entry<T, GreaterEqual>("ge"),
};

template <class T, class F>
constexpr Entry<JoinedFn<T>> joined_entry(const char* name) {
  return {name, F::kOperands, cost<T>({0.11, 0.10, 0.10}, {0.21, 0.22, 0.22}), joined<T, F>};
}

template <class T>
constexpr Entry<JoinedFn<T>> kJoinedEntries[] = {
    joined_entry<T, ProductOfRest>("mul_sub_square"),
    joined_entry<T, Choice<Equal>>("select_eq"),
    joined_entry<T, Choice<NotEqual>>("select_ne"),
    joined_entry<T, Choice<Less>>("select_lt"),
    joined_entry<T, Choice<LessEqual>>("select_le"),
    joined_entry<T, Choice<Greater>>("select_gt"),
    joined_entry<T, Choice<GreaterEqual>>("select_ge"),
};

template <class T>
constexpr Entry<DrawFn<T>> kDrawEntries[] = {
    {"uniform", 0, cost<T>({3.3, 0.95, 0.46}, {6.8, 2.6, 0.86}), uniform<T>},
    {"normal", 0, cost<T>({14, 2.8, 1.4}, {16, 5.8, 2.8}), normal<T>},
};

template <class Fn, size_t N>
constexpr Family<Fn> family_of(const Entry<Fn> (&entries)[N]) {
  return {entries, N};
}

template <class T>
constexpr ElementwiseKernels<T> kElementwise = {
    .unary = family_of(kUnaryEntries<T>),
    .binary = family_of(kBinaryEntries<T>),
    .compare = family_of(kCompareEntries<T>),
    .select = {"select", 0, cost<T>({0.44, 0.11, 0.11}, {0.54, 0.22, 0.22}), choose<T>},
    .joined = family_of(kJoinedEntries<T>),
};

template <class T>
constexpr RandomKernels<T> kRandom = {
    .dropout = {"dropout", 0, cost<T>({3.4, 0.91, 0.45}, {3.4, 1.0, 0.55}), dropout<T>},
    .draw = family_of(kDrawEntries<T>),
};

constinit const ElementwiseKernels<float> kElementwiseF32 = kElementwise<float>;
constinit const ElementwiseKernels<double> kElementwiseF64 = kElementwise<double>;
constinit const RandomKernels<float> kRandomF32 = kRandom<float>;
constinit const RandomKernels<double> kRandomF64 = kRandom<double>;

}  // namespace lamella::kernels::LAMELLA_ISA_NAMESPACE
