// SPDX-License-Identifier: Apache-2.0
// Operations on whole rows of a contiguous (rows, cols) array: softmax, layer and RMS normalisation.
//
// A row is read two or three times while it lies in the first-level cache. Members share whole
// rows. y may be exactly x.
#pragma once

#include <memory>
#include <optional>

#include "kernels/table.h"
#include "steps/arrays.h"
#include "steps/dtype.h"
#include "steps/fields.h"
#include "steps/step.h"

namespace lamella::steps {

// What all of them have.
struct RowsSpec {
  DType dtype = DType::f32;  // float32 or float64
  std::size_t rows = 0, cols = 0;

  auto row_fields() {
    return std::array{field("dtype", dtype), field("rows", rows), field("cols", cols)};
  }
};

// Softmax of each row, or its logarithm.
struct SoftmaxSpec : RowsSpec {
  static constexpr const char* kKind = "SoftmaxSpec";

  bool log = false;

  auto fields() { return joined(row_fields(), std::array{field("log", log)}); }

  struct Slots {
    Slot x, y;

    auto fields() { return std::array{field("x", x), field("y", y)}; }
  };
};

// y = (x - mean) / sqrt(var + epsilon) * weight + bias.
struct LayerNormSpec : RowsSpec {
  static constexpr const char* kKind = "LayerNormSpec";

  double epsilon = 0;

  auto fields() { return joined(row_fields(), std::array{field("epsilon", epsilon)}); }

  struct Slots {
    Slot x;
    std::optional<Slot> weight, bias;  // (cols)
    Slot y;

    auto fields() {
      return std::array{field("x", x), optional_field("weight", weight),
                        optional_field("bias", bias), field("y", y)};
    }
  };
};

// y = x / sqrt(mean(x^2) + epsilon) * weight.
struct RmsNormSpec : RowsSpec {
  static constexpr const char* kKind = "RmsNormSpec";

  double epsilon = 0;

  auto fields() { return joined(row_fields(), std::array{field("epsilon", epsilon)}); }

  struct Slots {
    Slot x;
    std::optional<Slot> weight;  // (cols)
    Slot y;

    auto fields() {
      return std::array{field("x", x), optional_field("weight", weight), field("y", y)};
    }
  };
};

// They throw std::invalid_argument for other types and for an epsilon that is negative or NaN.
std::unique_ptr<Step> make_step(const kernels::KernelTable& table, const SoftmaxSpec& spec,
                                const SoftmaxSpec::Slots& slots);
void arrays(const SoftmaxSpec& spec, const SoftmaxSpec::Slots& slots, ArrayList& list);

std::unique_ptr<Step> make_step(const kernels::KernelTable& table, const LayerNormSpec& spec,
                                const LayerNormSpec::Slots& slots);
void arrays(const LayerNormSpec& spec, const LayerNormSpec::Slots& slots, ArrayList& list);

std::unique_ptr<Step> make_step(const kernels::KernelTable& table, const RmsNormSpec& spec,
                                const RmsNormSpec::Slots& slots);
void arrays(const RmsNormSpec& spec, const RmsNormSpec::Slots& slots, ArrayList& list);

double work(const RowsSpec& spec);

}  // namespace lamella::steps
