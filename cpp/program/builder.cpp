// SPDX-License-Identifier: Apache-2.0
// Checks of a program under construction.
#include "program/builder.h"

#include <algorithm>
#include <stdexcept>
#include <string>
#include <tuple>

#include "base/allocation.h"
#include "base/checked.h"
#include "program/folding.h"
#include "program/program.h"

namespace lamella::program {

using steps::Use;

ProgramBuilder::ProgramBuilder(std::vector<ArraySpec> inputs, std::vector<ArraySpec> outputs,
                               std::vector<FreeNumber> extents, const kernels::KernelTable& table) {
  recording_.table = &table;
  recording_.inputs = std::move(inputs);
  recording_.outputs = std::move(outputs);
  recording_.extents = std::move(extents);
}

void ProgramBuilder::refuse_if_built() const {
  if (built_) throw std::invalid_argument("ProgramBuilder: the program is already built");
}

Slot ProgramBuilder::range(std::size_t bytes, FormulaNumber formula) {
  refuse_if_built();
  const std::size_t index = recording_.ranges.size();
  recording_.ranges.push_back({base::checked_add(bytes, 0)});
  if (formula != kNoFormula) {
    recording_.range_bytes.push_back({static_cast<std::uint32_t>(index), formula});
  }
  return {kRange | static_cast<std::uint32_t>(index), 0};
}

Slot ProgramBuilder::input(std::size_t index) const {
  const std::size_t count = recording_.inputs.size();
  if (index >= count) {
    throw std::invalid_argument("input: got index " + std::to_string(index) + "; the program has " +
                                std::to_string(count) + " inputs");
  }
  return {static_cast<std::uint32_t>(1 + index), 0};
}

Slot ProgramBuilder::output(std::size_t index) const {
  const std::size_t count = recording_.outputs.size();
  if (index >= count) {
    throw std::invalid_argument("output: got index " + std::to_string(index) +
                                "; the program has " + std::to_string(count) + " outputs");
  }
  return {static_cast<std::uint32_t>(1 + recording_.inputs.size() + index), 0};
}

Slot ProgramBuilder::add_extra(ExtraBuffer extra) {
  const std::size_t buffer = recording_.first_extra() + recording_.extras.size();
  base::count_allocation();
  recording_.extras.push_back(extra);
  return {static_cast<std::uint32_t>(buffer), 0};
}

Slot ProgramBuilder::constant(ConstantArray array) {
  refuse_if_built();
  recording_.constants.push_back(std::move(array));
  return add_extra({ExtraBuffer::Kind::constant, recording_.constants.size() - 1});
}

Slot ProgramBuilder::number(steps::DType dtype, std::vector<NumberTerm> terms) {
  const Slot slot = constant(make_number(dtype, terms));
  const bool free = std::any_of(terms.begin(), terms.end(),
                                [](const NumberTerm& term) { return term.formula != kNoFormula; });
  const std::size_t index = recording_.constants.size() - 1;
  if (free) recording_.free_constants.push_back({index, dtype, std::move(terms)});
  return slot;
}

std::size_t ProgramBuilder::constant_index(Slot slot) const {
  refuse_if_built();
  check_slot(recording_, slot, 0);
  const std::size_t index = recording_.constant_in(slot.buffer);
  if (index != kNever) return index;
  throw std::invalid_argument("slot: buffer " + std::to_string(slot.buffer) + " is no constant");
}

void ProgramBuilder::declare(Slot slot, Access access) {
  ConstantArray& constant = recording_.constants[constant_index(slot)];
  if (constant.version == nullptr) {
    throw std::invalid_argument("update: the constant has no version");
  }
  const auto is_source = [&](const auto& made) {
    return std::any_of(made.sources.begin(), made.sources.end(),
                       [&](Slot source) { return source.buffer == slot.buffer; });
  };
  const auto& [prepared, folded] = std::tie(recording_.prepared, recording_.folded);
  if (std::any_of(prepared.begin(), prepared.end(), is_source) ||
      std::any_of(folded.begin(), folded.end(), is_source)) {
    throw std::invalid_argument("update: the constant is prepared for this program");
  }
  constant.access = std::max(constant.access, access);
}

void ProgramBuilder::random_source(Slot slot) {
  const std::size_t index = constant_index(slot);
  if (recording_.constants[index].bytes != 2 * sizeof(std::int64_t)) {
    throw std::invalid_argument("random_source: got " +
                                std::to_string(recording_.constants[index].bytes) +
                                " bytes; expected two int64: the key and the number of calls");
  }
  declare(slot, Access::update);
  recording_.random = index;
}

// Inputs and prepared arrays are not written, and constants only when they are declared as updated.
void ProgramBuilder::note(const steps::Array& array) {
  const Slot slot = array.slot;
  const std::size_t constant = recording_.constant_in(slot.buffer);
  const std::size_t folded = recording_.folded_in(slot.buffer);
  if (is_range(slot)) {
    Lifetime& range = recording_.ranges[range_of(slot)];
    const auto step = static_cast<std::uint32_t>(recording_.steps.size());
    if (range.first > range.last) range.first = step;
    range.last = step;
  } else if (array.use != Use::written) {
    if (constant != kNever && array.use != Use::prepared) {
      recording_.constants[constant].read_by_steps = true;
    }
    if (folded != kNever && array.use != Use::prepared) {
      recording_.folded[folded].read_by_steps = true;
    }
  } else if (slot.buffer <= recording_.inputs.size() ||
             (slot.buffer >= recording_.first_extra() && constant == kNever)) {
    throw std::invalid_argument("slot: buffer " + std::to_string(slot.buffer) +
                                " is an input or prepared; a step must not write it");
  } else if (constant != kNever) {
    if (recording_.constants[constant].access != Access::update) {
      throw std::invalid_argument("slot: buffer " + std::to_string(slot.buffer) +
                                  " is a constant that no update was declared for");
    }
    recording_.first_write = std::min(recording_.first_write, recording_.steps.size());
  }
}

void ProgramBuilder::add(std::unique_ptr<steps::Recipe> recipe, std::vector<FreeNumber> numbers,
                         std::vector<FreeNumber> offsets) {
  refuse_if_built();
  base::count_allocation();
  steps::ArrayList arrays;
  recipe->touched(arrays);
  recording_.check(arrays);
  for (const steps::Array& array : arrays) note(array);
  if (auto preparation = recipe->prepared(*recording_.table)) {
    recipe->set_packed(add_prepared(std::move(*preparation)));
  }
  // What the kind refuses is refused here and not when the program is built.
  recipe->set_scratch({0, 0});
  recipe->make(*recording_.table);
  recording_.steps.emplace_back(std::move(recipe), std::move(numbers), std::move(offsets));
}

Slot ProgramBuilder::add_prepared(steps::Preparation preparation) {
  const Slot source = preparation.source;
  PreparedArray made{std::move(preparation.kind),
                     base::checked_add(preparation.bytes, 0),
                     {source},
                     std::move(preparation.step),
                     nullptr};
  const std::size_t index = recording_.folded_in(source.buffer);
  if (index != kNever) {
    const FoldedArray& folded = recording_.folded[index];
    made.kind += " at " + std::to_string(source.offset) + " of " + folded.folding->kind();
    made.sources = folded.sources;
    made.folding = folded.folding;
  } else {
    refuse_changing(source);
  }
  recording_.prepared.push_back(std::move(made));
  return add_extra({ExtraBuffer::Kind::prepared, recording_.prepared.size() - 1});
}

void ProgramBuilder::refuse_changing(Slot source) const {
  if (recording_.constants[constant_index(source)].access != Access::update) return;
  throw std::invalid_argument("slot: buffer " + std::to_string(source.buffer) +
                              " changes while the program runs; it cannot be prepared ahead");
}

Slot ProgramBuilder::fold(ProgramBuilder&& steps, std::vector<Slot> sources,
                          const std::string& kind) {
  refuse_if_built();
  steps.refuse_if_built();
  if (steps.recording_.table != recording_.table) {
    throw std::invalid_argument("fold: the steps are of another instruction set");
  }
  steps.built_ = true;
  base::count_allocation();
  auto folding = std::make_shared<const Folding>(std::string(recording_.table->isa) + " " + kind,
                                                 std::move(steps.recording_));
  if (folding->source_count() != sources.size()) {
    throw std::invalid_argument("fold: got " + std::to_string(sources.size()) +
                                " sources; the steps read " +
                                std::to_string(folding->source_count()) + " constants");
  }
  for (std::size_t i = 0; i < sources.size(); ++i) {
    const std::size_t index = constant_index(sources[i]);
    if (sources[i].offset != 0 || !folding->reads(i, recording_.constants[index])) {
      throw std::invalid_argument("fold: source " + std::to_string(i) +
                                  " is not the constant that the steps read");
    }
    refuse_changing(sources[i]);
  }
  recording_.folded.push_back({std::move(folding), std::move(sources)});
  return add_extra({ExtraBuffer::Kind::folded, recording_.folded.size() - 1});
}

// Folded arrays that steps read are prepared ones.
void ProgramBuilder::place_folded() {
  for (ExtraBuffer& extra : recording_.extras) {
    if (extra.kind != ExtraBuffer::Kind::folded) continue;
    const FoldedArray& folded = recording_.folded[extra.index];
    if (!folded.read_by_steps) continue;
    recording_.prepared.push_back(
        {folded.folding->kind(), folded.folding->bytes(), folded.sources, nullptr, folded.folding});
    extra = {ExtraBuffer::Kind::prepared, recording_.prepared.size() - 1};
  }
}

std::shared_ptr<Program> ProgramBuilder::build(std::vector<Formula> formulas) {
  refuse_if_built();
  built_ = true;
  // Steps read a copy that was made ahead: nobody has to wait for its source.
  for (ConstantArray& constant : recording_.constants) {
    if (constant.access == Access::hold && !constant.read_by_steps) constant.access = Access::read;
  }
  place_folded();
  recording_.formulas = std::move(formulas);
  return std::make_shared<Program>(std::move(recording_));
}

}  // namespace lamella::program
