// SPDX-License-Identifier: Apache-2.0
// The product kernels of one instruction set: compiled once per ISA. Scheduling flags stay at the
// compiler's default here: -fschedule-insns makes GCC 12 spill the accumulators.
#include "kernels/families.h"
#include "kernels/gemm/loops.h"
#include "kernels/gemm/pack.h"

namespace lamella::kernels::LAMELLA_ISA_NAMESPACE {

constinit const GemmKernels<float> kGemmF32 = {multiply<float>, pack_b<float>, pack_terms<float>,
                                               kFacts<float>};
constinit const GemmKernels<double> kGemmF64 = {multiply<double>, pack_b<double>,
                                                pack_terms<double>, kFacts<double>};
constinit const GemmKernels<float, Bfloat16, float> kGemmF32Bf16 = {
    multiply<float, Bfloat16>, pack_pairs, widen_terms, kPairFacts};

}  // namespace lamella::kernels::LAMELLA_ISA_NAMESPACE
