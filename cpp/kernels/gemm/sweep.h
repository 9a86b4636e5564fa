// SPDX-License-Identifier: Apache-2.0
// Few rows times a far row-major b, which no more than one pass over memory may read.
//
// Eight terms of all columns at a time: eight rows of b side by side are streams that the hardware
// fetches ahead, each page of b is visited once, and a line of b is used up by all rows of a before
// the next one. The chains wait in a small array meanwhile. Each element's sum is that of tile.h.
#pragma once

#include "kernels/gemm/args.h"
#include "kernels/gemm/epilogue.h"
#include "kernels/gemm/tile.h"
#include "simd/vec.h"

namespace lamella::kernels::LAMELLA_ISA_NAMESPACE {

// A level-one set holds eight lines on most machines, and rows of b like to be a power of two apart:
// 16 terms are a third slower than 8 there, 4 a fifth (1 x 4096 x 4096, Zen 4).
inline constexpr size_t kSweepTerms = 8;
inline constexpr size_t kSweepRows = 24, kSweepTileRows = 8;
inline constexpr size_t kParkedBytes = 64 * 1024;

// Registers side by side: a line, for one row of a four, for two rows two, as far as they fit.
template <class T, size_t Rows>
constexpr size_t sweep_vecs() {
  const size_t lines = Rows == 1 ? 4 : Rows == 2 ? 2 : 1;
  const size_t want = lines * 64 / (Vec<T>::lanes * sizeof(T)), fit = kAccumulators / Rows;
  return want < fit ? want : fit;
}

// Terms terms of Vecs registers of columns: `x` holds them term by term, `chains` what is summed.
template <class T, size_t Rows, size_t Terms, size_t Vecs>
[[gnu::always_inline]] inline void sweep_columns(const T* x, const T* b, ptrdiff_t b_k, T* chains,
                                                 size_t chain_row) {
  using V = Vec<T>;
  V sum[Rows][Vecs];
#pragma GCC unroll 32
  for (size_t i = 0; i < Rows; ++i) {
#pragma GCC unroll 32
    for (size_t v = 0; v < Vecs; ++v) sum[i][v] = V::load(chains + i * chain_row + v * V::lanes);
  }
#pragma GCC unroll 32
  for (size_t t = 0; t < Terms; ++t) {
#pragma GCC unroll 32
    for (size_t v = 0; v < Vecs; ++v) {
      V column = V::load(b + static_cast<ptrdiff_t>(t) * b_k + v * V::lanes);
      if constexpr (Rows > 1) pin(column);
#pragma GCC unroll 32
      for (size_t i = 0; i < Rows; ++i) {
        sum[i][v] = mul_add(V::broadcast(x[t * Rows + i]), column, sum[i][v]);
      }
    }
  }
#pragma GCC unroll 32
  for (size_t i = 0; i < Rows; ++i) {
#pragma GCC unroll 32
    for (size_t v = 0; v < Vecs; ++v) sum[i][v].store(chains + i * chain_row + v * V::lanes);
  }
}

// Terms terms of all columns.
template <class T, size_t Rows, size_t Terms>
static void sweep_terms(const GemmArgs<T>& args, size_t row, size_t k, size_t first, size_t columns,
                        T* chains, size_t chain_row) {
  constexpr size_t lanes = Vec<T>::lanes, vecs = sweep_vecs<T, Rows>();
  T x[Terms * Rows];
  const T* a =
      args.a + static_cast<ptrdiff_t>(row) * args.a_row + static_cast<ptrdiff_t>(k) * args.a_k;
  for (size_t t = 0; t < Terms; ++t) {
    for (size_t i = 0; i < Rows; ++i) {
      x[t * Rows + i] =
          a[static_cast<ptrdiff_t>(t) * args.a_k + static_cast<ptrdiff_t>(i) * args.a_row];
    }
  }
  const T* b = args.b + static_cast<ptrdiff_t>(k) * args.b_k + first;
  size_t j = 0;
  for (; j + vecs * lanes <= columns; j += vecs * lanes) {
    sweep_columns<T, Rows, Terms, vecs>(x, b + j, args.b_k, chains + j, chain_row);
  }
  for (; j < columns; j += lanes) {
    sweep_columns<T, Rows, Terms, 1>(x, b + j, args.b_k, chains + j, chain_row);
  }
}

template <class T>
using SweepFn = void (*)(const GemmArgs<T>& args, size_t row, size_t k, size_t first,
                         size_t columns, T* chains, size_t chain_row);

template <class T>
struct SweepTable {
  SweepFn<T> terms[kSweepTileRows], one[kSweepTileRows];  // [rows - 1]
};

template <class T, size_t Rows = kSweepTileRows>
constexpr void fill_sweeps(SweepTable<T>& table) {
  if constexpr (Rows > 0) {
    table.terms[Rows - 1] = sweep_terms<T, Rows, kSweepTerms>;
    table.one[Rows - 1] = sweep_terms<T, Rows, 1>;
    fill_sweeps<T, Rows - 1>(table);
  }
}

template <class T>
constexpr SweepTable<T> make_sweeps() {
  SweepTable<T> table{};
  fill_sweeps(table);
  return table;
}

template <class T>
static constexpr SweepTable<T> kSweeps = make_sweeps<T>();

template <class T>
[[gnu::noinline]] static void sweep(const GemmArgs<T>& args) {
  static_assert(kBlockK % kSweepTerms == 0);
  constexpr size_t room = kParkedBytes / sizeof(T), line = 64 / sizeof(T);
  // A row of chains ends a line later than a power of two, so that rows do not meet in one set.
  alignas(64) T chains[room + kSweepRows * line];
  const size_t widest = room / args.m / kPanel * kPanel, chain_row = widest + line;
  const Even tiles(args.m, kSweepTileRows);
  for (size_t first = 0; first < args.n; first += widest) {
    const size_t columns = smaller(args.n - first, widest);
    for (size_t k_first = 0; k_first < args.k; k_first += kBlockK) {
      const size_t end = smaller(args.k, k_first + kBlockK);
      for (size_t i = 0; i < args.m; ++i) {
        for (size_t j = 0; j < columns; ++j) chains[i * chain_row + j] = 0;
      }
      for (size_t k = k_first; k < end;) {
        const bool whole = end - k >= kSweepTerms;
        for (size_t t = 0; t < tiles.count; ++t) {
          const size_t row = tiles.start(t), rows = tiles.length(t);
          const SweepFn<T> add = whole ? kSweeps<T>.terms[rows - 1] : kSweeps<T>.one[rows - 1];
          add(args, row, k, first, columns, chains + row * chain_row, chain_row);
        }
        k += whole ? kSweepTerms : 1;
      }
      finish_stored<Vec<T>>(chains, chain_row, args.m,
                            tile_end(args, 0, first, columns, k_first > 0, end == args.k));
    }
  }
}

}  // namespace lamella::kernels::LAMELLA_ISA_NAMESPACE
