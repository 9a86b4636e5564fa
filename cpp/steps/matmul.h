// SPDX-License-Identifier: Apache-2.0
// Matrix products: y[b, i, j] = activation(sum_k a[b, i, k] * b[b, k, j] + bias[j] + residual[b, i, j]).
//
// A constant b is packed ahead into memory of the program (packed_bytes, make_pack_b) and read from
// there; any other b is read where it lies or packed into scratch (matmul_scratch_bytes), whichever
// is quicker: the bits are the same. y is contiguous (batch, m, n) and overlaps no other operand,
// not even the residual: with more than one K-block it holds unfinished sums.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "kernels/table.h"
#include "steps/dtype.h"
#include "steps/step.h"

namespace lamella::steps {

struct MatMulSpec {
  DType dtype = DType::f32;  // f32 or f64
  std::vector<std::size_t> batch;
  std::size_t m = 0, n = 0, k = 0;
  // Strides count elements and may be zero or negative; *_batch has one stride per batch dimension.
  Slot a;
  std::vector<std::ptrdiff_t> a_batch;
  std::ptrdiff_t a_row = 0, a_k = 1;
  Slot b;
  std::vector<std::ptrdiff_t> b_batch;
  std::ptrdiff_t b_k = 0, b_col = 1;
  bool b_constant = false;
  std::optional<Slot> packed;          // where make_pack_b's step writes; for a constant b
  std::optional<Slot> bias, residual;  // (n) and (batch, m, n), both contiguous
  std::string activation;              // name of a unary kernel; empty for none
  std::vector<double> activation_params;
  Slot y;
  std::optional<Slot> scratch;  // matmul_scratch_bytes bytes, aligned to 64
};

// Bytes of the packed form of a constant b (aligned to 64); 0 when b is used where it lies, and then
// no preparation step is wanted.
std::size_t packed_bytes(const MatMulSpec& spec);

// All that the packed form of a b depends on beside its elements, as text.
std::string packed_kind(const kernels::KernelTable& table, const MatMulSpec& spec);

// The step that packs b into `packed`: to be run before the first use and whenever b has changed.
std::unique_ptr<Step> make_pack_b(const kernels::KernelTable& table, const MatMulSpec& spec,
                                  Slot packed);

// Bytes of arena scratch (aligned to 64) the product wants. Reads dtype, batch, m, n, k, b_k, b_col
// and b_constant only.
std::size_t matmul_scratch_bytes(const MatMulSpec& spec);

// Throws std::invalid_argument on an unknown activation, another dtype, a missing slot or stride
// lists of another length than batch; std::overflow_error on sizes beyond the address space.
std::unique_ptr<Step> make_matmul(const kernels::KernelTable& table, const MatMulSpec& spec);

}  // namespace lamella::steps
