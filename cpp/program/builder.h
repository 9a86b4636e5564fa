// SPDX-License-Identifier: Apache-2.0
// Collects steps and the arrays they work on, checks them, and turns them into a Program.
//
// Buffers are numbered in the order of a Frame: 0 is the arena, then the inputs, the outputs, and
// then constants and prepared arrays as they are added. Every array that a step touches is checked
// when it is added; nothing is checked any more while running. No Python in here: an owner of foreign
// memory is a shared_ptr<const void>.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "kernels/table.h"
#include "steps/dtype.h"
#include "steps/recipe.h"
#include "steps/step.h"

namespace lamella::program {

class Program;
using steps::Slot;

// One input or output: C-contiguous, of exactly this type and shape.
struct ArraySpec {
  steps::DType dtype = steps::DType::f32;
  std::vector<std::size_t> shape;
  std::size_t bytes = 0;
};
ArraySpec make_array_spec(steps::DType dtype, std::vector<std::size_t> shape);

// Fills a prepared array: the sources are its buffers 0, 1, ... in the order given to add_prepared,
// the array is the one behind them. Run by a team, without barriers, before the first run that needs
// the array and whenever the version of a source has changed.
using Prepare = std::shared_ptr<const steps::Step>;

// What a run does with a constant.
enum class Access : std::uint8_t {
  read,    // reads it before the first step that writes a constant; void if it changed meanwhile
  hold,    // reads it anywhere, and keeps others from changing it meanwhile
  update,  // writes it, and advances its version
};

// Memory outside the program that a run reads or updates.
struct ConstantArray {
  std::byte* data = nullptr;
  std::size_t bytes = 0;
  std::int64_t* version = nullptr;    // null: never changes
  std::shared_ptr<const void> owner;  // keeps data and version alive
  Access access = Access::read;
  bool read_by_steps = false;  // not only prepared for them
};

// Memory that is computed from constants (packed weights).
struct PreparedArray {
  std::string kind;  // all that `prepare` does: of two arrays with one kind and sources one is made
  std::size_t bytes = 0;
  std::vector<Slot> sources;
  Prepare prepare;
};

// A buffer behind the outputs: either a constant or a prepared array, and which one.
struct ExtraBuffer {
  bool prepared = false;
  std::size_t index = 0;
};

inline constexpr std::size_t kNever = SIZE_MAX;

// A range of the arena between two guard zones.
struct GuardedRange {
  std::size_t offset = 0;
  std::size_t bytes = 0;
};

class ProgramBuilder {
 public:
  ProgramBuilder(std::vector<ArraySpec> inputs, std::vector<ArraySpec> outputs,
                 std::size_t arena_bytes, const kernels::KernelTable& table);

  // The kernels every step of this program uses.
  const kernels::KernelTable& table() const { return *table_; }

  Slot arena(std::size_t offset) const;
  Slot input(std::size_t index) const;
  Slot output(std::size_t index) const;
  Slot constant(ConstantArray array);

  // Declares that runs write this constant, or that they read it beside the steps that write.
  // Throws std::invalid_argument unless it has a version, or when it is prepared for the program.
  void declare(Slot constant, Access access);
  // Makes this constant, int64 (key, calls), the generator of the program's draws: each run that
  // succeeds advances the calls.
  void random_source(Slot constant);

  // Checks the arrays of the step and makes it. Throws std::invalid_argument for an array beyond its
  // buffer, off its items' alignment, written without being declared, or overlapping what is written,
  // and what the step's kind throws.
  void add(steps::Recipe& recipe);
  std::size_t step_count() const { return steps_.size(); }

  // Puts guard zones of base::guard_bytes() around this range of the arena; the caller leaves room.
  void guard(Slot slot, std::size_t bytes);

  // Ends the building; the builder is empty afterwards and refuses everything.
  std::shared_ptr<Program> build();

 private:
  friend class Program;

  std::size_t buffer_bytes(std::uint32_t buffer) const;
  // Throws std::invalid_argument unless the buffer holds `bytes` bytes from the slot on.
  void check(Slot slot, std::size_t bytes) const;
  // All of what the next step touches.
  void check_arrays(const steps::ArrayList& arrays);
  void note_read(Slot slot);
  // Inputs and prepared arrays are not written, and constants only when they are declared as updated.
  void check_writable(Slot slot);
  // An array (64-byte aligned) that is filled from a constant, shared with other programs that name the
  // same kind and source. Filled when a run first needs it.
  Slot add_prepared(steps::Preparation preparation);
  // Throws std::invalid_argument unless the slot is a constant's.
  std::size_t constant_index(Slot slot) const;
  Slot add_extra(ExtraBuffer extra);
  void refuse_if_built() const;

  std::vector<ArraySpec> inputs_, outputs_;
  std::size_t arena_bytes_ = 0;
  const kernels::KernelTable* table_ = nullptr;
  std::vector<ConstantArray> constants_;
  std::vector<PreparedArray> prepared_;
  std::vector<ExtraBuffer> extras_;
  std::vector<GuardedRange> guards_;
  std::vector<std::unique_ptr<steps::Step>> steps_;
  std::size_t first_write_ = kNever;  // the first step that writes a constant
  std::size_t random_ = kNever;       // the constant that is the program's generator
  bool built_ = false;
};

}  // namespace lamella::program
