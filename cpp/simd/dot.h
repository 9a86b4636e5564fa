// SPDX-License-Identifier: Apache-2.0
// Registers of bytes and of 32-bit sums: exact dot products of short integers, and moves of bytes.
//
// Beside simd/vec.h, for integer products and quantisation alone. A lane is a group of kDotTerms terms
// in four bytes: four of 8 bits where an instruction multiplies those, two of 16 bits elsewhere.
//   dot(sum, a, b)             each lane: sum + the group's products, exact modulo 2^32; terms of a are
//                              in [0, 255], of b in [-128, 127]
//   load_lanes(p) store_lanes(v, p)   lanes of 32 bits, any alignment
//   load_terms(p)              kDotTerms * lanes unsigned bytes as groups
//   kFlipTerms, kOneTerms      a group of 128s, of ones
//   interleave(p, step, flip, to)   kDotTerms rows of 16 bytes, `step` apart, each byte ^ flip and then
//                              taken as signed, to 16 groups of one column each: 64 bytes
//   multiply_low(a, b)         the low 32 bits of each product
//   load_bytes(p) store_bytes(v, p)   one byte a lane; loads extend, stores keep the low byte
#pragma once

#include "simd/vec.h"

#if defined(__AVX512F__) && defined(__AVX512BW__) && defined(__AVX512DQ__) && defined(__AVX512VL__)
#include "simd/avx512/dot.h"
#elif defined(__AVX2__) && defined(__FMA__)
#include "simd/avx2/dot.h"
#elif defined(__SSE2__)
#include "simd/sse2/dot.h"
#else
#error "no simd/<isa>/dot.h for this instruction set"
#endif

namespace lamella::simd::LAMELLA_ISA_NAMESPACE {

inline constexpr std::int32_t kOneTerms = kDotTerms == 4 ? 0x01010101 : 0x00010001;
// 0x80 in each byte, or in the low byte of each half.
inline constexpr std::int32_t kFlipTerms = kDotTerms == 4 ? -0x7f7f7f80 : 0x00800080;

}  // namespace lamella::simd::LAMELLA_ISA_NAMESPACE
