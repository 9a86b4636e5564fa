// SPDX-License-Identifier: Apache-2.0
// Products with a b of bfloat16, packed as pairs of terms: half the bytes, and float32 sums.
//
//   panels[p][q][j]  one 32-bit word: b[2 q, j] in its lower half, b[2 q + 1, j] in the upper one
//
// A shift and a mask make two registers of floats of a register of words. Few rows do that on the fly:
// their product runs at the speed at which b is read. For more of them a piece of a K-block is widened
// once and multiplied as if it had been packed as floats. Either way an element's sum is that of tile.h
// over the widened terms, bit for bit; where their number is odd, the last word has no upper term.
#pragma once

#include "kernels/element.h"
#include "kernels/gemm/args.h"
#include "kernels/gemm/blocks.h"
#include "kernels/gemm/epilogue.h"
#include "kernels/gemm/gemm.h"
#include "kernels/gemm/pack.h"
#include "kernels/gemm/tile.h"
#include "simd/vec.h"

namespace lamella::kernels::LAMELLA_ISA_NAMESPACE {

using simd::LAMELLA_ISA_NAMESPACE::VecInt;
using PairArgs = GemmArgs<float, Bfloat16, float>;

// A tile holds the sums of the K-blocks before beside its own.
inline constexpr size_t kPairSums = kAccumulators / 2;
// Four panels side by side are streams enough; eight rows have chains enough in one panel.
inline constexpr size_t kPairRows =
    kPairSums / kPanelVecs<float> < 8 ? kPairSums / kPanelVecs<float> : 8;
constexpr size_t pair_panels(size_t rows) {
  const size_t fit = kPairSums / (rows * kPanelVecs<float>);
  return fit < 4 ? fit : 4;
}

[[gnu::always_inline]] inline Vec<float> lower_terms(Vec<float> words) {
  return from_bits(simd::LAMELLA_ISA_NAMESPACE::shift_left<16>(bits(words)));
}
[[gnu::always_inline]] inline Vec<float> upper_terms(Vec<float> words) {
  return from_bits(bits(words) & VecInt<float>::broadcast(static_cast<std::int32_t>(0xFFFF0000u)));
}

// Where the words of panel p, from term k (an even one) on, lie.
[[gnu::always_inline]] inline const float* words_of(const PairArgs& args, size_t p, size_t k) {
  return reinterpret_cast<const float*>(args.b + static_cast<ptrdiff_t>(p) * args.b_panel +
                                        k * kPanel);
}

// Rows rows from `row` on, Vecs registers of columns of the panels from `panel` on, all terms.
template <size_t Rows, size_t Vecs>
static void pair_tile(const PairArgs& args, size_t row, size_t panel) {
  using V = Vec<float>;
  constexpr size_t lanes = V::lanes, panel_vecs = kPanelVecs<float>;
  constexpr size_t panels = (Vecs + panel_vecs - 1) / panel_vecs;
  const float* a = args.a + static_cast<ptrdiff_t>(row) * args.a_row;
  const float* b = words_of(args, panel, 0);
  // In words, of which a panel has half as many as terms.
  const ptrdiff_t b_panel = args.b_panel / 2, a_row = args.a_row, a_k = args.a_k;
  V sum[Rows][Vecs], total[Rows][Vecs];
#pragma GCC unroll 8
  for (size_t i = 0; i < Rows; ++i) {
#pragma GCC unroll 32
    for (size_t v = 0; v < Vecs; ++v) total[i][v] = V::zero();
  }
  const auto add = [&]<bool Both>() __attribute__((always_inline)) {
    V lower[Rows], upper[Rows];
#pragma GCC unroll 8
    for (size_t i = 0; i < Rows; ++i) {
      const float* at = a + static_cast<ptrdiff_t>(i) * a_row;
      lower[i] = V::broadcast(*at);
      if constexpr (Both) upper[i] = V::broadcast(at[a_k]);
    }
#pragma GCC unroll 32
    for (size_t v = 0; v < Vecs; ++v) {
      const size_t p = v / panel_vecs;
      V words = V::load(b + static_cast<ptrdiff_t>(p) * b_panel + v % panel_vecs * lanes);
      pin(words);
      const V first = lower_terms(words);
#pragma GCC unroll 8
      for (size_t i = 0; i < Rows; ++i) sum[i][v] = mul_add(lower[i], first, sum[i][v]);
      if constexpr (Both) {
        const V second = upper_terms(words);
#pragma GCC unroll 8
        for (size_t i = 0; i < Rows; ++i) sum[i][v] = mul_add(upper[i], second, sum[i][v]);
      }
    }
    a += 2 * a_k;
    b += kPanel;
  };
  for (size_t k_first = 0; k_first == 0 || k_first < args.k; k_first += kBlockK) {
#pragma GCC unroll 8
    for (size_t i = 0; i < Rows; ++i) {
#pragma GCC unroll 32
      for (size_t v = 0; v < Vecs; ++v) sum[i][v] = V::zero();
    }
    const size_t k = smaller(args.k - k_first, kBlockK);
    for (size_t pair = 0; pair < k / 2; ++pair) add.template operator()<true>();
    if (k % 2 != 0) add.template operator()<false>();
#pragma GCC unroll 8
    for (size_t i = 0; i < Rows; ++i) {
#pragma GCC unroll 32
      for (size_t v = 0; v < Vecs; ++v) {
        total[i][v] = k_first == 0 ? sum[i][v] : total[i][v] + sum[i][v];
      }
    }
  }
  const size_t column = panel * kPanel;
  const size_t columns = smaller(args.n - column, panels * kPanel);
  finish(total, tile_end(args, row, column, columns, false, true));
}

struct PairTable {
  void (*tile[kPairRows][pair_panels(1) * kPanelVecs<float>])(const PairArgs&, size_t, size_t);
};

template <size_t Rows, size_t Vecs>
constexpr void fill_pairs(PairTable& table) {
  table.tile[Rows - 1][Vecs - 1] = pair_tile<Rows, Vecs>;
  if constexpr (Vecs < pair_panels(Rows) * kPanelVecs<float>) {
    fill_pairs<Rows, Vecs + 1>(table);
  } else if constexpr (Rows < kPairRows) {
    fill_pairs<Rows + 1, 1>(table);
  }
}

constexpr PairTable make_pairs() {
  PairTable table{};
  fill_pairs<1, 1>(table);
  return table;
}

static constexpr PairTable kPairTiles = make_pairs();

// Few rows: b is widened while it is read.
static void pairs_in_place(const PairArgs& args) {
  const Even tiles(args.m, kPairRows);
  const size_t panels = (args.n + kPanel - 1) / kPanel;
  const Even groups(panels, pair_panels(tiles.longest()));
  for (size_t g = 0; g < groups.count; ++g) {
    const size_t panel = groups.start(g), column = panel * kPanel;
    const size_t columns = smaller(args.n - column, groups.length(g) * kPanel);
    const size_t vecs = (columns + Vec<float>::lanes - 1) / Vec<float>::lanes;
    for (size_t t = 0; t < tiles.count; ++t) {
      kPairTiles.tile[tiles.length(t) - 1][vecs - 1](args, tiles.start(t), panel);
    }
  }
}

// k terms from k_first on, of the panels from `first` on, as floats in the order of pack_b.
static void widen_panels(const PairArgs& args, size_t first, size_t panels, size_t k_first,
                         size_t k, float* to) {
  constexpr size_t lanes = Vec<float>::lanes;
  for (size_t p = 0; p < panels; ++p) {
    const float* words = words_of(args, first + p, k_first);
    for (size_t i = 0; i < k; i += 2, words += kPanel, to += 2 * kPanel) {
#pragma GCC unroll 4
      for (size_t v = 0; v < kPanel; v += lanes) {
        const Vec<float> word = Vec<float>::load(words + v);
        lower_terms(word).store(to + v);
        if (i + 1 < k) upper_terms(word).store(to + kPanel + v);
      }
    }
    if (k % 2 != 0) to -= kPanel;
  }
}

// More rows: the panels of a piece are widened for one K-block, and multiplied while they are near.
[[gnu::noinline]] static void widen_and_multiply(const PairArgs& args) {
  constexpr size_t room = kPieceBytes / sizeof(float);
  alignas(64) float widened[room];
  const Even tiles(args.m, args.way->tile_rows);
  const size_t group = smaller(tile_panels<float>(tiles.longest()), args.way->side_by_side);
  const Even pieces((args.n + kPanel - 1) / kPanel, room / (kBlockK * kPanel));
  GemmArgs<float> plain{};
  plain.m = args.m;
  plain.n = args.n;
  plain.k = args.k;
  plain.a = args.a;
  plain.a_row = args.a_row;
  plain.a_k = args.a_k;
  plain.y = args.y;
  plain.y_row = args.y_row;
  plain.end = args.end;
  plain.way = args.way;
  for (size_t k_first = 0; k_first == 0 || k_first < args.k; k_first += kBlockK) {
    const size_t k = smaller(args.k - k_first, kBlockK);
    for (size_t i = 0; i < pieces.count; ++i) {
      const size_t panel = pieces.start(i), panels = pieces.length(i), column = panel * kPanel;
      widen_panels(args, panel, panels, k_first, k, widened);
      const GemmArgs<float> piece =
          block_of(plain, 0, args.m, column, smaller(panels * kPanel, args.n - column));
      panel_groups(TileBlock<float>{piece, tiles, nullptr, widened}, group, 0, panels, k_first, k);
    }
  }
}

// ---- packing

// Where columns are runs of terms, words lie in memory as they are; elsewhere two rows are joined.
static void pack_pairs(const Bfloat16* b, ptrdiff_t b_k, ptrdiff_t b_n, size_t k, size_t n,
                       size_t first_panel, size_t last_panel, Bfloat16* panels) {
  const size_t pairs = (k + 1) / 2;
  for (size_t p = first_panel; p < last_panel; ++p) {
    const size_t column = p * kPanel, columns = smaller(n - column, kPanel);
    const Bfloat16* from = b + static_cast<ptrdiff_t>(column) * b_n;
    Bfloat16* panel = panels + p * pairs * 2 * kPanel;
    float* words = reinterpret_cast<float*>(panel);
    size_t whole = 0;
    if (columns < kPanel || k % 2 != 0) {
      for (size_t i = 0; i < pairs * kPanel; i += Vec<float>::lanes) {
        Vec<float>::zero().store(words + i);
      }
    }
    if (b_k == 1 && b_n % 2 == 0 && reinterpret_cast<size_t>(from) % sizeof(float) == 0) {
      whole = k / 2;
      transpose_into(reinterpret_cast<const float*>(from), b_n / 2, columns, whole, words, kPanel);
    }
    for (size_t i = 2 * whole; i < k; ++i) {
      const Bfloat16* row = from + static_cast<ptrdiff_t>(i) * b_k;
      Bfloat16* to = panel + i / 2 * 2 * kPanel + i % 2;
      for (size_t j = 0; j < columns; ++j) to[2 * j] = row[static_cast<ptrdiff_t>(j) * b_n];
    }
  }
}

// Narrow products take theirs as floats: so few that halving them saves nothing.
static void widen_terms(const Bfloat16* b, ptrdiff_t b_k, ptrdiff_t b_n, size_t k, size_t n,
                        size_t first, size_t last, float* terms) {
  for (size_t j = 0; j < n; ++j) {
    for (size_t i = first; i < last; ++i) {
      const Bfloat16 x = b[static_cast<ptrdiff_t>(i) * b_k + static_cast<ptrdiff_t>(j) * b_n];
      terms[j * k + i] = __builtin_bit_cast(float, static_cast<std::uint32_t>(x.bits) << 16);
    }
  }
}

}  // namespace lamella::kernels::LAMELLA_ISA_NAMESPACE
