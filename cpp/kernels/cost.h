// SPDX-License-Identifier: Apache-2.0
// What a kernel costs: nanoseconds an element, one figure for each instruction set, beside its name.
//
// Estimates of whole steps are made of them, and decide how many threads a program is worth; no bit
// depends on them. Measured by tests/cpp/cost_check.cpp (`make costs`) on one core of a Zen 4 server
// processor with arguments of ordinary size, 16,384 elements in the second-level cache.
#pragma once

#include "simd/vec.h"

namespace lamella::kernels::LAMELLA_ISA_NAMESPACE {

void a_cost_must_be_positive();  // never defined: whoever reaches it does not compile

class Nanoseconds {
 public:
  consteval Nanoseconds(double sse2, double avx2, double avx512)
      : here_(kRegister == 16   ? sse2
              : kRegister == 32 ? avx2
                                : avx512) {
    if (!(sse2 > 0 && avx2 > 0 && avx512 > 0)) a_cost_must_be_positive();
  }
  constexpr double here() const { return here_; }  // on the instruction set that is being compiled

 private:
  static constexpr size_t kRegister = sizeof(simd::LAMELLA_ISA_NAMESPACE::Vec<float>);
  double here_;
};

// The figure for elements of T, of those for float and for double.
template <class T>
consteval double cost(Nanoseconds single, Nanoseconds wide) {
  return sizeof(T) == sizeof(float) ? single.here() : wide.here();
}

}  // namespace lamella::kernels::LAMELLA_ISA_NAMESPACE
