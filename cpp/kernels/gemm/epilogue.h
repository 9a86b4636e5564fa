// SPDX-License-Identifier: Apache-2.0
// The end of every sum: the one place where scale, bias, residual and activation are applied.
//
// finish() ends a tile whose sums are in registers and writes them to y, finish_stored() one whose sums
// lie in memory; both do it by end_sums(). The activation is the last operation: it follows when a block
// of y is complete, in long runs while the block is in a near cache (blocks.h).
#pragma once

#include "kernels/gemm/args.h"
#include "simd/vec.h"

namespace lamella::kernels::LAMELLA_ISA_NAMESPACE {

using simd::LAMELLA_ISA_NAMESPACE::HalfVec;
using simd::LAMELLA_ISA_NAMESPACE::kMaskedMoves;
using simd::LAMELLA_ISA_NAMESPACE::Vec;

// A register of one lane, for sums that are finished one by one.
template <class T>
struct Single {
  using Scalar = T;
  static constexpr size_t lanes = 1;
  T v;
  [[gnu::always_inline]] static Single load(const T* p) { return {*p}; }
  [[gnu::always_inline]] static Single load_partial(const T* p, size_t) { return {*p}; }
  [[gnu::always_inline]] static Single broadcast(T x) { return {x}; }
  [[gnu::always_inline]] void store(T* p) const { *p = v; }
  [[gnu::always_inline]] void store_partial(T* p, size_t) const { *p = v; }
  [[gnu::always_inline]] friend Single operator+(Single a, Single b) { return {a.v + b.v}; }
  [[gnu::always_inline]] friend Single operator*(Single a, Single b) { return {a.v * b.v}; }
};

// Where the sums of a tile go; the pointers are at its first element.
template <class T>
struct TileEnd {
  bool resume;     // y holds the sum of the blocks before
  size_t columns;  // how many of the tile's exist in y and the operands
  T* y;
  ptrdiff_t y_row;
  Along<T> scale, bias;  // these are null before the last K-block
  const T* residual;
  ptrdiff_t residual_row;
};

// `operand` from its element (row, column) on.
template <class T>
[[gnu::always_inline]] inline Along<T> from(const Along<T>& operand, size_t row, size_t column) {
  if (!operand.at) return operand;
  return {operand.at + static_cast<ptrdiff_t>(row) * operand.row +
              static_cast<ptrdiff_t>(column) * operand.column,
          operand.row, operand.column};
}

// The end of the tile of a product that begins at this element. `last`: no more terms follow.
template <class A, class B, class Y>
[[gnu::always_inline]] inline TileEnd<Y> tile_end(const GemmArgs<A, B, Y>& args, size_t row,
                                                  size_t column, size_t columns, bool resume,
                                                  bool last) {
  const ptrdiff_t i = static_cast<ptrdiff_t>(row);
  TileEnd<Y> end{};
  end.resume = resume;
  end.columns = columns;
  end.y = args.y + i * args.y_row + column;
  end.y_row = args.y_row;
  end.residual_row = args.end.residual_row;
  if (!last) return end;
  end.scale = from(args.end.scale, row, column);
  end.bias = from(args.end.bias, row, column);
  if (args.end.residual) end.residual = args.end.residual + i * end.residual_row + column;
  return end;
}

// The same for the tile below one of so many rows.
template <class T>
[[gnu::always_inline]] inline void go_down(TileEnd<T>& end, size_t rows) {
  const ptrdiff_t i = static_cast<ptrdiff_t>(rows);
  end.y += i * end.y_row;
  if (end.residual) end.residual += i * end.residual_row;
  if (end.scale.row != 0) end.scale.at += i;
  if (end.bias.row != 0) end.bias.at += i;
}

// Scales, and a bias that differs from row to row: not worth code in every tile.
template <class T>
[[gnu::always_inline]] inline bool is_rare(const TileEnd<T>& end) {
  return end.scale.at || (end.bias.at && end.bias.column == 0);
}

// Adds to the sums of a tile, whose first element is (row, column) of `end`, what y holds so far, applies
// scale, bias and residual, and writes y. Of the last register the first `width` lanes exist; with
// Partial they are moved by themselves. What is_rare is for Rare only.
template <bool Partial, bool Rare, class V, size_t Rows, size_t Vecs>
[[gnu::always_inline]] inline void end_sums(V (&sum)[Rows][Vecs],
                                            const TileEnd<typename V::Scalar>& end, size_t row,
                                            size_t column, size_t width) {
  using T = typename V::Scalar;
  constexpr size_t lanes = V::lanes;
  const auto load = [width](const T* at, size_t v) __attribute__((always_inline)) {
    if (Partial && v == Vecs - 1) return V::load_partial(at + v * lanes, width);
    return V::load(at + v * lanes);
  };
  const auto line = [&](auto* first, ptrdiff_t stride, size_t i) __attribute__((always_inline)) {
    return first + static_cast<ptrdiff_t>(row + i) * stride + column;
  };
  const auto combine = [&](const Along<T>& with, auto operation) __attribute__((always_inline)) {
    if (!Rare || with.column != 0) {
#pragma GCC unroll 32
      for (size_t v = 0; v < Vecs; ++v) {
        const V x = load(with.at + column, v);
#pragma GCC unroll 32
        for (size_t i = 0; i < Rows; ++i) sum[i][v] = operation(sum[i][v], x);
      }
      return;
    }
#pragma GCC unroll 32
    for (size_t i = 0; i < Rows; ++i) {
      const V x = V::broadcast(with.at[static_cast<ptrdiff_t>(row + i) * with.row]);
#pragma GCC unroll 32
      for (size_t v = 0; v < Vecs; ++v) sum[i][v] = operation(sum[i][v], x);
    }
  };
  if (end.resume) {
#pragma GCC unroll 32
    for (size_t i = 0; i < Rows; ++i) {
      const T* y = line(end.y, end.y_row, i);
#pragma GCC unroll 32
      for (size_t v = 0; v < Vecs; ++v) sum[i][v] = load(y, v) + sum[i][v];
    }
  }
  if constexpr (Rare) {
    if (end.scale.at) {
      combine(end.scale, [](V a, V b) __attribute__((always_inline)) { return a * b; });
    }
  }
  if (end.bias.at) {
    combine(end.bias, [](V a, V b) __attribute__((always_inline)) { return a + b; });
  }
  if (end.residual) {
#pragma GCC unroll 32
    for (size_t i = 0; i < Rows; ++i) {
      const T* residual = line(end.residual, end.residual_row, i);
#pragma GCC unroll 32
      for (size_t v = 0; v < Vecs; ++v) sum[i][v] = sum[i][v] + load(residual, v);
    }
  }
#pragma GCC unroll 32
  for (size_t i = 0; i < Rows; ++i) {
    T* y = line(end.y, end.y_row, i);
#pragma GCC unroll 32
    for (size_t v = 0; v < Vecs; ++v) {
      if (Partial && v == Vecs - 1 && width < lanes) {
        sum[i][v].store_partial(y + v * lanes, width);
      } else {
        sum[i][v].store(y + v * lanes);
      }
    }
  }
}

// Sums in memory, `sums_row` elements from row to row.
template <class V>
[[maybe_unused, gnu::noinline]] static void finish_stored(const typename V::Scalar* sums,
                                                          size_t sums_row, size_t rows,
                                                          const TileEnd<typename V::Scalar>& end) {
  for (size_t i = 0; i < rows; ++i) {
    for (size_t j = 0; j < end.columns; j += V::lanes) {
      V one[1][1] = {{V::load(sums + i * sums_row + j)}};
      const size_t left = end.columns - j;
      if (left >= V::lanes) {
        end_sums<false, true>(one, end, i, j, V::lanes);
      } else {
        end_sums<true, true>(one, end, i, j, left);
      }
    }
  }
}

// Only a tile's last register can reach beyond y's columns: masked moves take care of that where they are
// cheap, elsewhere the sums go through memory, as with what is_rare.
template <class V, size_t Rows, size_t Vecs>
[[gnu::always_inline]] inline void finish(V (&sum)[Rows][Vecs],
                                          const TileEnd<typename V::Scalar>& end) {
  using T = typename V::Scalar;
  constexpr size_t lanes = V::lanes;
  if ((!kMaskedMoves && end.columns < Vecs * lanes) || is_rare(end)) {
    alignas(64) T sums[Rows * Vecs * lanes];
#pragma GCC unroll 32
    for (size_t i = 0; i < Rows; ++i) {
#pragma GCC unroll 32
      for (size_t v = 0; v < Vecs; ++v) sum[i][v].store(sums + (i * Vecs + v) * lanes);
    }
    finish_stored<V>(sums, Vecs * lanes, Rows, end);
    return;
  }
  end_sums<kMaskedMoves, false>(sum, end, 0, 0, end.columns - (Vecs - 1) * lanes);
}

// The last operation, on a block of y.
template <class A, class B, class Y>
static void activate(const GemmArgs<A, B, Y>& block) {
  const Epilogue<Y>& end = block.end;
  Y* y = block.y;
  if (block.y_row == static_cast<ptrdiff_t>(block.n)) {
    end.activation(y, y, block.m * block.n, end.activation_params);
    return;
  }
  for (size_t i = 0; i < block.m; ++i, y += block.y_row) {
    end.activation(y, y, block.n, end.activation_params);
  }
}

}  // namespace lamella::kernels::LAMELLA_ISA_NAMESPACE
