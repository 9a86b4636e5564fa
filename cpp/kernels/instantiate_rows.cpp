// SPDX-License-Identifier: Apache-2.0
// The row and column families of one instruction set: compiled once per ISA, tables only.
#include "kernels/families.h"
#include "kernels/loss.h"
#include "kernels/norm.h"
#include "kernels/reduce.h"
#include "kernels/softmax.h"

namespace lamella::kernels::LAMELLA_ISA_NAMESPACE {

template <class T>
constexpr Entry<ReduceRowsFn<T>> kReduceRowEntries[] = {
    {"sum", 0, reduce_rows<T, Add>},
    {"mean", 0, mean_rows<T>},
    {"max", 0, extreme_rows<T, Maximum, MaximumOfNumbers>},
    {"min", 0, extreme_rows<T, Minimum, MinimumOfNumbers>},
    {"prod", 0, reduce_rows<T, Multiply>},
    {"logsumexp", 0, logsumexp_rows<T>},
    {"norm", 0, norm_rows<T>},
};

template <class T>
constexpr Entry<ReduceColumnsFn<T>> kReduceColumnEntries[] = {
    {"sum", 0, reduce_columns<T, Add>},       {"mean", 0, mean_columns<T>},
    {"max", 0, reduce_columns<T, Maximum>},   {"min", 0, reduce_columns<T, Minimum>},
    {"prod", 0, reduce_columns<T, Multiply>},
};

template <class T>
constexpr Entry<ArgReduceFn<T>> kArgEntries[] = {
    {"argmax", 0, arg_rows<T, MaximumOfNumbers>},
    {"argmin", 0, arg_rows<T, MinimumOfNumbers>},
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
    .variance = variance_rows<T>,
    .deviation = deviation_rows<T>,
    .softmax = softmax_rows<T>,
    .log_softmax = log_softmax_rows<T>,
    .layer_norm = layer_norm_rows<T>,
    .rms_norm = rms_norm_rows<T>,
    .cross_entropy = cross_entropy_rows<T>,
    .nll = nll_rows<T>,
};

constinit const RowKernels<float> kRowsF32 = kRowKernels<float>;
constinit const RowKernels<double> kRowsF64 = kRowKernels<double>;

}  // namespace lamella::kernels::LAMELLA_ISA_NAMESPACE
