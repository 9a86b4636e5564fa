// SPDX-License-Identifier: Apache-2.0
// Products as the kernels take them: operands, what becomes of the sums, and the way to compute them.
//
// Part of kernels/table.h: data types and no function. Kernels are keyed by the types of their
// factors and of y. Which way a product takes is decided in steps/product/choose.cpp alone; no way
// changes a bit.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/element.h"

namespace lamella::kernels {

using std::ptrdiff_t;
using std::size_t;

// Columns of one packed panel, lanes of every reduction, and terms of one K-block and of one superblock:
// constants of the numerical contract, equal on every ISA (DESIGN.md, "Same bits").
inline constexpr size_t kPanel = 16;
inline constexpr size_t kReduceLanes = 16;
inline constexpr size_t kBlockK = 256;
inline constexpr size_t kSuperblockK = 4096;

// y[i] = f(x[i]); y == x is allowed, any other overlap is not.
// params: the activation's own numbers (slope, alpha, bounds), in the order of its Python row.
template <class T>
using UnaryFn = void (*)(const T* x, T* y, size_t n, const T* params);

// How b reaches the kernels.
enum class Form : std::uint8_t {
  terms,          // n rows of k neighbouring terms, where they lie
  packed_terms,   // the same, copied
  rows,           // row-major where it lies, whole panels only
  rows_and_tail,  // row-major, the panel that n cuts is copied
  columns,        // column-major where it lies
  panels,         // copied into panels
  pairs,          // of bfloat16, copied into panels of pairs of terms (pairs.h)
};

// The loop that computes a product.
enum class Loop : std::uint8_t {
  tiles,         // register tiles on operands as they are (gemm.h)
  copied_tiles,  // a block of a is copied for them
  pieces,        // a column-major b is packed for them, a few panels of a K-block at a time
  sweep,         // eight terms of all columns of a far row-major b at a time (sweep.h)
  squares,       // a column-major b is transposed in registers and multiplied at once (columns.h)
  dots,          // dot products of neighbouring terms (dot.h)
  copied_dots,   // a's rows are copied for them
  lane_dots,     // the rows of a column-major a fill the registers instead of their terms
  pairs,         // pairs of bfloat16 are widened while they are read
  widened,       // they are widened for register tiles, a few panels of a K-block at a time
};

struct Way {
  Form form;
  Loop loop;
  bool ends_narrow;                 // the last panel fits half a register, and has tiles of its own
  bool far_y;                       // y is fetched while terms are added up
  size_t tile_rows;                 // of a tile, at most
  size_t block_rows, block_panels;  // of a block: tiles of rows (rows, of dots), panels
  size_t side_by_side;              // panels of a tile, at most
  // A block of no more rows finishes the sums of its panels one group after another.
  size_t short_rows;
  size_t waiting_rows;  // whose sums of superblocks wait at a time, at least, of y's type
};

// What the choice has to know of an instruction set's kernels for one triple of types.
struct TileFacts {
  size_t lanes;         // of a register of y
  size_t narrow_lanes;  // of the narrowest register a last panel may have
  size_t accumulators;  // registers of sums a tile may have
  size_t most_panels;   // side by side in a tile
  size_t tile_rows,
      tall_rows;        // of the highest tile, and of the one of a single register of columns
  size_t copied_tiles;  // tiles of a block of a for which there is room
  size_t piece_panels;  // panels of a K-block for which there is room
  size_t sweep_rows;    // rows that are swept together, at most
  size_t few_rows;      // rows for which b is transposed or widened while it is read, at most
  size_t copied_terms;  // terms of rows that are copied for dots, at most
};

// An operand of the sums that is the same along rows, columns or both.
template <class T>
struct Along {
  const T* at;            // element (i, j) is at[i * row + j * column]; null for none
  ptrdiff_t row, column;  // one of them 0, the other 0 or 1
};

// What becomes of a finished sum:
//   y[i, j] = activation(sum * scale[i, j] + bias[i, j] + residual[i, j])
// with one rounding after each of the operations. What is null is left out.
template <class Y>
struct Epilogue {
  Along<Y> scale, bias;
  const Y* residual;
  ptrdiff_t residual_row;  // columns are contiguous
  UnaryFn<Y> activation;
  const Y* activation_params;
};

// One product: y = epilogue(sum_k a[i, k] * b[k, j]).
// The sum is the contract's: superblocks of kSuperblockK terms added in order, each one K-blocks of
// kBlockK added in order, each block one chain in increasing k starting from zero; in the loops of dots
// each superblock is a kReduceLanes-lane dot product with the fixed tree. y overlaps no other array:
// between two K-blocks it holds unfinished sums.
template <class A, class B = A, class Y = A>
struct GemmArgs {
  size_t m, n, k;
  const A* a;
  ptrdiff_t a_row, a_k;  // a[i, k] = a[i * a_row + k * a_k]
  // Column j lives in panel p = j / kPanel: b[k, j] = b[p * b_panel + k * b_k + j % kPanel].
  // Packed panels (pack_b) have b_k = kPanel and zero padding behind column n; plain row-major
  // arrays have b_panel = kPanel and are only legal when n is a multiple of kPanel. With b_k = 1
  // b is column-major, its columns b_panel / kPanel apart. Dots take n < kPanel rows of k contiguous
  // terms: b[k, j] = b[j * b_panel + k], b_k = 1.
  const B* b;
  ptrdiff_t b_k, b_panel;
  Y* y;
  ptrdiff_t y_row;  // columns of y are contiguous
  Epilogue<Y> end;
  const Way* way;
};

template <class A, class B = A, class Y = A>
struct GemmKernels {
  void (*multiply)(const GemmArgs<A, B, Y>& args);
  // panels[p][k][j] = b[k * b_k + (p * kPanel + j) * b_n], zero for columns behind n.
  // Takes panels first..last so that threads can share the work.
  void (*pack_b)(const B* b, ptrdiff_t b_k, ptrdiff_t b_n, size_t k, size_t n, size_t first_panel,
                 size_t last_panel, B* panels);
  // b as dots take it, of a's type: terms[j * k + i] = b[i * b_k + j * b_n], for terms i from first to
  // last - 1.
  void (*pack_terms)(const B* b, ptrdiff_t b_k, ptrdiff_t b_n, size_t k, size_t n, size_t first,
                     size_t last, A* terms);
  TileFacts facts;
};

// By the types of a, b and y.
struct ProductKernels {
  const GemmKernels<float>* f32;
  const GemmKernels<double>* f64;
  const GemmKernels<float, Bfloat16, float>* f32_bf16;
};

}  // namespace lamella::kernels
