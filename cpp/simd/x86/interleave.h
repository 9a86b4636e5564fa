// SPDX-License-Identifier: Apache-2.0
// Rows of 16 bytes side by side, with instructions that every x86-64 processor has.
//
// Shared by the instruction sets that multiply groups of four bytes and of two halves.
// The contract is in simd/dot.h.
#pragma once

#include <emmintrin.h>

#include "simd/vec.h"

namespace lamella::simd::LAMELLA_ISA_NAMESPACE {

[[gnu::always_inline]] inline __m128i flipped_row(const std::uint8_t* p, std::uint8_t flip) {
  const __m128i row = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
  return _mm_xor_si128(row, _mm_set1_epi8(static_cast<char>(flip)));
}

[[gnu::always_inline]] inline void put16(std::uint8_t* to, size_t part, __m128i v) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(to) + part, v);
}

// to[4 j + i] = byte j of row i.
[[gnu::always_inline]] inline void interleave_bytes(const std::uint8_t* p, std::ptrdiff_t step,
                                                    std::uint8_t flip, std::uint8_t* to) {
  const __m128i a = flipped_row(p, flip), b = flipped_row(p + step, flip);
  const __m128i c = flipped_row(p + 2 * step, flip), d = flipped_row(p + 3 * step, flip);
  const __m128i ab = _mm_unpacklo_epi8(a, b), cd = _mm_unpacklo_epi8(c, d);
  const __m128i ab_high = _mm_unpackhi_epi8(a, b), cd_high = _mm_unpackhi_epi8(c, d);
  put16(to, 0, _mm_unpacklo_epi16(ab, cd));
  put16(to, 1, _mm_unpackhi_epi16(ab, cd));
  put16(to, 2, _mm_unpacklo_epi16(ab_high, cd_high));
  put16(to, 3, _mm_unpackhi_epi16(ab_high, cd_high));
}

// Halves: to[2 j + i] = byte j of row i, with its sign.
[[gnu::always_inline]] inline void interleave_halves(const std::uint8_t* p, std::ptrdiff_t step,
                                                     std::uint8_t flip, std::uint8_t* to) {
  const __m128i a = flipped_row(p, flip), b = flipped_row(p + step, flip);
  const auto low = [](__m128i x) { return _mm_srai_epi16(_mm_unpacklo_epi8(x, x), 8); };
  const auto high = [](__m128i x) { return _mm_srai_epi16(_mm_unpackhi_epi8(x, x), 8); };
  put16(to, 0, _mm_unpacklo_epi16(low(a), low(b)));
  put16(to, 1, _mm_unpackhi_epi16(low(a), low(b)));
  put16(to, 2, _mm_unpacklo_epi16(high(a), high(b)));
  put16(to, 3, _mm_unpackhi_epi16(high(a), high(b)));
}

}  // namespace lamella::simd::LAMELLA_ISA_NAMESPACE
