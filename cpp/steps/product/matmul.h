// SPDX-License-Identifier: Apache-2.0
// Matrix products: y[b, i, j] = activation(sum_k a[b, i, k] * b[b, k, j] + bias[j] + residual[b, i, j]).
//
// A constant b is packed ahead into memory of the program (packed_bytes, preparation) and read from
// there; any other b is read where it lies or packed into scratch (scratch_bytes), whichever
// is quicker: the bits are the same. y is contiguous (batch, m, n) and overlaps no other operand,
// not even the residual: with more than one K-block it holds unfinished sums.
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

struct MatMulSpec {
  static constexpr const char* kKind = "MatMulSpec";

  DType dtype = DType::f32;    // of a and y: f32 or f64
  DType b_dtype = DType::f32;  // the same, or bf16 beside f32: its elements are widened
  std::vector<std::size_t> batch;
  std::size_t m = 0, n = 0, k = 0;
  // Strides count elements and may be zero or negative; *_batch has one stride per batch dimension.
  std::vector<std::ptrdiff_t> a_batch;
  std::ptrdiff_t a_row = 0, a_k = 1;
  std::vector<std::ptrdiff_t> b_batch;
  std::ptrdiff_t b_k = 0, b_col = 1;
  bool b_constant = false;
  std::string activation;  // name of a unary kernel; empty for none
  std::vector<double> activation_params;

  auto fields() {
    return std::array{field("dtype", dtype),
                      field("b_dtype", b_dtype),
                      field("batch", batch),
                      field("m", m),
                      field("n", n),
                      field("k", k),
                      field("a_batch", a_batch),
                      field("a_row", a_row),
                      field("a_k", a_k),
                      field("b_batch", b_batch),
                      field("b_k", b_k),
                      field("b_col", b_col),
                      field("b_constant", b_constant),
                      optional_field("activation", activation),
                      optional_field("activation_params", activation_params)};
  }

  struct Slots {
    Slot a, b;
    std::optional<Slot> bias, residual;  // (n) and (batch, m, n), both contiguous
    Slot y;
    std::optional<Slot> scratch;  // scratch_bytes bytes, aligned to 64
    std::optional<Slot> packed;   // where the step of preparation() writes; for a constant b

    auto fields() {
      return std::array{field("a", a), field("b", b), optional_field("bias", bias),
                        optional_field("residual", residual), field("y", y)};
    }
  };
};

// Bytes of the packed form of a constant b (aligned to 64); 0 when b is used where it lies, and then
// no preparation step is wanted.
std::size_t packed_bytes(const MatMulSpec& spec);

// The packing of a constant b, where it is packed: to be done before the first use and whenever b
// has changed.
std::optional<Preparation> preparation(const kernels::KernelTable& table, const MatMulSpec& spec,
                                       const MatMulSpec::Slots& slots);

// Whether what is packed for one product serves the other.
bool same_preparation(const MatMulSpec& a, const MatMulSpec& b);

// Bytes of arena scratch (aligned to 64) the product wants. Reads both dtypes, batch, m, n, k,
// b_k, b_col and b_constant only.
std::size_t scratch_bytes(const MatMulSpec& spec);

// Throws std::invalid_argument on an unknown activation, other dtypes, a missing slot or stride
// lists of another length than batch; std::overflow_error on sizes beyond the address space.
std::unique_ptr<Step> make_step(const kernels::KernelTable& table, const MatMulSpec& spec,
                                const MatMulSpec::Slots& slots);
// How it would be computed with these kernels, in words.
std::string way_of(const kernels::KernelTable& table, const MatMulSpec& spec);
void arrays(const MatMulSpec& spec, const MatMulSpec::Slots& slots, ArrayList& list);
double work(const MatMulSpec& spec);

}  // namespace lamella::steps
