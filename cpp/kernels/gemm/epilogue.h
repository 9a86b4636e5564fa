// SPDX-License-Identifier: Apache-2.0
// The activation of a product, applied to finished sums while they are in a near cache.
#pragma once

#include "kernels/table.h"

namespace lamella::kernels::LAMELLA_ISA_NAMESPACE {

// On rows first_row .. last_row - 1 of y, `columns` columns from `column` on.
template <class T>
static void activate_rows(const GemmArgs<T>& args, size_t first_row, size_t last_row, size_t column,
                          size_t columns) {
  T* y = args.y + static_cast<ptrdiff_t>(first_row) * args.y_row + column;
  if (args.y_row == static_cast<ptrdiff_t>(columns)) {
    args.activation(y, y, (last_row - first_row) * columns, args.activation_params);
    return;
  }
  for (size_t i = first_row; i < last_row; ++i, y += args.y_row) {
    args.activation(y, y, columns, args.activation_params);
  }
}

}  // namespace lamella::kernels::LAMELLA_ISA_NAMESPACE
