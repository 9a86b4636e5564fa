// SPDX-License-Identifier: Apache-2.0
// The optimisers' updates of one instruction set: compiled once per ISA, tables only.
#include "kernels/families.h"
#include "kernels/optimizer.h"

namespace lamella::kernels::LAMELLA_ISA_NAMESPACE {

template <class T, class Rule>
constexpr Entry<UpdateFn<T>> rule(const char* name) {
  return {name, Rule::kStates, update<T, Rule>};
}

// Names are ops/optimizer.py's.
template <class T>
constexpr Entry<UpdateFn<T>> kUpdateEntries[] = {
    rule<T, Sgd<T, false, false>>("sgd"),
    rule<T, Sgd<T, true, false>>("sgd_momentum"),
    rule<T, Sgd<T, true, true>>("sgd_nesterov"),
    rule<T, Adam<T, false, false>>("adam"),
    rule<T, Adam<T, true, false>>("adam_amsgrad"),
    rule<T, Adam<T, false, true>>("adamw"),
    rule<T, Adam<T, true, true>>("adamw_amsgrad"),
    rule<T, RmsProp<T, false, false>>("rmsprop"),
    rule<T, RmsProp<T, true, false>>("rmsprop_centered"),
    rule<T, RmsProp<T, false, true>>("rmsprop_momentum"),
    rule<T, RmsProp<T, true, true>>("rmsprop_centered_momentum"),
    rule<T, Adagrad<T>>("adagrad"),
};

template <class T>
constexpr OptimizerKernels<T> kOptimizer = {
    .update = {kUpdateEntries<T>, sizeof(kUpdateEntries<T>) / sizeof(kUpdateEntries<T>[0])},
};

constinit const OptimizerKernels<float> kOptimizerF32 = kOptimizer<float>;
constinit const OptimizerKernels<double> kOptimizerF64 = kOptimizer<double>;

}  // namespace lamella::kernels::LAMELLA_ISA_NAMESPACE
