// SPDX-License-Identifier: Apache-2.0
// The optimisers' updates of one instruction set: compiled once per ISA, tables only.
#include "kernels/cost.h"
#include "kernels/families.h"
#include "kernels/optimizer.h"

namespace lamella::kernels::LAMELLA_ISA_NAMESPACE {

template <class T, class Rule>
constexpr Entry<UpdateFn<T>> rule(const char* name, Nanoseconds single, Nanoseconds wide) {
  return {name, Rule::kStates, sizeof(T) == 4 ? single.here() : wide.here(), update<T, Rule>};
}

// Names are ops/optimizer.py's.
template <class T>
constexpr Entry<UpdateFn<T>> kUpdateEntries[] = {
    rule<T, Sgd<T, false, false>>("sgd", {0.14, 0.09, 0.10}, {0.27, 0.18, 0.18}),
    rule<T, Sgd<T, true, false>>("sgd_momentum", {0.22, 0.12, 0.14}, {0.50, 0.35, 0.31}),
    rule<T, Sgd<T, true, true>>("sgd_nesterov", {0.28, 0.13, 0.15}, {0.60, 0.35, 0.31}),
    rule<T, Adam<T, false, false>>("adam", {0.84, 0.45, 0.38}, {2.52, 1.11, 0.91}),
    rule<T, Adam<T, true, false>>("adam_amsgrad", {1.06, 0.57, 0.76}, {2.75, 1.72, 1.36}),
    rule<T, Adam<T, false, true>>("adamw", {0.88, 0.48, 0.39}, {2.57, 1.17, 0.91}),
    rule<T, Adam<T, true, true>>("adamw_amsgrad", {1.07, 0.58, 0.77}, {2.75, 1.74, 1.37}),
    rule<T, RmsProp<T, false, false>>("rmsprop", {0.58, 0.29, 0.30}, {1.85, 0.95, 0.85}),
    rule<T, RmsProp<T, true, false>>("rmsprop_centered", {0.79, 0.32, 0.33}, {2.03, 1.22, 0.87}),
    rule<T, RmsProp<T, false, true>>("rmsprop_momentum", {0.63, 0.31, 0.31}, {1.86, 0.96, 0.86}),
    rule<T, RmsProp<T, true, true>>("rmsprop_centered_momentum", {0.90, 0.63, 0.37},
                                    {2.19, 1.37, 0.96}),
    rule<T, Adagrad<T>>("adagrad", {0.57, 0.28, 0.30}, {1.84, 0.93, 0.85}),
};

template <class T>
constexpr OptimizerKernels<T> kOptimizer = {
    .update = {kUpdateEntries<T>, sizeof(kUpdateEntries<T>) / sizeof(kUpdateEntries<T>[0])},
};

constinit const OptimizerKernels<float> kOptimizerF32 = kOptimizer<float>;
constinit const OptimizerKernels<double> kOptimizerF64 = kOptimizer<double>;

}  // namespace lamella::kernels::LAMELLA_ISA_NAMESPACE
