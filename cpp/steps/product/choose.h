// SPDX-License-Identifier: Apache-2.0
// How a product is computed: the one place where that is decided.
//
// From sizes, strides and facts of the instruction set's kernels to the form in which b reaches them, the
// loop and its blocks. Whether a product is narrow is part of the numerical contract and looks at n and k
// alone; nothing else here changes a bit.
#pragma once

#include <cstddef>
#include <string>

#include "kernels/table.h"

namespace lamella::steps {

using kernels::Form;
using kernels::Loop;
using kernels::Way;

// One product, or the part of one that a member computes: strides count elements.
struct ProductSizes {
  std::size_t m, n, k;
  std::ptrdiff_t a_row, a_k, b_k, b_col;
  std::size_t item_bytes;  // of a and y
  bool b_constant;         // known ahead: packed once for any number of rows
  bool b_bfloat16;
};

// Whether elements are dot products of their own.
bool is_narrow(std::size_t n, std::size_t k);

// The form of b; that of a constant is the same for any number of rows.
Form choose_form(const ProductSizes& sizes);

// The way of a product whose b has that form.
Way choose(Form form, const ProductSizes& sizes, const kernels::TileFacts& facts);

constexpr bool is_dot(Form form) { return form == Form::terms || form == Form::packed_terms; }

// For listings: "<form>, <loop>".
std::string text_of(const Way& way);

}  // namespace lamella::steps
