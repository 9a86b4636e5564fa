// SPDX-License-Identifier: Apache-2.0
// The one audited writer of the floating-point control register.
#include "base/fp_environment.h"

namespace lamella::base {

void write_control(std::uint32_t value) {
#if defined(__x86_64__)
  __builtin_ia32_ldmxcsr(value);
#elif defined(__aarch64__)
  __asm__ volatile("msr fpcr, %0" : : "r"(static_cast<std::uint64_t>(value)));
#endif
}

}  // namespace lamella::base
