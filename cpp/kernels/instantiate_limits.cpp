// SPDX-License-Identifier: Apache-2.0
// The limit loops of one instruction set.
#include "kernels/families.h"
#include "kernels/limits.h"

namespace lamella::kernels::LAMELLA_ISA_NAMESPACE {

constinit const LimitKernels kLimits = {
    .multiply_add = multiply_add_loop,
    .operations_per_iteration = 2 * limits::kChains * limits::Vec::lanes,
    .read = {read_loop<1, false>, read_loop<1, true>, read_loop<4, false>, read_loop<8, false>},
    .write = {write_loop<1, false>, write_loop<1, true>, write_loop<4, false>,
              write_loop<8, false>},
    .copy = {copy_loop<1, false>, copy_loop<1, true>, copy_loop<4, false>, copy_loop<8, false>},
    .update = {update_loop<1, false>, update_loop<1, true>, update_loop<4, false>,
               update_loop<8, false>},
};

}  // namespace lamella::kernels::LAMELLA_ISA_NAMESPACE
