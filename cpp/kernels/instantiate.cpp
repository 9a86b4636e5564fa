// SPDX-License-Identifier: Apache-2.0
// The table of one instruction set: compiled once per ISA, holding addresses and nothing to run.
#include "kernels/families.h"
#include "simd/vec.h"

#define LAMELLA_STRING_OF(name) #name
#define LAMELLA_NAME_OF(macro) LAMELLA_STRING_OF(macro)

namespace lamella::kernels::LAMELLA_ISA_NAMESPACE {

inline constexpr size_t kVectorBytes =
    sizeof(float) * simd::LAMELLA_ISA_NAMESPACE::Vec<float>::lanes;

constinit const KernelTable kTable = {
    .isa = LAMELLA_NAME_OF(LAMELLA_ISA_NAMESPACE),
    .vector_bytes = kVectorBytes,
    .fused_multiply_add = simd::LAMELLA_ISA_NAMESPACE::kHasFma,
    .f32 = {&kElementwiseF32, &kRandomF32, &kRowsF32, &kOptimizerF32},
    .f64 = {&kElementwiseF64, &kRandomF64, &kRowsF64, &kOptimizerF64},
#define LAMELLA_INTEGER(tag, Type, name, kind) .tag = {&kElementwise_##tag, &kRows_##tag},
    LAMELLA_INTEGERS(LAMELLA_INTEGER) LAMELLA_TRUTH(LAMELLA_INTEGER)
#undef LAMELLA_INTEGER
        .product = {&kGemmF32, &kGemmF64, &kGemmF32Bf16},
    .cast = &kCastTable,
    .integer_gemm = &kIntegerGemm,
    .quantize = &kQuantize,
    .limits = &kLimits,
    .indexing = &kIndexing,
};

}  // namespace lamella::kernels::LAMELLA_ISA_NAMESPACE
