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
#include "steps/arrays.h"
#include "steps/dtype.h"
#include "steps/fields.h"
#include "steps/step.h"

namespace lamella::steps {

// Room for every rule's scalars.
inline constexpr std::size_t kUpdateScalars = 9;

struct UpdateScalarsSpec {
  static constexpr const char* kKind = "UpdateScalarsSpec";

  std::string rule;       // sgd, adam, adamw, rmsprop or adagrad
  std::size_t count = 0;  // hyper-parameters

  auto fields() { return std::array{field("rule", rule), field("count", count)}; }

  struct Slots {
    Slot step;     // float64: steps made so far
    Slot hyper;    // float64 (count), in the order of the rule's row
    Slot next;     // float64: step + 1; may be exactly `step`
    Slot scalars;  // float64 (kUpdateScalars)

    auto fields() {
      return std::array{field("step", step), field("hyper", hyper), field("next", next),
                        field("scalars", scalars)};
    }
  };
};

// Throws std::invalid_argument for an unknown rule and a wrong number of hyper-parameters.
std::unique_ptr<Step> make_step(const kernels::KernelTable& table, const UpdateScalarsSpec& spec,
                                const UpdateScalarsSpec::Slots& slots);
void arrays(const UpdateScalarsSpec& spec, const UpdateScalarsSpec::Slots& slots, ArrayList& list);
double work(const UpdateScalarsSpec& spec);

struct UpdateSpec {
  static constexpr const char* kKind = "UpdateSpec";

  std::string rule;          // an entry of the kernels' family
  DType dtype = DType::f32;  // float32 or float64
  std::size_t count = 0;

  auto fields() {
    return std::array{field("rule", rule), field("dtype", dtype), field("count", count)};
  }

  struct Slots {
    std::vector<Slot> x;  // the parameter, the gradient, the state
    Slot scalars;
    std::vector<Slot> y;  // the new parameter, the new state; each may be exactly any of x

    auto fields() { return std::array{field("x", x), field("scalars", scalars), field("y", y)}; }
  };
};

// Throws std::invalid_argument for other types, an unknown rule and a wrong number of arrays.
std::unique_ptr<Step> make_step(const kernels::KernelTable& table, const UpdateSpec& spec,
                                const UpdateSpec::Slots& slots);
void arrays(const UpdateSpec& spec, const UpdateSpec::Slots& slots, ArrayList& list);
double work(const UpdateSpec& spec);

}  // namespace lamella::steps
