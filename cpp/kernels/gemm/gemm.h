// SPDX-License-Identifier: Apache-2.0
// The blocked product: row blocks x column blocks x K-blocks of register tiles (tile.h).
//
// Loops within a superblock (superblock.h), outermost first: columns (so that b's part stays in L3),
// rows (a's part of a K-block stays in L2), K-blocks, panels (16 columns of a K-block stay in L1), row
// tiles. Short row blocks exchange K-blocks and panels, so that the weights stream past once, in one
// piece. No order and no block size changes a bit: an element's sum is that of tile.h.
#pragma once

#include "kernels/gemm/columns.h"
#include "kernels/gemm/epilogue.h"
#include "kernels/gemm/pack.h"
#include "kernels/gemm/superblock.h"
#include "kernels/gemm/sweep.h"
#include "kernels/gemm/tile.h"
#include "kernels/table.h"

namespace lamella::kernels::LAMELLA_ISA_NAMESPACE {

// Row tiles of a row block: at most 192 x 256 floats, 197 KB, two fifths of the smallest L2 around
// (512 KB). Where L2 is twice as large, 384 and 768 rows are 2 and 5 % slower, 96 rows 2 % (2048 cubed,
// Zen 4).
inline constexpr size_t kBlockTiles = 24;
// Panels of a column block: 1024 columns. 512, 2048 or 4096 make 2 % at most there.
inline constexpr size_t kBlockPanels = 64;
// A row block's part of a (all of K) up to this size is read again for every group of panels.
inline constexpr size_t kShortBlockBytes = 128 * 1024;
// Bytes of a row block's part of a that is copied, on the stack.
inline constexpr size_t kCopiedBytes = 128 * 1024;
template <class T>
inline constexpr size_t kCopiedTiles = kCopiedBytes / (kTileRows<T> * kBlockK * sizeof(T));
// Panels of a column-major b that are packed at a time: more for many rows, that read all of a for each
// piece; for few rows b's columns are the streams to count.
inline constexpr size_t kPieceBytes = 96 * 1024, kPiecePanels = 3, kPieceRows = 24;
// A y beyond this is not expected in the second-level cache, and fetched while so many terms or more are
// added up (4096 x 256 x 256 3 % sooner, 256 x 1024 x 1024 4 %, Zen 4; a near one 1 % later).
inline constexpr size_t kSmallestL2 = 512 * 1024, kFetchTerms = 64;
// Rows from which on a narrow last panel has tiles of its own: with fewer, too few chains are under way.
inline constexpr size_t kNarrowRows = 8;
// Fewest panels for which copying an a whose terms are not neighbours pays. Rows of neighbouring terms
// are read where they lie: their copy cost 3 % of 192 x 512 x 256 and won nothing, not even at 4 KB
// from row to row (Zen 4; Zen 5 neither).
inline constexpr size_t kCopyPanels = 4;

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

// What stays the same within a row block.
template <class T>
struct RowBlock {
  const GemmArgs<T>& args;
  Even tiles;
  size_t origin = 0;          // the row that tile 0 begins with
  size_t first, last;         // its row tiles
  size_t group;               // panels side by side in a tile
  const T* copied = nullptr;  // this K-block of a as copy_block left it
  const T* packed = nullptr;  // this K-block of b, panels packed_first and on, as pack_b left it
  size_t packed_first = 0;

  size_t row(size_t tile) const { return origin + tiles.start(tile); }
  size_t rows() const { return tiles.start(last) - tiles.start(first); }
};

// All row tiles of the block times one group of panels, over one K-block of k terms, or over all terms
// when the tiles hold blocks.
template <class V, class T>
static void group_of_panels(const RowBlock<T>& block, size_t panel, size_t panels, size_t k_first,
                            size_t k) {
  const GemmArgs<T>& args = block.args;
  const bool last = k_first + k == args.k;
  const size_t j = panel * kPanel;
  TileArgs<T> tile;
  tile.a_row = args.a_row;
  tile.a_k = args.a_k;
  if (block.packed) {
    tile.b = block.packed + (panel - block.packed_first) * k * kPanel;
    tile.b_k = static_cast<ptrdiff_t>(kPanel);
    tile.b_panel = static_cast<ptrdiff_t>(k * kPanel);
  } else {
    tile.b = args.b + static_cast<ptrdiff_t>(panel) * args.b_panel +
             static_cast<ptrdiff_t>(k_first) * args.b_k;
    tile.b_k = args.b_k;
    tile.b_panel = args.b_panel;
  }
  tile.k = k;
  tile.resume = k_first > 0;
  tile.far_y = k >= kFetchTerms && args.m * args.n * sizeof(T) > kSmallestL2;
  tile.columns = smaller(args.n - j, panels * kPanel);
  const size_t vecs = (tile.columns + V::lanes - 1) / V::lanes;
  tile.y_row = args.y_row;
  tile.bias = last && args.bias ? args.bias + j : nullptr;
  tile.residual = nullptr;
  tile.residual_row = args.residual_row;
  const size_t first_row = block.row(block.first);
  size_t row = first_row;
  // The next group's part of this K-block comes in while this one is in use, spread over the tiles:
  // 24 x 4096 x 4096 75 -> 85 % of peak, 256 x 1024 x 1024 90 -> 93 % (Zen 4). A single tile has no time
  // for it and only disturbs the hardware's own prefetching.
  const size_t count = block.last - block.first, after = panel + panels;
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
  for (size_t t = block.first; t < block.last; ++t) {
    const size_t rows = block.tiles.length(t);
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
    if (rows_ahead) {
      tile.ahead = tile.a + rows * k;
      tile.ahead_k = static_cast<ptrdiff_t>(rows);
    } else if (ahead) {
      tile.ahead = next + part * piece;
      for (part += wide; part >= count; part -= count) next += args.b_panel;
    }
    kTiles<V>.tile[rows - 1][vecs - 1](tile);
    row += rows;
  }
}

// a[rows of the block][k_first ..] as [tile][k][rows of the tile]. Where rows are neighbours, every
// term is on a page of its own, and few of them are taken at a time through all tiles.
template <class T>
static void copy_block(const RowBlock<T>& block, size_t k_first, T* copied) {
  constexpr size_t kTermsThroughTiles = 16;
  const GemmArgs<T>& args = block.args;
  const size_t k = smaller(args.k - k_first, kBlockK), begin = block.row(block.first);
  const T* a = args.a + static_cast<ptrdiff_t>(k_first) * args.a_k;
  const size_t step = args.a_row == 1 ? kTermsThroughTiles : k;
  for (size_t first = 0; first < k; first += step, a += static_cast<ptrdiff_t>(step) * args.a_k) {
    for (size_t t = block.first; t < block.last; ++t) {
      const size_t row = block.row(t), rows = block.tiles.length(t);
      copy_tile(a + static_cast<ptrdiff_t>(row) * args.a_row, args.a_row, args.a_k, rows,
                smaller(k - first, step), copied + (row - begin) * k + first * rows);
    }
  }
}

// Whether the panel before `last` is cut so short by n that one narrow register holds its columns, and
// there are rows enough for tall tiles to be worth a turn of their own.
template <class T>
static bool ends_narrow(const RowBlock<T>& block, size_t last) {
  const size_t n = block.args.n;
  const bool cut = last * kPanel > n && n - (last - 1) * kPanel <= Narrow<T>::lanes;
  return cut && (block.rows() >= kNarrowRows || n <= Narrow<T>::lanes);
}

// A panel that ends_narrow, in tall tiles, or in those that a was copied for.
template <class T>
static void narrow_panel(const RowBlock<T>& block, size_t panel, size_t k_first, size_t k) {
  if (block.copied) return group_of_panels<Narrow<T>>(block, panel, 1, k_first, k);
  // Tiles that get several K-blocks must hold them.
  const Even tiles(block.rows(), k > kBlockK ? kAccumulators / 2 : kTallRows);
  const RowBlock<T> tall{.args = block.args,
                         .tiles = tiles,
                         .origin = block.row(block.first),
                         .first = 0,
                         .last = tiles.count,
                         .group = 1,
                         .packed = block.packed,
                         .packed_first = block.packed_first};
  group_of_panels<Narrow<T>>(tall, panel, 1, k_first, k);
}

// Panels first .. last - 1 of a row block, k terms as group_of_panels takes them.
template <class T>
static void panel_groups(const RowBlock<T>& block, size_t first, size_t last, size_t k_first,
                         size_t k) {
  const size_t end = ends_narrow(block, last) ? last - 1 : last;
  const Even groups(end - first, block.group);
  for (size_t g = 0; first < end && g < groups.count; ++g) {
    group_of_panels<Vec<T>>(block, first + groups.start(g), groups.length(g), k_first, k);
  }
  if (end < last) narrow_panel(block, end, k_first, k);
}

// Panels first .. last - 1 of a row block, all K-blocks.
template <class T>
static void column_block(const RowBlock<T>& block, size_t first, size_t last, T* room) {
  const GemmArgs<T>& args = block.args;
  const bool is_short =
      !room && (args.k <= kBlockK ||
                (!is_plain(args) && block.rows() * args.k * sizeof(T) <= kShortBlockBytes));
  // Of a short block the sum of a group of panels is finished before the next one.
  const size_t step = is_short ? block.group : last - first;
  // A single low tile adds up the blocks in its registers.
  const size_t vecs = block.group * kPanelVecs<T>;
  const bool whole = is_short && 2 * block.tiles.longest() * vecs <= kAccumulators;
  // A narrow last panel goes with the part before it, if there is one.
  const size_t narrow = first + 1 < last && ends_narrow(block, last) ? 1 : 0;
  const Even parts(last - first - narrow, step);
  for (size_t part = 0; part < parts.count; ++part) {
    const size_t start = first + parts.start(part);
    const size_t end = part + 1 < parts.count ? start + parts.length(part) : last;
    size_t k_first = 0;
    do {
      if (room) copy_block(block, k_first, room);
      const size_t k = whole ? args.k : smaller(args.k - k_first, kBlockK);
      panel_groups(block, start, end, k_first, k);
      k_first += k;
    } while (k_first < args.k);
  }
}

// The activation on a row block's panels first .. last - 1.
template <class T>
static void activate_block(const RowBlock<T>& block, size_t first, size_t last) {
  if (!block.args.activation) return;
  const size_t column = first * kPanel;
  activate_rows(block.args, block.row(block.first), block.row(block.last), column,
                smaller(block.args.n - column, (last - first) * kPanel));
}

template <class T>
static void row_blocks(const GemmArgs<T>& args, size_t block_tiles, T* room) {
  const Even tiles(args.m, args.n <= Vec<T>::lanes ? kTallRows : kTileRows<T>);
  const Even blocks(tiles.count, block_tiles);
  const size_t panels = (args.n + kPanel - 1) / kPanel;
  // Four chains of one row already stream the second-level cache; more packed panels are more streams.
  const size_t most = is_plain(args) ? kMostPanels : 4;
  const size_t group = smaller(tile_panels<T>(tiles.longest()), most);
  for (size_t p = 0; p < panels; p += kBlockPanels) {
    const size_t last = smaller(p + kBlockPanels, panels);
    for (size_t i = 0; i < blocks.count; ++i) {
      const RowBlock<T> block{.args = args,
                              .tiles = tiles,
                              .first = blocks.start(i),
                              .last = blocks.start(i) + blocks.length(i),
                              .group = group,
                              .copied = room};
      column_block(block, p, last, room);
      activate_block(block, p, last);
    }
  }
}

// Its own function for the sake of its stack frame.
template <class T>
[[gnu::noinline]] static void row_blocks_copied(const GemmArgs<T>& args) {
  alignas(64) T room[kCopiedBytes / sizeof(T)];
  row_blocks(args, kCopiedTiles<T>, room);
}

template <class T>
static void row_blocks_in_place(const GemmArgs<T>& args) {
  row_blocks(args, kBlockTiles, static_cast<T*>(nullptr));
}

// A column-major b where it lies: a few panels of a K-block are packed at a time, and all rows use them
// while they are near.
template <class T>
[[gnu::noinline]] static void pack_and_multiply(const GemmArgs<T>& args) {
  constexpr size_t room = kPieceBytes / sizeof(T), most = room / (kBlockK * kPanel);
  alignas(64) T packed[room];
  const Even tiles(args.m, kTileRows<T>), blocks(tiles.count, kBlockTiles);
  const size_t panels = (args.n + kPanel - 1) / kPanel;
  const Even pieces(panels, args.m <= kPieceRows ? kPiecePanels : most);
  const ptrdiff_t column = args.b_panel / static_cast<ptrdiff_t>(kPanel);
  for (size_t piece = 0; piece < pieces.count; ++piece) {
    const size_t first = pieces.start(piece), end = first + pieces.length(piece);
    const T* b = args.b + static_cast<ptrdiff_t>(first) * args.b_panel;
    RowBlock<T> block{.args = args,
                      .tiles = tiles,
                      .first = 0,
                      .last = tiles.count,
                      .group = tile_panels<T>(tiles.longest()),
                      .packed = packed,
                      .packed_first = first};
    for (size_t k_first = 0; k_first < args.k; k_first += kBlockK) {
      const size_t k = smaller(args.k - k_first, kBlockK);
      pack_b<T, true>(b + k_first, 1, column, k, args.n - first * kPanel, 0, end - first, packed);
      for (size_t i = 0; i < blocks.count; ++i) {
        block.first = blocks.start(i);
        block.last = block.first + blocks.length(i);
        panel_groups(block, first, end, k_first, k);
      }
    }
    block.first = 0;
    activate_block(block, first, end);
  }
}

template <class T>
static bool worth_copying(const GemmArgs<T>& args) {
  return args.a_k != 1 && args.n > kCopyPanels * kPanel;
}

// How one superblock of args is multiplied.
template <class T>
static SuperblockWay<T> superblock_way(const GemmArgs<T>& args) {
  if (worth_sweeping(args)) return {sweep<T>, kWaitingRows};
  if (!is_plain(args) && args.b_k == 1 && args.k > 0) {
    if (worth_transposing(args)) return {columns_in_place<T>, kWaitingRows};
    return {pack_and_multiply<T>, kManyWaitingRows};
  }
  if (worth_copying(args)) return {row_blocks_copied<T>, kFewWaitingRows};
  return {row_blocks_in_place<T>, kWaitingRows};
}

template <class T>
static void gemm(const GemmArgs<T>& args) {
  if (args.m == 0 || args.n == 0) return;
  const SuperblockWay<T> way = superblock_way(args);
  if (args.k > kSuperblockK) return multiply_long(args, args.b_k, way);
  way.multiply(args);
}

}  // namespace lamella::kernels::LAMELLA_ISA_NAMESPACE
