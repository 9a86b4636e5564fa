// SPDX-License-Identifier: Apache-2.0
#include "program/text.h"

#include <stdexcept>

#include "base/checked.h"
#include "program/program.h"

namespace lamella::program {
namespace {

[[noreturn]] void refuse(const std::string& why) { throw std::invalid_argument("text: " + why); }

std::int64_t value_of(const std::vector<std::int64_t>& values, FormulaNumber formula) {
  return values[static_cast<std::size_t>(formula)];
}

// A number that counts something.
std::size_t count_of(const std::vector<std::int64_t>& values, FormulaNumber formula) {
  const std::int64_t value = value_of(values, formula);
  if (value < 0) refuse("no such sizes; one would be " + std::to_string(value));
  return static_cast<std::size_t>(value);
}

// The shapes of all inputs and outputs, one behind the other.
template <class Visit>
void for_each_extent(Recording& recording, const Visit& visit) {
  std::uint32_t position = 0;
  for (auto* arrays : {&recording.inputs, &recording.outputs}) {
    for (ArraySpec& spec : *arrays) {
      for (std::size_t& extent : spec.shape) visit(position++, extent);
    }
  }
}

void set_extents(Recording& recording, const std::vector<std::int64_t>& values) {
  auto next = recording.extents.begin();
  for_each_extent(recording, [&](std::uint32_t position, std::size_t& extent) {
    if (next == recording.extents.end() || next->position != position) return;
    extent = count_of(values, next->formula);
    ++next;
  });
  for (auto* arrays : {&recording.inputs, &recording.outputs}) {
    for (ArraySpec& spec : *arrays) {
      spec.bytes =
          base::checked_mul(base::checked_product(spec.shape), steps::item_bytes(spec.dtype));
    }
  }
}

// Whether this extent of an input was given by the formula that is the symbol alone.
bool is_symbol(const Recording& recorded, const Axis& place, std::size_t symbol) {
  std::size_t position = place.axis;
  for (std::size_t i = 0; i < place.input; ++i) position += recorded.inputs[i].shape.size();
  for (const FreeNumber& one : recorded.extents) {
    if (one.position != position) continue;
    const Formula& formula = recorded.formulas[static_cast<std::size_t>(one.formula)];
    return formula.kind == Formula::Kind::symbol && formula.i == static_cast<std::int64_t>(symbol);
  }
  return false;
}

// The extents that the program was recorded with.
std::vector<std::int64_t> example_of(const Recording& recorded,
                                     const std::vector<std::vector<Axis>>& symbols) {
  std::vector<std::int64_t> example;
  for (const std::vector<Axis>& places : symbols) {
    if (places.empty()) refuse("an extent has to show in a shape of an input");
    for (const Axis& place : places) {
      if (place.input >= recorded.inputs.size() ||
          place.axis >= recorded.inputs[place.input].shape.size()) {
        refuse("there is no axis " + std::to_string(place.axis) + " of an input " +
               std::to_string(place.input));
      }
      const auto size = static_cast<std::int64_t>(recorded.inputs[place.input].shape[place.axis]);
      if (&place == &places.front()) example.push_back(size);
      if (size != example.back()) refuse("axes of one extent have different sizes");
      if (!is_symbol(recorded, place, example.size() - 1)) {
        refuse("axis " + std::to_string(place.axis) + " of input " + std::to_string(place.input) +
               " was not recorded as this extent");
      }
    }
  }
  return example;
}

void check_numbers(const std::vector<FreeNumber>& free, std::size_t numbers, std::size_t formulas) {
  for (const FreeNumber& one : free) {
    if (one.position < numbers && static_cast<std::size_t>(one.formula) < formulas) continue;
    refuse("a number has no formula " + std::to_string(one.formula));
  }
}

}  // namespace

Text::Text(std::shared_ptr<const Recording> recorded, std::vector<std::vector<Axis>> symbols,
           std::vector<Condition> conditions)
    : recorded_(std::move(recorded)),
      symbols_(std::move(symbols)),
      conditions_(std::move(conditions)) {
  const Recording& own = *recorded_;
  const std::size_t formulas = own.formulas.size();
  check_formulas(own.formulas, symbols_.size());
  for (const Condition& one : conditions_) {
    const auto known = [&](std::int64_t number) {
      return number >= 0 && static_cast<std::size_t>(number) < formulas;
    };
    if (!known(one.i) || !known(one.j)) refuse("a condition is between unknown formulas");
  }
  check_numbers(own.extents, SIZE_MAX, formulas);
  check_numbers(own.range_bytes, own.ranges.size(), formulas);
  for (const FreeConstant& one : own.free_constants) {
    for (const NumberTerm& term : one.terms) {
      if (term.formula != kNoFormula) check_numbers({{0, term.formula}}, 1, formulas);
    }
  }
  for (const RecordedStep& step : own.steps) {
    const std::size_t numbers = steps::numbers_of(step.recipe->fields()).size();
    check_numbers(step.numbers, numbers, formulas);
    check_numbers(step.offsets, step.slots.size(), formulas);
  }
  working_ = copy();
  set(*working_, example_of(own, symbols_));
  const std::string unlike = difference(working_->recording, own);
  if (!unlike.empty()) refuse("formulas give other numbers than were recorded; " + unlike);
}

std::unique_ptr<Text::Working> Text::copy() const {
  auto working = std::make_unique<Working>();
  working->recording = Recording(*recorded_);
  for (const RecordedStep& step : working->recording.steps) {
    const auto all = steps::numbers_of(step.recipe->fields());
    auto& numbers = working->numbers.emplace_back();
    for (const FreeNumber& one : step.numbers) numbers.emplace_back(all[one.position], one.formula);
    auto& offsets = working->offsets.emplace_back();
    for (const FreeNumber& one : step.offsets) {
      offsets.emplace_back(step.slots[one.position], one.formula);
    }
  }
  return working;
}

void Text::set(Working& working, std::span<const std::int64_t> extents) const {
  if (extents.size() != symbols_.size()) {
    refuse("got " + std::to_string(extents.size()) + " extents; expected " +
           std::to_string(symbols_.size()));
  }
  for (const std::int64_t extent : extents) {
    if (extent < kLeastExtent) {
      refuse("got an extent of " + std::to_string(extent) + "; expected 2 or more");
    }
  }
  Recording& recording = working.recording;
  std::vector<std::int64_t>& values = working.values;
  evaluate(recording.formulas, extents, values);
  for (const Condition& one : conditions_) {
    if (!holds(one, values)) {
      refuse("a condition does not hold between " +
             std::to_string(value_of(values, static_cast<FormulaNumber>(one.i))) + " and " +
             std::to_string(value_of(values, static_cast<FormulaNumber>(one.j))));
    }
  }
  set_extents(recording, values);
  for (const FreeNumber& one : recording.range_bytes) {
    recording.ranges[one.position].bytes = count_of(values, one.formula);
  }
  for (FreeConstant& one : recording.free_constants) {
    for (NumberTerm& term : one.terms) {
      if (term.formula != kNoFormula) term.size = value_of(values, term.formula);
    }
    const ConstantArray number = make_number(one.dtype, one.terms);
    recording.constants[one.constant].data = number.data;
    recording.constants[one.constant].owner = number.owner;
  }
  for (std::size_t i = 0; i < recording.steps.size(); ++i) {
    RecordedStep& step = recording.steps[i];
    for (const auto& [number, formula] : working.numbers[i]) {
      const std::int64_t value = value_of(values, formula);
      if (value < 0 && !number.is_signed) {
        refuse("no such sizes; one would be " + std::to_string(value));
      }
      *number.at = value;
    }
    for (const auto& [slot, formula] : working.offsets[i]) slot->offset = count_of(values, formula);
    step.recipe->touched(working.arrays);
    recording.check(working.arrays);
    if (!working.numbers[i].empty() &&
        !step.recipe->same_preparation(*recorded_->steps[i].recipe)) {
      refuse("something else would have to be prepared");
    }
  }
}

std::shared_ptr<Program> Text::at(std::span<const std::int64_t> extents) const {
  std::unique_lock<std::mutex> lock(mutex_, std::try_to_lock);
  std::unique_ptr<Working> own;
  if (!lock.owns_lock()) {
    own = copy();
  } else if (working_ == nullptr) {
    working_ = copy();
  }
  Working& working = own ? *own : *working_;
  try {
    set(working, extents);
    return std::make_shared<Program>(working.recording, shared_from_this(),
                                     std::vector<std::int64_t>(extents.begin(), extents.end()));
  } catch (const std::exception& error) {
    // What fails leaves it half set, with its slots placed or not.
    if (!own) working_.reset();
    if (dynamic_cast<const std::overflow_error*>(&error) != nullptr) refuse(error.what());
    throw;
  }
}

std::shared_ptr<const Recording> Text::recorded_at(std::span<const std::int64_t> extents) const {
  const auto working = copy();
  set(*working, extents);
  return std::make_shared<const Recording>(std::move(working->recording));
}

std::size_t Text::nbytes() const { return sizeof(*this) + 2 * recorded_->nbytes(); }

}  // namespace lamella::program
