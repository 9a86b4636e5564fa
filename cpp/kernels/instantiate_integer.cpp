// SPDX-License-Identifier: Apache-2.0
// The elementwise families and reductions of integers and truth values: compiled once per ISA.
//
// Costs (cost.h) are given by the size of an element: 1, 4 and 8 bytes.
#include "kernels/cost.h"
#include "kernels/families.h"
#include "kernels/integer.h"
#include "kernels/integer_reduce.h"

namespace lamella::kernels::LAMELLA_ISA_NAMESPACE {

template <class T>
consteval double by_size(Nanoseconds one, Nanoseconds four, Nanoseconds eight) {
  return sizeof(T) == 1 ? one.here() : sizeof(T) <= 4 ? four.here() : eight.here();
}

template <class Fn, size_t N>
constexpr Family<Fn> family_of(const Entry<Fn> (&entries)[N]) {
  return {entries, N};
}

// ---- elementwise
template <class T>
constexpr double kOneOperand =
    by_size<T>({0.02, 0.02, 0.02}, {0.08, 0.07, 0.07}, {0.15, 0.14, 0.14});
template <class T>
constexpr double kTwoOperands =
    by_size<T>({0.03, 0.03, 0.03}, {0.11, 0.10, 0.10}, {0.21, 0.20, 0.20});
template <class T>
constexpr double kProduct = by_size<T>({0.10, 0.06, 0.06}, {0.22, 0.10, 0.10}, {0.50, 0.40, 0.20});
template <class T>
constexpr double kShift = by_size<T>({1.0, 0.4, 0.3}, {1.0, 0.12, 0.10}, {1.2, 0.22, 0.20});
template <class T>
constexpr double kDivision = by_size<T>({2.0, 2.0, 2.0}, {2.2, 2.2, 2.2}, {3.0, 3.0, 3.0});
template <class T>
constexpr double kPower = by_size<T>({8, 8, 8}, {10, 10, 10}, {12, 12, 12});

template <class T>
constexpr Entry<UnaryFn<T>> kUnaryEntries[] = {
    {"neg", 0, kOneOperand<T>, each_integer<T, Negative>},
    {"abs", 0, kOneOperand<T>, each_integer<T, Magnitude>},
    {"sign", 0, kOneOperand<T>, each_integer<T, SignOfInteger>},
    {"square", 0, kProduct<T>, each_integer<T, SquareOfInteger>},
    {"bitwise_not", 0, kOneOperand<T>, each_integer<T, BitNot>},
};

template <class T>
constexpr Entry<BinaryFn<T>> kBinaryEntries[] = {
    {"add", 0, kTwoOperands<T>, both_integers<T, WrappedSum>},
    {"sub", 0, kTwoOperands<T>, both_integers<T, WrappedDifference>},
    {"mul", 0, kProduct<T>, both_integers<T, WrappedProduct>},
    {"maximum", 0, kTwoOperands<T>, both_integers<T, LargerInteger>},
    {"minimum", 0, kTwoOperands<T>, both_integers<T, SmallerInteger>},
    {"clamp_min", 0, kTwoOperands<T>, both_integers<T, LargerInteger>},
    {"clamp_max", 0, kTwoOperands<T>, both_integers<T, SmallerInteger>},
    {"floor_divide", 0, kDivision<T>, both_by_steps<T, FlooredQuotient>},
    {"remainder", 0, kDivision<T>, both_by_steps<T, FlooredRemainder>},
    {"pow", 0, kPower<T>, both_by_steps<T, IntegerPower>},
    {"bitwise_and", 0, kTwoOperands<T>, both_integers<T, BitAnd>},
    {"bitwise_or", 0, kTwoOperands<T>, both_integers<T, BitOr>},
    {"bitwise_xor", 0, kTwoOperands<T>, both_integers<T, BitXor>},
    {"left_shift", 0, kShift<T>, both_integers<T, LeftShift>},
    {"right_shift", 0, kShift<T>, both_integers<T, RightShift>},
};

template <>
constexpr Entry<UnaryFn<Truth>> kUnaryEntries<Truth>[] = {
    {"logical_not", 0, kOneOperand<Truth>, each_integer<Truth, TruthNot>},
};

template <>
constexpr Entry<BinaryFn<Truth>> kBinaryEntries<Truth>[] = {
    {"logical_and", 0, kTwoOperands<Truth>, both_integers<Truth, TruthAnd>},
    {"logical_or", 0, kTwoOperands<Truth>, both_integers<Truth, TruthOr>},
    {"logical_xor", 0, kTwoOperands<Truth>, both_integers<Truth, TruthXor>},
    {"maximum", 0, kTwoOperands<Truth>, both_integers<Truth, TruthOr>},
    {"minimum", 0, kTwoOperands<Truth>, both_integers<Truth, TruthAnd>},
};

template <class T>
constexpr Entry<CompareFn<T>> kCompareEntries[] = {
    {"eq", 0, kTwoOperands<T>, compare_integers<T, IntegersEqual>},
    {"ne", 0, kTwoOperands<T>, compare_integers<T, IntegersDiffer>},
    {"lt", 0, kTwoOperands<T>, compare_integers<T, IntegersRise>},
    {"le", 0, kTwoOperands<T>, compare_integers<T, IntegersRiseOrStay>},
    {"gt", 0, kTwoOperands<T>, compare_exchanged<T, IntegersRise>},
    {"ge", 0, kTwoOperands<T>, compare_exchanged<T, IntegersRiseOrStay>},
};

template <class T>
constexpr ElementwiseKernels<T> kIntegerElementwise = {
    .unary = family_of(kUnaryEntries<T>),
    .binary = family_of(kBinaryEntries<T>),
    .compare = family_of(kCompareEntries<T>),
    .select = {"select", 0, kProduct<T>, choose_items<T>},
    .joined = {nullptr, 0},
};

// ---- reductions, of rows and columns of 1024 elements
template <class T>
constexpr double kFold = by_size<T>({0.03, 0.02, 0.02}, {0.10, 0.05, 0.05}, {0.15, 0.08, 0.08});
template <class T>
constexpr double kFoldWide = by_size<T>({0.15, 0.10, 0.10}, {0.20, 0.12, 0.12}, {0.20, 0.10, 0.10});
template <class T>
constexpr double kFoldProduct = by_size<T>({1.0, 0.8, 0.8}, {1.0, 0.8, 0.8}, {1.0, 0.8, 0.8});

template <class T, class F, class R = typename F::template Result<T>>
constexpr Entry<FoldFn<T, R>> by_rows(const char* name, double cost) {
  return {name, 0, cost, fold_integer_rows<T, F>};
}
template <class T, class F, class R = typename F::template Result<T>>
constexpr Entry<FoldFn<T, R>> by_columns(const char* name, double cost) {
  return {name, 0, cost, fold_integer_columns<T, F>};
}

template <class T>
constexpr Entry<FoldFn<T, std::int64_t>> kWideRows[] = {
    by_rows<T, Total>("sum", kFoldWide<T>),
    by_rows<T, TotalProduct>("prod", kFoldProduct<T>),
};
template <class T>
constexpr Entry<FoldFn<T, std::int64_t>> kWideColumns[] = {
    by_columns<T, Total>("sum", kFoldWide<T>),
    by_columns<T, TotalProduct>("prod", kFoldProduct<T>),
};
template <class T>
constexpr Entry<FoldFn<T, T>> kSameRows[] = {
    by_rows<T, Largest>("max", kFold<T>),
    by_rows<T, Smallest>("min", kFold<T>),
};
template <class T>
constexpr Entry<FoldFn<T, T>> kSameColumns[] = {
    by_columns<T, Largest>("max", kFold<T>),
    by_columns<T, Smallest>("min", kFold<T>),
};
template <class T>
constexpr Entry<FoldFn<T, std::uint8_t>> kTruthRows[] = {
    by_rows<T, AnyTrue>("any", kFold<T>),
    by_rows<T, AllTrue>("all", kFold<T>),
};
template <class T>
constexpr Entry<FoldFn<T, std::uint8_t>> kTruthColumns[] = {
    by_columns<T, AnyTrue>("any", kFold<T>),
    by_columns<T, AllTrue>("all", kFold<T>),
};
template <class T>
constexpr Entry<ArgReduceFn<T>> kPositionEntries[] = {
    {"argmax", 0, 2 * kFold<T>, position_of_integers<T, Largest>},
    {"argmin", 0, 2 * kFold<T>, position_of_integers<T, Smallest>},
};

template <class T>
constexpr IntegerRowKernels<T> kIntegerRows = {
    .wide = {family_of(kWideRows<T>), family_of(kWideColumns<T>)},
    .same = {family_of(kSameRows<T>), family_of(kSameColumns<T>)},
    .truth = {family_of(kTruthRows<T>), family_of(kTruthColumns<T>)},
    .arg_reduce = family_of(kPositionEntries<T>),
};

#define LAMELLA_DEFINE(tag, Type, name, kind)                                              \
  constinit const ElementwiseKernels<Type> kElementwise_##tag = kIntegerElementwise<Type>; \
  constinit const IntegerRowKernels<Type> kRows_##tag = kIntegerRows<Type>;
LAMELLA_INTEGERS(LAMELLA_DEFINE)
LAMELLA_TRUTH(LAMELLA_DEFINE)
#undef LAMELLA_DEFINE

}  // namespace lamella::kernels::LAMELLA_ISA_NAMESPACE
