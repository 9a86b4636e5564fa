// SPDX-License-Identifier: Apache-2.0
// Operands copied into the order in which the tiles read them.
//
//   pack_b     panels[p][k][j]  16 columns side by side, k after k; zero behind column n
//   copy_tile  [k][row]         the rows of one tile side by side
//   copy_rows  [row][k]         rows whose terms are not neighbours, made so (pack_terms: b's columns)
//
// Sources are read a cache line at a time whatever their orientation: a line of 16 rows a power of
// two apart would not survive in an 8-way cache until its second use.
#pragma once

#include "kernels/gemm/args.h"
#include "kernels/gemm/tile.h"
#include "simd/vec.h"

namespace lamella::kernels::LAMELLA_ISA_NAMESPACE {

// With Fetch, terms so far ahead in a row are asked for: a far source has as many streams as columns
// (1 x 2000 x 2048 1.05 -> 0.85 ms, Zen 4; a near one is a quarter slower).
inline constexpr ptrdiff_t kFetchAhead = 128;

// A square of one register's side, or so many rows and columns of it.
template <class T, bool Fetch>
[[gnu::always_inline]] inline void transpose_square(const T* from, ptrdiff_t from_row, size_t rows,
                                                    size_t columns, T* to, size_t to_row) {
  constexpr size_t lanes = Vec<T>::lanes;
  Vec<T> square[lanes];
#pragma GCC unroll 16
  for (size_t i = 0; i < lanes; ++i) {
    const T* at = from + static_cast<ptrdiff_t>(i) * from_row;
    if (i >= rows) {
      square[i] = Vec<T>::zero();
    } else {
      square[i] = columns == lanes ? Vec<T>::load(at) : Vec<T>::load_partial(at, columns);
    }
    if constexpr (Fetch) __builtin_prefetch(at + kFetchAhead, 0, 2);
  }
  transpose(square);
#pragma GCC unroll 16
  for (size_t i = 0; i < lanes; ++i) {
    if (i >= columns) continue;
    T* at = to + i * to_row;
    rows == lanes ? square[i].store(at) : square[i].store_partial(at, rows);
  }
}

// `columns` columns, at most a line, of each of `rows` rows.
template <class T, bool Fetch>
[[gnu::always_inline]] inline void transpose_line(const T* from, ptrdiff_t from_row, size_t rows,
                                                  size_t columns, T* to, size_t to_row) {
  constexpr size_t lanes = Vec<T>::lanes;
  const auto squares = [&](size_t r, size_t height) __attribute__((always_inline)) {
    const T* row = from + static_cast<ptrdiff_t>(r) * from_row;
#pragma GCC unroll 8
    for (size_t part = 0; part < columns; part += lanes) {
      const size_t width = smaller(columns - part, lanes);
      transpose_square<T, Fetch>(row + part, from_row, height, width, to + part * to_row + r,
                                 to_row);
    }
  };
  size_t r = 0;
  for (; r + lanes <= rows; r += lanes) squares(r, lanes);
  if (r < rows) squares(r, rows - r);
}

// to[c * to_row + r] = from[r * from_row + c]: squares of one register's side at a time, a whole
// cache line of each source row before the next one. From the second one on they begin with a line of
// the first row, often of all rows, and the last one with its end: some columns are done twice. Rows
// a power of two apart would otherwise lose half of a line before its second use (1 x 2048 x 2000
// 1.1 -> 0.8 ms, Zen 4).
template <class T, bool Fetch = false>
static void transpose_into(const T* from, ptrdiff_t from_row, size_t rows, size_t columns, T* to,
                           size_t to_row) {
  constexpr size_t line = 64 / sizeof(T);
  if (columns < line) {
    return transpose_line<T, Fetch>(from, from_row, rows, columns, to, to_row);
  }
  const size_t skew = reinterpret_cast<size_t>(from) / sizeof(T) % line;
  for (size_t c = 0;;) {
    transpose_line<T, Fetch>(from + c, from_row, rows, line, to + c * to_row, to_row);
    if (c + line >= columns) return;
    c = smaller(c + line - (c == 0 ? skew : 0), columns - line);
  }
}

// Columns are neighbours: `Panels` panels side by side, so that a row of b is left as seldom as
// possible (every row is another page of a wide array).
template <class T, size_t Panels>
static void pack_rows(const T* b, ptrdiff_t b_k, size_t k, T* panels) {
  constexpr size_t lanes = Vec<T>::lanes;
  for (size_t i = 0; i < k; ++i, b += b_k) {
#pragma GCC unroll 4
    for (size_t p = 0; p < Panels; ++p) {
      T* to = panels + (p * k + i) * kPanel;
#pragma GCC unroll 16
      for (size_t v = 0; v < kPanel; v += lanes) Vec<T>::load(b + p * kPanel + v).store(to + v);
    }
  }
}

// The panel that n cuts short.
template <class T>
static void pack_cut_rows(const T* b, ptrdiff_t b_k, size_t columns, size_t k, T* panel) {
  constexpr size_t lanes = Vec<T>::lanes;
  for (size_t i = 0; i < k; ++i, b += b_k, panel += kPanel) {
#pragma GCC unroll 16
    for (size_t v = 0; v < kPanel; v += lanes) {
      Vec<T> part = Vec<T>::zero();
      if (columns >= v + lanes) {
        part = Vec<T>::load(b + v);
      } else if (columns > v) {
        part = Vec<T>::load_partial(b + v, columns - v);
      }
      part.store(panel + v);
    }
  }
}

template <class T, bool Fetch = false>
static void pack_b(const T* b, ptrdiff_t b_k, ptrdiff_t b_n, size_t k, size_t n, size_t first_panel,
                   size_t last_panel, T* panels) {
  size_t p = first_panel;
  if (b_n == 1 && b_k != 1) {
    for (; p + 4 <= last_panel && (p + 4) * kPanel <= n; p += 4) {
      pack_rows<T, 4>(b + p * kPanel, b_k, k, panels + p * k * kPanel);
    }
  }
  for (; p < last_panel; ++p) {
    const size_t column = p * kPanel;
    const size_t columns = n - column < kPanel ? n - column : kPanel;
    const T* from = b + static_cast<ptrdiff_t>(column) * b_n;
    T* panel = panels + p * k * kPanel;
    if (b_n == 1 && b_k != 1 && columns < kPanel) {
      pack_cut_rows(from, b_k, columns, k, panel);
      continue;
    }
    if (columns < kPanel) {
      for (size_t i = 0; i < k * kPanel; i += Vec<T>::lanes) Vec<T>::zero().store(panel + i);
    }
    if (b_k == 1) {
      transpose_into<T, Fetch>(from, b_n, columns, k, panel, kPanel);
    } else if (b_n == 1) {
      pack_rows<T, 1>(from, b_k, k, panel);
    } else {
      for (size_t i = 0; i < k; ++i) {
        const T* row = from + static_cast<ptrdiff_t>(i) * b_k;
        for (size_t j = 0; j < columns; ++j) {
          panel[i * kPanel + j] = row[static_cast<ptrdiff_t>(j) * b_n];
        }
      }
    }
  }
}

// Stores the first `rows` lanes; where the copy goes on for a whole register, all of them, since what
// follows overwrites the rest.
template <class T>
[[gnu::always_inline]] inline void store_rows(Vec<T> v, T* to, size_t rows, const T* end) {
  if (rows >= Vec<T>::lanes || to + Vec<T>::lanes <= end) return v.store(to);
  v.store_partial(to, rows);
}

// to[k][row] = a[row + k * a_k].
template <class T>
static void copy_neighbours(const T* a, ptrdiff_t a_k, size_t rows, size_t k, T* to) {
  constexpr size_t lanes = Vec<T>::lanes;
  const T* const end = to + k * rows;
  for (size_t i = 0; i < k; ++i, a += a_k, to += rows) {
    for (size_t r = 0; r < rows; r += lanes) {
      const size_t left = rows - r;
      const Vec<T> v = left < lanes ? Vec<T>::load_partial(a + r, left) : Vec<T>::load(a + r);
      store_rows(v, to + r, left, end);
    }
  }
}

// to[k][row] = a[row * a_row + k * a_k], at most kTileRows rows.
template <class T>
static void copy_tile(const T* a, ptrdiff_t a_row, ptrdiff_t a_k, size_t rows, size_t k, T* to) {
  if (a_row == 1) return copy_neighbours(a, a_k, rows, k, to);
  for (size_t i = 0; i < k; ++i, a += a_k) {
    const T* from = a;
    for (size_t r = 0; r < rows; ++r, from += a_row) *to++ = *from;
  }
}

// to[row * to_row + k] = a[row * a_row + k * a_k].
template <class T>
static void copy_rows(const T* a, ptrdiff_t a_row, ptrdiff_t a_k, size_t rows, size_t k, T* to,
                      size_t to_row) {
  if (a_row == 1) return transpose_into(a, a_k, k, rows, to, to_row);
  for (size_t r = 0; r < rows; ++r, a += a_row, to += to_row) {
    const T* from = a;
    for (size_t i = 0; i < k; ++i, from += a_k) to[i] = *from;
  }
}

template <class T>
static void pack_terms(const T* b, ptrdiff_t b_k, ptrdiff_t b_n, size_t k, size_t n, size_t first,
                       size_t last, T* terms) {
  copy_rows(b + static_cast<ptrdiff_t>(first) * b_k, b_n, b_k, n, last - first, terms + first, k);
}

}  // namespace lamella::kernels::LAMELLA_ISA_NAMESPACE
