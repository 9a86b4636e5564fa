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
    by_size<T>({0.025, 0.012, 0.01}, {0.1, 0.08, 0.08}, {0.2, 0.14, 0.14});
template <class T>
constexpr double kSign = by_size<T>({0.03, 0.013, 0.012}, {0.14, 0.08, 0.08}, {0.5, 0.22, 0.14});
template <class T>
constexpr double kSquare = by_size<T>({0.035, 0.02, 0.02}, {0.14, 0.08, 0.08}, {0.54, 0.14, 0.14});
template <class T>
constexpr double kTwoOperands =
    by_size<T>({0.03, 0.027, 0.026}, {0.12, 0.105, 0.108}, {0.24, 0.205, 0.208});
template <class T>
constexpr double kProduct =
    by_size<T>({0.05, 0.03, 0.03}, {0.18, 0.105, 0.108}, {0.39, 0.205, 0.208});
template <class T>
constexpr double kExtreme =
    by_size<T>({0.03, 0.027, 0.026}, {0.14, 0.105, 0.108}, {0.6, 0.207, 0.208});
template <class T>
constexpr double kShift = by_size<T>({0.5, 0.13, 0.1}, {0.55, 0.113, 0.11}, {0.5, 0.21, 0.208});
template <class T>
constexpr double kComparison =
    by_size<T>({0.03, 0.026, 0.026}, {0.114, 0.079, 0.081}, {0.42, 0.154, 0.15});
template <class T>
constexpr double kChoice =
    by_size<T>({0.035, 0.035, 0.035}, {0.44, 0.114, 0.115}, {0.55, 0.215, 0.217});
// The time of a division grows with the quotient's digits, that of a power with the exponent's.
template <class T>
constexpr double kDivision = by_size<T>({1.4, 1.4, 1.4}, {1.7, 1.7, 1.7}, {1.9, 1.9, 1.9});
template <class T>
constexpr double kPower = by_size<T>({2, 2, 2}, {1.8, 1.8, 1.8}, {1.8, 1.8, 1.8});

template <class T>
constexpr Entry<UnaryFn<T>> kUnaryEntries[] = {
    {"neg", 0, kOneOperand<T>, each_integer<T, Negative>},
    {"abs", 0, kOneOperand<T>, each_integer<T, Magnitude>},
    {"sign", 0, kSign<T>, each_integer<T, SignOfInteger>},
    {"square", 0, kSquare<T>, each_integer<T, SquareOfInteger>},
    {"bitwise_not", 0, kOneOperand<T>, each_integer<T, BitNot>},
};

template <class T>
constexpr Entry<BinaryFn<T>> kBinaryEntries[] = {
    {"add", 0, kTwoOperands<T>, both_integers<T, WrappedSum>},
    {"sub", 0, kTwoOperands<T>, both_integers<T, WrappedDifference>},
    {"mul", 0, kProduct<T>, both_integers<T, WrappedProduct>},
    {"maximum", 0, kExtreme<T>, both_integers<T, LargerInteger>},
    {"minimum", 0, kExtreme<T>, both_integers<T, SmallerInteger>},
    {"clamp_min", 0, kExtreme<T>, both_integers<T, LargerInteger>},
    {"clamp_max", 0, kExtreme<T>, both_integers<T, SmallerInteger>},
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
    {"eq", 0, kComparison<T>, compare_integers<T, IntegersEqual>},
    {"ne", 0, kComparison<T>, compare_integers<T, IntegersDiffer>},
    {"lt", 0, kComparison<T>, compare_integers<T, IntegersRise>},
    {"le", 0, kComparison<T>, compare_integers<T, IntegersRiseOrStay>},
    {"gt", 0, kComparison<T>, compare_exchanged<T, IntegersRise>},
    {"ge", 0, kComparison<T>, compare_exchanged<T, IntegersRiseOrStay>},
};

template <class T>
constexpr ElementwiseKernels<T> kIntegerElementwise = {
    .unary = family_of(kUnaryEntries<T>),
    .binary = family_of(kBinaryEntries<T>),
    .compare = family_of(kCompareEntries<T>),
    .select = {"select", 0, kChoice<T>, choose_items<T>},
    .joined = {nullptr, 0},
};

// ---- reductions, of rows and columns of 1024 elements
template <class T>
constexpr double kSumOfRow =
    by_size<T>({0.065, 0.042, 0.039}, {0.136, 0.07, 0.054}, {0.142, 0.07, 0.07});
template <class T>
constexpr double kSumOfColumn =
    by_size<T>({0.16, 0.14, 0.116}, {0.175, 0.108, 0.109}, {0.15, 0.08, 0.098});
template <class T>
constexpr double kProductOfRow =
    by_size<T>({0.8, 0.23, 0.114}, {0.8, 0.28, 0.08}, {0.8, 0.28, 0.08});
template <class T>
constexpr double kProductOfColumn =
    by_size<T>({0.4, 0.24, 0.12}, {0.4, 0.21, 0.11}, {0.37, 0.156, 0.097});
template <class T>
constexpr double kExtremeOfRow =
    by_size<T>({0.03, 0.01, 0.007}, {0.2, 0.036, 0.037}, {0.54, 0.187, 0.07});
template <class T>
constexpr double kExtremeOfColumn =
    by_size<T>({0.027, 0.012, 0.012}, {0.14, 0.07, 0.064}, {0.475, 0.15, 0.096});
template <class T>
constexpr double kTruthOfRow =
    by_size<T>({0.021, 0.01, 0.008}, {0.136, 0.037, 0.038}, {0.39, 0.072, 0.07});
template <class T>
constexpr double kTruthOfColumn =
    by_size<T>({0.03, 0.012, 0.012}, {0.105, 0.057, 0.043}, {0.5, 0.129, 0.075});
template <class T>
constexpr double kPosition =
    by_size<T>({0.045, 0.02, 0.02}, {0.25, 0.075, 0.08}, {0.69, 0.26, 0.123});

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
    by_rows<T, Total>("sum", kSumOfRow<T>),
    by_rows<T, TotalProduct>("prod", kProductOfRow<T>),
};
template <class T>
constexpr Entry<FoldFn<T, std::int64_t>> kWideColumns[] = {
    by_columns<T, Total>("sum", kSumOfColumn<T>),
    by_columns<T, TotalProduct>("prod", kProductOfColumn<T>),
};
template <class T>
constexpr Entry<FoldFn<T, T>> kSameRows[] = {
    by_rows<T, Largest>("max", kExtremeOfRow<T>),
    by_rows<T, Smallest>("min", kExtremeOfRow<T>),
};
template <class T>
constexpr Entry<FoldFn<T, T>> kSameColumns[] = {
    by_columns<T, Largest>("max", kExtremeOfColumn<T>),
    by_columns<T, Smallest>("min", kExtremeOfColumn<T>),
};
template <class T>
constexpr Entry<FoldFn<T, std::uint8_t>> kTruthRows[] = {
    by_rows<T, AnyTrue>("any", kTruthOfRow<T>),
    by_rows<T, AllTrue>("all", kTruthOfRow<T>),
};
template <class T>
constexpr Entry<FoldFn<T, std::uint8_t>> kTruthColumns[] = {
    by_columns<T, AnyTrue>("any", kTruthOfColumn<T>),
    by_columns<T, AllTrue>("all", kTruthOfColumn<T>),
};
template <class T>
constexpr Entry<ArgReduceFn<T>> kPositionEntries[] = {
    {"argmax", 0, kPosition<T>, position_of_integers<T, Largest>},
    {"argmin", 0, kPosition<T>, position_of_integers<T, Smallest>},
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
