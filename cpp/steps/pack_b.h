// SPDX-License-Identifier: Apache-2.0
// How the second factor of a product reaches the kernels: where it lies, or copied.
//
// Part of steps/matmul.h, shared by the product and by the packing of a constant b. The form of a
// sum depends on n and k alone; which of its forms of copy is taken never changes a bit.
#pragma once

#include "base/parallel.h"
#include "kernels/table.h"
#include "steps/matmul.h"
#include "steps/strides.h"

namespace lamella::steps {

// Narrow products are summed by dot, the others by gemm.
enum class Form {
  terms,          // n rows of k neighbouring terms, where they lie
  packed_terms,   // the same, copied
  rows,           // row-major where it lies, whole panels only
  rows_and_tail,  // row-major, the panel that n cuts is copied
  columns,        // column-major where it lies: the kernel packs or transposes a piece at a time
  panels,         // copied into panels
};

constexpr bool is_dot(Form form) { return form == Form::terms || form == Form::packed_terms; }

// The form for a product of so many rows; a constant b has the same one for any number.
Form form_of(const MatMulSpec& spec, std::size_t rows);

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
template <class T>
void copy_b(const kernels::GemmKernels<T>& kernels, const CopyPlan& plan, const T* b, T* room,
            const base::Team& team);

}  // namespace lamella::steps
