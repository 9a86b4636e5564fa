// SPDX-License-Identifier: Apache-2.0
// Folding a row to a number, in the order that every reduction and normalisation shares.
//
// The order is part of the numerical contract and the same on each ISA. A row is cut into chunks of
// kChunk columns; a chunk runs through the 16 virtual lanes in increasing column; chunks are joined
// lane by lane in pairs, pairs in pairs and so on (Higham, "Accuracy and stability of numerical
// algorithms", section 4.2); last the lanes are folded by the tree + 8, + 4, + 2, + 1. The rounding
// error of a sum of n terms is then below (kChunk / 16 + log2(n) + 1) units, and several chunks or
// rows can be in flight at once without changing a bit. Sums start from +0.
#pragma once

#include "kernels/table.h"
#include "simd/math.h"
#include "simd/vec.h"

namespace lamella::kernels::LAMELLA_ISA_NAMESPACE {

namespace vec = simd::LAMELLA_ISA_NAMESPACE;
using vec::Lanes16;
using vec::Mask;
using vec::Vec;

// Columns to a chunk: 4 KB of floats, and 64 additions to a lane.
inline constexpr size_t kChunk = 1024;
// Levels of the pairwise tree: enough for any row that fits into memory.
inline constexpr size_t kLevels = 54;

struct Add {
  template <class T>
  static constexpr T neutral = T(0);
  template <class V>
  [[gnu::always_inline]] V operator()(V a, V b) const {
    return a + b;
  }
};

// Sums of values, and from number kFrom on of their squares, each rounded once with its addition
// where there is an FMA instruction.
template <size_t kFrom>
struct AddSquares : Add {};
template <class Op>
inline constexpr size_t kSquaresFrom = ~size_t(0);
template <size_t kFrom>
inline constexpr size_t kSquaresFrom<AddSquares<kFrom>> = kFrom;

struct Multiply {
  template <class T>
  static constexpr T neutral = T(1);
  template <class V>
  [[gnu::always_inline]] V operator()(V a, V b) const {
    return a * b;
  }
};

template <class T>
inline constexpr T kInfinity = T(__builtin_huge_val());

// NaN wins, and +0 over -0.
struct Maximum {
  template <class T>
  static constexpr T neutral = -kInfinity<T>;
  template <class T>
  [[gnu::always_inline]] Vec<T> operator()(Vec<T> a, Vec<T> b) const {
    return vec::max(a, b);
  }
};

// NaN wins, and -0 over +0.
struct Minimum {
  template <class T>
  static constexpr T neutral = kInfinity<T>;
  template <class T>
  [[gnu::always_inline]] Vec<T> operator()(Vec<T> a, Vec<T> b) const {
    return vec::min(a, b);
  }
};

// The same among numbers, NaN in b ignored, in one instruction: where a NaN shows up by itself.
// Exact but for the sign of zero, so in whatever order.
struct MaximumOfNumbers {
  template <class T>
  static constexpr T neutral = -kInfinity<T>;
  template <class T>
  [[gnu::always_inline]] Vec<T> operator()(Vec<T> a, Vec<T> b) const {
    return vec::max_or_second(b, a);
  }
};
struct MinimumOfNumbers {
  template <class T>
  static constexpr T neutral = kInfinity<T>;
  template <class T>
  [[gnu::always_inline]] Vec<T> operator()(Vec<T> a, Vec<T> b) const {
    return vec::min_or_second(b, a);
  }
};

// A number that is known when compiling.
template <size_t N>
struct Constant {
  static constexpr size_t value = N;
};

// Calls f with the number of rows to be done at once, as a constant, until all are done: `Together`
// rows, then single ones.
template <size_t Together, class F>
[[gnu::always_inline]] inline void by_groups(size_t rows, F f) {
  size_t r = 0;
  for (; rows - r >= Together; r += Together) f(r, Constant<Together>{});
  for (; r < rows; ++r) f(r, Constant<1>{});
}

// Elements from row r to the same place in the next `Rows` rows, 0 if there are none.
template <size_t Rows>
[[gnu::always_inline]] inline size_t next_group(size_t r, size_t rows, size_t row_step) {
  return rows - r >= 2 * Rows ? Rows * row_step : 0;
}

// How far ahead of itself a pass asks for what it meets next, of which there are `left` elements
// more. 16 KB: softmax of 128 x 32000 takes 1.2 times as long with 4 KB or with a row of 128 KB.
template <class T>
[[gnu::always_inline]] inline size_t ahead_within(size_t left) {
  constexpr size_t kAhead = 16384 / sizeof(T);
  return left >= kAhead ? kAhead : 0;
}

// Asks for the cache line of x[ahead] while arithmetic is what takes the time: what comes next in an
// array beyond the second-level cache then is there. Measured on 128 x 32000: softmax 1.3 times as
// fast, rms_norm 1.15 times.
template <class T>
[[gnu::always_inline]] inline void prefetch(const T* x, size_t ahead) {
  __builtin_prefetch(x + ahead, 0, 2);
}

// op on one number, through a register: the scalar functions of <cmath> stay out of here.
template <class T, class Op>
[[gnu::always_inline]] inline T scalar(T x, Op op) {
  return op(Vec<T>::broadcast(x)).first();
}

// n elements, or a whole register of them.
template <bool Full, class T>
[[gnu::always_inline]] inline Vec<T> load(const T* x, size_t n) {
  if constexpr (Full) return Vec<T>::load(x);
  return Vec<T>::load_partial(x, n);
}

// y[i] = f(x[i]); y may be x.
template <class T, class F>
[[gnu::always_inline]] inline void map_row(const T* x, T* y, size_t n, F f) {
  constexpr size_t kWidth = Vec<T>::lanes;
  size_t c = 0;
  for (; c + kWidth <= n; c += kWidth) f(Vec<T>::load(x + c)).store(y + c);
  if (c < n) f(Vec<T>::load_partial(x + c, n - c)).store_partial(y + c, n - c);
}

// Calls f(register, v) for all of a row's columns, some of them twice: for operations that do not
// mind. v is column-ordered in `Registers` registers at a time; the lanes behind a row shorter than a
// register repeat its first element.
template <size_t Registers, class T, class F>
[[gnu::always_inline]] inline void visit_row(const T* x, size_t n, F f) {
  constexpr size_t kWidth = Vec<T>::lanes;
  if (n < kWidth) {
    if (n != 0) f(0, vec::load_partial(x, n, x[0]));
    return;
  }
  size_t c = 0;
  for (; c + Registers * kWidth <= n; c += Registers * kWidth) {
#pragma GCC unroll 8
    for (size_t i = 0; i < Registers; ++i) f(i, Vec<T>::load(x + c + i * kWidth));
  }
  for (; c + kWidth <= n; c += kWidth) f(0, Vec<T>::load(x + c));
  if (c < n) f(0, Vec<T>::load(x + n - kWidth));
}

// Rows or chunks folded side by side, so that the additions of one fill the latency of the others':
// as many as keep `Count` running values each in half of the registers.
template <class T, size_t Count>
constexpr size_t streams() {
  constexpr size_t kHalf = Vec<T>::lanes * sizeof(T) == 64 ? 16 : 8;
  constexpr size_t kFit = kHalf / (Count * Lanes16<T>::count);
  return kFit >= 4 ? 4 : kFit >= 2 ? 2 : 1;
}

// A map gives the `Count` values of a column in each of several streams: map<Full>(stream, column,
// n, values), with ascending columns in a stream, and may store as it goes. This one loads rows.
template <class T>
struct Values {
  const T* x;
  ptrdiff_t row_step;
  template <bool Full>
  [[gnu::always_inline]] void operator()(size_t row, size_t column, size_t n,
                                         Vec<T> (&value)[1]) const {
    value[0] = load<Full>(x + static_cast<ptrdiff_t>(row) * row_step + column, n);
  }
};

// Powers of two that bring the largest finite values to where their squares can be summed, and
// leave what is too small to matter beside them: overflow begins near 2^44 (2^480 in double) even
// for a row of 2^40 columns.
template <class T>
inline constexpr T kDownScale = T(0x1p-100);
template <>
inline constexpr double kDownScale<double> = 0x1p-600;
template <class T>
inline constexpr T kUpScale = T(1) / kDownScale<T>;
// Below this a sum of squares has lost digits to underflow: its numbers are below 2^-45 (2^-450), so
// that scaled up their squares can be summed.
template <class T>
inline constexpr T kSmallSquares = T(0x1p-90);
template <>
inline constexpr double kSmallSquares<double> = 0x1p-900;

template <class T>
[[gnu::always_inline]] inline bool is_finite(T x) {
  return x - x == T(0);
}

enum class Scale { none, down, up };
template <Scale kScale, class T>
inline constexpr T kScaleOf = kScale == Scale::none   ? T(1)
                              : kScale == Scale::down ? kDownScale<T>
                                                      : kUpScale<T>;
template <Scale kScale, class T>
[[gnu::always_inline]] inline Vec<T> scaled(Vec<T> x) {
  if constexpr (kScale == Scale::none) return x;
  return x * Vec<T>::broadcast(kScaleOf<kScale, T>);
}

// The scaled x of each row, as it is summed.
template <class T, Scale kScale>
struct ScaledValues {
  const T* x;
  ptrdiff_t row_step;
  template <bool Full>
  [[gnu::always_inline]] void operator()(size_t row, size_t column, size_t n,
                                         Vec<T> (&value)[1]) const {
    value[0] = scaled<kScale>(load<Full>(x + static_cast<ptrdiff_t>(row) * row_step + column, n));
  }
};

// Folds columns 0 .. n of `Streams` streams into 16 lanes for each value.
template <class T, class Op, size_t Count, size_t Streams, class Map>
[[gnu::always_inline]] inline void fold_lanes16(const Map& map, size_t n,
                                                Lanes16<T> (&lanes)[Streams][Count]) {
  constexpr size_t kWidth = Vec<T>::lanes, kParts = Lanes16<T>::count;
  Lanes16<T> running[Streams][Count];
  const auto fold = [&](size_t s, size_t p,
                        const Vec<T>(&value)[Count]) __attribute__((always_inline)) {
#pragma GCC unroll 4
    for (size_t k = 0; k < Count; ++k) {
      Vec<T>& sum = running[s][k].part[p];
      sum = k >= kSquaresFrom<Op> ? mul_add(value[k], value[k], sum) : Op{}(sum, value[k]);
    }
  };
#pragma GCC unroll 4
  for (size_t s = 0; s < Streams; ++s) {
#pragma GCC unroll 4
    for (size_t k = 0; k < Count; ++k) {
      running[s][k] = Lanes16<T>::broadcast(Op::template neutral<T>);
    }
  }
  size_t c = 0;
  const auto whole = [&](size_t column) __attribute__((always_inline)) {
#pragma GCC unroll 4
    for (size_t s = 0; s < Streams; ++s) {
#pragma GCC unroll 16
      for (size_t p = 0; p < kParts; ++p) {
        Vec<T> value[Count];
        map.template operator()<true>(s, column + p * kWidth, kWidth, value);
        fold(s, p, value);
      }
    }
  };
  // One stream alone is unrolled, for the compiler to interleave what its map does.
  constexpr size_t kBlocks = Streams == 1 && kParts < 4 ? 4 / kParts : 1;
  for (; c + 16 * kBlocks <= n; c += 16 * kBlocks) {
#pragma GCC unroll 4
    for (size_t b = 0; b < kBlocks; ++b) whole(c + 16 * b);
  }
  if constexpr (kBlocks > 1) {
    for (; c + 16 <= n; c += 16) whole(c);
  }
  const Vec<T> neutral = Vec<T>::broadcast(Op::template neutral<T>);
#pragma GCC unroll 16
  for (size_t p = 0; p < kParts; ++p) {
    const size_t column = c + p * kWidth;
    if (column >= n) break;
    const auto valid = vec::first_lanes<T>(n - column);
#pragma GCC unroll 4
    for (size_t s = 0; s < Streams; ++s) {
      Vec<T> value[Count];
      if (n - column >= kWidth) {
        map.template operator()<true>(s, column, kWidth, value);
      } else {
        map.template operator()<false>(s, column, n - column, value);
#pragma GCC unroll 4
        for (size_t k = 0; k < Count; ++k) value[k] = select(valid, value[k], neutral);
      }
      fold(s, p, value);
    }
  }
#pragma GCC unroll 4
  for (size_t s = 0; s < Streams; ++s) {
#pragma GCC unroll 4
    for (size_t k = 0; k < Count; ++k) lanes[s][k] = running[s][k];
  }
}

// The pairwise tree over chunks, as a binary counter: level l holds the fold of 2^l chunks when bit
// l of the count is set.
template <class T, class Op, size_t Count>
struct PairwiseTree {
  Lanes16<T> level[kLevels][Count];
  size_t count = 0;

  // Adds the fold of 2^at chunks; the count must be a multiple of 2^at.
  [[gnu::always_inline]] void push(Lanes16<T> (&lanes)[Count], size_t at) {
    size_t l = at;
    for (; (count >> l & 1) != 0; ++l) join(level[l], lanes);
    for (size_t k = 0; k < Count; ++k) level[l][k] = lanes[k];
    count += size_t(1) << at;
  }

  // The fold of everything pushed; there must be something.
  [[gnu::always_inline]] void finish(Lanes16<T> (&lanes)[Count]) const {
    size_t l = 0;
    while ((count >> l & 1) == 0) ++l;
    for (size_t k = 0; k < Count; ++k) lanes[k] = level[l][k];
    for (++l; (count >> l) != 0; ++l) {
      if ((count >> l & 1) != 0) join(level[l], lanes);
    }
  }

  // lanes = op(earlier, lanes)
  [[gnu::always_inline]] static void join(const Lanes16<T> (&earlier)[Count],
                                          Lanes16<T> (&lanes)[Count]) {
    for (size_t k = 0; k < Count; ++k) lanes[k] = Lanes16<T>::map(earlier[k], lanes[k], Op{});
  }
};

// A row's chunks from column `begin` on, as streams.
template <class T, class Map>
struct Chunks {
  const Map& map;
  size_t begin;
  template <bool Full, size_t Count>
  [[gnu::always_inline]] void operator()(size_t chunk, size_t column, size_t n,
                                         Vec<T> (&value)[Count]) const {
    map.template operator()<Full>(0, begin + chunk * kChunk + column, n, value);
  }
};

// n columns of `Together` chunks, joined to one: a power of two of whole chunks, or part of one.
template <class T, class Op, size_t Count, size_t Together, class Map>
[[gnu::noinline]] void fold_chunks(Map map, size_t begin, size_t n, Lanes16<T> (&joined)[Count]) {
  Lanes16<T> lanes[Together][Count];
  fold_lanes16<T, Op>(Chunks<T, Map>{map, begin}, n, lanes);
#pragma GCC unroll 4
  for (size_t half = 1; half < Together; half *= 2) {
#pragma GCC unroll 4
    for (size_t i = 0; i < Together; i += 2 * half) {
      PairwiseTree<T, Op, Count>::join(lanes[i], lanes[i + half]);
#pragma GCC unroll 4
      for (size_t k = 0; k < Count; ++k) lanes[i][k] = lanes[i + half][k];
    }
  }
#pragma GCC unroll 4
  for (size_t k = 0; k < Count; ++k) joined[k] = lanes[0][k];
}

// Folds a mapped row of more than one chunk to `Count` numbers, `Together` chunks at a time: the
// same bits for any number of them.
template <class T, class Op, size_t Count, size_t Together, class Map>
[[gnu::always_inline]] inline void fold_long_row(const Map& map, size_t cols, T (&result)[Count]) {
  constexpr size_t kLevel = Together == 4 ? 2 : Together == 2 ? 1 : 0;
  PairwiseTree<T, Op, Count> tree;
  Lanes16<T> lanes[Count];
  size_t begin = 0;
  for (; cols - begin >= Together * kChunk; begin += Together * kChunk) {
    fold_chunks<T, Op, Count, Together>(map, begin, kChunk, lanes);
    tree.push(lanes, kLevel);
  }
  for (; begin < cols; begin += kChunk) {
    const size_t n = cols - begin < kChunk ? cols - begin : kChunk;
    fold_chunks<T, Op, Count, 1>(map, begin, n, lanes);
    tree.push(lanes, 0);
  }
  tree.finish(lanes);
  for (size_t k = 0; k < Count; ++k) result[k] = lanes[k].fold(Op{});
}

// Folds `Streams` mapped rows of at most one chunk: result[row][value].
template <class T, class Op, size_t Count, size_t Streams, class Map>
[[gnu::always_inline]] inline void fold_short_rows(const Map& map, size_t cols,
                                                   T (&result)[Streams][Count]) {
  Lanes16<T> lanes[Streams][Count];
  fold_lanes16<T, Op>(map, cols, lanes);
#pragma GCC unroll 4
  for (size_t s = 0; s < Streams; ++s) {
#pragma GCC unroll 4
    for (size_t k = 0; k < Count; ++k) result[s][k] = lanes[s][k].fold(Op{});
  }
}

}  // namespace lamella::kernels::LAMELLA_ISA_NAMESPACE
