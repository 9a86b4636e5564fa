// SPDX-License-Identifier: Apache-2.0
// The elementwise families of one instruction set: compiled once per ISA, tables only.
#include "kernels/binary.h"
#include "kernels/cast.h"
#include "kernels/families.h"
#include "kernels/random.h"
#include "kernels/unary.h"

namespace lamella::kernels::LAMELLA_ISA_NAMESPACE {

#define LAMELLA_UNARY_ENTRY(name, Functor, params) {name, params, unary<T, Functor<T>>},
template <class T>
constexpr Entry<UnaryFn<T>> kUnaryEntries[] = {LAMELLA_UNARY_FUNCTIONS(LAMELLA_UNARY_ENTRY)};
#undef LAMELLA_UNARY_ENTRY

template <class T>
constexpr Entry<BinaryFn<T>> kBinaryEntries[] = {
    {"add", 0, binary<T, Sum>},
    {"sub", 0, binary<T, Difference>},
    {"mul", 0, binary<T, Product>},
    {"div", 0, binary<T, Quotient>},
    {"maximum", 0, binary<T, Larger>},
    {"minimum", 0, binary<T, Smaller>},
    {"clamp_min", 0, binary<T, Larger>},
    {"clamp_max", 0, binary<T, Smaller>},
    {"pow", 0, binary<T, LaneByLane<PowerOfScalars>>},
    {"remainder", 0, binary<T, LaneByLane<RemainderOfScalars>>},
    {"floor_divide", 0, binary<T, LaneByLane<FloorQuotientOfScalars>>},
};

template <class T>
constexpr Entry<CompareFn<T>> kCompareEntries[] = {
    {"eq", 0, compare<T, Equal>},   {"ne", 0, compare<T, NotEqual>},
    {"lt", 0, compare<T, Less>},    {"le", 0, compare<T, LessEqual>},
    {"gt", 0, compare<T, Greater>}, {"ge", 0, compare<T, GreaterEqual>},
};

template <class T, class F>
constexpr Entry<JoinedFn<T>> joined_entry(const char* name) {
  return {name, F::kOperands, joined<T, F>};
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

constexpr Entry<LogicalFn> kLogicalEntries[] = {
    {"logical_and", 0, logical<And>},
    {"logical_or", 0, logical<Or>},
    {"logical_xor", 0, logical<Xor>},
    {"logical_not", 0, logical_not},
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
    .select = choose<T>,
    .joined = family_of(kJoinedEntries<T>),
    .dropout = dropout<T>,
};

constinit const ElementwiseKernels<float> kElementwiseF32 = kElementwise<float>;
constinit const ElementwiseKernels<double> kElementwiseF64 = kElementwise<double>;

constinit const CastKernels kCasts = {
    .f32_to_f64 = cast<float, double>,
    .f64_to_f32 = cast<double, float>,
    .bool_to_f32 = cast<std::uint8_t, float>,
    .bool_to_f64 = cast<std::uint8_t, double>,
    .i64_to_f32 = cast<std::int64_t, float>,
    .i64_to_f64 = cast<std::int64_t, double>,
    .f32_to_bool = cast_to_truth<float>,
    .f64_to_bool = cast_to_truth<double>,
};

constinit const TruthKernels kTruth = {
    .logical = family_of(kLogicalEntries),
    .select = choose_truth,
};

}  // namespace lamella::kernels::LAMELLA_ISA_NAMESPACE
