// SPDX-License-Identifier: Apache-2.0
// Chooses a table by name or by rank.
#include "dispatch/select.h"

#include <atomic>
#include <cstdlib>
#include <stdexcept>
#include <string>

#include "dispatch/cpu.h"

namespace lamella::dispatch {
namespace {

std::atomic<const kernels::KernelTable*> choice{nullptr};

[[noreturn]] void refuse(std::string_view name, const char* why) {
  std::string choices;
  for (const char* isa : isas()) choices += (choices.empty() ? "" : ", ") + std::string(isa);
  throw std::invalid_argument("isa: " + std::string(why) + "; got '" + std::string(name) +
                              "'; expected one of " + choices);
}

const kernels::KernelTable& choose() {
  const char* wanted = std::getenv("LAMELLA_ISA");
  if (wanted == nullptr || *wanted == '\0') return table_of(isas().back());
  try {
    return table_of(wanted);
  } catch (const std::invalid_argument& error) {
    throw std::invalid_argument("environment variable LAMELLA_ISA: " + std::string(error.what()));
  }
}

}  // namespace

std::vector<const char*> isas() {
  std::vector<const char*> names;
  for (const IsaRow& row : isa_rows()) {
    if (row.runs_here()) names.push_back(row.name);
  }
  return names;
}

const kernels::KernelTable& table_of(std::string_view name) {
  for (const IsaRow& row : isa_rows()) {
    if (name != row.name) continue;
    if (!row.runs_here()) refuse(name, "this machine does not run that instruction set");
    return row.table();
  }
  refuse(name, "no such instruction set");
}

const kernels::KernelTable& selected() {
  const kernels::KernelTable* table = choice.load(std::memory_order_acquire);
  if (table == nullptr) {
    table = &choose();
    choice.store(table, std::memory_order_release);
  }
  return *table;
}

void select(std::string_view name) { choice.store(&table_of(name), std::memory_order_release); }

}  // namespace lamella::dispatch
