// SPDX-License-Identifier: Apache-2.0
// The product kernels of one instruction set: compiled once per ISA. Scheduling flags stay at the
// compiler's default here: -fschedule-insns makes GCC 12 spill the accumulators.
#include "kernels/families.h"
#include "kernels/gemm/dot.h"
#include "kernels/gemm/gemm.h"
#include "kernels/gemm/pack.h"

namespace lamella::kernels::LAMELLA_ISA_NAMESPACE {

constinit const GemmKernels<float> kGemmF32 = {gemm<float>, dot<float>, pack_b<float>,
                                               pack_terms<float>};
constinit const GemmKernels<double> kGemmF64 = {gemm<double>, dot<double>, pack_b<double>,
                                                pack_terms<double>};

}  // namespace lamella::kernels::LAMELLA_ISA_NAMESPACE
