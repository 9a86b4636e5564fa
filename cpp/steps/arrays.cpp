// SPDX-License-Identifier: Apache-2.0
#include "steps/arrays.h"

#include <stdexcept>
#include <string>

#include "base/checked.h"

namespace lamella::steps {

using base::checked_mul;

Array contiguous(Slot slot, std::size_t count, std::size_t item, Use use) {
  return {slot, checked_mul(count, item), item, true, use};
}

Array strided(Slot slot, const Shape& shape, const Strides& strides, std::size_t item, Use use) {
  const Reach far = reach(shape, strides);
  const std::size_t below = checked_mul(far.below, item);
  if (below > slot.offset) {
    throw std::invalid_argument("slot: negative strides reach " + std::to_string(below) +
                                " bytes below offset " + std::to_string(slot.offset));
  }
  const auto merged = merge_dimensions(shape, {strides});
  const Strides& rest = merged.strides[0];
  const bool dense = rest.empty() || (rest.size() == 1 && rest[0] == 1);
  return {{slot.buffer, slot.offset - below}, checked_mul(far.count, item), item, dense, use};
}

}  // namespace lamella::steps
