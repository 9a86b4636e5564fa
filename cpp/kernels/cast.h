// SPDX-License-Identifier: Apache-2.0
// Conversions between element types: round to nearest even; truth is "not zero", so NaN is true.
#pragma once

#include "kernels/table.h"

namespace lamella::kernels::LAMELLA_ISA_NAMESPACE {

template <class From, class To>
void cast(const From* __restrict x, To* __restrict y, size_t n) {
  for (size_t i = 0; i < n; ++i) y[i] = static_cast<To>(x[i]);
}

template <class From>
void cast_to_truth(const From* __restrict x, std::uint8_t* __restrict y, size_t n) {
  for (size_t i = 0; i < n; ++i) y[i] = x[i] != From(0);
}

}  // namespace lamella::kernels::LAMELLA_ISA_NAMESPACE
