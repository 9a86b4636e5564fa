// SPDX-License-Identifier: Apache-2.0
// A step whose result holds all of its source, in another order: the one can be had from the other.
#pragma once

#include <cstddef>

#include "steps/step.h"

namespace lamella::steps {

// The source is buffer 0 of its frames, the result buffer 1. Needs no barriers.
class Reversible : public Step {
 public:
  // Bytes from the source's start of which each is in the result; 0 when there are gaps.
  virtual std::size_t source_bytes() const = 0;
  // Fills those bytes from the result. Does this member's share.
  virtual void undo(const Frame& frame, const base::Team& team) const = 0;
};

}  // namespace lamella::steps
