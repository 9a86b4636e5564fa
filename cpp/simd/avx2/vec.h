// SPDX-License-Identifier: Apache-2.0
// simd/vec.h for AVX2 with FMA: 8 floats or 4 doubles.
//
// Partial loads and stores are built from 4-, 8- and 16-byte moves: a masked move is fault-free on
// hardware at the end of a page, but not under every emulator.
#pragma once

#include "simd/avx2/double.h"
#include "simd/avx2/float.h"
#include "simd/avx2/integer.h"
#include "simd/avx2/lanes.h"
#include "simd/avx2/mask.h"

namespace lamella::simd::LAMELLA_ISA_NAMESPACE {

inline constexpr bool kHasFma = true;
inline constexpr bool kMaskedMoves = false;

}  // namespace lamella::simd::LAMELLA_ISA_NAMESPACE
