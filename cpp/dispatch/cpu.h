// SPDX-License-Identifier: Apache-2.0
// The instruction sets the library was built for, and whether this machine runs them.
#pragma once

#include <span>

#include "kernels/table.h"

namespace lamella::dispatch {

struct IsaRow {
  const char* name;
  bool (*runs_here)();  // the processor has it and the operating system saves its registers
  const kernels::KernelTable& (*table)();
};

// All rows, from the oldest machine to the newest; the first runs everywhere.
std::span<const IsaRow> isa_rows();

}  // namespace lamella::dispatch
