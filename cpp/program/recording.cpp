// SPDX-License-Identifier: Apache-2.0
#include "program/recording.h"

#include <cstring>
#include <stdexcept>
#include <string>
#include <utility>

#include "base/allocation.h"
#include "base/checked.h"
#include "program/folding.h"

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

std::string name_of(std::uint32_t buffer) {
  if ((buffer & kRange) != 0) return "range " + std::to_string(buffer & ~kRange);
  return "buffer " + std::to_string(buffer);
}

void check_aligned(const Array& array) {
  if (array.slot.offset % array.item == 0) return;
  throw std::invalid_argument("slot: offset " + std::to_string(array.slot.offset) +
                              " is not a multiple of the item size " + std::to_string(array.item));
}

template <class T>
ConstantArray constant_of(T value) {
  auto memory = std::make_shared<T>(value);
  ConstantArray constant;
  constant.data = reinterpret_cast<std::byte*>(memory.get());
  constant.bytes = sizeof(T);
  constant.owner = std::move(memory);
  return constant;
}

template <class T>
T product_of(const std::vector<NumberTerm>& terms) {
  using Kind = NumberTerm::Kind;
  const auto made = [](const NumberTerm& term) {
    const auto size = static_cast<double>(term.size);
    return static_cast<T>(term.kind == Kind::reciprocal ? 1 / size : size);
  };
  T product = made(terms.front());
  for (std::size_t i = 1; i < terms.size(); ++i) {
    const NumberTerm& term = terms[i];
    const bool plain = term.kind == Kind::times || term.kind == Kind::over;
    const double factor = plain ? term.number : static_cast<double>(made(term));
    const auto so_far = static_cast<double>(product);
    product = static_cast<T>(term.kind == Kind::over ? so_far / factor : so_far * factor);
  }
  return product;
}

}  // namespace

ArraySpec make_array_spec(steps::DType dtype, std::vector<std::size_t> shape) {
  ArraySpec spec{dtype, std::move(shape), 0};
  spec.bytes = base::checked_mul(base::checked_product(spec.shape), steps::item_bytes(dtype));
  return spec;
}

std::size_t Recording::buffer_bytes(std::uint32_t buffer) const {
  std::size_t index = buffer & ~kRange;
  if ((buffer & kRange) != 0 && index < ranges.size()) return ranges[index].bytes;
  const std::size_t extra = index - first_extra();
  if ((buffer & kRange) != 0 || index == 0 || (index >= first_extra() && extra >= extras.size())) {
    throw std::invalid_argument("slot: the program has no " + name_of(buffer));
  }
  if (index <= inputs.size()) return inputs[index - 1].bytes;
  if (index < first_extra()) return outputs[index - 1 - inputs.size()].bytes;
  const ExtraBuffer found = extras[extra];
  if (found.kind == Kind::prepared) return prepared[found.index].bytes;
  if (found.kind == Kind::folded) return folded[found.index].folding->bytes();
  return constants[found.index].bytes;
}

std::size_t Recording::index_in(std::uint32_t buffer, Kind kind) const {
  if ((buffer & kRange) != 0 || buffer < first_extra()) return kNever;
  const ExtraBuffer extra = extras[buffer - first_extra()];
  return extra.kind == kind ? extra.index : kNever;
}

double PreparedArray::cost() const {
  return (folding ? folding->cost() : 0) + (prepare ? prepare->cost() : 0);
}

std::size_t PreparedArray::scratch_bytes() const {
  if (folding == nullptr) return 0;
  const std::size_t value = prepare ? folding->bytes() : 0;
  return base::checked_add(folding->arena_bytes(), value);
}

void check_slot(const Recording& recording, Slot slot, std::size_t bytes) {
  const std::size_t size = recording.buffer_bytes(slot.buffer);
  if (slot.offset <= size && bytes <= size - slot.offset) return;
  throw std::invalid_argument("slot: got offset " + std::to_string(slot.offset) + " and " +
                              std::to_string(bytes) + " bytes; " + name_of(slot.buffer) + " has " +
                              std::to_string(size));
}

void Recording::check(const steps::ArrayList& arrays) const {
  for (const Array& array : arrays) {
    check_aligned(array);
    check_slot(*this, array.slot, array.bytes);
  }
  for (std::size_t i = 0; i < arrays.size(); ++i) {
    const Array& y = arrays[i];
    if (y.use != Use::written) continue;
    for (std::size_t j = 0; j < arrays.size(); ++j) {
      const Array& x = arrays[j];
      const bool once = x.use == Use::written && j >= i;
      if (once || x.use == Use::prepared || apart(x, y)) continue;
      if (x.use == Use::replaced && same_array(x, y)) continue;
      throw std::invalid_argument("slot: the output overlaps an operand; got offsets " +
                                  std::to_string(x.slot.offset) + " and " +
                                  std::to_string(y.slot.offset) + " of " + name_of(y.slot.buffer));
    }
  }
}

ConstantArray make_number(steps::DType dtype, const std::vector<NumberTerm>& terms) {
  const bool whole = terms.size() == 1 && terms[0].kind == NumberTerm::Kind::value;
  if (steps::is_floating(dtype)) {
    return steps::with_floating(dtype, "number", [&](auto tag) {
      return constant_of(product_of<typename decltype(tag)::type>(terms));
    });
  }
  if (whole && steps::is_integer(dtype)) {
    return steps::with_integer(dtype, "number", [&](auto tag) {
      using T = typename decltype(tag)::type;
      if (std::in_range<T>(terms[0].size)) return constant_of(static_cast<T>(terms[0].size));
      throw std::overflow_error("number: no " + std::string(steps::dtype_name(dtype)) + " is " +
                                std::to_string(terms[0].size));
    });
  }
  throw std::invalid_argument(std::string("number: no ") + steps::dtype_name(dtype) +
                              (whole ? " is an extent" : " is made of extents so"));
}

Placement place_ranges(const Recording& recording) {
  std::vector<std::size_t> scratch;
  for (const RecordedStep& step : recording.steps) scratch.push_back(step.recipe->scratch_bytes());
  return place(recording.ranges, scratch);
}

namespace {

// A step's slots where they lie, as long as this lives.
class Placed {
 public:
  Placed(const std::vector<Slot*>& slots, const Placement& placement) : slots_(slots) {
    for (const Slot* slot : slots_) kept_.push_back(*slot);
    for (Slot* slot : slots_) {
      if (!is_range(*slot)) continue;
      *slot = {0, base::checked_add(placement.ranges[range_of(*slot)], slot->offset)};
    }
  }
  ~Placed() {
    for (std::size_t i = 0; i < slots_.size(); ++i) *slots_[i] = kept_[i];
  }
  Placed(const Placed&) = delete;
  Placed& operator=(const Placed&) = delete;

 private:
  const std::vector<Slot*>& slots_;
  std::vector<Slot> kept_;
};

}  // namespace

Made make_steps(Recording& recording) {
  Made made{place_ranges(recording), {}};
  made.steps.reserve(recording.steps.size());
  for (std::size_t i = 0; i < recording.steps.size(); ++i) {
    const RecordedStep& step = recording.steps[i];
    const Placed placed(step.slots, made.placement);
    step.recipe->set_scratch({0, made.placement.scratch[i]});
    base::count_allocation();
    made.steps.push_back(step.recipe->make(*recording.table));
  }
  return made;
}

std::size_t Recording::nbytes() const {
  std::size_t bytes = sizeof(*this) + constants.size() * sizeof(ConstantArray) +
                      extras.size() * sizeof(ExtraBuffer) + formulas.size() * sizeof(Formula) +
                      ranges.size() * sizeof(Lifetime);
  for (const PreparedArray& one : prepared) {
    bytes += sizeof(one) + one.kind.size() + one.sources.size() * sizeof(Slot);
  }
  for (const FoldedArray& one : folded) {
    bytes += sizeof(one) + one.sources.size() * sizeof(Slot) + one.folding->nbytes();
  }
  for (const RecordedStep& step : steps) {
    bytes += sizeof(step) + step.recipe->nbytes() +
             (step.numbers.size() + step.offsets.size()) * sizeof(FreeNumber);
  }
  return bytes;
}

}  // namespace lamella::program
