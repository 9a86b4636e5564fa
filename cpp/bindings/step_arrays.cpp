// SPDX-License-Identifier: Apache-2.0
#include "bindings/step_arrays.h"

#include <stdexcept>
#include <string>

#include "base/checked.h"

namespace lamella::bindings {

using base::checked_mul;
using program::ProgramBuilder;
using steps::Shape;
using steps::Slot;
using steps::Strides;

namespace {

// Whether a step that allows y to be x may have these two.
bool same_array(const Array& x, const Array& y) {
  return x.slot.offset == y.slot.offset && x.bytes == y.bytes && x.item == y.item && x.contiguous &&
         y.contiguous;
}

}  // namespace

Array contiguous(Slot slot, std::size_t count, std::size_t item) {
  return {slot, checked_mul(count, item), item, true};
}

Array strided(Slot slot, const Shape& shape, const Strides& strides, std::size_t item) {
  const steps::Reach reach = steps::reach(shape, strides);
  const std::size_t below = checked_mul(reach.below, item);
  if (below > slot.offset) {
    throw std::invalid_argument("slot: negative strides reach " + std::to_string(below) +
                                " bytes below offset " + std::to_string(slot.offset));
  }
  const auto merged = steps::merge_dimensions(shape, {strides});
  const Strides& rest = merged.strides[0];
  const bool dense = rest.empty() || (rest.size() == 1 && rest[0] == 1);
  return {{slot.buffer, slot.offset - below}, checked_mul(reach.count, item), item, dense};
}

void check_aligned(const Array& array) {
  if (array.slot.offset % array.item == 0) return;
  throw std::invalid_argument("slot: offset " + std::to_string(array.slot.offset) +
                              " is not a multiple of the item size " + std::to_string(array.item));
}

void check_read(ProgramBuilder& builder, const Array& array) {
  check_aligned(array);
  builder.check_read(array.slot, array.bytes);
}

void check_write(ProgramBuilder& builder, const Array& y, const std::vector<Array>& read,
                 Sharing sharing) {
  check_aligned(y);
  builder.check_write(y.slot, y.bytes);
  for (const Array& x : read) {
    check_read(builder, x);
    const bool apart = x.slot.buffer != y.slot.buffer || x.bytes == 0 || y.bytes == 0 ||
                       x.slot.offset >= y.slot.offset + y.bytes ||
                       y.slot.offset >= x.slot.offset + x.bytes;
    if (apart || (sharing == Sharing::exact && same_array(x, y))) continue;
    throw std::invalid_argument(
        "slot: the output overlaps an operand; got offsets " + std::to_string(x.slot.offset) +
        " and " + std::to_string(y.slot.offset) + " of buffer " + std::to_string(y.slot.buffer));
  }
}

}  // namespace lamella::bindings
