// SPDX-License-Identifier: Apache-2.0
// Loops that do nothing but reach a limit of the core, to be timed: multiply-adds, reads, copies.
//
// They are kernels like any other, so that a limit holds for the instruction set in use. The sums
// are returned only to keep the compiler from removing the work.
#pragma once

#include "kernels/table.h"
#include "simd/vec.h"

namespace lamella::kernels::LAMELLA_ISA_NAMESPACE {

namespace limits {

using Vec = simd::LAMELLA_ISA_NAMESPACE::Vec<float>;

// Independent chains: a fused multiply-add takes four or five cycles and two start in each, so
// eight to ten hide the latency; twelve leave four of sixteen registers free.
inline constexpr size_t kChains = 12;

// One load a chain; eight cover the latency of the additions that consume two loads a cycle.
inline constexpr size_t kStreams = 8;

[[gnu::always_inline]] inline float total(const Vec* values, size_t count) {
  Vec sum = values[0];
  for (size_t i = 1; i < count; ++i) sum = sum + values[i];
  return simd::LAMELLA_ISA_NAMESPACE::fold_lanes(sum, [](Vec a, Vec b) { return a + b; });
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

// Sum of x[0, n), n rounded down to whole groups of kStreams registers.
inline float read_loop(const float* x, size_t n) {
  using limits::Vec;
  Vec sum[limits::kStreams];
#pragma GCC unroll 8
  for (size_t i = 0; i < limits::kStreams; ++i) sum[i] = Vec::zero();
  const size_t group = limits::kStreams * Vec::lanes;
  for (size_t at = 0; at + group <= n; at += group) {
#pragma GCC unroll 8
    for (size_t i = 0; i < limits::kStreams; ++i) {
      sum[i] = sum[i] + Vec::load(x + at + i * Vec::lanes);
    }
  }
  return limits::total(sum, limits::kStreams);
}

// y[0, n) = x[0, n), n rounded down to whole groups of kStreams registers. In L1 it is faster than
// the C library's memcpy, which moves 32 bytes at a time.
inline void copy_loop(const float* x, float* y, size_t n) {
  using limits::Vec;
  const size_t group = limits::kStreams * Vec::lanes;
  for (size_t at = 0; at + group <= n; at += group) {
#pragma GCC unroll 8
    for (size_t i = 0; i < limits::kStreams; ++i) {
      Vec::load(x + at + i * Vec::lanes).store(y + at + i * Vec::lanes);
    }
  }
}

}  // namespace lamella::kernels::LAMELLA_ISA_NAMESPACE
