// SPDX-License-Identifier: Apache-2.0
// The row and column families of one instruction set: compiled once per ISA, tables only.
// Costs (cost.h) are those of rows of 1024 elements.
#include "kernels/cost.h"
#include "kernels/families.h"
#include "kernels/loss.h"
#include "kernels/norm.h"
#include "kernels/reduce.h"
#include "kernels/softmax.h"

namespace lamella::kernels::LAMELLA_ISA_NAMESPACE {

template <class T>
constexpr Entry<ReduceRowsFn<T>> kReduceRowEntries[] = {
    {"sum", 0, cost<T>({0.04, 0.03, 0.03}, {0.08, 0.07, 0.07}), reduce_rows<T, Add>},
    {"mean", 0, cost<T>({0.05, 0.04, 0.04}, {0.08, 0.07, 0.08}), mean_rows<T>},
    {"max", 0, cost<T>({0.08, 0.04, 0.04}, {0.16, 0.08, 0.08}),
     extreme_rows<T, Maximum, MaximumOfNumbers>},
    {"min", 0, cost<T>({0.08, 0.04, 0.04}, {0.16, 0.08, 0.08}),
     extreme_rows<T, Minimum, MinimumOfNumbers>},
    {"prod", 0, cost<T>({0.04, 0.03, 0.03}, {0.08, 0.07, 0.07}), reduce_rows<T, Multiply>},
    {"logsumexp", 0, cost<T>({2.24, 0.23, 0.20}, {3.72, 1.25, 0.82}), logsumexp_rows<T>},
    {"norm", 0, cost<T>({0.07, 0.04, 0.04}, {0.14, 0.08, 0.08}), norm_rows<T>},
};

template <class T>
constexpr Entry<ReduceColumnsFn<T>> kReduceColumnEntries[] = {
    {"sum", 0, cost<T>({0.05, 0.04, 0.03}, {0.10, 0.08, 0.08}), reduce_columns<T, Add>},
    {"mean", 0, cost<T>({0.09, 0.07, 0.07}, {0.17, 0.14, 0.14}), mean_columns<T>},
    {"max", 0, cost<T>({0.13, 0.07, 0.06}, {0.27, 0.14, 0.12}), reduce_columns<T, Maximum>},
    {"min", 0, cost<T>({0.09, 0.05, 0.04}, {0.18, 0.09, 0.09}), reduce_columns<T, Minimum>},
    {"prod", 0, cost<T>({0.05, 0.04, 0.03}, {0.10, 0.08, 0.08}), reduce_columns<T, Multiply>},
};

template <class T>
constexpr double kPosition = cost<T>({0.20, 0.08, 0.07}, {0.34, 0.14, 0.11});
template <class T>
constexpr Entry<ArgReduceFn<T>> kArgEntries[] = {
    {"argmax", 0, kPosition<T>, arg_rows<T, MaximumOfNumbers>},
    {"argmin", 0, kPosition<T>, arg_rows<T, MinimumOfNumbers>},
};

template <class T>
constexpr double kTwoPasses = cost<T>({0.21, 0.09, 0.09}, {0.40, 0.20, 0.17});
template <class T>
constexpr Entry<VarianceFn<T>> kSpreadEntries[] = {
    {"var", 0, kTwoPasses<T>, variance_rows<T>},
    {"std", 0, kTwoPasses<T>, deviation_rows<T>},
};

template <class T>
constexpr Entry<SoftmaxFn<T>> kSoftmaxEntries[] = {
    {"softmax", 0, cost<T>({1.92, 0.24, 0.19}, {3.99, 1.39, 0.88}), softmax_rows<T>},
    {"log_softmax", 0, cost<T>({2.25, 0.28, 0.23}, {3.90, 1.40, 0.93}), log_softmax_rows<T>},
};

// With its slopes; nll's are cleared, and one of a row is written.
template <class T>
constexpr Entry<ClassLossFn<T>> kClassLossEntries[] = {
    {"cross_entropy", 0, cost<T>({2.08, 0.26, 0.21}, {4.03, 1.45, 0.91}), cross_entropy_rows<T>},
    {"nll", 0, cost<T>({0.04, 0.04, 0.04}, {0.08, 0.08, 0.08}), nll_rows<T>},
};

template <class Fn, size_t N>
constexpr Family<Fn> family(const Entry<Fn> (&entries)[N]) {
  return {entries, N};
}

template <class T>
constexpr RowKernels<T> kRowKernels = {
    .reduce_rows = family(kReduceRowEntries<T>),
    .reduce_columns = family(kReduceColumnEntries<T>),
    .arg_reduce = family(kArgEntries<T>),
    .spread = family(kSpreadEntries<T>),
    .softmax = family(kSoftmaxEntries<T>),
    .layer_norm = {"layer_norm", 0, cost<T>({0.32, 0.16, 0.16}, {0.58, 0.32, 0.30}),
                   layer_norm_rows<T>},
    .rms_norm = {"rms_norm", 0, cost<T>({0.13, 0.10, 0.09}, {0.26, 0.21, 0.23}), rms_norm_rows<T>},
    .class_loss = family(kClassLossEntries<T>),
};

constinit const RowKernels<float> kRowsF32 = kRowKernels<float>;
constinit const RowKernels<double> kRowsF64 = kRowKernels<double>;

}  // namespace lamella::kernels::LAMELLA_ISA_NAMESPACE
