// SPDX-License-Identifier: Apache-2.0
// What a program is made of: its buffers, and the recipes of its steps over them.
//
// Buffers are numbered in the order of a Frame: 0 is the arena, then the inputs, the outputs, and then
// constants and prepared arrays as they were added. While it is recorded, what lies in the arena lies
// in ranges, each a buffer of its own; where those lie is decided when the program is made. With free
// extents, numbers have formulas beside their values.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "kernels/table.h"
#include "program/formulas.h"
#include "program/placement.h"
#include "steps/dtype.h"
#include "steps/recipe.h"
#include "steps/step.h"

namespace lamella::program {

class Folding;
class Storage;

using steps::Slot;

// One input or output: C-contiguous, of exactly this type and shape.
struct ArraySpec {
  steps::DType dtype = steps::DType::f32;
  std::vector<std::size_t> shape;
  std::size_t bytes = 0;
  bool operator==(const ArraySpec&) const = default;
};
ArraySpec make_array_spec(steps::DType dtype, std::vector<std::size_t> shape);

// Fills a prepared array: the source is its buffer 0, the array its buffer 1. Run by a team, without
// barriers, before the first run that needs the array and whenever the source's version has changed.
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
  std::shared_ptr<Storage> storage;   // that data and version belong to, if any
  Access access = Access::read;
  bool read_by_steps = false;  // not only prepared for them
};

// Memory that is computed from constants: packed weights, folded values, and those packed.
struct PreparedArray {
  std::string kind;  // all that is done: of two arrays with one kind and sources one is made
  std::size_t bytes = 0;
  std::vector<Slot> sources;
  Prepare prepare;                         // null: the folding makes the array itself
  std::shared_ptr<const Folding> folding;  // makes what is prepared from; null: the source is

  double cost() const;
  // What it takes while it is filled, beside its own memory.
  std::size_t scratch_bytes() const;
};

// A value that is computed from constants, and whether steps read it as it is.
struct FoldedArray {
  std::shared_ptr<const Folding> folding;
  std::vector<Slot> sources;
  bool read_by_steps = false;
};

// A buffer behind the outputs: which one of its kind. A folded array has memory only as a prepared one.
struct ExtraBuffer {
  enum class Kind : std::uint8_t { constant, prepared, folded };
  Kind kind = Kind::constant;
  std::size_t index = 0;
};

inline constexpr std::size_t kNever = SIZE_MAX;

// Slots of ranges have this bit set in their buffer.
inline constexpr std::uint32_t kRange = std::uint32_t{1} << 31;
constexpr bool is_range(Slot slot) { return (slot.buffer & kRange) != 0; }
constexpr std::size_t range_of(Slot slot) { return slot.buffer & ~kRange; }

// The formula of one of several numbers.
struct FreeNumber {
  std::uint32_t position = 0;
  FormulaNumber formula = kNoFormula;
};

// What a 0-d constant is made of, one term after the other: a size or one over it, by which, or by a
// number, it is then multiplied, or divided by a number. Each time in double, then in its own type.
struct NumberTerm {
  enum class Kind : std::uint8_t { value, reciprocal, times, over };
  Kind kind = Kind::value;
  std::int64_t size = 0;
  FormulaNumber formula = kNoFormula;  // of the size
  double number = 0;
};
struct FreeConstant {
  std::size_t constant = 0;
  steps::DType dtype = steps::DType::f32;
  std::vector<NumberTerm> terms;
};

struct RecordedStep {
  RecordedStep(std::unique_ptr<steps::Recipe> own, std::vector<FreeNumber> free_numbers,
               std::vector<FreeNumber> free_offsets)
      : recipe(std::move(own)),
        numbers(std::move(free_numbers)),
        offsets(std::move(free_offsets)),
        slots(steps::slots_of(recipe->slots())) {}
  RecordedStep(const RecordedStep& other)
      : RecordedStep(other.recipe->clone(), other.numbers, other.offsets) {}
  RecordedStep(RecordedStep&&) = default;
  RecordedStep& operator=(const RecordedStep&) = delete;
  RecordedStep& operator=(RecordedStep&&) = default;
  ~RecordedStep() = default;

  std::unique_ptr<steps::Recipe> recipe;
  std::vector<FreeNumber> numbers, offsets;  // of its numbers and slots, as fields.h lists them
  std::vector<Slot*> slots;                  // of the recipe
};

struct Recording {
  const kernels::KernelTable* table = nullptr;
  std::vector<ArraySpec> inputs, outputs;
  std::vector<FreeNumber> extents;  // of the shapes of inputs and outputs, one behind the other
  std::vector<ConstantArray> constants;
  std::vector<FreeConstant> free_constants;
  std::vector<PreparedArray> prepared;
  std::vector<FoldedArray> folded;
  std::vector<ExtraBuffer> extras;
  std::vector<Lifetime> ranges;
  std::vector<FreeNumber> range_bytes;
  std::vector<RecordedStep> steps;
  std::vector<Formula> formulas;
  std::size_t first_write = kNever;  // the first step that writes a constant
  std::size_t random = kNever;       // the constant that is the program's generator

  std::size_t first_extra() const { return 1 + inputs.size() + outputs.size(); }
  // Throws std::invalid_argument for a buffer that it has not.
  std::size_t buffer_bytes(std::uint32_t buffer) const;
  // The constant, or the folded array, in this buffer; kNever where it is another kind.
  std::size_t constant_in(std::uint32_t buffer) const { return index_in(buffer, Kind::constant); }
  std::size_t folded_in(std::uint32_t buffer) const { return index_in(buffer, Kind::folded); }
  // Throws std::invalid_argument for an array beyond its buffer, off its items' alignment, or
  // overlapping what is written.
  void check(const steps::ArrayList& arrays) const;
  // Its own memory.
  std::size_t nbytes() const;

 private:
  using Kind = ExtraBuffer::Kind;
  std::size_t index_in(std::uint32_t buffer, Kind kind) const;
};

// The steps of a recording, and where their arrays lie.
struct Made {
  Placement placement;
  std::vector<std::unique_ptr<steps::Step>> steps;
};
Placement place_ranges(const Recording& recording);
// The recording is afterwards as it was.
Made make_steps(Recording& recording);

// Throws std::invalid_argument unless the buffer holds `bytes` bytes from the slot on.
void check_slot(const Recording& recording, Slot slot, std::size_t bytes);

// The first term is a size or one over it. Throws std::invalid_argument for integers made of more.
ConstantArray make_number(steps::DType dtype, const std::vector<NumberTerm>& terms);

}  // namespace lamella::program
