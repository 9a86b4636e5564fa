// SPDX-License-Identifier: Apache-2.0
// simd/vec.h for plain x86-64 (SSE2): 4 floats or 2 doubles.
//
// There is no FMA instruction here, no blend and no rounding: fused.h, float.h and double.h make
// them.
#pragma once

#include "simd/sse2/double.h"
#include "simd/sse2/float.h"
#include "simd/sse2/fused.h"
#include "simd/sse2/integer.h"
#include "simd/sse2/lanes.h"
#include "simd/sse2/mask.h"

namespace lamella::simd::LAMELLA_ISA_NAMESPACE {

inline constexpr bool kHasFma = false;
inline constexpr bool kMaskedMoves = false;

}  // namespace lamella::simd::LAMELLA_ISA_NAMESPACE
