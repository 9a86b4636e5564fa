// SPDX-License-Identifier: Apache-2.0
// Random numbers by Philox 4x32-10 (Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as
// 1, 2, 3", 2011): a block cipher of a counter, so that element i's words depend on nothing but
// (key, stream, i), and any part of an array can be computed by any thread.
//
// Word i is word i % 4 of the block with counter {i / 4, stream}, each 64 bits, low word first; the
// key is {low, high} of `key`. An element takes as many words as it has, in order.
#pragma once

#include "kernels/table.h"
#include "simd/math.h"
#include "simd/vec.h"

namespace lamella::kernels::LAMELLA_ISA_NAMESPACE {

using simd::LAMELLA_ISA_NAMESPACE::Vec;
using simd::LAMELLA_ISA_NAMESPACE::VecInt;

// Blocks computed side by side: one to a 64-bit lane, in `sets` of registers.
inline constexpr size_t kPhiloxLanes = VecInt<double>::lanes;
inline constexpr size_t kPhiloxSets = kPhiloxLanes / 2;
inline constexpr size_t kPhiloxBlocks = kPhiloxLanes * kPhiloxSets;

// words[4 j + w] = word w of block first_block + j, for kPhiloxBlocks blocks.
[[gnu::always_inline]] inline void philox(std::uint64_t key, std::uint64_t stream,
                                          std::uint64_t first_block,
                                          std::uint32_t (&words)[4 * kPhiloxBlocks]) {
  using I = VecInt<double>;
  using simd::LAMELLA_ISA_NAMESPACE::shift_left;
  using simd::LAMELLA_ISA_NAMESPACE::shift_right;
  constexpr std::uint32_t kStep0 = 0x9E3779B9, kStep1 = 0xBB67AE85;  // golden ratio, sqrt(3) - 1
  const I multiplier0 = I::broadcast(0xD2511F53), multiplier2 = I::broadcast(0xCD9E8D57);
  // A word is the low half of its lane; what the high half holds is never looked at.
  I word[kPhiloxSets][4];
#pragma GCC unroll 4
  for (size_t s = 0; s < kPhiloxSets; ++s) {
    // Lane l of set s is block kPhiloxSets l + s: the transposition below then leaves the words in
    // order.
    std::uint64_t block[kPhiloxLanes];
    for (size_t l = 0; l < kPhiloxLanes; ++l) block[l] = first_block + kPhiloxSets * l + s;
    double lanes[kPhiloxLanes];
    __builtin_memcpy(lanes, block, sizeof lanes);
    word[s][0] = bits(Vec<double>::load(lanes));
    word[s][1] = shift_right<32>(word[s][0]);
    word[s][2] = I::broadcast(static_cast<std::int64_t>(stream));
    word[s][3] = shift_right<32>(word[s][2]);
  }
  std::uint32_t key0 = static_cast<std::uint32_t>(key);
  std::uint32_t key1 = static_cast<std::uint32_t>(key >> 32);
#pragma GCC unroll 10
  for (int round = 0; round < 10; ++round) {
#pragma GCC unroll 4
    for (size_t s = 0; s < kPhiloxSets; ++s) {
      const I product0 = multiply_low32(word[s][0], multiplier0);
      const I product2 = multiply_low32(word[s][2], multiplier2);
      word[s][0] = shift_right<32>(product2) ^ word[s][1] ^ I::broadcast(key0);
      word[s][2] = shift_right<32>(product0) ^ word[s][3] ^ I::broadcast(key1);
      word[s][1] = product2;
      word[s][3] = product0;
    }
    key0 += kStep0;
    key1 += kStep1;
  }
  const I low_half = I::broadcast(0xFFFFFFFF);
  Vec<double> rows[kPhiloxLanes];
#pragma GCC unroll 4
  for (size_t s = 0; s < kPhiloxSets; ++s) {
    rows[2 * s] = from_bits((word[s][0] & low_half) | shift_left<32>(word[s][1]));
    rows[2 * s + 1] = from_bits((word[s][2] & low_half) | shift_left<32>(word[s][3]));
  }
  transpose(rows);
  double ordered[2 * kPhiloxBlocks];
#pragma GCC unroll 8
  for (size_t l = 0; l < kPhiloxLanes; ++l) rows[l].store(ordered + l * kPhiloxLanes);
  __builtin_memcpy(words, ordered, sizeof words);
}

template <class T>
void dropout(const T* x, T* y, size_t n, std::uint64_t first, std::uint64_t key,
             std::uint64_t stream, std::uint32_t threshold, T scale) {
  constexpr size_t kWords = 4 * kPhiloxBlocks;
  std::uint32_t words[kWords];
  size_t skip = first % 4;  // words of the first block that belong to elements before `first`
  std::uint64_t block = first / 4;
  for (size_t i = 0; i < n; block += kPhiloxBlocks) {
    philox(key, stream, block, words);
    if (skip == 0 && n - i >= kWords) {
      for (size_t j = 0; j < kWords; ++j) {
        y[i + j] = words[j] >= threshold ? x[i + j] * scale : T(0);
      }
      i += kWords;
      continue;
    }
    const size_t left = n - i, count = left < kWords - skip ? left : kWords - skip;
    for (size_t j = 0; j < count; ++j) {
      y[i + j] = words[skip + j] >= threshold ? x[i + j] * scale : T(0);
    }
    i += count;
    skip = 0;
  }
}

// Words that are drawn at a time, and how many elements of T they make.
inline constexpr size_t kDrawnWords = 4 * kPhiloxBlocks;
template <class T>
inline constexpr size_t kDrawn = kDrawnWords * sizeof(std::uint32_t) / sizeof(T);

// y[i] = element first + i of what Form::fill makes of all words.
template <class T, class Form>
void draw(T* y, size_t n, std::uint64_t first, std::uint64_t key, std::uint64_t stream) {
  constexpr size_t kInBlock = kDrawn<T> / kPhiloxBlocks;
  std::uint32_t words[kDrawnWords];
  size_t skip = first % kInBlock;  // of the first block, elements before `first`
  std::uint64_t block = first / kInBlock;
  for (size_t i = 0; i < n; block += kPhiloxBlocks) {
    philox(key, stream, block, words);
    if (skip == 0 && n - i >= kDrawn<T>) {
      Form::fill(words, y + i);
      i += kDrawn<T>;
      continue;
    }
    T drawn[kDrawn<T>];
    Form::fill(words, drawn);
    const size_t left = n - i, count = left < kDrawn<T> - skip ? left : kDrawn<T> - skip;
    for (size_t j = 0; j < count; ++j) y[i + j] = drawn[skip + j];
    i += count;
    skip = 0;
  }
}

// Two words as one number, the first one low.
[[gnu::always_inline]] inline std::uint64_t joined_words(const std::uint32_t* words) {
  return words[0] | std::uint64_t{words[1]} << 32;
}

// Multiples of 2^-24 or 2^-53 in [0, 1), all equally likely.
template <class T>
struct Uniform;
template <>
struct Uniform<float> {
  [[gnu::always_inline]] static void fill(const std::uint32_t* words, float* y) {
    for (size_t j = 0; j < kDrawn<float>; ++j) {
      y[j] = static_cast<float>(static_cast<std::int32_t>(words[j] >> 8)) * 0x1p-24F;
    }
  }
};
template <>
struct Uniform<double> {
  [[gnu::always_inline]] static void fill(const std::uint32_t* words, double* y) {
    for (size_t j = 0; j < kDrawn<double>; ++j) {
      y[j] = static_cast<double>(static_cast<std::int64_t>(joined_words(words + 2 * j) >> 11)) *
             0x1p-53;
    }
  }
};

// Of a pair of elements: a radius' probability in (0, 1], and a share of half a turn in [-1, 1].
// Both lie in the middle of their cell, so that neither end is met more often than the other.
[[gnu::always_inline]] inline void pair_of(const std::uint32_t* words, float& tail, float& turn) {
  tail = static_cast<float>(words[0]) * 0x1p-32F + 0x1p-33F;
  turn = static_cast<float>(static_cast<std::int32_t>(words[1])) * 0x1p-31F + 0x1p-32F;
}
[[gnu::always_inline]] inline void pair_of(const std::uint32_t* words, double& tail, double& turn) {
  const auto high = static_cast<std::int64_t>(joined_words(words) >> 11);
  const auto whole = static_cast<std::int64_t>(joined_words(words + 2)) >> 11;
  tail = static_cast<double>(high) * 0x1p-53 + 0x1p-54;
  turn = static_cast<double>(whole) * 0x1p-52 + 0x1p-53;
}

// Standard normal numbers, two from two: radius * cos(angle) and radius * sin(angle) (Box and Muller,
// "A note on the generation of random normal deviates", 1958). None is larger than 6.77 in float,
// 8.66 in double.
template <class T>
struct Normal {
  [[gnu::always_inline]] static void fill(const std::uint32_t* words, T* y) {
    using simd::LAMELLA_ISA_NAMESPACE::cos;
    using simd::LAMELLA_ISA_NAMESPACE::log;
    using simd::LAMELLA_ISA_NAMESPACE::sin;
    using simd::LAMELLA_ISA_NAMESPACE::sqrt;
    constexpr size_t kPairs = kDrawn<T> / 2, kWords = 2 * sizeof(T) / sizeof(std::uint32_t);
    T tails[kPairs], turns[kPairs];
    for (size_t j = 0; j < kPairs; ++j) pair_of(words + kWords * j, tails[j], turns[j]);
    for (size_t j = 0; j < kPairs; j += Vec<T>::lanes) {
      const Vec<T> radius =
          sqrt(log(Vec<T>::load(tails + j)) * Vec<T>::broadcast(static_cast<T>(-2)));
      const Vec<T> angle = Vec<T>::load(turns + j) * Vec<T>::broadcast(T(3.14159265358979323846));
      (radius * cos(angle)).store(tails + j);
      (radius * sin(angle)).store(turns + j);
    }
    for (size_t j = 0; j < kPairs; ++j) {
      y[2 * j] = tails[j];
      y[2 * j + 1] = turns[j];
    }
  }
};

template <class T>
void uniform(T* y, size_t n, std::uint64_t first, std::uint64_t key, std::uint64_t stream) {
  draw<T, Uniform<T>>(y, n, first, key, stream);
}

template <class T>
void normal(T* y, size_t n, std::uint64_t first, std::uint64_t key, std::uint64_t stream) {
  draw<T, Normal<T>>(y, n, first, key, stream);
}

}  // namespace lamella::kernels::LAMELLA_ISA_NAMESPACE
