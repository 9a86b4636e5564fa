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
namespace avx512_vnni {
extern const IntegerGemmKernels kIntegerGemm;
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

bool has_avx512_vnni() { return has_avx512() && __builtin_cpu_supports("avx512vnni"); }

// That of AVX-512, with the products of bytes for which it has an instruction.
const kernels::KernelTable& avx512_vnni_table() {
  static const kernels::KernelTable table = [] {
    kernels::KernelTable made = kernels::avx512::kTable;
    made.isa = "avx512_vnni";
    made.integer_gemm = &kernels::avx512_vnni::kIntegerGemm;
    return made;
  }();
  return table;
}

constexpr IsaRow kRows[] = {
    {"baseline", [] { return true; }, []() -> auto& { return kernels::baseline::kTable; }},
    {"avx2", has_avx2, []() -> auto& { return kernels::avx2::kTable; }},
    {"avx512", has_avx512, []() -> auto& { return kernels::avx512::kTable; }},
    {"avx512_vnni", has_avx512_vnni, avx512_vnni_table},
};

}  // namespace

std::span<const IsaRow> isa_rows() {
  __builtin_cpu_init();
  return kRows;
}

}  // namespace lamella::dispatch
