// SPDX-License-Identifier: Apache-2.0
// Integer products: the loops over register tiles (integer_tile.h), and their operands' packing.
//
// Terms of a are taken as unsigned and those of b as signed, whatever they are: with the top bit
// flipped a byte is another one by 128, which the zero points make up for (steps/product/integer.cpp).
//   b   panels of 16 columns: [group][16][terms], zero behind k and n, then the 16 sums of columns
//   a   rows of groups, zero behind k; where terms are bytes, rows may also be read where they lie
#pragma once

#include "kernels/gemm/integer_tile.h"
#include "kernels/table.h"
#include "simd/dot.h"

namespace lamella::kernels::LAMELLA_ISA_NAMESPACE {

namespace integer {

using Tile = void (*)(const IntegerTile& tile);

struct TileTable {
  Tile tile[kRows][kWideVecs];
};

template <size_t Rows, size_t Vecs>
constexpr void fill(TileTable& table) {
  if constexpr (Rows <= kRows) {
    table.tile[Rows - 1][Vecs - 1] = integer_tile<Rows, Vecs>;
    if constexpr (Vecs < (Rows <= kWideRows ? kWideVecs : kVecs)) {
      fill<Rows, Vecs + 1>(table);
    } else {
      fill<Rows + 1, 1>(table);
    }
  }
}

constexpr TileTable make_tiles() {
  TileTable table{};
  fill<1, 1>(table);
  return table;
}

static constexpr TileTable kTiles = make_tiles();

// A row block's part of a stays in the second-level cache, a column block's part of b where it can.
inline constexpr size_t kBlockBytes = 192 * 1024, kBlockColumns = 1024;

}  // namespace integer

static void integer_gemm(const IntegerGemmArgs& args) {
  using namespace integer;
  if (args.m == 0 || args.n == 0) return;
  const Even tiles(args.m, kRows);
  const size_t tile_bytes = args.groups * sizeof(std::int32_t) * kRows;
  const size_t fit = kBlockBytes / (tile_bytes + 1);
  const Even blocks(tiles.count, fit > 0 ? fit : 1);
  const size_t strip = (tiles.longest() <= kWideRows ? kWideVecs : kVecs) * kLanes;
  for (size_t first = 0; first < args.n; first += kBlockColumns) {
    const size_t last = smaller(args.n, first + kBlockColumns);
    for (size_t block = 0; block < blocks.count; ++block) {
      const size_t begin = blocks.start(block), end = begin + blocks.length(block);
      for (size_t column = first; column < last; column += strip) {
        const size_t columns = smaller(strip, last - column);
        const size_t vecs = (columns + kLanes - 1) / kLanes;
        for (size_t t = begin; t < end; ++t) {
          const size_t row = tiles.start(t);
          const IntegerTile tile{.args = &args,
                                 .a = args.a + static_cast<ptrdiff_t>(row) * args.a_row,
                                 .row = row,
                                 .column = column,
                                 .columns = columns};
          kTiles.tile[tiles.length(t) - 1][vecs - 1](tile);
        }
      }
      if (!args.activation) continue;
      for (size_t row = tiles.start(begin); row < tiles.start(end); ++row) {
        float* y = args.y_float + static_cast<ptrdiff_t>(row) * args.y_row + first;
        args.activation(y, y, last - first, args.activation_params);
      }
    }
  }
}

// Of a row's terms from `k` on, at most a register full, with the flip's byte behind the last one.
[[gnu::always_inline]] inline void gather_terms(const IntegerRows& rows, const std::uint8_t* row,
                                                size_t k, size_t count, std::uint8_t* room) {
  constexpr size_t whole = integer::kDotTerms * integer::kLanes;
  for (size_t i = 0; i < whole; ++i) {
    room[i] = i < count ? row[static_cast<ptrdiff_t>(k + i) * rows.a_k] : rows.flip;
  }
}

static void integer_pack_rows(const IntegerRows& rows) {
  using namespace integer;
  constexpr size_t whole = kDotTerms * kLanes;
  const Sums flip = Sums::broadcast(rows.flip ? simd::LAMELLA_ISA_NAMESPACE::kFlipTerms : 0);
  const Sums ones = Sums::broadcast(simd::LAMELLA_ISA_NAMESPACE::kOneTerms);
  for (size_t i = 0; i < rows.m; ++i) {
    const std::uint8_t* row = rows.a + static_cast<ptrdiff_t>(i) * rows.a_row;
    std::uint8_t* to = rows.packed + static_cast<ptrdiff_t>(i) * rows.packed_row;
    Sums sum = Sums::broadcast(0);
    for (size_t k = 0; k < rows.k; k += whole, to += sizeof(Sums)) {
      std::uint8_t room[whole];
      const std::uint8_t* from = row + k;
      if (rows.a_k != 1 || k + whole > rows.k) {
        gather_terms(rows, row, k, smaller(rows.k - k, whole), room);
        from = room;
      }
      const Sums terms = simd::LAMELLA_ISA_NAMESPACE::load_terms(from) ^ flip;
      store_lanes(terms, to);
      sum = dot(sum, terms, ones);
    }
    std::uint32_t lanes[kLanes], total = 0;
    store_lanes(sum, lanes);
    for (const std::uint32_t lane : lanes) total += lane;
    rows.sums[i] = static_cast<std::int32_t>(total);
  }
}

static void integer_pack_panels(const IntegerPanels& of) {
  using namespace integer;
  const size_t groups = (of.k + kDotTerms - 1) / kDotTerms;
  const size_t bytes = (groups + 1) * kGroupBytes;
  const Sums ones = Sums::broadcast(simd::LAMELLA_ISA_NAMESPACE::kOneTerms);
  for (size_t p = of.first_panel; p < of.last_panel; ++p) {
    const size_t columns = smaller(of.n - p * kPanel, kPanel);
    std::uint8_t* to = of.panels + p * bytes;
    Sums sum[kVecsOfPanel];
    for (Sums& one : sum) one = Sums::broadcast(0);
    for (size_t group = 0; group < groups; ++group, to += kGroupBytes) {
      const size_t k = group * kDotTerms, terms = smaller(of.k - k, kDotTerms);
      const std::uint8_t* from =
          of.b + static_cast<ptrdiff_t>(k) * of.b_k + static_cast<ptrdiff_t>(p * kPanel) * of.b_n;
      std::uint8_t room[kDotTerms * kPanel];
      const bool in_place = of.b_n == 1 && columns == kPanel && terms == kDotTerms;
      if (!in_place) {
        for (std::uint8_t& byte : room) byte = of.flip;
        for (size_t j = 0; j < columns; ++j) {
          const std::uint8_t* column = from + static_cast<ptrdiff_t>(j) * of.b_n;
          for (size_t i = 0; i < terms; ++i) {
            room[i * kPanel + j] = column[static_cast<ptrdiff_t>(i) * of.b_k];
          }
        }
      }
      simd::LAMELLA_ISA_NAMESPACE::interleave(
          in_place ? from : room, in_place ? of.b_k : static_cast<ptrdiff_t>(kPanel), of.flip, to);
      for (size_t v = 0; v < kVecsOfPanel; ++v) {
        sum[v] = dot(sum[v], ones, load_lanes(to + v * sizeof(Sums)));
      }
    }
    for (size_t v = 0; v < kVecsOfPanel; ++v) store_lanes(sum[v], to + v * sizeof(Sums));
  }
}

}  // namespace lamella::kernels::LAMELLA_ISA_NAMESPACE
