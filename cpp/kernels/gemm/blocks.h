// SPDX-License-Identifier: Apache-2.0
// A product cut into blocks: the one outer loop of all products, which calls the loop of their way.
//
// Columns outside, so that b's part stays in L3, then rows, whose part of a stays in L2. A block's
// activation follows at once. Products of many terms are computed in superblocks of kSuperblockK, which
// are added in order. Added one after another, K-blocks round a sum that grows with every one of them; in
// superblocks the longest chain of 65536 terms has 256 + 15 + 15 roundings instead of 256 + 255. The
// scheme is that of Castaldo, Whaley and Chronopoulos, "Reducing floating point error in dot product
// using the superblock family of algorithms", 2008.
#pragma once

#include "kernels/gemm/args.h"
#include "kernels/gemm/epilogue.h"
#include "kernels/gemm/tile.h"

namespace lamella::kernels::LAMELLA_ISA_NAMESPACE {

// Room for the sums so far of a piece of y, on the stack: for Way::waiting_rows, and as many columns as fit.
inline constexpr size_t kWaitingBytes = 256 * 1024;

// Rows and columns of a product as a product of their own; `column` begins a panel.
template <class A, class B, class Y>
static GemmArgs<A, B, Y> block_of(const GemmArgs<A, B, Y>& args, size_t row, size_t rows,
                                  size_t column, size_t columns) {
  const ptrdiff_t i = static_cast<ptrdiff_t>(row), j = static_cast<ptrdiff_t>(column);
  GemmArgs<A, B, Y> block = args;
  block.m = rows;
  block.n = columns;
  block.a += i * args.a_row;
  if (column > 0) block.b += static_cast<ptrdiff_t>(column / kPanel) * args.b_panel;
  block.y += i * args.y_row + j;
  block.end.scale = from(args.end.scale, row, column);
  block.end.bias = from(args.end.bias, row, column);
  if (args.end.residual) block.end.residual += i * args.end.residual_row + j;
  return block;
}

// multiply(block) for every block of the way; its activation comes behind it.
template <class A, class B, class Y, class Multiply>
[[gnu::always_inline]] inline void in_blocks(const GemmArgs<A, B, Y>& args, size_t unit,
                                             size_t block_units, size_t block_panels,
                                             Multiply multiply) {
  const auto complete = [&](const GemmArgs<A, B, Y>& block) __attribute__((always_inline)) {
    multiply(block);
    if (block.end.activation) activate(block);
  };
  const Even units(args.m, unit), rows(units.count, block_units);
  const Even columns((args.n + kPanel - 1) / kPanel, block_panels);
  if (rows.count == 1 && columns.count == 1) return complete(args);
  for (size_t c = 0; c < columns.count; ++c) {
    const size_t column = columns.start(c) * kPanel;
    const size_t width = smaller(columns.length(c) * kPanel, args.n - column);
    for (size_t r = 0; r < rows.count; ++r) {
      const size_t row = units.start(rows.start(r));
      const size_t height = units.start(rows.start(r) + rows.length(r)) - row;
      complete(block_of(args, row, height, column, width));
    }
  }
}

// A product for whose sums `waiting` has room, `width` elements a row, superblock by superblock.
template <class A, class B, class Y, class Multiply>
[[gnu::always_inline]] inline void add_superblocks(const GemmArgs<A, B, Y>& args, Y* waiting,
                                                   size_t width, Multiply multiply) {
  const size_t count = (args.k + kSuperblockK - 1) / kSuperblockK;
  GemmArgs<A, B, Y> part = args;
  part.end = {};
  // A superblock's product adds the sum of the earlier ones as if it were a residual, and leaves its
  // own where that is not: in `waiting` or in y, the last one in `waiting`.
  for (size_t s = 0; s < count; ++s) {
    const bool waits = (count - s) % 2 == 1;
    part.y = waits ? waiting : args.y;
    part.y_row = waits ? static_cast<ptrdiff_t>(width) : args.y_row;
    part.k = smaller(kSuperblockK, args.k - s * kSuperblockK);
    multiply(part);
    part.end.residual = part.y;
    part.end.residual_row = part.y_row;
    part.a += static_cast<ptrdiff_t>(kSuperblockK) * args.a_k;
    part.b += static_cast<ptrdiff_t>(kSuperblockK) * args.b_k;
  }
  finish_stored<Vec<Y>>(waiting, width, args.m, tile_end(args, 0, 0, args.n, false, true));
}

// A product of any size and number of terms, `multiply` being given superblocks.
template <class A, class B, class Y, class Multiply>
[[gnu::noinline]] static void multiply_long(const GemmArgs<A, B, Y>& args, Multiply multiply) {
  constexpr size_t room = kWaitingBytes / sizeof(Y);
  alignas(64) Y waiting[room];
  const size_t panels = (args.n + kPanel - 1) / kPanel, fit = room / (panels * kPanel);
  const size_t rows = fit < args.way->waiting_rows ? args.way->waiting_rows : fit;
  const size_t columns = room / (Even(args.m, rows).longest() * kPanel);
  in_blocks(args, 1, rows, columns, [&](const GemmArgs<A, B, Y>& piece) {
    add_superblocks(piece, waiting, (piece.n + kPanel - 1) / kPanel * kPanel, multiply);
  });
}

}  // namespace lamella::kernels::LAMELLA_ISA_NAMESPACE
