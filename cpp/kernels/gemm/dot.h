// SPDX-License-Identifier: Apache-2.0
// Narrow products (n < kPanel): every element is a dot product over 16 running sums.
//
// Lane l of the sums holds the terms k = l, l + 16, ... in increasing order, each lane one chain of
// mul_add starting from zero; the lanes are folded by the tree + 8, + 4, + 2, + 1. Terms behind k
// are zeros in both factors. Tiles of several rows and columns keep enough chains under way and
// never change an element's sum.
#pragma once

#include "kernels/gemm/epilogue.h"
#include "kernels/gemm/pack.h"
#include "kernels/gemm/tile.h"
#include "kernels/table.h"
#include "simd/vec.h"

namespace lamella::kernels::LAMELLA_ISA_NAMESPACE {

using simd::LAMELLA_ISA_NAMESPACE::Lanes16;

// Dot products a tile holds: 6 of them are 12 registers with AVX2.
template <class T>
inline constexpr size_t kDots = kAccumulators / kPanelVecs<T> > 6   ? 6
                                : kAccumulators / kPanelVecs<T> > 0 ? kAccumulators / kPanelVecs<T>
                                                                    : 1;

// Rows whose results are still in L1 when the activation gets them.
inline constexpr size_t kDotRows = 256;
// Terms of strided rows copied at a time, 16 KB of floats; a multiple of 16.
inline constexpr size_t kCopiedTerms = 4096;

template <class T>
using DotFn = void (*)(const GemmArgs<T>& args, size_t row, size_t column);

// y, bias and residual for one element.
template <class T>
static void finish_dot(const GemmArgs<T>& args, size_t row, size_t column, T sum) {
  if (args.bias) sum += args.bias[column];
  if (args.residual) {
    sum += args.residual[static_cast<ptrdiff_t>(row) * args.residual_row +
                         static_cast<ptrdiff_t>(column)];
  }
  args.y[static_cast<ptrdiff_t>(row) * args.y_row + static_cast<ptrdiff_t>(column)] = sum;
}

struct Sum {
  template <class V>
  [[gnu::always_inline]] V operator()(V a, V b) const {
    return a + b;
  }
};

// The last terms of one factor, in a full register's room with zeros behind.
template <class T>
[[gnu::noinline]] static void copy_tail(const T* from, size_t terms, T* to) {
  const Lanes16<T> tail = Lanes16<T>::load_partial(from, terms, T(0));
#pragma GCC unroll 16
  for (size_t part = 0; part < Lanes16<T>::count; ++part) {
    tail.part[part].store(to + part * Vec<T>::lanes);
  }
}

// 16 terms of every dot product of a tile.
template <class T, size_t Rows, size_t Columns>
[[gnu::always_inline]] inline void add_terms(Lanes16<T> (&sum)[Rows][Columns],
                                             const T* const (&a)[Rows],
                                             const T* const (&b)[Columns], size_t k) {
#pragma GCC unroll 8
  for (size_t part = 0; part < Lanes16<T>::count; ++part) {
    const size_t at = k + part * Vec<T>::lanes;
    Vec<T> x[Rows];
#pragma GCC unroll 8
    for (size_t i = 0; i < Rows; ++i) {
      x[i] = Vec<T>::load(a[i] + at);
      if constexpr (Columns > 1) pin(x[i]);
    }
#pragma GCC unroll 8
    for (size_t j = 0; j < Columns; ++j) {
      Vec<T> w = Vec<T>::load(b[j] + at);
      if constexpr (Rows > 1) pin(w);
#pragma GCC unroll 8
      for (size_t i = 0; i < Rows; ++i) {
        sum[i][j].part[part] = mul_add(x[i], w, sum[i][j].part[part]);
      }
    }
  }
}

template <class T, size_t Rows, size_t Columns>
static void dot_tile(const GemmArgs<T>& args, size_t row, size_t column) {
  const size_t whole = args.k / kReduceLanes * kReduceLanes, left = args.k - whole;
  const T* a[Rows];
  const T* b[Columns];
#pragma GCC unroll 8
  for (size_t i = 0; i < Rows; ++i) a[i] = args.a + static_cast<ptrdiff_t>(row + i) * args.a_row;
#pragma GCC unroll 8
  for (size_t j = 0; j < Columns; ++j) {
    b[j] = args.b + static_cast<ptrdiff_t>(column + j) * args.b_panel;
  }
  // Before any sum is in a register, since a call would push them all out.
  alignas(64) T tail[Rows + Columns][kReduceLanes];
  if (left > 0) {
    for (size_t i = 0; i < Rows; ++i) copy_tail(a[i] + whole, left, tail[i]);
    for (size_t j = 0; j < Columns; ++j) copy_tail(b[j] + whole, left, tail[Rows + j]);
  }
  Lanes16<T> sum[Rows][Columns];
#pragma GCC unroll 8
  for (size_t i = 0; i < Rows; ++i) {
#pragma GCC unroll 8
    for (size_t j = 0; j < Columns; ++j) sum[i][j] = Lanes16<T>::broadcast(T(0));
  }
  for (size_t k = 0; k < whole; k += kReduceLanes) add_terms(sum, a, b, k);
  if (left > 0) {
#pragma GCC unroll 8
    for (size_t i = 0; i < Rows; ++i) a[i] = tail[i];
#pragma GCC unroll 8
    for (size_t j = 0; j < Columns; ++j) b[j] = tail[Rows + j];
    add_terms(sum, a, b, 0);
  }
#pragma GCC unroll 8
  for (size_t i = 0; i < Rows; ++i) {
#pragma GCC unroll 8
    for (size_t j = 0; j < Columns; ++j) {
      finish_dot(args, row + i, column + j, sum[i][j].fold(Sum{}));
    }
  }
}

// One row of more strided terms than the copy has room for: piece by piece, the sums waiting in
// memory between the pieces.
template <class T>
static void dot_long(const GemmArgs<T>& args, size_t row, T* room) {
  Lanes16<T> sums[kPanel];
  for (size_t j = 0; j < args.n; ++j) sums[j] = Lanes16<T>::broadcast(T(0));
  const T* a = args.a + static_cast<ptrdiff_t>(row) * args.a_row;
  for (size_t k = 0; k < args.k; k += kCopiedTerms) {
    const size_t count = args.k - k < kCopiedTerms ? args.k - k : kCopiedTerms;
    const size_t whole = count / kReduceLanes * kReduceLanes;
    copy_rows(a + static_cast<ptrdiff_t>(k) * args.a_k, args.a_row, args.a_k, 1, count, room);
    for (size_t j = 0; j < args.n; ++j) {
      const T* b = args.b + static_cast<ptrdiff_t>(j) * args.b_panel + k;
      Lanes16<T> sum[1][1] = {{sums[j]}};
      for (size_t i = 0; i < whole; i += kReduceLanes) add_terms<T, 1, 1>(sum, {room}, {b}, i);
      if (whole < count) {
        alignas(64) T tail[2][kReduceLanes];
        copy_tail(room + whole, count - whole, tail[0]);
        copy_tail(b + whole, count - whole, tail[1]);
        add_terms<T, 1, 1>(sum, {tail[0]}, {tail[1]}, 0);
      }
      sums[j] = sum[0][0];
    }
  }
  for (size_t j = 0; j < args.n; ++j) finish_dot(args, row, j, sums[j].fold(Sum{}));
}

template <class T>
struct DotTable {
  DotFn<T> tile[kDots<T>][kDots<T>];
};

template <class T, size_t Rows, size_t Columns>
constexpr void fill_dots(DotTable<T>& table) {
  if constexpr (Rows <= kDots<T>) {
    if constexpr (Rows * Columns <= kDots<T>) {
      table.tile[Rows - 1][Columns - 1] = dot_tile<T, Rows, Columns>;
      fill_dots<T, Rows, Columns + 1>(table);
    } else {
      fill_dots<T, Rows + 1, 1>(table);
    }
  }
}

template <class T>
constexpr DotTable<T> make_dots() {
  DotTable<T> table{};
  fill_dots<T, 1, 1>(table);
  return table;
}

template <class T>
static constexpr DotTable<T> kDotTiles = make_dots<T>();

// Rows first .. last - 1 of neighbouring terms.
template <class T>
static void dot_rows(const GemmArgs<T>& args, size_t first, size_t last) {
  // A square of dots loads least; a single row takes them all side by side.
  const size_t widest = last - first == 1 || kDots<T> < 6 ? kDots<T> : 3;
  const size_t groups = (args.n + widest - 1) / widest;
  const size_t columns = args.n / groups, wider = args.n % groups;
  const size_t tallest = kDots<T> / (columns + (wider > 0 ? 1 : 0));
  for (size_t row = first; row < last;) {
    const size_t rows = last - row < tallest ? last - row : tallest;
    for (size_t g = 0, column = 0; g < groups; ++g) {
      const size_t width = columns + (g < wider ? 1 : 0);
      kDotTiles<T>.tile[rows - 1][width - 1](args, row, column);
      column += width;
    }
    row += rows;
  }
}

template <class T>
[[gnu::noinline]] static void dot_strided(const GemmArgs<T>& args, size_t first, size_t last) {
  alignas(64) T room[kCopiedTerms];
  const size_t height = kCopiedTerms / args.k;
  for (size_t row = first; row < last;) {
    if (height == 0) {
      dot_long(args, row++, room);
      continue;
    }
    const size_t rows = last - row < height ? last - row : height;
    const ptrdiff_t i = static_cast<ptrdiff_t>(row);
    copy_rows(args.a + i * args.a_row, args.a_row, args.a_k, rows, args.k, room);
    GemmArgs<T> copied = args;
    copied.a = room;
    copied.a_row = static_cast<ptrdiff_t>(args.k);
    copied.a_k = 1;
    copied.y += i * args.y_row;
    if (args.residual) copied.residual += i * args.residual_row;
    dot_rows(copied, 0, rows);
    row += rows;
  }
}

template <class T>
static void dot(const GemmArgs<T>& args) {
  if (args.m == 0 || args.n == 0) return;
  for (size_t first = 0; first < args.m; first += kDotRows) {
    const size_t last = args.m - first < kDotRows ? args.m : first + kDotRows;
    if (args.a_k == 1 || args.k == 0) {
      dot_rows(args, first, last);
    } else {
      dot_strided(args, first, last);
    }
    if (args.activation) activate_rows(args, first, last, 0, args.n);
  }
}

}  // namespace lamella::kernels::LAMELLA_ISA_NAMESPACE
