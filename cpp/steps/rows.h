// SPDX-License-Identifier: Apache-2.0
// Operations on whole rows of a contiguous (rows, cols) array: softmax, layer and RMS normalisation.
//
// A row is read two or three times while it lies in the first-level cache. Members share whole
// rows. y may be exactly x.
#pragma once

#include <memory>
#include <optional>

#include "kernels/table.h"
#include "steps/dtype.h"
#include "steps/step.h"

namespace lamella::steps {

struct RowsSpec {
  DType dtype;  // float32 or float64
  std::size_t rows = 0, cols = 0;
  Slot x, y;
};

// Softmax of each row, or its logarithm. Throws std::invalid_argument for other types.
std::unique_ptr<Step> make_softmax(const kernels::KernelTable& table, const RowsSpec& spec,
                                   bool log);

// y = (x - mean) / sqrt(var + epsilon) * weight + bias, weight and bias of shape (cols). Throws
// std::invalid_argument for other types and for an epsilon that is negative or NaN.
std::unique_ptr<Step> make_layer_norm(const kernels::KernelTable& table, const RowsSpec& spec,
                                      std::optional<Slot> weight, std::optional<Slot> bias,
                                      double epsilon);

// y = x / sqrt(mean(x^2) + epsilon) * weight, weight of shape (cols). Throws as make_layer_norm does.
std::unique_ptr<Step> make_rms_norm(const kernels::KernelTable& table, const RowsSpec& spec,
                                    std::optional<Slot> weight, double epsilon);

}  // namespace lamella::steps
