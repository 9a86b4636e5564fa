// SPDX-License-Identifier: Apache-2.0
// The limit loops of one instruction set.
#include "kernels/families.h"
#include "kernels/limits.h"

namespace lamella::kernels::LAMELLA_ISA_NAMESPACE {

constinit const LimitKernels kLimits = {
    .multiply_add = multiply_add_loop,
    .operations_per_iteration = 2 * limits::kChains * limits::Vec::lanes,
    .read = read_loop,
    .copy = copy_loop,
};

}  // namespace lamella::kernels::LAMELLA_ISA_NAMESPACE
