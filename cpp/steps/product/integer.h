// SPDX-License-Identifier: Apache-2.0
// Products of bytes, exact modulo 2^32:
//   s[b, i, j] = sum_k (x[b, i, k] - x_zero[i]) (w[b, k, j] - w_zero[j])
// y = s as int32; with a scale y = activation(float(s) * scale + bias) as float32, in one pass.
//
// x and w are uint8 or int8 each. A constant w is packed ahead, any other one at every run. y is
// contiguous (batch, m, n).
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "kernels/table.h"
#include "steps/arrays.h"
#include "steps/dtype.h"
#include "steps/fields.h"
#include "steps/preparation.h"
#include "steps/step.h"

namespace lamella::steps {

struct IntegerProductSpec {
  static constexpr const char* kKind = "IntegerProductSpec";

  DType x = DType::u8, w = DType::i8;  // uint8 or int8
  std::vector<std::size_t> batch;
  std::size_t m = 0, n = 0, k = 0;
  // Strides count elements and may be zero or negative; *_batch has one stride per batch dimension.
  std::vector<std::ptrdiff_t> x_batch;
  std::ptrdiff_t x_row = 0, x_k = 1;
  std::vector<std::ptrdiff_t> w_batch;
  std::ptrdiff_t w_k = 0, w_col = 1;
  bool w_constant = false;
  // Which axis of a product the zero points and the scale have: one number, or one a row or column.
  bool x_zero_rows = false, w_zero_columns = false;
  bool scale_rows = false, scale_columns = false;  // not both
  std::string activation;  // name of a unary kernel, beside a scale only; empty for none
  std::vector<double> activation_params;

  auto fields() {
    return std::array{field("x", x),
                      field("w", w),
                      field("batch", batch),
                      field("m", m),
                      field("n", n),
                      field("k", k),
                      field("x_batch", x_batch),
                      field("x_row", x_row),
                      field("x_k", x_k),
                      field("w_batch", w_batch),
                      field("w_k", w_k),
                      field("w_col", w_col),
                      field("w_constant", w_constant),
                      optional_field("x_zero_rows", x_zero_rows),
                      optional_field("w_zero_columns", w_zero_columns),
                      optional_field("scale_rows", scale_rows),
                      optional_field("scale_columns", scale_columns),
                      optional_field("activation", activation),
                      optional_field("activation_params", activation_params)};
  }

  struct Slots {
    Slot x, w;
    std::optional<Slot> x_zero, w_zero;  // of the types of x and w, the same for all of the batch
    std::optional<Slot> scale, bias;     // float32; bias (n)
    Slot y;
    std::optional<Slot> scratch;  // scratch_bytes bytes, aligned to 64
    std::optional<Slot> packed;   // where the step of preparation() writes; for a constant w

    auto fields() {
      return std::array{field("x", x),
                        field("w", w),
                        optional_field("x_zero", x_zero),
                        optional_field("w_zero", w_zero),
                        optional_field("scale", scale),
                        optional_field("bias", bias),
                        field("y", y)};
    }
  };
};

// The packing of a constant w: to be done before the first use and whenever w has changed.
std::optional<Preparation> preparation(const kernels::KernelTable& table,
                                       const IntegerProductSpec& spec,
                                       const IntegerProductSpec::Slots& slots);
bool same_preparation(const IntegerProductSpec& a, const IntegerProductSpec& b);
std::size_t scratch_bytes(const IntegerProductSpec& spec);

// Throws std::invalid_argument on other types, an unknown activation, a missing slot or stride lists
// of another length than batch; std::overflow_error on sizes beyond the address space.
std::unique_ptr<Step> make_step(const kernels::KernelTable& table, const IntegerProductSpec& spec,
                                const IntegerProductSpec::Slots& slots);
void arrays(const IntegerProductSpec& spec, const IntegerProductSpec::Slots& slots,
            ArrayList& list);
double work(const IntegerProductSpec& spec);

}  // namespace lamella::steps
