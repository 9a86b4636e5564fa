// SPDX-License-Identifier: Apache-2.0
// Narrow products (n < kPanel): every element is a dot product over 16 running sums.
//
// Lane l of the sums holds the terms k = l, l + 16, ... in increasing order, each lane one chain of
// mul_add starting from zero; the lanes are folded by the tree + 8, + 4, + 2, + 1. Terms behind k
// are zeros in both factors. Tiles of several rows and columns keep enough chains under way, and a
// register's width of their sums goes through the tree at once (64 x 4 with 64 terms 0.77 -> 0.43 us,
// 200 x 10 5.4 -> 3.8, Zen 4); neither changes an element's sum. An a that lies by columns is copied, or
// its rows fill the registers instead of their terms.
#pragma once

#include "kernels/gemm/args.h"
#include "kernels/gemm/epilogue.h"
#include "kernels/gemm/gemm.h"
#include "kernels/gemm/pack.h"
#include "kernels/gemm/tile.h"
#include "simd/vec.h"

namespace lamella::kernels::LAMELLA_ISA_NAMESPACE {

using simd::LAMELLA_ISA_NAMESPACE::Lanes16;
namespace vec = simd::LAMELLA_ISA_NAMESPACE;

// Dot products a tile holds: 6 of them are 12 registers with AVX2.
template <class T>
inline constexpr size_t kDots =
    kAccumulators / kPanelVecs<T> > 0 ? kAccumulators / kPanelVecs<T> : 1;
// Columns of a tile: their sums fit one register. Where columns must be cut, several rows take fewer
// of them at a time, since a tile that is nearly square loads least.
template <class T>
inline constexpr size_t kDotColumns = Vec<T>::lanes < kDots<T> ? Vec<T>::lanes : kDots<T>;
template <class T>
inline constexpr size_t kSquareColumns = kDotColumns<T> >= kPanel ? kDotColumns<T>
                                         : kDots<T> >= 12         ? 6
                                         : kDots<T> >= 6          ? 3
                                                                  : kDotColumns<T>;

// Lanes that the sums of a row take among those of a tile: the next power of two.
constexpr size_t dot_slots(size_t columns) {
  size_t slots = 1;
  while (slots < columns) slots *= 2;
  return slots;
}
// Rows of a tile; where possible their sums fill whole registers.
template <class T>
constexpr size_t dot_rows_of(size_t columns) {
  const size_t fit = kDots<T> / columns, together = Vec<T>::lanes / dot_slots(columns);
  return fit > together ? fit / together * together : fit;
}

// Rows for which it pays to lay the bias out as the sums of a tile.
inline constexpr size_t kBiasRows = 16;
// Sums of lanes of neighbouring rows, before the tree, and rows that are copied, on the stack.
inline constexpr size_t kLaneBytes = 64 * 1024, kStridedBytes = 128 * 1024;

// bias: that of the columns again and again, as the sums of a tile's rows lie in a register, or null.
template <class T>
using DotFn = void (*)(const GemmArgs<T>& args, const T* bias, size_t row, size_t column);

struct Sum {
  template <class V>
  [[gnu::always_inline]] V operator()(V a, V b) const {
    return a + b;
  }
};

// The last terms of one factor, in a full register's room with zeros behind.
template <class T>
[[gnu::noinline]] static void copy_tail(const T* from, size_t terms, T* to) {
  const Lanes16<T> tail = Lanes16<T>::load_partial(from, terms, T(0));
#pragma GCC unroll 16
  for (size_t part = 0; part < Lanes16<T>::count; ++part) {
    tail.part[part].store(to + part * Vec<T>::lanes);
  }
}

// Rows that lie one stride apart: a pointer for every third one, or 16 rows would not fit the general
// registers.
template <class T, size_t Count>
struct Strided {
  const T* first[(Count + 2) / 3];
  ptrdiff_t stride;
  [[gnu::always_inline]] Strided(const T* from, ptrdiff_t elements) : stride(elements) {
#pragma GCC unroll 8
    for (size_t i = 0; i < Count; i += 3) {
      first[i / 3] = from + static_cast<ptrdiff_t>(i) * stride;
    }
  }
  [[gnu::always_inline]] const T* operator[](size_t i) const {
    return first[i / 3] + static_cast<ptrdiff_t>(i % 3) * stride;
  }
  [[gnu::always_inline]] void advance() {
#pragma GCC unroll 8
    for (size_t i = 0; i < Count; i += 3) first[i / 3] += kReduceLanes;
  }
};

// 16 terms of every dot product of a tile, or fewer. The shorter side stays in registers.
template <class T, bool Whole, size_t Rows, size_t Columns>
[[gnu::always_inline]] inline void add_terms(Lanes16<T> (&sum)[Rows][Columns],
                                             const Strided<T, Rows>& a,
                                             const Strided<T, Columns>& b, size_t terms) {
  constexpr size_t kShort = Rows < Columns ? Rows : Columns;
  constexpr size_t kLong = Rows < Columns ? Columns : Rows;
#pragma GCC unroll 8
  for (size_t part = 0; part < Lanes16<T>::count; ++part) {
    const size_t at = part * Vec<T>::lanes;
    const auto load = [&](const T* p) __attribute__((always_inline)) {
      if constexpr (Whole) return Vec<T>::load(p + at);
      return Vec<T>::load_partial(p + at, terms > at ? terms - at : 0);
    };
    Vec<T> held[kShort];
#pragma GCC unroll 16
    for (size_t i = 0; i < kShort; ++i) {
      held[i] = load(Rows < Columns ? a[i] : b[i]);
      if constexpr (kLong > 1) pin(held[i]);
    }
#pragma GCC unroll 16
    for (size_t j = 0; j < kLong; ++j) {
      Vec<T> passing = load(Rows < Columns ? b[j] : a[j]);
      if constexpr (kShort > 1) pin(passing);
#pragma GCC unroll 16
      for (size_t i = 0; i < kShort; ++i) {
        Vec<T>& to = Rows < Columns ? sum[i][j].part[part] : sum[j][i].part[part];
        to = mul_add(held[i], passing, to);
      }
    }
  }
}

// The tree of a register's width over several registers at once: lane q of v[0] is the fold of v[q].
// Register q is one of row q / slots of a tile, and there is none where a row or column ends before.
template <class T, size_t Rows, size_t Columns, size_t Half, size_t Q = 0>
[[gnu::always_inline]] inline void fold_registers(Vec<T> (&v)[Vec<T>::lanes]) {
  constexpr auto exists = [](size_t q) {
    constexpr size_t kSlots = dot_slots(Columns);
    for (; q < Vec<T>::lanes; q += 2 * Half) {
      if (q / kSlots < Rows && q % kSlots < Columns) return true;
    }
    return false;
  };
  if constexpr (Q < Half) {
    constexpr bool kLow = exists(Q), kHigh = exists(Q + Half);
    if constexpr (kLow || kHigh) {
      v[Q] = vec::add_halves<Half>(v[kLow ? Q : Q + Half], v[kHigh ? Q + Half : Q]);
    }
    fold_registers<T, Rows, Columns, Half, Q + 1>(v);
  } else if constexpr (Half > 1) {
    fold_registers<T, Rows, Columns, Half / 2>(v);
  }
}

// Folds the sums of a tile and writes y.
template <class T, size_t Rows, size_t Columns>
[[gnu::always_inline]] inline void finish_dots(const Lanes16<T> (&sum)[Rows][Columns],
                                               const GemmArgs<T>& args, const T* bias, size_t row,
                                               size_t column) {
  constexpr size_t lanes = Vec<T>::lanes, slots = dot_slots(Columns);
  constexpr size_t together = Rows < lanes / slots ? Rows : lanes / slots;
#pragma GCC unroll 16
  for (size_t first = 0; first < Rows; first += together) {
    Vec<T> v[lanes];
#pragma GCC unroll 16
    for (size_t i = 0; i < together; ++i) {
#pragma GCC unroll 16
      for (size_t j = 0; j < Columns; ++j) v[i * slots + j] = sum[first + i][j].fold_parts(Sum{});
    }
    fold_registers<T, together, Columns, lanes / 2>(v);
    // Neighbouring lanes of a row, and of all rows where y's are neighbours too.
    constexpr size_t used = together * Columns;
    const Along<T>& own = args.end.bias;
    const bool in_row = together == 1 && (!own.at || own.column != 0);
    const bool in_rows =
        Columns == slots && args.y_row == static_cast<ptrdiff_t>(slots) && (bias || !own.at);
    if ((used == lanes || kMaskedMoves) && (in_row || in_rows) && !args.end.residual &&
        !args.end.scale.at) {
      TileEnd<T> end{};
      end.y = args.y + static_cast<ptrdiff_t>(row + first) * args.y_row + column;
      end.bias = {together == 1 && own.at ? own.at + column : bias, 0, 1};
      Vec<T> one[1][1] = {{v[0]}};
      end_sums<(used < lanes), false>(one, end, 0, 0, used);
      continue;
    }
    alignas(64) T sums[lanes];
    v[0].store(sums);
    finish_stored<Single<T>>(sums, slots, together,
                             tile_end(args, row + first, column, Columns, false, true));
  }
}

template <class T, size_t Rows, size_t Columns>
static void dot_tile(const GemmArgs<T>& args, const T* bias, size_t row, size_t column) {
  const size_t whole = args.k / kReduceLanes * kReduceLanes, left = args.k - whole;
  Strided<T, Rows> a(args.a + static_cast<ptrdiff_t>(row) * args.a_row, args.a_row);
  Strided<T, Columns> b(args.b + static_cast<ptrdiff_t>(column) * args.b_panel, args.b_panel);
  // Before any sum is in a register, since a call would push them all out.
  alignas(64) T tail[Rows + Columns][kReduceLanes];
  if (!kMaskedMoves && left > 0) {
    for (size_t i = 0; i < Rows; ++i) copy_tail(a[i] + whole, left, tail[i]);
    for (size_t j = 0; j < Columns; ++j) copy_tail(b[j] + whole, left, tail[Rows + j]);
  }
  Lanes16<T> sum[Rows][Columns];
#pragma GCC unroll 16
  for (size_t i = 0; i < Rows; ++i) {
#pragma GCC unroll 16
    for (size_t j = 0; j < Columns; ++j) sum[i][j] = Lanes16<T>::broadcast(T(0));
  }
  for (size_t k = 0; k < whole; k += kReduceLanes) {
    add_terms<T, true>(sum, a, b, kReduceLanes);
    a.advance();
    b.advance();
  }
  if (left > 0) {
    if constexpr (kMaskedMoves) {
      add_terms<T, false>(sum, a, b, left);
    } else {
      constexpr ptrdiff_t stride = static_cast<ptrdiff_t>(kReduceLanes);
      add_terms<T, true>(sum, Strided<T, Rows>(tail[0], stride),
                         Strided<T, Columns>(tail[Rows], stride), kReduceLanes);
    }
  }
  finish_dots(sum, args, bias, row, column);
}

// Tiles of all widths, and of each the heights 1, 2, 4, ... and the full one.
template <class T>
struct DotTable {
  DotFn<T> tile[kDots<T>][kDotColumns<T>];
};

template <class T, size_t Rows, size_t Columns>
constexpr void fill_dots(DotTable<T>& table) {
  constexpr size_t kFull = dot_rows_of<T>(Columns);
  constexpr size_t kHigher = smaller(2 * Rows, kFull);
  table.tile[Rows - 1][Columns - 1] = dot_tile<T, Rows, Columns>;
  if constexpr (Rows < kFull) {
    fill_dots<T, kHigher, Columns>(table);
  } else if constexpr (Columns < kDotColumns<T> && Columns + 1 < kPanel) {
    fill_dots<T, 1, Columns + 1>(table);
  }
}

template <class T>
constexpr DotTable<T> make_dots() {
  DotTable<T> table{};
  fill_dots<T, 1, 1>(table);
  return table;
}

template <class T>
static constexpr DotTable<T> kDotTiles = make_dots<T>();

template <class T>
static void dot_rows(const GemmArgs<T>& args) {
  const size_t widest = args.m == 1 ? kDotColumns<T> : kSquareColumns<T>;
  const size_t groups = (args.n + widest - 1) / widest;
  const size_t columns = args.n / groups, wider = args.n % groups;
  const size_t tallest = dot_rows_of<T>(columns + (wider > 0 ? 1 : 0));
  const Along<T>& own = args.end.bias;
  alignas(64) T bias[Vec<T>::lanes];
  const bool repeated = own.at && own.column != 0 && groups == 1 && args.m >= kBiasRows;
  if (repeated) {
    const size_t slots = dot_slots(columns);
    for (size_t i = 0; i < Vec<T>::lanes; ++i) {
      bias[i] = i % slots < columns ? own.at[i % slots] : T(0);
    }
  }
  for (size_t row = 0; row < args.m;) {
    size_t rows = tallest;
    if (args.m - row < tallest) {
      rows = 1;
      while (2 * rows <= args.m - row) rows *= 2;
    }
    for (size_t g = 0, column = 0; g < groups; ++g) {
      const size_t width = columns + (g < wider ? 1 : 0);
      kDotTiles<T>.tile[rows - 1][width - 1](args, repeated ? bias : nullptr, row, column);
      column += width;
    }
    row += rows;
  }
}

// The rows of a block are copied together.
template <class T>
[[gnu::noinline]] static void dot_copied(const GemmArgs<T>& args) {
  alignas(64) T room[kStridedBytes / sizeof(T)];
  copy_rows(args.a, args.a_row, args.a_k, args.m, args.k, room, args.k);
  GemmArgs<T> copied = args;
  copied.a = room;
  copied.a_row = static_cast<ptrdiff_t>(args.k);
  copied.a_k = 1;
  dot_rows(copied);
}

// Rows first .. first + rows - 1 of an a whose rows are neighbours, a whole number of panels. Registers
// hold rows instead of terms: each lane of the sums is a product of its own, every sixteenth term of b,
// transposed, times those of a (512 x 1 with 1000 terms 995 -> 31 us, Zen 4).
template <class T>
[[gnu::noinline]] static void dot_neighbours(const GemmArgs<T>& args, size_t first, size_t rows) {
  using V = Vec<T>;
  constexpr size_t room = kLaneBytes / sizeof(T);
  constexpr ptrdiff_t stride = static_cast<ptrdiff_t>(kReduceLanes);
  alignas(64) T sums[room];
  const size_t fit = room / (kReduceLanes * args.n) / kPanel * kPanel;
  const size_t tail = args.k % kReduceLanes;
  for (size_t row = first, width = 0; row < first + rows; row += width) {
    width = smaller(first + rows - row, fit);
    const size_t lane_size = args.n * width;
    GemmArgs<T> lane{};
    lane.m = args.n;
    lane.n = width;
    lane.a_row = args.b_panel;
    lane.a_k = stride;
    lane.b_k = stride * args.a_k;
    lane.b_panel = static_cast<ptrdiff_t>(kPanel);
    lane.y_row = static_cast<ptrdiff_t>(width);
    lane.way = args.way;
    for (size_t l = 0; l < kReduceLanes; ++l) {
      lane.k = args.k / kReduceLanes + (l < tail ? 1 : 0);
      lane.a = args.b + l;
      lane.b = args.a + static_cast<ptrdiff_t>(row) + static_cast<ptrdiff_t>(l) * args.a_k;
      lane.y = sums + l * lane_size;
      tiles_in_place(lane);
    }
    for (size_t j = 0; j < args.n; ++j) {
      for (size_t i = 0; i < width; i += V::lanes) {
        V v[kReduceLanes];
#pragma GCC unroll 16
        for (size_t l = 0; l < kReduceLanes; ++l) {
          v[l] = V::load(sums + l * lane_size + j * width + i);
          // The zeros behind k, which lanes of terms add up as well: they make +0 of -0.
          if (tail > 0 && l >= tail) v[l] = v[l] + V::zero();
        }
#pragma GCC unroll 4
        for (size_t half = kReduceLanes / 2; half > 0; half /= 2) {
#pragma GCC unroll 8
          for (size_t l = 0; l < half; ++l) v[l] = v[l] + v[l + half];
        }
        alignas(64) T folded[V::lanes];
        v[0].store(folded);
        finish_stored<Single<T>>(folded, 1, V::lanes, tile_end(args, row + i, j, 1, false, true));
      }
    }
  }
}

// The last panel of rows is computed once more where m cuts it short.
template <class T>
static void dot_lanes(const GemmArgs<T>& args) {
  const size_t whole = args.m / kPanel * kPanel;
  dot_neighbours(args, 0, whole);
  if (whole < args.m) dot_neighbours(args, args.m - kPanel, kPanel);
}

}  // namespace lamella::kernels::LAMELLA_ISA_NAMESPACE
