// SPDX-License-Identifier: Apache-2.0
// Checks of a program under construction.
#include "program/builder.h"

#include <algorithm>
#include <stdexcept>
#include <string>

#include "base/allocation.h"
#include "base/checked.h"
#include "program/program.h"

namespace lamella::program {
namespace {

using steps::Array;
using steps::Use;

bool apart(const Array& x, const Array& y) {
  return x.slot.buffer != y.slot.buffer || x.bytes == 0 || y.bytes == 0 ||
         x.slot.offset >= y.slot.offset + y.bytes || y.slot.offset >= x.slot.offset + x.bytes;
}

// Whether a step that allows y to be x may have these two.
bool same_array(const Array& x, const Array& y) {
  return x.slot.offset == y.slot.offset && x.bytes == y.bytes && x.item == y.item && x.contiguous &&
         y.contiguous;
}

void check_aligned(const Array& array) {
  if (array.slot.offset % array.item == 0) return;
  throw std::invalid_argument("slot: offset " + std::to_string(array.slot.offset) +
                              " is not a multiple of the item size " + std::to_string(array.item));
}

}  // namespace

ArraySpec make_array_spec(steps::DType dtype, std::vector<std::size_t> shape) {
  ArraySpec spec{dtype, std::move(shape), 0};
  spec.bytes = base::checked_mul(base::checked_product(spec.shape), steps::item_bytes(dtype));
  return spec;
}

ProgramBuilder::ProgramBuilder(std::vector<ArraySpec> inputs, std::vector<ArraySpec> outputs,
                               std::size_t arena_bytes, const kernels::KernelTable& table)
    : inputs_(std::move(inputs)),
      outputs_(std::move(outputs)),
      arena_bytes_(base::checked_add(arena_bytes, 0)),
      table_(&table) {}

void ProgramBuilder::refuse_if_built() const {
  if (built_) throw std::invalid_argument("ProgramBuilder: the program is already built");
}

Slot ProgramBuilder::arena(std::size_t offset) const {
  const Slot slot{0, offset};
  check(slot, 0);
  return slot;
}

Slot ProgramBuilder::input(std::size_t index) const {
  if (index >= inputs_.size()) {
    throw std::invalid_argument("input: got index " + std::to_string(index) + "; the program has " +
                                std::to_string(inputs_.size()) + " inputs");
  }
  return {static_cast<std::uint32_t>(1 + index), 0};
}

Slot ProgramBuilder::output(std::size_t index) const {
  if (index >= outputs_.size()) {
    throw std::invalid_argument("output: got index " + std::to_string(index) +
                                "; the program has " + std::to_string(outputs_.size()) +
                                " outputs");
  }
  return {static_cast<std::uint32_t>(1 + inputs_.size() + index), 0};
}

Slot ProgramBuilder::add_extra(ExtraBuffer extra) {
  const std::size_t buffer = 1 + inputs_.size() + outputs_.size() + extras_.size();
  base::count_allocation();
  extras_.push_back(extra);
  return {static_cast<std::uint32_t>(buffer), 0};
}

Slot ProgramBuilder::constant(ConstantArray array) {
  refuse_if_built();
  constants_.push_back(std::move(array));
  return add_extra({false, constants_.size() - 1});
}

std::size_t ProgramBuilder::buffer_bytes(std::uint32_t buffer) const {
  std::size_t index = buffer;
  if (index == 0) return arena_bytes_;
  index -= 1;
  if (index < inputs_.size()) return inputs_[index].bytes;
  index -= inputs_.size();
  if (index < outputs_.size()) return outputs_[index].bytes;
  index -= outputs_.size();
  if (index >= extras_.size()) {
    throw std::invalid_argument("slot: the program has no buffer " + std::to_string(buffer));
  }
  const ExtraBuffer extra = extras_[index];
  return extra.prepared ? prepared_[extra.index].bytes : constants_[extra.index].bytes;
}

void ProgramBuilder::check(Slot slot, std::size_t bytes) const {
  refuse_if_built();
  const std::size_t size = buffer_bytes(slot.buffer);
  if (slot.offset > size || bytes > size - slot.offset) {
    throw std::invalid_argument("slot: got offset " + std::to_string(slot.offset) + " and " +
                                std::to_string(bytes) + " bytes; buffer " +
                                std::to_string(slot.buffer) + " has " + std::to_string(size));
  }
}

void ProgramBuilder::note_read(Slot slot) {
  const std::size_t extras = 1 + inputs_.size() + outputs_.size();
  if (slot.buffer < extras || extras_[slot.buffer - extras].prepared) return;
  constants_[extras_[slot.buffer - extras].index].read_by_steps = true;
}

void ProgramBuilder::check_writable(Slot slot) {
  const std::size_t extras = 1 + inputs_.size() + outputs_.size();
  const bool is_input = slot.buffer >= 1 && slot.buffer <= inputs_.size();
  const bool is_prepared = slot.buffer >= extras && extras_[slot.buffer - extras].prepared;
  if (is_input || is_prepared) {
    throw std::invalid_argument("slot: buffer " + std::to_string(slot.buffer) +
                                " is an input or prepared; a step must not write it");
  }
  if (slot.buffer < extras) return;
  if (constants_[extras_[slot.buffer - extras].index].access != Access::update) {
    throw std::invalid_argument("slot: buffer " + std::to_string(slot.buffer) +
                                " is a constant that no update was declared for");
  }
  first_write_ = std::min(first_write_, steps_.size());
}

void ProgramBuilder::check_arrays(const steps::ArrayList& arrays) {
  for (const Array& array : arrays) {
    check_aligned(array);
    check(array.slot, array.bytes);
    if (array.use == Use::written) check_writable(array.slot);
    if (array.use == Use::read || array.use == Use::replaced) note_read(array.slot);
  }
  for (std::size_t i = 0; i < arrays.size(); ++i) {
    const Array& y = arrays[i];
    if (y.use != Use::written) continue;
    for (std::size_t j = 0; j < arrays.size(); ++j) {
      const Array& x = arrays[j];
      const bool once = x.use == Use::written && j >= i;
      if (once || x.use == Use::prepared || apart(x, y)) continue;
      if (x.use == Use::replaced && same_array(x, y)) continue;
      throw std::invalid_argument(
          "slot: the output overlaps an operand; got offsets " + std::to_string(x.slot.offset) +
          " and " + std::to_string(y.slot.offset) + " of buffer " + std::to_string(y.slot.buffer));
    }
  }
}

std::size_t ProgramBuilder::constant_index(Slot slot) const {
  check(slot, 0);
  const std::size_t extras = 1 + inputs_.size() + outputs_.size();
  if (slot.buffer < extras || extras_[slot.buffer - extras].prepared) {
    throw std::invalid_argument("slot: buffer " + std::to_string(slot.buffer) + " is no constant");
  }
  return extras_[slot.buffer - extras].index;
}

void ProgramBuilder::declare(Slot slot, Access access) {
  ConstantArray& constant = constants_[constant_index(slot)];
  if (constant.version == nullptr) {
    throw std::invalid_argument("update: the constant has no version");
  }
  for (const PreparedArray& prepared : prepared_) {
    for (const Slot source : prepared.sources) {
      if (source.buffer != slot.buffer) continue;
      throw std::invalid_argument("update: the constant is prepared for this program");
    }
  }
  constant.access = std::max(constant.access, access);
}

void ProgramBuilder::random_source(Slot slot) {
  const std::size_t index = constant_index(slot);
  if (constants_[index].bytes != 2 * sizeof(std::int64_t)) {
    throw std::invalid_argument("random_source: got " + std::to_string(constants_[index].bytes) +
                                " bytes; expected two int64: the key and the number of calls");
  }
  declare(slot, Access::update);
  random_ = index;
}

void ProgramBuilder::add(steps::Recipe& recipe) {
  refuse_if_built();
  base::count_allocation();
  steps::ArrayList arrays;
  recipe.touched(arrays);
  check_arrays(arrays);
  if (auto preparation = recipe.prepared(*table_)) {
    recipe.set_packed(add_prepared(std::move(*preparation)));
  }
  steps_.push_back(recipe.make(*table_));
}

Slot ProgramBuilder::add_prepared(steps::Preparation preparation) {
  const Slot source = preparation.source;
  if (constants_[constant_index(source)].access == Access::update) {
    throw std::invalid_argument("slot: buffer " + std::to_string(source.buffer) +
                                " changes while the program runs; it cannot be prepared ahead");
  }
  prepared_.push_back({std::move(preparation.kind),
                       base::checked_add(preparation.bytes, 0),
                       {source},
                       std::move(preparation.step)});
  return add_extra({true, prepared_.size() - 1});
}

void ProgramBuilder::guard(Slot slot, std::size_t bytes) {
  check(slot, bytes);
  if (slot.buffer != 0) throw std::invalid_argument("guard: only the arena has guard zones");
  guards_.push_back({slot.offset, bytes});
}

std::shared_ptr<Program> ProgramBuilder::build() {
  refuse_if_built();
  built_ = true;
  // Steps read a copy that was made ahead: nobody has to wait for its source.
  for (ConstantArray& constant : constants_) {
    if (constant.access == Access::hold && !constant.read_by_steps) constant.access = Access::read;
  }
  return std::make_shared<Program>(std::move(*this));
}

}  // namespace lamella::program
