// SPDX-License-Identifier: Apache-2.0
// Optimisers: the numbers of one step, and the update of one parameter by them.
//
// The numbers are computed once for all parameters that have made the same number of steps, in
// double and as PyTorch's Python code computes them. Members share a parameter by its elements.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "kernels/table.h"
#include "steps/dtype.h"
#include "steps/step.h"

namespace lamella::steps {

// Room for every rule's scalars.
inline constexpr std::size_t kUpdateScalars = 9;

struct UpdateScalarsSpec {
  std::string rule;       // sgd, adam, adamw, rmsprop or adagrad
  Slot step;              // float64: steps made so far
  std::size_t count = 0;  // hyper-parameters
  Slot hyper;             // float64 (count), in the order of the rule's row
  Slot next;              // float64: step + 1; may be exactly `step`
  Slot scalars;           // float64 (kUpdateScalars)
};

// Throws std::invalid_argument for an unknown rule and a wrong number of hyper-parameters.
std::unique_ptr<Step> make_update_scalars(const UpdateScalarsSpec& spec);

struct UpdateSpec {
  std::string rule;  // an entry of the kernels' family
  DType dtype;       // float32 or float64
  std::size_t count = 0;
  std::vector<Slot> x;  // the parameter, the gradient, the state
  Slot scalars;
  std::vector<Slot> y;  // the new parameter, the new state; each may be exactly any of x
};

// Throws std::invalid_argument for other types, an unknown rule and a wrong number of arrays.
std::unique_ptr<Step> make_update(const kernels::KernelTable& table, const UpdateSpec& spec);

}  // namespace lamella::steps
