// SPDX-License-Identifier: Apache-2.0
// The kernel families of one instruction set, by the names their translation units define them.
//
// instantiate_<family>.cpp each define their
// constants below once per ISA (separate units, because they want different scheduling flags);
// instantiate.cpp collects the addresses in kTable. Every definition must be constant-initialised
// (`constinit`): a dynamic initialiser would run vector code at load time on machines without it.
#pragma once

#include "kernels/table.h"

namespace lamella::kernels::LAMELLA_ISA_NAMESPACE {

extern const ElementwiseKernels<float> kElementwiseF32;
extern const ElementwiseKernels<double> kElementwiseF64;
extern const CastKernels kCastTable;
extern const RandomKernels<float> kRandomF32;
extern const RandomKernels<double> kRandomF64;

#define LAMELLA_EXTERN(tag, Type, name, kind)               \
  extern const ElementwiseKernels<Type> kElementwise_##tag; \
  extern const IntegerRowKernels<Type> kRows_##tag;
LAMELLA_INTEGERS(LAMELLA_EXTERN)
LAMELLA_TRUTH(LAMELLA_EXTERN)
#undef LAMELLA_EXTERN

extern const RowKernels<float> kRowsF32;
extern const RowKernels<double> kRowsF64;

extern const GemmKernels<float> kGemmF32;
extern const GemmKernels<double> kGemmF64;
extern const GemmKernels<float, Bfloat16, float> kGemmF32Bf16;

extern const IntegerGemmKernels kIntegerGemm;
extern const QuantizeKernels kQuantize;

extern const OptimizerKernels<float> kOptimizerF32;
extern const OptimizerKernels<double> kOptimizerF64;

extern const IndexingTable kIndexing;

extern const LimitKernels kLimits;

extern const KernelTable kTable;

}  // namespace lamella::kernels::LAMELLA_ISA_NAMESPACE
