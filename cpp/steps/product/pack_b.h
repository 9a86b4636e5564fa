// SPDX-License-Identifier: Apache-2.0
// Copies of a product's second factor: made ahead of a constant, at every run of any other.
//
// Part of steps/product/matmul.h, shared by the product and by the packing of a constant b.
#pragma once

#include "base/parallel.h"
#include "kernels/table.h"
#include "steps/product/choose.h"
#include "steps/product/matmul.h"
#include "steps/strides.h"

namespace lamella::steps {

// What a choice reads of a product of so many rows.
ProductSizes sizes_of(const MatMulSpec& spec, std::size_t rows);

// use<T, Stored, Packed>(): the types of a and y, of b's array and of its copy. Throws
// std::invalid_argument on other dtypes.
template <class Use>
auto with_factors(const MatMulSpec& spec, const Use& use) {
  using kernels::Bfloat16;
  if (spec.dtype == DType::f32 && spec.b_dtype == DType::bf16) {
    return is_narrow(spec.n, spec.k) ? use.template operator()<float, Bfloat16, float>()
                                     : use.template operator()<float, Bfloat16, Bfloat16>();
  }
  if (spec.b_dtype != spec.dtype) refuse_dtype(spec.b_dtype, "matmul", dtype_name(spec.dtype));
  return with_floating(spec.dtype, "matmul", [&](auto tag) {
    using T = typename decltype(tag)::type;
    return use.template operator()<T, T, T>();
  });
}

// Elements of one b's copy; 0 for a form that copies nothing.
std::size_t copy_size(const MatMulSpec& spec, Form form);
// The same in bytes, rounded up to whole cache lines.
std::size_t copy_bytes(const MatMulSpec& spec, Form form);

// The batch strides of b once its different matrices are copied one behind the other.
Strides copy_strides(const MatMulSpec& spec, std::size_t copy);

std::size_t count_panels(std::size_t n);

// Elements from the first matrix of a batch to that number `index` in row-major order.
std::ptrdiff_t offset_of(std::size_t index, const Shape& batch, const Strides& strides);

// One b's sizes and strides, and what to do with it.
struct CopyPlan {
  Form form;
  std::size_t n, k;
  std::ptrdiff_t b_k, b_col;
};

// Copies one b into the room its form wants; the members of the team share the work.
template <class T, class Stored, class Packed>
void copy_b(const kernels::GemmKernels<T, Stored, T>& kernels, const CopyPlan& plan,
            const Stored* b, Packed* room, const base::Team& team);

}  // namespace lamella::steps
