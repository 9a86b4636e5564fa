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

void ProgramBuilder::check_read(Slot slot, std::size_t bytes) {
  check(slot, bytes);
  const std::size_t extras = 1 + inputs_.size() + outputs_.size();
  if (slot.buffer < extras || extras_[slot.buffer - extras].prepared) return;
  constants_[extras_[slot.buffer - extras].index].read_by_steps = true;
}

void ProgramBuilder::check_write(Slot slot, std::size_t bytes) {
  check(slot, bytes);
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

void ProgramBuilder::add(std::unique_ptr<steps::Step> step) {
  refuse_if_built();
  base::count_allocation();
  steps_.push_back(std::move(step));
}

Slot ProgramBuilder::add_prepared(std::string kind, std::size_t bytes, std::vector<Slot> sources,
                                  Prepare prepare) {
  refuse_if_built();
  for (const Slot source : sources) {
    if (constants_[constant_index(source)].access != Access::read) {
      throw std::invalid_argument("slot: buffer " + std::to_string(source.buffer) +
                                  " changes while the program runs; it cannot be prepared ahead");
    }
  }
  prepared_.push_back(
      {std::move(kind), base::checked_add(bytes, 0), std::move(sources), std::move(prepare)});
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
  return std::make_shared<Program>(std::move(*this));
}

}  // namespace lamella::program
