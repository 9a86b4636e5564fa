// SPDX-License-Identifier: Apache-2.0
// The quantisation kernels of one instruction set.
#include "kernels/families.h"
#include "kernels/quantize.h"

namespace lamella::kernels::LAMELLA_ISA_NAMESPACE {

template <class T>
static constexpr TypedQuantizeKernels<T> kTyped = {
    quantize<T, std::uint8_t>, quantize<T, std::int8_t>, dequantize<T, std::uint8_t>,
    dequantize<T, std::int8_t>, dequantize<T, std::int32_t>};

constinit const QuantizeKernels kQuantize = {
    .f32 = kTyped<float>, .f64 = kTyped<double>, .extremes = extremes};

}  // namespace lamella::kernels::LAMELLA_ISA_NAMESPACE
