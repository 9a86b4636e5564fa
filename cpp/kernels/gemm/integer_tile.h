// SPDX-License-Identifier: Apache-2.0
// The register tile of integer products: Rows x Vecs registers of 32-bit sums over all of k.
//
// Exact modulo 2^32, so that no order and no instruction set changes a bit, and a sum is never cut
// into blocks. A round multiplies one group of four bytes (simd/dot.h) of every row and column. Four
// chains fill the pipe of vpdpbusd; 12 x 2 registers run at 97 % of it, 6 x 4 at 95, 8 x 2 at 93
// (512 cubed, Zen 4). Software prefetch of b costs 40 % where it lies in L3, and is left out.
#pragma once

#include "kernels/gemm/tile.h"
#include "kernels/table.h"
#include "simd/dot.h"

namespace lamella::kernels::LAMELLA_ISA_NAMESPACE {

namespace integer {

using simd::LAMELLA_ISA_NAMESPACE::dot;
using simd::LAMELLA_ISA_NAMESPACE::kDotTerms;
using simd::LAMELLA_ISA_NAMESPACE::load_lanes;
using simd::LAMELLA_ISA_NAMESPACE::multiply_low;
using simd::LAMELLA_ISA_NAMESPACE::store_lanes;
using Sums = simd::LAMELLA_ISA_NAMESPACE::VecInt<float>;
using Floats = simd::LAMELLA_ISA_NAMESPACE::Vec<float>;

inline constexpr size_t kLanes = Sums::lanes, kVecsOfPanel = kPanel / kLanes;
// Bytes of a group of all columns of a panel.
inline constexpr size_t kGroupBytes = kPanel * sizeof(std::int32_t);
// With 32 registers 24 sums, with 16 registers 12.
inline constexpr size_t kRows = kLanes == 16 ? 12 : 6, kVecs = 2;
// So few rows take more columns at a time, or too few chains are under way.
inline constexpr size_t kWideRows = kLanes == 16 ? 3 : 2, kWideVecs = 4;

}  // namespace integer

// One tile's operands, the pointers at its first element.
struct IntegerTile {
  const IntegerGemmArgs* args;
  const std::uint8_t* a;
  size_t row, column;  // in y
  size_t columns;      // in [1, Vecs * lanes]; only the last register may be cut
};

// Partial registers go through memory: not every instruction set has masked moves of integers.
[[gnu::always_inline]] inline void store_sums(integer::Sums sum, std::int32_t* y, size_t n) {
  using namespace integer;
  if (n == kLanes) return store_lanes(sum, y);
  std::int32_t room[kLanes];
  store_lanes(sum, room);
  for (size_t j = 0; j < n; ++j) y[j] = room[j];
}

// One register of columns of all rows of a tile: sum(a b) - a_zero sum(b) - b_zero sum(a) +
// k a_zero b_zero, and what y is made of that. The sums lie rows x vecs in memory.
template <bool kFloats, bool kColumnZero>
static void finish_column(const std::int32_t* sums, size_t rows, size_t vecs,
                          const IntegerTile& tile, size_t v) {
  using namespace integer;
  const IntegerGemmArgs args = *tile.args;
  const size_t column = tile.column + v * kLanes, n = smaller(tile.columns - v * kLanes, kLanes);
  const std::uint8_t* panel =
      args.b + static_cast<ptrdiff_t>(column / kPanel) * args.b_panel + args.groups * kGroupBytes;
  Sums of_column = load_lanes(panel + column % kPanel * sizeof(std::int32_t));
  Sums column_zero = Sums::broadcast(0);
  if constexpr (kColumnZero) {
    column_zero = load_lanes(args.column_zero + column);
    const auto terms = Sums::broadcast(static_cast<std::int32_t>(args.k));
    of_column = of_column - multiply_low(terms, column_zero);
  }
  const auto load = [n](const float* p) {
    return n == kLanes ? Floats::load(p) : Floats::load_partial(p, n);
  };
  Floats scale = Floats::zero(), bias = Floats::zero();
  const float* row_scale = nullptr;
  if constexpr (kFloats) {
    row_scale = args.scale + static_cast<ptrdiff_t>(tile.row) * args.scale_row;
    scale = args.scale_column ? load(args.scale + column) : Floats::broadcast(*row_scale);
    if (args.bias) bias = load(args.bias + column);
  }
  const ptrdiff_t first = static_cast<ptrdiff_t>(tile.row);
  const std::int32_t* row_zero = args.row_zero + first * args.row_zero_step;
  const std::int32_t* row_sum = args.row_sums + (kColumnZero ? first : 0);
  const ptrdiff_t at = first * args.y_row + static_cast<ptrdiff_t>(column);
  Sums shift = multiply_low(Sums::broadcast(*row_zero), of_column);
  for (size_t i = 0; i < rows; ++i, sums += vecs * kLanes) {
    if (args.row_zero_step != 0) {
      shift = multiply_low(Sums::broadcast(row_zero[i]), of_column);
    }
    Sums one = load_lanes(sums + v * kLanes) - shift;
    if constexpr (kColumnZero) {
      one = one - multiply_low(Sums::broadcast(row_sum[i]), column_zero);
    }
    const ptrdiff_t to = at + static_cast<ptrdiff_t>(i) * args.y_row;
    if constexpr (!kFloats) {
      store_sums(one, args.y + to, n);
      continue;
    }
    if (args.scale_row) {
      scale = Floats::broadcast(row_scale[static_cast<ptrdiff_t>(i) * args.scale_row]);
    }
    Floats y = to_float(one) * scale;
    // A zero would take the sign of -0.
    if (args.bias) y = y + bias;
    n == kLanes ? y.store(args.y_float + to) : y.store_partial(args.y_float + to, n);
  }
}

static void finish_integers(const std::int32_t* sums, size_t rows, size_t vecs,
                            const IntegerTile& tile) {
  const bool columns = tile.args->column_zero, floats = tile.args->scale;
  for (size_t v = 0; v < vecs; ++v) {
    (floats    ? columns ? finish_column<true, true> : finish_column<true, false>
     : columns ? finish_column<false, true>
               : finish_column<false, false>)(sums, rows, vecs, tile, v);
  }
}

template <size_t Rows, size_t Vecs>
static void integer_tile(const IntegerTile& tile) {
  using namespace integer;
  constexpr size_t panels = (Vecs + kVecsOfPanel - 1) / kVecsOfPanel, every = 3;
  const IntegerGemmArgs& args = *tile.args;
  Sums sum[Rows][Vecs];
#pragma GCC unroll 16
  for (size_t i = 0; i < Rows; ++i) {
#pragma GCC unroll 4
    for (size_t v = 0; v < Vecs; ++v) sum[i][v] = Sums::broadcast(0);
  }
  // A pointer for every third row, and for every third panel, as in tile.h.
  const ptrdiff_t a_row = args.a_row, b_panel = args.b_panel;
  const std::uint8_t* a[(Rows + every - 1) / every];
  const std::uint8_t* b[(panels + every - 1) / every];
#pragma GCC unroll 16
  for (size_t i = 0; i < Rows; i += every) {
    a[i / every] = tile.a + static_cast<ptrdiff_t>(i) * a_row;
  }
  const size_t first = tile.column / kPanel;
#pragma GCC unroll 4
  for (size_t p = 0; p < panels; p += every) {
    b[p / every] = args.b + static_cast<ptrdiff_t>(first + p) * b_panel +
                   tile.column % kPanel * sizeof(std::int32_t);
  }
  for (size_t group = args.groups; group > 0; --group) {
    const auto factor = [&](size_t i) __attribute__((always_inline)) {
      const std::uint8_t* at = a[i / every] + static_cast<ptrdiff_t>(i % every) * a_row;
      std::int32_t terms;
      __builtin_memcpy(&terms, at, sizeof terms);
      return Sums::broadcast(terms);
    };
    const auto load_column = [&](size_t v) __attribute__((always_inline)) {
      const size_t p = v / kVecsOfPanel;
      const std::uint8_t* at = b[p / every] + static_cast<ptrdiff_t>(p % every) * b_panel;
      return load_lanes(at + v % kVecsOfPanel * kLanes * sizeof(std::int32_t));
    };
    if constexpr (Rows < Vecs) {
      Sums x[Rows];
#pragma GCC unroll 16
      for (size_t i = 0; i < Rows; ++i) x[i] = factor(i);
#pragma GCC unroll 4
      for (size_t v = 0; v < Vecs; ++v) {
        Sums column = load_column(v);
        if constexpr (Rows > 1) pin(column);
#pragma GCC unroll 16
        for (size_t i = 0; i < Rows; ++i) sum[i][v] = dot(sum[i][v], x[i], column);
      }
    } else {
      Sums column[Vecs];
#pragma GCC unroll 4
      for (size_t v = 0; v < Vecs; ++v) {
        column[v] = load_column(v);
        if constexpr (Rows > 1) pin(column[v]);
      }
#pragma GCC unroll 16
      for (size_t i = 0; i < Rows; ++i) {
        const Sums x = factor(i);
#pragma GCC unroll 4
        for (size_t v = 0; v < Vecs; ++v) sum[i][v] = dot(sum[i][v], x, column[v]);
      }
    }
#pragma GCC unroll 16
    for (size_t i = 0; i < Rows; i += every) a[i / every] += sizeof(std::int32_t);
#pragma GCC unroll 4
    for (size_t p = 0; p < panels; p += every) b[p / every] += kGroupBytes;
  }
  // Through memory: an epilogue that takes the array has GCC 12 store it in every round.
  alignas(64) std::int32_t sums[Rows * Vecs * kLanes];
#pragma GCC unroll 16
  for (size_t i = 0; i < Rows; ++i) {
#pragma GCC unroll 4
    for (size_t v = 0; v < Vecs; ++v) store_lanes(sum[i][v], sums + (i * Vecs + v) * kLanes);
  }
  finish_integers(sums, Rows, Vecs, tile);
}

}  // namespace lamella::kernels::LAMELLA_ISA_NAMESPACE
