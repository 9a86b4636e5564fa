// SPDX-License-Identifier: Apache-2.0
// Collects steps and the arrays they work on, checks them, and turns them into a Program.
//
// Every array that a step touches is checked when it is added; nothing is checked any more while
// running. From the steps' slots follows from which step to which a range of the arena is in use; where
// it lies is decided when the program is built. No Python in here: an owner of foreign memory is a
// shared_ptr<const void>.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "program/recording.h"

namespace lamella::program {

class Program;

class ProgramBuilder {
 public:
  // extents: formulas of the shapes of inputs and outputs, one behind the other.
  ProgramBuilder(std::vector<ArraySpec> inputs, std::vector<ArraySpec> outputs,
                 std::vector<FreeNumber> extents, const kernels::KernelTable& table);

  // A range of the arena, of so many bytes.
  Slot range(std::size_t bytes, FormulaNumber formula = kNoFormula);
  Slot input(std::size_t index) const;
  Slot output(std::size_t index) const;
  Slot constant(ConstantArray array);
  // A 0-d constant of its own.
  Slot number(steps::DType dtype, std::vector<NumberTerm> terms);

  // Declares that runs write this constant, or that they read it beside the steps that write.
  // Throws std::invalid_argument unless it has a version, or when it is prepared for the program.
  void declare(Slot constant, Access access);
  // Makes this constant, int64 (key, calls), the generator of the program's draws: each run that
  // succeeds advances the calls.
  void random_source(Slot constant);

  // Adds a step, whose slots are set. Throws std::invalid_argument for an array beyond its buffer, off
  // its items' alignment, written without being declared, or overlapping what is written, and what the
  // step's kind throws.
  void add(std::unique_ptr<steps::Recipe> recipe, std::vector<FreeNumber> numbers = {},
           std::vector<FreeNumber> offsets = {});
  std::size_t step_count() const { return recording_.steps.size(); }

  // A value that `steps`, recorded without inputs and with one output, make of constants alone: computed
  // once per version of these, for all programs that name the same kind and sources, and kept as it is
  // only where a step reads it so. sources: the constants with versions that the steps read, in their
  // order. kind: all that they do. Throws std::invalid_argument.
  Slot fold(ProgramBuilder&& steps, std::vector<Slot> sources, const std::string& kind);

  // Ends the building; the builder is empty afterwards and refuses everything. formulas: those that
  // numbers were given by.
  std::shared_ptr<Program> build(std::vector<Formula> formulas = {});

 private:
  // Throws std::invalid_argument unless the slot is a constant's.
  std::size_t constant_index(Slot slot) const;
  void note(const steps::Array& array);
  // An array (64-byte aligned) that is filled from a constant or a folded value, shared with other programs that name the
  // same kind and source. Filled when a run first needs it.
  Slot add_prepared(steps::Preparation preparation);
  void place_folded();
  void refuse_changing(Slot source) const;
  Slot add_extra(ExtraBuffer extra);
  void refuse_if_built() const;

  Recording recording_;
  bool built_ = false;
};

}  // namespace lamella::program
