// SPDX-License-Identifier: Apache-2.0
// The products of bytes of one instruction set; of AVX-512 once more with VNNI (cpp/isa.cmake).
#include "kernels/families.h"
#include "kernels/gemm/integer.h"
#include "kernels/limits.h"

namespace lamella::kernels::LAMELLA_ISA_NAMESPACE {

constinit const IntegerGemmKernels kIntegerGemm = {
    .terms = integer::kDotTerms,
    .gemm = integer_gemm,
    .pack_rows = integer_pack_rows,
    .pack_panels = integer_pack_panels,
    .multiply_add = dot_loop,
    .operations_per_iteration = 2 * limits::kDotChains * integer::kLanes * integer::kDotTerms,
};

}  // namespace lamella::kernels::LAMELLA_ISA_NAMESPACE
