// SPDX-License-Identifier: Apache-2.0
// Products of many terms: superblocks of kSuperblockK terms by themselves, then their sum.
//
// Added one after another, the K-blocks of a long product round a sum that grows with every one of them;
// in superblocks the longest chain of 65536 terms has 256 + 15 + 15 roundings instead of 256 + 255. The
// scheme is that of Castaldo, Whaley and Chronopoulos, "Reducing floating point error in dot product
// using the superblock family of algorithms", 2008.
#pragma once

#include "kernels/gemm/epilogue.h"
#include "kernels/gemm/tile.h"
#include "kernels/table.h"

namespace lamella::kernels::LAMELLA_ISA_NAMESPACE {

// The sums so far of a piece of y wait on the stack: of so many rows of floats, and as many columns as
// find room. With more rows b streams past less often, and is packed less often if that is part of the
// way; with more columns so it is with a and its copies.
inline constexpr size_t kWaitingBytes = 256 * 1024;
inline constexpr size_t kWaitingRows = 256, kManyWaitingRows = 512, kFewWaitingRows = 64;

// What computes one superblock, with no more than kSuperblockK terms, and how many rows are to wait.
template <class T>
struct SuperblockWay {
  void (*multiply)(const GemmArgs<T>& args);
  size_t rows;
};

// A product for whose sums `waiting` has room, `width` elements a row. Terms of b are b_k apart.
template <class T>
static void add_superblocks(const GemmArgs<T>& args, ptrdiff_t b_k,
                            void (*multiply)(const GemmArgs<T>& args), T* waiting, size_t width) {
  const size_t count = (args.k + kSuperblockK - 1) / kSuperblockK;
  GemmArgs<T> part = args;
  part.bias = part.residual = nullptr;
  part.activation = nullptr;
  // A superblock's product adds the sum of the earlier ones as if it were a residual, and leaves its
  // own where that is not: in `waiting` or in y, the last one in `waiting`.
  for (size_t s = 0; s < count; ++s) {
    const bool waits = (count - s) % 2 == 1;
    part.y = waits ? waiting : args.y;
    part.y_row = waits ? static_cast<ptrdiff_t>(width) : args.y_row;
    part.k = smaller(kSuperblockK, args.k - s * kSuperblockK);
    multiply(part);
    part.residual = part.y;
    part.residual_row = part.y_row;
    part.a += static_cast<ptrdiff_t>(kSuperblockK) * args.a_k;
    part.b += static_cast<ptrdiff_t>(kSuperblockK) * b_k;
  }
  TileArgs<T> end{};
  end.columns = args.n;
  end.y = args.y;
  end.y_row = args.y_row;
  end.bias = args.bias;
  end.residual = args.residual;
  end.residual_row = args.residual_row;
  finish_tail<Vec<T>>(waiting, width, args.m, end);
  if (args.activation) activate_rows(args, 0, args.m, 0, args.n);
}

// A product of any size and number of terms.
template <class T>
[[gnu::noinline]] static void multiply_long(const GemmArgs<T>& args, ptrdiff_t b_k,
                                            const SuperblockWay<T>& way) {
  constexpr size_t room = kWaitingBytes / sizeof(T);
  alignas(64) T waiting[room];
  const size_t panels = (args.n + kPanel - 1) / kPanel, fit = room / (panels * kPanel);
  const size_t wide_rows = way.rows * sizeof(float) / sizeof(T);
  const Even rows(args.m, fit < wide_rows ? wide_rows : fit);
  const Even columns(panels, room / (rows.longest() * kPanel));
  for (size_t c = 0; c < columns.count; ++c) {
    const size_t panel = columns.start(c), column = panel * kPanel;
    const size_t width = columns.length(c) * kPanel;
    for (size_t r = 0; r < rows.count; ++r) {
      const ptrdiff_t row = static_cast<ptrdiff_t>(rows.start(r));
      GemmArgs<T> piece = args;
      piece.m = rows.length(r);
      piece.n = smaller(args.n - column, width);
      piece.a += row * args.a_row;
      piece.b += static_cast<ptrdiff_t>(panel) * args.b_panel;
      piece.y += row * args.y_row + static_cast<ptrdiff_t>(column);
      if (args.bias) piece.bias += column;
      if (args.residual) piece.residual += row * args.residual_row + static_cast<ptrdiff_t>(column);
      add_superblocks(piece, b_k, way.multiply, waiting, width);
    }
  }
}

}  // namespace lamella::kernels::LAMELLA_ISA_NAMESPACE
