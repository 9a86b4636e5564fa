// SPDX-License-Identifier: Apache-2.0
// Loops that do nothing but reach a limit of the core, to be timed: multiply-adds, and memory that
// is read, written, copied or updated in place.
//
// They are kernels like any other, so that a limit holds for the instruction set in use, and store
// as all kernels here do, past no cache. The sums are returned only to keep the compiler from
// removing the work.
#pragma once

#include "kernels/fold.h"
#include "kernels/table.h"
#include "simd/dot.h"
#include "simd/vec.h"

namespace lamella::kernels::LAMELLA_ISA_NAMESPACE {

namespace limits {

using Vec = simd::LAMELLA_ISA_NAMESPACE::Vec<float>;

// Independent chains: a fused multiply-add takes four or five cycles and two start in each, so
// eight to ten hide the latency; twelve leave four of sixteen registers free.
inline constexpr size_t kChains = 12;

// Dot products need a register each for what they multiply; four cycles, of which two start in each.
inline constexpr size_t kDotChains = 10;

// Registers in a turn of a loop through memory; eight cover the latency of the additions that
// consume two loads a cycle.
inline constexpr size_t kGroup = 8;

// How far ahead of a single stream its lines are asked for, in floats: 1 KB.
inline constexpr size_t kAhead = 256;

[[gnu::always_inline]] inline float total(const Vec* values, size_t count) {
  Vec sum = values[0];
  for (size_t i = 1; i < count; ++i) sum = sum + values[i];
  return simd::LAMELLA_ISA_NAMESPACE::fold_lanes(sum, [](Vec a, Vec b) { return a + b; });
}

// Visits [0, n), rounded down to whole turns, in `Streams` parts side by side: visit(i, at) takes
// register i of a turn, at element `at`. Which number of streams is the fastest, and whether it
// helps to ask for lines ahead, depends on the machine and on how far the memory is.
template <size_t Streams, bool Ask, class Visit>
[[gnu::always_inline]] inline void walk(const float* asked, size_t n, Visit visit) {
  constexpr size_t registers = kGroup / Streams;
  constexpr size_t step = registers * Vec::lanes;
  const size_t part = n / Streams / step * step;
  for (size_t at = 0; at < part; at += step) {
    if constexpr (Ask) {
      constexpr size_t line = 64 / sizeof(float);
#pragma GCC unroll 8
      for (size_t j = 0; j < step; j += line) prefetch(asked + at + j, kAhead);
    }
#pragma GCC unroll 8
    for (size_t s = 0; s < Streams; ++s) {
#pragma GCC unroll 8
      for (size_t i = 0; i < registers; ++i) {
        visit(s * registers + i, s * part + at + i * Vec::lanes);
      }
    }
  }
}

}  // namespace limits

// `iterations` rounds of one multiply-add in every chain. The factor is below one: no overflow,
// no subnormal.
inline float multiply_add_loop(size_t iterations, float factor, float term) {
  using limits::Vec;
  const Vec a = Vec::broadcast(factor), b = Vec::broadcast(term);
  Vec chain[limits::kChains];
#pragma GCC unroll 16
  for (size_t i = 0; i < limits::kChains; ++i) chain[i] = Vec::broadcast(static_cast<float>(i));
  for (size_t step = 0; step < iterations; ++step) {
#pragma GCC unroll 16
    for (size_t i = 0; i < limits::kChains; ++i) chain[i] = mul_add(chain[i], a, b);
  }
  return limits::total(chain, limits::kChains);
}

// The same of integers: each lane of a chain takes in the products of one group of bytes, its own and
// those of `factor`; what is multiplied differs everywhere, or the compiler would multiply once.
inline std::int32_t dot_loop(size_t iterations, std::int32_t factor) {
  using Sums = simd::LAMELLA_ISA_NAMESPACE::VecInt<float>;
  const Sums right = Sums::broadcast(factor);
  Sums chain[limits::kDotChains];
#pragma GCC unroll 16
  for (size_t i = 0; i < limits::kDotChains; ++i) {
    chain[i] = Sums::broadcast(static_cast<std::int32_t>(i));
  }
  for (size_t step = 0; step < iterations; ++step) {
#pragma GCC unroll 16
    for (size_t i = 0; i < limits::kDotChains; ++i) {
      chain[i] = simd::LAMELLA_ISA_NAMESPACE::dot(chain[i], chain[i], right);
    }
  }
#pragma GCC unroll 16
  for (size_t i = 1; i < limits::kDotChains; ++i) chain[0] = chain[0] + chain[i];
  std::int32_t lanes[Sums::lanes];
  simd::LAMELLA_ISA_NAMESPACE::store_lanes(chain[0], lanes);
  return lanes[0];
}

// Sum of x[0, n).
template <size_t Streams, bool Ask>
inline float read_loop(const float* x, size_t n) {
  using limits::Vec;
  Vec sum[limits::kGroup];
#pragma GCC unroll 8
  for (size_t i = 0; i < limits::kGroup; ++i) sum[i] = Vec::zero();
  limits::walk<Streams, Ask>(x, n, [&](size_t i, size_t at) __attribute__((always_inline)) {
    sum[i] = sum[i] + Vec::load(x + at);
  });
  return limits::total(sum, limits::kGroup);
}

// y[0, n) = value.
template <size_t Streams, bool Ask>
inline void write_loop(float value, float* y, size_t n) {
  using limits::Vec;
  const Vec all = Vec::broadcast(value);
  limits::walk<Streams, Ask>(
      y, n, [&](size_t, size_t at) __attribute__((always_inline)) { all.store(y + at); });
}

// y[0, n) = x[0, n).
template <size_t Streams, bool Ask>
inline void copy_loop(const float* x, float* y, size_t n) {
  using limits::Vec;
  limits::walk<Streams, Ask>(x, n, [&](size_t, size_t at) __attribute__((always_inline)) {
    Vec::load(x + at).store(y + at);
  });
}

// x[0, n) *= factor.
template <size_t Streams, bool Ask>
inline void update_loop(float factor, float* x, size_t n) {
  using limits::Vec;
  const Vec all = Vec::broadcast(factor);
  limits::walk<Streams, Ask>(x, n, [&](size_t, size_t at) __attribute__((always_inline)) {
    (Vec::load(x + at) * all).store(x + at);
  });
}

}  // namespace lamella::kernels::LAMELLA_ISA_NAMESPACE
