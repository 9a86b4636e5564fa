// SPDX-License-Identifier: Apache-2.0
// One row per instruction set of cpp/isa.cmake, with its test.
#include "dispatch/cpu.h"

namespace lamella::kernels {
namespace baseline {
extern const KernelTable kTable;
}
namespace avx2 {
extern const KernelTable kTable;
}
}  // namespace lamella::kernels

namespace lamella::dispatch {
namespace {

constexpr IsaRow kRows[] = {
    {"baseline", [] { return true; }, &kernels::baseline::kTable},
    // The compiler's support code asks XGETBV too: AVX features are off when the system does not
    // save the upper halves. __builtin_cpu_supports knows no f16c before GCC 11.
    {"avx2",
     [] {
       return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
              __builtin_cpu_supports("f16c") && __builtin_cpu_supports("bmi2");
     },
     &kernels::avx2::kTable},
};

}  // namespace

std::span<const IsaRow> isa_rows() {
  __builtin_cpu_init();
  return kRows;
}

}  // namespace lamella::dispatch
