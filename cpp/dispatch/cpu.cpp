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
namespace avx512 {
extern const KernelTable kTable;
}
}  // namespace lamella::kernels

namespace lamella::dispatch {
namespace {

// The compiler's support code asks XGETBV too: AVX features are off when the system does not save
// the upper halves. __builtin_cpu_supports knows no f16c before GCC 11.
bool has_avx2() {
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
         __builtin_cpu_supports("f16c") && __builtin_cpu_supports("bmi2");
}

bool has_avx512() {
  return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
}

constexpr IsaRow kRows[] = {
    {"baseline", [] { return true; }, &kernels::baseline::kTable},
    {"avx2", has_avx2, &kernels::avx2::kTable},
    {"avx512", has_avx512, &kernels::avx512::kTable},
};

}  // namespace

std::span<const IsaRow> isa_rows() {
  __builtin_cpu_init();
  return kRows;
}

}  // namespace lamella::dispatch
