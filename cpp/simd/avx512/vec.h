// SPDX-License-Identifier: Apache-2.0
// simd/vec.h for AVX-512 (F, BW, DQ, VL): 16 floats or 8 doubles.
//
// A register is as wide as the virtual one of every reduction and as a packed panel. Partial loads
// and stores are masked moves, which touch nothing outside their mask.
#pragma once

#include "simd/avx512/double.h"
#include "simd/avx512/float.h"
#include "simd/avx512/integer.h"
#include "simd/avx512/lanes.h"
#include "simd/avx512/mask.h"

namespace lamella::simd::LAMELLA_ISA_NAMESPACE {

inline constexpr bool kHasFma = true;
inline constexpr bool kMaskedMoves = true;

}  // namespace lamella::simd::LAMELLA_ISA_NAMESPACE
