// SPDX-License-Identifier: Apache-2.0
// Losses of rows against classes given by index, with their slopes in the same pass.
//
// Targets are int64 and read while running, so they are checked there: one that is neither the
// ignored one nor in [0, cols) is reported through the frame's failure, and nothing is read for it.
// Members share whole rows.
#pragma once

#include <memory>
#include <optional>

#include "kernels/table.h"
#include "steps/arrays.h"
#include "steps/dtype.h"
#include "steps/fields.h"
#include "steps/step.h"

namespace lamella::steps {

struct ClassLossSpec {
  static constexpr const char* kKind = "ClassLossSpec";

  DType dtype = DType::f32;  // float32 or float64
  std::size_t rows = 0, cols = 0;
  bool log_probabilities = false;  // what x holds, instead of logits
  std::int64_t ignored = 0;
  double smoothing = 0;  // in [0, 1]; 0 for log-probabilities

  auto fields() {
    return std::array{field("dtype", dtype),     field("rows", rows),
                      field("cols", cols),       field("log_probabilities", log_probabilities),
                      field("ignored", ignored), field("smoothing", smoothing)};
  }

  struct Slots {
    Slot x, target;              // (rows, cols), (rows) int64
    std::optional<Slot> weight;  // (cols)
    // Not computed where there is no slot: (rows), (rows, cols) and (rows).
    std::optional<Slot> losses, slopes, weights;

    auto fields() {
      return std::array{field("x", x),
                        field("target", target),
                        optional_field("weight", weight),
                        optional_field("losses", losses),
                        optional_field("slopes", slopes),
                        optional_field("weights", weights)};
    }
  };
};

// Throws std::invalid_argument for other types and smoothings.
std::unique_ptr<Step> make_step(const kernels::KernelTable& table, const ClassLossSpec& spec,
                                const ClassLossSpec::Slots& slots);
void arrays(const ClassLossSpec& spec, const ClassLossSpec::Slots& slots, ArrayList& list);
double work(const ClassLossSpec& spec);

}  // namespace lamella::steps
