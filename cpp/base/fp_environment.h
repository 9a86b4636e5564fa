// SPDX-License-Identifier: Apache-2.0
// The floating-point environment of a team member: default while it computes, untouched afterwards.
//
// A caller may have switched on flush-to-zero, another rounding mode, or traps, and pool threads
// inherit whatever was set when they were made; results must depend on none of it. The guard saves
// the control register, sets the default (round to nearest, no flushing, all traps masked) and puts
// the saved value back, status flags included. write_control() is the only code that writes it.
#pragma once

#include <cstdint>

namespace lamella::base {

#if defined(__x86_64__)
inline constexpr std::uint32_t kDefaultControl = 0x1F80;  // MXCSR: masks set, all else zero
inline constexpr std::uint32_t kStatusFlags = 0x003F;     // sticky, without effect on results
inline std::uint32_t read_control() { return __builtin_ia32_stmxcsr(); }
#elif defined(__aarch64__)
inline constexpr std::uint32_t kDefaultControl = 0;  // FPCR; status flags live in FPSR
inline constexpr std::uint32_t kStatusFlags = 0;
inline std::uint32_t read_control() {
  std::uint64_t value = 0;
  __asm__ volatile("mrs %0, fpcr" : "=r"(value));
  return static_cast<std::uint32_t>(value);
}
#endif

void write_control(std::uint32_t value);

class FpEnvironment {
 public:
  FpEnvironment() : saved_(read_control()) {
    if ((saved_ & ~kStatusFlags) != kDefaultControl) write_control(kDefaultControl);
  }
  ~FpEnvironment() {
    // Reading is cheap, writing serialises: usually the inexact flag was set before us already.
    if (read_control() != saved_) write_control(saved_);
  }
  FpEnvironment(const FpEnvironment&) = delete;
  FpEnvironment& operator=(const FpEnvironment&) = delete;

 private:
  std::uint32_t saved_;
};

}  // namespace lamella::base
