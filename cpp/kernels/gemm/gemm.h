// SPDX-License-Identifier: Apache-2.0
// Products of register tiles (tile.h).
//
// Within a block (blocks.h), outermost first: K-blocks, panels (16 columns of a K-block stay in L1), row
// tiles. Short blocks exchange K-blocks and panels, so that the weights stream past once, in one piece.
// No order and no block size changes a bit: an element's sum is that of tile.h.
#pragma once

#include "kernels/gemm/args.h"
#include "kernels/gemm/blocks.h"
#include "kernels/gemm/pack.h"
#include "kernels/gemm/tile.h"

namespace lamella::kernels::LAMELLA_ISA_NAMESPACE {

// Room for a block of a that is copied, and for a piece of b that is packed, on the stack.
inline constexpr size_t kCopiedBytes = 128 * 1024, kPieceBytes = 96 * 1024;

// The tiles of one register type; what is not filled is never asked for.
template <class V>
struct TileTable {
  using T = typename V::Scalar;
  TileFn<T> tile[kTallRows][V::lanes < Vec<T>::lanes ? 1 : kMostPanels * kPanelVecs<T>];
};

// Every number of registers up to the widest group: the last panel's empty ones are left out.
template <class V, size_t Rows, size_t Vecs>
constexpr void fill_tiles(TileTable<V>& table) {
  using T = typename V::Scalar;
  constexpr bool half = V::lanes < Vec<T>::lanes;
  if constexpr (Rows <= kTallRows) {
    constexpr size_t widest =
        half || Rows > kTileRows<T> ? 1 : tile_panels<T>(Rows) * kPanelVecs<T>;
    if constexpr (Vecs <= widest) {
      table.tile[Rows - 1][Vecs - 1] = tile<V, Rows, Vecs>;
      fill_tiles<V, Rows, Vecs + 1>(table);
    } else {
      fill_tiles<V, Rows + 1, 1>(table);
    }
  }
}

template <class V>
constexpr TileTable<V> make_tiles() {
  TileTable<V> table{};
  fill_tiles<V, 1, 1>(table);
  return table;
}

template <class V>
static constexpr TileTable<V> kTiles = make_tiles<V>();

// A block, and the order in which its tiles find their operands.
template <class T>
struct TileBlock {
  const GemmArgs<T>& args;
  Even tiles;                 // of rows
  const T* copied = nullptr;  // this K-block of a as copy_block left it
  const T* packed = nullptr;  // this K-block of b as pack_b left it
};

// All row tiles of the block times one group of panels, over one K-block of k terms, or over all terms
// when the tiles hold blocks.
template <class V, class T>
static void group_of_panels(const TileBlock<T>& block, size_t panel, size_t panels, size_t k_first,
                            size_t k) {
  const GemmArgs<T>& args = block.args;
  const bool last = k_first + k == args.k;
  const size_t j = panel * kPanel;
  TileArgs<T> tile;
  tile.a_row = args.a_row;
  tile.a_k = args.a_k;
  if (block.packed) {
    tile.b = block.packed + panel * k * kPanel;
    tile.b_k = static_cast<ptrdiff_t>(kPanel);
    tile.b_panel = static_cast<ptrdiff_t>(k * kPanel);
  } else {
    tile.b = args.b + static_cast<ptrdiff_t>(panel) * args.b_panel +
             static_cast<ptrdiff_t>(k_first) * args.b_k;
    tile.b_k = args.b_k;
    tile.b_panel = args.b_panel;
  }
  tile.k = k;
  tile.far_y = args.way->far_y;
  const size_t columns = smaller(args.n - j, panels * kPanel);
  const size_t vecs = (columns + V::lanes - 1) / V::lanes;
  tile.end = tile_end(args, 0, j, columns, k_first > 0, last);
  // The next group's part of this K-block comes in while this one is in use, spread over the tiles:
  // 24 x 4096 x 4096 75 -> 85 % of peak, 256 x 1024 x 1024 90 -> 93 % (Zen 4). A single tile has no time
  // for it and only disturbs the hardware's own prefetching.
  const size_t count = block.tiles.count, after = panel + panels;
  const bool ahead =
      count > 1 && args.b_k == static_cast<ptrdiff_t>(kPanel) && after * kPanel < args.n;
  const size_t wide = ahead ? smaller(panels, (args.n - after * kPanel + kPanel - 1) / kPanel) : 0;
  const size_t piece = k * kPanel / count;  // of a panel; a tile takes so many pieces as it is wide
  const T* next = tile.b + static_cast<ptrdiff_t>(panels) * args.b_panel;
  size_t part = 0;
  tile.ahead = tile.b;
  tile.ahead_k = static_cast<ptrdiff_t>((wide * kPanel + count - 1) / count);
  // In a block's first group so do the rows of the next tile, if they lie one behind the other: 4096 x
  // 256 x 256 91 -> 95 % (Zen 4).
  const bool rows_ahead = panel == 0 && count > 1 && k == args.k && args.a_k == 1 &&
                          args.a_row == static_cast<ptrdiff_t>(k) && !block.copied;
  for (size_t t = 0, row = 0; t < count; ++t) {
    const size_t rows = block.tiles.length(t);
    if (block.copied) {
      tile.a = block.copied + row * k;
      tile.a_row = 1;
      tile.a_k = static_cast<ptrdiff_t>(rows);
    } else {
      tile.a = args.a + static_cast<ptrdiff_t>(row) * args.a_row +
               static_cast<ptrdiff_t>(k_first) * args.a_k;
    }
    if (rows_ahead) {
      tile.ahead = tile.a + rows * k;
      tile.ahead_k = static_cast<ptrdiff_t>(rows);
    } else if (ahead) {
      tile.ahead = next + part * piece;
      for (part += wide; part >= count; part -= count) next += args.b_panel;
    }
    kTiles<V>.tile[rows - 1][vecs - 1](tile);
    go_down(tile.end, rows);
    row += rows;
  }
}

// a[rows of the block][k_first ..] as [tile][k][rows of the tile]. Where rows are neighbours, every
// term is on a page of its own, and few of them are taken at a time through all tiles.
template <class T>
static void copy_block(const TileBlock<T>& block, size_t k_first, T* copied) {
  constexpr size_t kTermsThroughTiles = 16;
  const GemmArgs<T>& args = block.args;
  const size_t k = smaller(args.k - k_first, kBlockK);
  const T* a = args.a + static_cast<ptrdiff_t>(k_first) * args.a_k;
  const size_t step = args.a_row == 1 ? kTermsThroughTiles : k;
  for (size_t first = 0; first < k; first += step, a += static_cast<ptrdiff_t>(step) * args.a_k) {
    for (size_t t = 0, row = 0; t < block.tiles.count; ++t) {
      const size_t rows = block.tiles.length(t);
      copy_tile(a + static_cast<ptrdiff_t>(row) * args.a_row, args.a_row, args.a_k, rows,
                smaller(k - first, step), copied + row * k + first * rows);
      row += rows;
    }
  }
}

// Panels first .. last - 1 of a block, side by side in groups, k terms as group_of_panels takes them.
// The last one may have narrow registers: in tall tiles, or in those that a was copied for.
template <class T>
static void panel_groups(const TileBlock<T>& block, size_t group, size_t first, size_t last,
                         size_t k_first, size_t k) {
  const GemmArgs<T>& args = block.args;
  const bool narrow = args.way->ends_narrow && last * kPanel > args.n;
  const size_t end = narrow ? last - 1 : last;
  const Even groups(end - first, group);
  for (size_t g = 0; first < end && g < groups.count; ++g) {
    group_of_panels<Vec<T>>(block, first + groups.start(g), groups.length(g), k_first, k);
  }
  if (!narrow) return;
  if (block.copied) return group_of_panels<Narrow<T>>(block, end, 1, k_first, k);
  // Tiles that get several K-blocks must hold them.
  const Even tall(args.m, k > kBlockK ? kAccumulators / 2 : kTallRows);
  group_of_panels<Narrow<T>>(TileBlock<T>{args, tall, nullptr, block.packed}, end, 1, k_first, k);
}

// All K-blocks and panels of a block; `room`: its a is copied there.
template <class T>
static void multiply_tiles(const GemmArgs<T>& args, T* room) {
  const Way& way = *args.way;
  const TileBlock<T> block{args, Even(args.m, way.tile_rows), room, nullptr};
  const size_t group = smaller(tile_panels<T>(block.tiles.longest()), way.side_by_side);
  const size_t panels = (args.n + kPanel - 1) / kPanel;
  const bool is_short = !room && (args.k <= kBlockK || args.m <= way.short_rows);
  // Of a short block the sum of a group of panels is finished before the next one.
  const size_t step = is_short ? group : panels;
  // A single low tile adds up the blocks in its registers.
  const size_t vecs = group * kPanelVecs<T>;
  const bool whole = is_short && 2 * block.tiles.longest() * vecs <= kAccumulators;
  // A narrow last panel goes with the part before it, if there is one.
  const bool narrow = way.ends_narrow && panels > 1 && panels * kPanel > args.n;
  const Even parts(narrow ? panels - 1 : panels, step);
  for (size_t part = 0; part < parts.count; ++part) {
    const size_t start = parts.start(part);
    const size_t end = part + 1 < parts.count ? start + parts.length(part) : panels;
    size_t k_first = 0;
    do {
      if (room) copy_block(block, k_first, room);
      const size_t k = whole ? args.k : smaller(args.k - k_first, kBlockK);
      panel_groups(block, group, start, end, k_first, k);
      k_first += k;
    } while (k_first < args.k);
  }
}

template <class T>
static void tiles_in_place(const GemmArgs<T>& args) {
  multiply_tiles(args, static_cast<T*>(nullptr));
}

// Its own function for the sake of its stack frame.
template <class T>
[[gnu::noinline]] static void tiles_of_copies(const GemmArgs<T>& args) {
  alignas(64) T room[kCopiedBytes / sizeof(T)];
  multiply_tiles(args, room);
}

// A column-major b where it lies: the panels of a K-block are packed, and all rows use them while they are
// near.
template <class T>
[[gnu::noinline]] static void pack_and_multiply(const GemmArgs<T>& args) {
  alignas(64) T packed[kPieceBytes / sizeof(T)];
  const Even tiles(args.m, args.way->tile_rows), rows(tiles.count, args.way->block_rows);
  const size_t panels = (args.n + kPanel - 1) / kPanel;
  const size_t group = smaller(tile_panels<T>(tiles.longest()), args.way->side_by_side);
  const ptrdiff_t column = args.b_panel / static_cast<ptrdiff_t>(kPanel);
  for (size_t k_first = 0; k_first < args.k; k_first += kBlockK) {
    const size_t k = smaller(args.k - k_first, kBlockK);
    pack_b<T, true>(args.b + k_first, 1, column, k, args.n, 0, panels, packed);
    for (size_t i = 0; i < rows.count; ++i) {
      const size_t row = tiles.start(rows.start(i));
      const size_t end = tiles.start(rows.start(i) + rows.length(i));
      const GemmArgs<T> block = block_of(args, row, end - row, 0, args.n);
      panel_groups(TileBlock<T>{block, Even(end - row, args.way->tile_rows), nullptr, packed},
                   group, 0, panels, k_first, k);
    }
  }
}

}  // namespace lamella::kernels::LAMELLA_ISA_NAMESPACE
