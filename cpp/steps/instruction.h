// SPDX-License-Identifier: Apache-2.0
// One instruction of an elementwise chain: found by name once, then called on blocks.
//
// The names are the kernel families' own (unary, binary, compare, logical, joined) and "select" and
// "cast".
// An operation calls its kernel through one typed adapter, so that the interpreter's loop is the
// same for every family and type.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "kernels/table.h"
#include "steps/dtype.h"

namespace lamella::steps {

// result = op(args); dtype is the result's. Args name earlier registers of the chain.
struct Instruction {
  std::string op;
  DType dtype;
  std::vector<std::size_t> args;
  std::vector<double> params;

  bool operator==(const Instruction&) const = default;
};

struct Operation {
  static constexpr std::size_t kMaxArgs = 4;
  static constexpr std::size_t kMaxParams = 4;
  using AnyKernel = void (*)();
  using Invoke = void (*)(const Operation& operation, std::byte* const* at, std::size_t n);

  Invoke invoke = nullptr;
  AnyKernel kernel = nullptr;
  double cost = 0;          // nanoseconds an element
  bool broadcasts = false;  // whether the kernel reads a step of 0
  bool uniform = false;     // one value serves the whole block, so only that one is computed
  std::size_t arg_count = 0;
  std::size_t args[kMaxArgs] = {};
  std::ptrdiff_t steps[kMaxArgs] = {};  // 0: the register holds one value, 1: one per element
  std::size_t result = 0;
  alignas(8) std::byte params[kMaxParams * 8] = {};  // of the kernel's own type

  // Calls the kernel on n elements of the registers at these addresses.
  void run(std::byte* const* at, std::size_t n) const { invoke(*this, at, uniform ? 1 : n); }
};

// The same code with fewer passes: what a kernel of the joined family does at once is one
// instruction, where nothing else reads the results between.
std::vector<Instruction> join(const std::vector<Instruction>& code,
                              const std::vector<DType>& operands);

// Looks the instruction up; args, result and steps are the caller's to fill. Throws
// std::invalid_argument when there is no such kernel for the types or a count is wrong.
Operation find_operation(const kernels::KernelTable& table, const Instruction& instruction,
                         const std::vector<DType>& arg_types);

}  // namespace lamella::steps
