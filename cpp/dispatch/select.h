// SPDX-License-Identifier: Apache-2.0
// The kernel table in use: the best this machine runs, unless LAMELLA_ISA names another.
#pragma once

#include <string_view>
#include <vector>

#include "kernels/table.h"

namespace lamella::dispatch {

// Names of all instruction sets that run here, best last.
std::vector<const char*> isas();

// The table of that name. Throws std::invalid_argument with the choices when the name is unknown or
// the machine does not run it.
const kernels::KernelTable& table_of(std::string_view name);

// The table new programs use. The first call chooses; it throws like table_of() when LAMELLA_ISA
// asks for what is not there.
const kernels::KernelTable& selected();

// Chooses again: programs built from now on use it.
void select(std::string_view name);

}  // namespace lamella::dispatch
