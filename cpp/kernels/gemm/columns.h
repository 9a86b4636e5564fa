// SPDX-License-Identifier: Apache-2.0
// Few rows times a column-major b where it lies.
//
// A register's worth of columns is transposed in registers, as many terms at a time, and multiplied
// at once: packing it first would write and read it once more (1 x 2000 x 1000 257 -> 161 us,
// 1 x 4096 x 4096 10.2 -> 3.0 ms, Zen 4). Each element's sum is that of tile.h.
#pragma once

#include "kernels/gemm/args.h"
#include "kernels/gemm/epilogue.h"
#include "kernels/gemm/tile.h"
#include "simd/vec.h"

namespace lamella::kernels::LAMELLA_ISA_NAMESPACE {

// Rows whose sums find room beside a square of registers.
inline constexpr size_t kColumnRows = kAccumulators < 24 ? 3 : 6;

// `terms` terms, at most as many as a register has lanes, of the columns from b on.
template <class T, size_t Rows>
[[gnu::always_inline]] inline void add_square(Vec<T> (&sum)[Rows][1], const T* a, ptrdiff_t a_row,
                                              ptrdiff_t a_k, const T* b, ptrdiff_t column,
                                              size_t terms) {
  using V = Vec<T>;
  V square[V::lanes];
#pragma GCC unroll 16
  for (size_t j = 0; j < V::lanes; ++j) {
    const T* at = b + static_cast<ptrdiff_t>(j) * column;
    square[j] = terms == V::lanes ? V::load(at) : V::load_partial(at, terms);
  }
  transpose(square);
#pragma GCC unroll 16
  for (size_t k = 0; k < V::lanes; ++k) {
    if (k == terms) break;
#pragma GCC unroll 8
    for (size_t i = 0; i < Rows; ++i) {
      const T* x = a + static_cast<ptrdiff_t>(i) * a_row + static_cast<ptrdiff_t>(k) * a_k;
      sum[i][0] = mul_add(V::broadcast(*x), square[k], sum[i][0]);
    }
  }
}

// A register's worth of columns from `first` on, all terms.
template <class T, size_t Rows>
static void multiply_columns(const GemmArgs<T>& args, size_t first) {
  using V = Vec<T>;
  constexpr size_t lanes = V::lanes, line = 64 / sizeof(T);
  const ptrdiff_t column = args.b_panel / static_cast<ptrdiff_t>(kPanel);
  const T* b = args.b + static_cast<ptrdiff_t>(first) * column;
  // Whole squares begin with a line of the first column, often of all: columns a power of two apart
  // would otherwise lose half of a line before its second use.
  const size_t skew = (line - reinterpret_cast<size_t>(b) / sizeof(T) % line) % lanes;
  const T* a = args.a;
  for (size_t k_first = 0; k_first < args.k; k_first += kBlockK) {
    const size_t k = smaller(args.k - k_first, kBlockK);
    V sum[Rows][1];
#pragma GCC unroll 8
    for (size_t i = 0; i < Rows; ++i) sum[i][0] = V::zero();
    const auto add = [&](size_t terms) __attribute__((always_inline)) {
      add_square<T, Rows>(sum, a, args.a_row, args.a_k, b, column, terms);
      a += static_cast<ptrdiff_t>(terms) * args.a_k;
      b += terms;
    };
    size_t terms = smaller(skew, k);
    if (terms > 0) add(terms);
    for (; terms + lanes <= k; terms += lanes) add(lanes);
    if (terms < k) add(k - terms);
    finish(sum, tile_end(args, 0, first, lanes, k_first > 0, k_first + k == args.k));
  }
}

template <class T>
struct ColumnTable {
  void (*columns[kColumnRows])(const GemmArgs<T>& args, size_t first);
};

template <class T, size_t Rows = kColumnRows>
constexpr void fill_columns(ColumnTable<T>& table) {
  if constexpr (Rows > 0) {
    table.columns[Rows - 1] = multiply_columns<T, Rows>;
    fill_columns<T, Rows - 1>(table);
  }
}

template <class T>
constexpr ColumnTable<T> make_columns() {
  ColumnTable<T> table{};
  fill_columns(table);
  return table;
}

template <class T>
static constexpr ColumnTable<T> kColumns = make_columns<T>();

// n is at least a panel. The last columns are computed once more where n cuts a register short.
template <class T>
static void columns_in_place(const GemmArgs<T>& args) {
  constexpr size_t lanes = Vec<T>::lanes;
  for (size_t first = 0; first < args.n; first += lanes) {
    kColumns<T>.columns[args.m - 1](args, smaller(first, args.n - lanes));
  }
}

}  // namespace lamella::kernels::LAMELLA_ISA_NAMESPACE
