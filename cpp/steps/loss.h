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
  DType dtype = DType::f32;  // float32 or float64
  std::size_t rows = 0, cols = 0;
  bool log_probabilities = false;  // what x holds, instead of logits
  std::int64_t ignored = 0;
  double smoothing = 0;  // in [0, 1]; 0 for log-probabilities

  static constexpr auto fields(auto& s) {
    return std::tuple{field("dtype", s.dtype),     field("rows", s.rows),
                      field("cols", s.cols),       field("log_probabilities", s.log_probabilities),
                      field("ignored", s.ignored), field("smoothing", s.smoothing)};
  }

  struct Slots {
    Slot x, target;              // (rows, cols), (rows) int64
    std::optional<Slot> weight;  // (cols)
    // Not computed where there is no slot: (rows), (rows, cols) and (rows).
    std::optional<Slot> losses, slopes, weights;

    static constexpr auto fields(auto& s) {
      return std::tuple{field("x", s.x),
                        field("target", s.target),
                        optional_field("weight", s.weight),
                        optional_field("losses", s.losses),
                        optional_field("slopes", s.slopes),
                        optional_field("weights", s.weights)};
    }
  };
};

// Throws std::invalid_argument for other types and smoothings.
std::unique_ptr<Step> make_step(const kernels::KernelTable& table, const ClassLossSpec& spec,
                                const ClassLossSpec::Slots& slots);
void arrays(const ClassLossSpec& spec, const ClassLossSpec::Slots& slots, ArrayList& list);
double work(const ClassLossSpec& spec);

}  // namespace lamella::steps
