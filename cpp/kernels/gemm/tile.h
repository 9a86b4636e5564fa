// SPDX-License-Identifier: Apache-2.0
// The register tile: Rows rows times Vecs registers (V) of columns of a product, over one K-block.
//
// Each element is one chain of mul_add in increasing k starting from zero, in every tile shape, so
// the shape never shows in the bits. Sums of earlier K-blocks wait in y and are added block by
// block; bias and residual come after the last. The panel scheme (broadcast a, stream 16 columns of
// b) is that of BLIS and of Goto and van de Geijn, "Anatomy of high-performance matrix
// multiplication", 2008.
#pragma once

#include "kernels/gemm/args.h"
#include "kernels/gemm/epilogue.h"
#include "simd/vec.h"

namespace lamella::kernels::LAMELLA_ISA_NAMESPACE {

// Registers of one panel's width.
template <class T>
inline constexpr size_t kPanelVecs = kPanel / Vec<T>::lanes;

// Accumulators a tile may hold so that b, the broadcast and (without FMA) a product find room too,
// and the most panels it may have side by side.
#if defined(__AVX512F__) || defined(__aarch64__)
inline constexpr size_t kAccumulators = 24, kMostPanels = 16;
#elif defined(__FMA__)
inline constexpr size_t kAccumulators = 12, kMostPanels = 6;
#else
inline constexpr size_t kAccumulators = 8, kMostPanels = 4;
#endif

// The main tile, panels by rows, the one with the fewest loads a multiply-add. 32 registers hold
// 3 x 8 of floats and 2 x 6 of doubles: 12 to 14 rows of two panels are 5 to 10 % slower (Zen 5).
template <class T>
inline constexpr size_t kTilePanels = kAccumulators < 24   ? 1
                                      : kPanelVecs<T> == 1 ? 3
                                                           : 2;
template <class T>
inline constexpr size_t kTileRows =
    kAccumulators < kPanelVecs<T> ? 1 : kAccumulators / (kTilePanels<T> * kPanelVecs<T>);

// The tile of a single register of columns is taller: it loads a register of b and a broadcast a row
// for a multiply-add a row, and two loads go with two multiply-adds (Zen 4).
inline constexpr size_t kTallRows = kAccumulators < 16 ? kAccumulators : 16;

// The register of a panel that n cuts short. Where one is as wide as a panel, half of it: half the work
// on Zen 4, whose wide instructions come in halves.
template <class T, bool Half>
struct NarrowRegister {
  using Type = Vec<T>;
};
template <class T>
struct NarrowRegister<T, true> {
  using Type = HalfVec<T>;
};
template <class T>
using Narrow = typename NarrowRegister<T, kPanelVecs<T> == 1>::Type;

// Panels side by side in a tile of so many rows; few rows need several, or too few chains would be
// under way to hide the latency of an FMA (a 1 x 16 tile reaches a quarter of the peak).
template <class T>
constexpr size_t tile_panels(size_t rows) {
  const size_t fit = kAccumulators / (rows * kPanelVecs<T>);
  return fit < 1 ? 1 : fit > kMostPanels ? kMostPanels : fit;
}

// Whether a tile has the registers to add up K-blocks by itself: it may then be given all terms.
template <size_t Rows, size_t Vecs>
inline constexpr bool kHoldsBlocks = 2 * Rows * Vecs <= kAccumulators;

constexpr size_t smaller(size_t a, size_t b) { return a < b ? a : b; }

// A length cut into parts of two neighbouring sizes, the larger ones first: 8 rows are 4 + 4, since
// 6 + 2 would leave the second tile waiting for its few chains.
struct Even {
  size_t count, size, larger;  // parts 0 .. larger - 1 have size + 1
  Even(size_t length, size_t limit) {
    count = length <= limit ? 1 : (length + limit - 1) / limit;
    size = count == 1 ? length : length / count;
    larger = length - size * count;
  }
  size_t start(size_t part) const { return part * size + (part < larger ? part : larger); }
  size_t length(size_t part) const { return size + (part < larger ? 1 : 0); }
  size_t longest() const { return size + (larger > 0 ? 1 : 0); }
};

// Keeps a vector that several rows use in its register: GCC 12 otherwise repeats the load in every
// multiplication, and the loads become the limit.
template <class V>
[[gnu::always_inline]] inline void pin(V& v) {
#if defined(__x86_64__)
  __asm__("" : "+v"(v.v));  // any vector register, the upper sixteen of AVX-512 included
#elif defined(__aarch64__)
  __asm__("" : "+w"(v.v));
#endif
}

// One tile's operands, the pointers at its first element.
template <class T>
struct TileArgs {
  const T* a;
  ptrdiff_t a_row, a_k;
  const T* b;
  ptrdiff_t b_k, b_panel;
  size_t k;        // terms of this K-block, or all (kHoldsBlocks)
  const T* ahead;  // fetched into the cache, ahead_k elements on with every k
  ptrdiff_t ahead_k;
  bool far_y;  // y is fetched into the cache while the terms are added up
  TileEnd<T> end;
};

template <class T>
using TileFn = void (*)(const TileArgs<T>& args);

template <class V, size_t Rows, size_t Vecs>
static void tile(const TileArgs<typename V::Scalar>& args) {
  using T = typename V::Scalar;
  constexpr size_t lanes = V::lanes, panel_vecs = kPanel / lanes;
  constexpr size_t panels = (Vecs + panel_vecs - 1) / panel_vecs;
  static_assert(Rows * Vecs <= kAccumulators || (Rows == 1 && panels == 1));
  V sum[Rows][Vecs];
#pragma GCC unroll 32
  for (size_t i = 0; i < Rows; ++i) {
#pragma GCC unroll 32
    for (size_t v = 0; v < Vecs; ++v) sum[i][v] = V::zero();
  }

  // A far y comes in meanwhile: the end of a tile is too short to wait for it. NumPy's arrays seldom
  // begin with a cache line, so that a row has one more of them.
  if constexpr (Rows > 3) {
    if (args.far_y) {
      constexpr size_t line = 64 / sizeof(T);
      for (size_t i = 0; i < Rows; ++i) {
        const T* y = args.end.y + static_cast<ptrdiff_t>(i) * args.end.y_row;
#pragma GCC unroll 8
        for (size_t j = 0; j < Vecs * lanes; j += line) __builtin_prefetch(y + j, 1);
        __builtin_prefetch(y + Vecs * lanes - 1, 1);
      }
    }
  }

  // A pointer for every third row and panel (fourth row of a tall tile), those after it by the stride:
  // with one for each, the loop would reload them from the stack for want of general registers.
  constexpr size_t kEvery = Rows > 12 ? 4 : 3;
  const auto bytes = [](ptrdiff_t elements) {
    return elements * static_cast<ptrdiff_t>(sizeof(T));
  };
  const char* a[(Rows + kEvery - 1) / kEvery];
  const char* b[(panels + 2) / 3];
  const ptrdiff_t a_row = bytes(args.a_row), b_panel = bytes(args.b_panel);
#pragma GCC unroll 32
  for (size_t i = 0; i < Rows; i += kEvery) {
    a[i / kEvery] = reinterpret_cast<const char*>(args.a) + static_cast<ptrdiff_t>(i) * a_row;
  }
#pragma GCC unroll 32
  for (size_t p = 0; p < panels; p += 3) {
    b[p / 3] = reinterpret_cast<const char*>(args.b) + static_cast<ptrdiff_t>(p) * b_panel;
  }
  const ptrdiff_t a_k = bytes(args.a_k), b_k = bytes(args.b_k);
  const T* ahead = args.ahead;
  const ptrdiff_t ahead_k = args.ahead_k;
  const auto multiply = [&](size_t terms) __attribute__((always_inline)) {
    for (; terms > 0; --terms) {
      const auto factor = [&](size_t i) {
        const char* at = a[i / kEvery] + static_cast<ptrdiff_t>(i % kEvery) * a_row;
        return V::broadcast(*reinterpret_cast<const T*>(at));
      };
      const auto load_column = [&](size_t v) {
        const size_t p = v / panel_vecs;
        const char* at = b[p / 3] + static_cast<ptrdiff_t>(p % 3) * b_panel;
        return V::load(reinterpret_cast<const T*>(at) + v % panel_vecs * lanes);
      };
      // The shorter side stays in registers, the longer one passes through a single register.
      if constexpr (Rows < Vecs) {
        V x[Rows];
#pragma GCC unroll 32
        for (size_t i = 0; i < Rows; ++i) x[i] = factor(i);
#pragma GCC unroll 32
        for (size_t v = 0; v < Vecs; ++v) {
          V column = load_column(v);
          if constexpr (Rows > 1) pin(column);
#pragma GCC unroll 32
          for (size_t i = 0; i < Rows; ++i) sum[i][v] = mul_add(x[i], column, sum[i][v]);
        }
      } else {
        V column[Vecs];
#pragma GCC unroll 32
        for (size_t v = 0; v < Vecs; ++v) {
          column[v] = load_column(v);
          if constexpr (Rows > 1) pin(column[v]);
        }
        if constexpr (Rows > 3 && Rows <= kTileRows<T>) {
          __builtin_prefetch(ahead);
          ahead += ahead_k;
        }
#pragma GCC unroll 32
        for (size_t i = 0; i < Rows; ++i) {
          const V x = factor(i);
#pragma GCC unroll 32
          for (size_t v = 0; v < Vecs; ++v) sum[i][v] = mul_add(x, column[v], sum[i][v]);
        }
      }
#pragma GCC unroll 32
      for (size_t i = 0; i < Rows; i += kEvery) a[i / kEvery] += a_k;
#pragma GCC unroll 32
      for (size_t p = 0; p < panels; p += 3) b[p / 3] += b_k;
    }
  };
  if constexpr (kHoldsBlocks<Rows, Vecs>) {
    multiply(smaller(args.k, kBlockK));
    for (size_t k = kBlockK; k < args.k; k += kBlockK) {
      V total[Rows][Vecs];
#pragma GCC unroll 32
      for (size_t i = 0; i < Rows; ++i) {
#pragma GCC unroll 32
        for (size_t v = 0; v < Vecs; ++v) {
          total[i][v] = sum[i][v];
          sum[i][v] = V::zero();
        }
      }
      multiply(smaller(args.k - k, kBlockK));
#pragma GCC unroll 32
      for (size_t i = 0; i < Rows; ++i) {
#pragma GCC unroll 32
        for (size_t v = 0; v < Vecs; ++v) sum[i][v] = total[i][v] + sum[i][v];
      }
    }
  } else {
    multiply(args.k);
  }

  finish(sum, args.end);
}

}  // namespace lamella::kernels::LAMELLA_ISA_NAMESPACE
