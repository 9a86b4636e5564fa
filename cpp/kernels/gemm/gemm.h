// SPDX-License-Identifier: Apache-2.0
// The blocked product: row blocks x column blocks x K-blocks of register tiles (tile.h).
//
// Loops, outermost first: columns (so that b's part stays in L3), rows (a's part of a K-block
// stays in L2), K-blocks, panels (16 columns of a K-block stay in L1), row tiles. Short row blocks
// exchange K-blocks and panels, so that the weights stream past once, in one piece. No order and no
// block size changes a bit: an element's sum is that of tile.h.
#pragma once

#include "kernels/gemm/epilogue.h"
#include "kernels/gemm/pack.h"
#include "kernels/gemm/tile.h"
#include "kernels/table.h"

namespace lamella::kernels::LAMELLA_ISA_NAMESPACE {

// Row tiles of a row block: 144 x 256 floats are 147 KB, a third of the smallest L2 around (512 KB).
inline constexpr size_t kBlockTiles = 24;
// Panels of a column block: 1024 columns.
inline constexpr size_t kBlockPanels = 64;
// A row block's part of a (all of K) up to this size is read again for every group of panels.
inline constexpr size_t kShortBlockBytes = 128 * 1024;
// Row tiles of a block whose part of a is copied: 96 x 256 floats, 98 KB of stack.
inline constexpr size_t kCopiedTiles = 16;
// Terms of a wide row-major b that are taken at a time for few rows. A column group touches a page a
// term: with all of a K-block 4 x 4096 x 1024 takes twice as long (Zen 4).
inline constexpr size_t kSweepTerms = 64;
inline constexpr size_t kSweepRowBytes = 2048;
// Fewest panels for which copying a strided a pays.
inline constexpr size_t kCopyPanels = 4;

template <class T>
struct TileTable {
  TileFn<T> tile[kTileRows<T>][4 * kPanelVecs<T>];
};

// Every number of registers up to the widest group: the last panel's empty ones are left out.
template <class T, size_t Rows, size_t Vecs>
constexpr void fill_tiles(TileTable<T>& table) {
  if constexpr (Rows <= kTileRows<T>) {
    if constexpr (Vecs <= tile_panels<T>(Rows) * kPanelVecs<T>) {
      table.tile[Rows - 1][Vecs - 1] = tile<T, Rows, Vecs>;
      fill_tiles<T, Rows, Vecs + 1>(table);
    } else {
      fill_tiles<T, Rows + 1, 1>(table);
    }
  }
}

template <class T>
constexpr TileTable<T> make_tiles() {
  TileTable<T> table{};
  fill_tiles<T, 1, 1>(table);
  return table;
}

template <class T>
static constexpr TileTable<T> kTiles = make_tiles<T>();

// m rows cut into tiles of two neighbouring heights, the taller ones first: 8 rows are 4 + 4, since
// 6 + 2 would leave the second tile waiting for its few chains.
struct RowTiles {
  size_t count, height, taller;  // tiles 0 .. taller - 1 have height + 1 rows
  RowTiles(size_t m, size_t limit) {
    count = m <= limit ? 1 : (m + limit - 1) / limit;
    height = count == 1 ? m : m / count;
    taller = m - height * count;
  }
  size_t start(size_t tile) const { return tile * height + (tile < taller ? tile : taller); }
  size_t rows(size_t tile) const { return height + (tile < taller ? 1 : 0); }
  size_t tallest() const { return height + (taller > 0 ? 1 : 0); }
};

// What stays the same within a row block.
template <class T>
struct RowBlock {
  const GemmArgs<T>& args;
  const RowTiles& tiles;
  size_t first, last;  // its row tiles
  size_t group;        // panels side by side in a tile
  const T* copied;     // this K-block of a as copy_block left it, or null
};

constexpr size_t smaller(size_t a, size_t b) { return a < b ? a : b; }

// All row tiles of the block times one group of panels, over k terms of one K-block. Sums of an
// unfinished block are parked in `parked`, which may be null when the block is whole.
template <class T>
static void group_of_panels(const RowBlock<T>& block, size_t panel, size_t panels, size_t k_first,
                            size_t k, T* parked) {
  const GemmArgs<T>& args = block.args;
  const bool block_end = k_first + k == args.k || (k_first + k) % kBlockK == 0;
  const bool last = k_first + k == args.k;
  const size_t j = panel * kPanel;
  TileArgs<T> tile;
  tile.a_row = args.a_row;
  tile.a_k = args.a_k;
  tile.b = args.b + static_cast<ptrdiff_t>(panel) * args.b_panel +
           static_cast<ptrdiff_t>(k_first) * args.b_k;
  tile.b_k = args.b_k;
  tile.b_panel = args.b_panel;
  tile.k = k;
  tile.start = k_first % kBlockK == 0 ? nullptr : parked;
  tile.park = block_end ? nullptr : parked;
  tile.resume = k_first >= kBlockK;
  tile.columns = smaller(args.n - j, panels * kPanel);
  const size_t vecs = (tile.columns + Vec<T>::lanes - 1) / Vec<T>::lanes;
  tile.y_row = args.y_row;
  tile.bias = last && args.bias ? args.bias + j : nullptr;
  tile.residual = nullptr;
  tile.residual_row = args.residual_row;
  const size_t first_row = block.tiles.start(block.first);
  size_t row = first_row;
  // The next panel's part of this K-block comes in while this one is in use, spread over the tiles:
  // 2048 cubed 79 -> 92 % of peak, 24 x 4096 x 4096 55 -> 90 % (Zen 4). A single tile has no time for
  // it and only disturbs the hardware's own prefetching.
  const size_t count = block.last - block.first;
  const bool ahead =
      count > 1 && args.b_k == static_cast<ptrdiff_t>(kPanel) && (panel + panels) * kPanel < args.n;
  const T* next = tile.b + static_cast<ptrdiff_t>(panels) * args.b_panel;
  tile.ahead = tile.b;
  tile.ahead_k = ahead ? static_cast<ptrdiff_t>((kPanel + count - 1) / count) : 0;
  for (size_t t = block.first; t < block.last; ++t) {
    const size_t rows = block.tiles.rows(t);
    const ptrdiff_t i = static_cast<ptrdiff_t>(row);
    if (block.copied) {
      tile.a = block.copied + (row - first_row) * k;
      tile.a_row = 1;
      tile.a_k = static_cast<ptrdiff_t>(rows);
    } else {
      tile.a = args.a + i * args.a_row + static_cast<ptrdiff_t>(k_first) * args.a_k;
    }
    tile.y = args.y + i * args.y_row + j;
    if (last && args.residual) tile.residual = args.residual + i * args.residual_row + j;
    if (ahead) tile.ahead = next + k * kPanel * (t - block.first) / count;
    kTiles<T>.tile[rows - 1][vecs - 1](tile);
    row += rows;
  }
}

// a[rows of the block][k_first ..] as [tile][k][rows of the tile].
template <class T>
static void copy_block(const RowBlock<T>& block, size_t k_first, T* copied) {
  const GemmArgs<T>& args = block.args;
  const size_t k = smaller(args.k - k_first, kBlockK);
  for (size_t t = block.first; t < block.last; ++t) {
    const size_t rows = block.tiles.rows(t);
    const T* a = args.a + static_cast<ptrdiff_t>(block.tiles.start(t)) * args.a_row +
                 static_cast<ptrdiff_t>(k_first) * args.a_k;
    copy_tile(a, args.a_row, args.a_k, rows, k, copied);
    copied += rows * k;
  }
}

// Panels first .. last - 1 of a row block, all K-blocks.
template <class T>
static void column_block(const RowBlock<T>& block, size_t first, size_t last, T* room) {
  const GemmArgs<T>& args = block.args;
  const size_t rows = block.tiles.start(block.last) - block.tiles.start(block.first);
  size_t k_first = 0;
  if (!room && (args.k <= kBlockK || rows * args.k * sizeof(T) <= kShortBlockBytes)) {
    for (size_t p = first; p < last; p += block.group) {
      k_first = 0;
      do {
        group_of_panels<T>(block, p, smaller(block.group, last - p), k_first,
                           smaller(args.k - k_first, kBlockK), nullptr);
        k_first += kBlockK;
      } while (k_first < args.k);
    }
  } else {
    do {
      if (room) copy_block(block, k_first, room);
      for (size_t p = first; p < last; p += block.group) {
        group_of_panels<T>(block, p, smaller(block.group, last - p), k_first,
                           smaller(args.k - k_first, kBlockK), nullptr);
      }
      k_first += kBlockK;
    } while (k_first < args.k);
  }
}

// The same for one row tile and a wide row-major b: few terms at a time across all columns.
template <class T>
[[gnu::noinline]] static void column_sweep(const RowBlock<T>& block, size_t first, size_t last) {
  static_assert(kParkedRow == kBlockPanels * kPanel && kBlockK % kSweepTerms == 0);
  alignas(64) T parked[kTileRows<T> * kParkedRow];
  for (size_t k_first = 0; k_first < block.args.k; k_first += kSweepTerms) {
    const size_t k = smaller(block.args.k - k_first, kSweepTerms);
    for (size_t p = first; p < last; p += block.group) {
      group_of_panels(block, p, smaller(block.group, last - p), k_first, k,
                      parked + (p - first) * kPanel);
    }
  }
}

template <class T>
static void row_blocks(const GemmArgs<T>& args, const RowTiles& tiles, size_t block_tiles,
                       T* room) {
  const size_t panels = (args.n + kPanel - 1) / kPanel;
  const size_t group = tile_panels<T>(tiles.tallest());
  const ptrdiff_t row_bytes = args.b_k * static_cast<ptrdiff_t>(sizeof(T));
  const bool sweep = tiles.count == 1 && !room && args.b_panel == static_cast<ptrdiff_t>(kPanel) &&
                     args.k > kSweepTerms && row_bytes >= static_cast<ptrdiff_t>(kSweepRowBytes);
  for (size_t p = 0; p < panels; p += kBlockPanels) {
    for (size_t t = 0; t < tiles.count; t += block_tiles) {
      const RowBlock<T> block{args, tiles, t, smaller(t + block_tiles, tiles.count), group, room};
      const size_t last = smaller(p + kBlockPanels, panels);
      if (sweep) {
        column_sweep(block, p, last);
      } else {
        column_block(block, p, last, room);
      }
      if (args.activation) {
        const size_t column = p * kPanel;
        activate_rows(args, tiles.start(block.first), tiles.start(block.last), column,
                      smaller(args.n - column, (last - p) * kPanel));
      }
    }
  }
}

// Its own function for the sake of its stack frame.
template <class T>
[[gnu::noinline]] static void row_blocks_copied(const GemmArgs<T>& args, const RowTiles& tiles) {
  alignas(64) T room[kCopiedTiles * kTileRows<T> * kBlockK];
  row_blocks(args, tiles, kCopiedTiles, room);
}

template <class T>
static void gemm(const GemmArgs<T>& args) {
  if (args.m == 0 || args.n == 0) return;
  const RowTiles tiles(args.m, kTileRows<T>);
  if (args.a_k != 1 && args.n > kCopyPanels * kPanel) {
    row_blocks_copied(args, tiles);
  } else {
    row_blocks(args, tiles, kBlockTiles, static_cast<T*>(nullptr));
  }
}

}  // namespace lamella::kernels::LAMELLA_ISA_NAMESPACE
