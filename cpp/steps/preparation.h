// SPDX-License-Identifier: Apache-2.0
// What a step wants computed from a constant ahead of the runs: packed weights.
//
// Done by the first run that needs it and whenever the constant has changed, once for all programs
// that name the same kind and source (program/prepared.h).
#pragma once

#include <cstddef>
#include <memory>
#include <string>

#include "steps/step.h"

namespace lamella::steps {

struct Preparation {
  std::string kind;  // all that the step does: of two with one kind and source one is made
  std::size_t bytes = 0;
  Slot source;
  // Sees the source as buffer 0 and its target as buffer 1; run by a team, without barriers.
  std::shared_ptr<const Step> step;
};

}  // namespace lamella::steps
