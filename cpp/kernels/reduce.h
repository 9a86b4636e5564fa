// SPDX-License-Identifier: Apache-2.0
// Reductions of rows and of columns: sum, mean, product, extremes, logsumexp, arg-extremes.
//
// The order of every sum is part of the numerical contract and the same on each ISA. A row is cut
// into chunks of kChunk columns; a chunk runs through the 16 virtual lanes in increasing column;
// chunks are joined lane by lane in pairs, pairs in pairs and so on (Higham, "Accuracy and stability
// of numerical algorithms", section 4.2); last the lanes are folded by the tree + 8, + 4, + 2, + 1.
// The rounding error of a sum of n terms is then below (kChunk / 16 + log2(n) + 1) units, and four
// chunks or four rows can be in flight at once without changing a bit.
// Columns are summed in order of rows: 64 rows to a chunk, 64 chunks to a group, then the groups.
// Sums start from +0, so the sum of negative zeros is +0.
#pragma once

#include "kernels/table.h"
#include "simd/math.h"
#include "simd/vec.h"

namespace lamella::kernels::LAMELLA_ISA_NAMESPACE {

namespace vec = simd::LAMELLA_ISA_NAMESPACE;
using vec::Lanes16;
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

// The largest number, NaN ignored: one instruction where a NaN shows up later by itself.
struct MaximumOfNumbers {
  template <class T>
  static constexpr T neutral = -kInfinity<T>;
  template <class T>
  [[gnu::always_inline]] Vec<T> operator()(Vec<T> a, Vec<T> b) const {
    return vec::max_or_second(b, a);
  }
};

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

// Loads x itself: what a fold over plain values runs on.
template <class T>
struct Values {
  const T* x;
  template <bool Full>
  [[gnu::always_inline]] void operator()(size_t column, size_t n, Vec<T> (&value)[1]) const {
    value[0] = load<Full>(x + column, n);
  }
};

// Folds `Count` values a column over columns begin .. begin + n into 16 lanes each. The map is
// called as map<Full>(column, count, values) with ascending columns, and may store as it goes.
template <class T, class Op, size_t Count, class Map>
[[gnu::always_inline]] inline void fold_lanes16(const Map& map, size_t begin, size_t n,
                                                Lanes16<T> (&lanes)[Count]) {
  constexpr size_t kWidth = Vec<T>::lanes, kParts = Lanes16<T>::count;
  Lanes16<T> running[Count];
#pragma GCC unroll 4
  for (size_t k = 0; k < Count; ++k) running[k] = Lanes16<T>::broadcast(Op::template neutral<T>);
  size_t c = 0;
  for (; n - c >= 16; c += 16) {
#pragma GCC unroll 16
    for (size_t p = 0; p < kParts; ++p) {
      Vec<T> value[Count];
      map.template operator()<true>(begin + c + p * kWidth, kWidth, value);
#pragma GCC unroll 4
      for (size_t k = 0; k < Count; ++k) running[k].part[p] = Op{}(running[k].part[p], value[k]);
    }
  }
#pragma GCC unroll 4
  for (size_t k = 0; k < Count; ++k) lanes[k] = running[k];
  const auto tail = [&](size_t p) __attribute__((always_inline)) {
    const size_t left = n - c - p * kWidth, column = begin + c + p * kWidth;
    Vec<T> value[Count];
    if (left >= kWidth) {
      map.template operator()<true>(column, kWidth, value);
    } else {
      map.template operator()<false>(column, left, value);
      const auto valid = vec::first_lanes<T>(left);
      const Vec<T> neutral = Vec<T>::broadcast(Op::template neutral<T>);
#pragma GCC unroll 4
      for (size_t k = 0; k < Count; ++k) value[k] = select(valid, value[k], neutral);
    }
#pragma GCC unroll 4
    for (size_t k = 0; k < Count; ++k) lanes[k].part[p] = Op{}(lanes[k].part[p], value[k]);
  };
#pragma GCC unroll 16
  for (size_t p = 0; p < kParts; ++p) {
    if (c + p * kWidth < n) tail(p);
  }
}

// The same out of line: one call to a chunk of a long row.
template <class T, class Op, size_t Count, class Map>
[[gnu::noinline]] void fold_lanes16_apart(Map map, size_t begin, size_t n,
                                          Lanes16<T> (&lanes)[Count]) {
  fold_lanes16<T, Op, Count>(map, begin, n, lanes);
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

// Folds a mapped row of any length to `Count` numbers.
template <class T, class Op, size_t Count, class Map>
[[gnu::always_inline]] inline void fold_row(const Map& map, size_t cols, T (&result)[Count]) {
  Lanes16<T> lanes[Count];
  if (cols <= kChunk) {
    fold_lanes16<T, Op, Count>(map, 0, cols, lanes);
  } else {
    PairwiseTree<T, Op, Count> tree;
    for (size_t begin = 0; begin < cols; begin += kChunk) {
      const size_t n = cols - begin < kChunk ? cols - begin : kChunk;
      fold_lanes16_apart<T, Op, Count>(map, begin, n, lanes);
      tree.push(lanes, 0);
    }
    tree.finish(lanes);
  }
  for (size_t k = 0; k < Count; ++k) result[k] = lanes[k].fold(Op{});
}

// Four arrays of n columns at once, `step` apart: the additions of one wait for the last one, those
// of four do not.
template <class T, class Op>
[[gnu::always_inline]] inline void fold_four(const T* x, ptrdiff_t step, size_t n,
                                             Lanes16<T> (&lanes)[4]) {
  constexpr size_t kWidth = Vec<T>::lanes, kParts = Lanes16<T>::count;
#pragma GCC unroll 4
  for (size_t i = 0; i < 4; ++i) lanes[i] = Lanes16<T>::broadcast(Op::template neutral<T>);
  const size_t full = n / 16 * 16;
  for (size_t c = 0; c < full; c += 16) {
#pragma GCC unroll 4
    for (size_t i = 0; i < 4; ++i) {
      const T* row = x + static_cast<ptrdiff_t>(i) * step + c;
#pragma GCC unroll 16
      for (size_t p = 0; p < kParts; ++p) {
        lanes[i].part[p] = Op{}(lanes[i].part[p], Vec<T>::load(row + p * kWidth));
      }
    }
  }
  if (full == n) return;
  for (size_t i = 0; i < 4; ++i) {
    const T* row = x + static_cast<ptrdiff_t>(i) * step + full;
    const auto tail = Lanes16<T>::load_partial(row, n - full, Op::template neutral<T>);
    lanes[i] = Lanes16<T>::map(lanes[i], tail, Op{});
  }
}

// Folds one row of plain values, long ones four chunks at a time. The same bits as fold_row.
template <class T, class Op>
inline T fold_values(const T* x, size_t cols) {
  if (cols < 4 * kChunk) {
    T result[1];
    fold_row<T, Op, 1>(Values<T>{x}, cols, result);
    return result[0];
  }
  PairwiseTree<T, Op, 1> tree;
  size_t begin = 0;
  Lanes16<T> one[1];
  for (; cols - begin >= 4 * kChunk; begin += 4 * kChunk) {
    Lanes16<T> four[4];
    fold_four<T, Op>(x + begin, static_cast<ptrdiff_t>(kChunk), kChunk, four);
    one[0] = Lanes16<T>::map(Lanes16<T>::map(four[0], four[1], Op{}),
                             Lanes16<T>::map(four[2], four[3], Op{}), Op{});
    tree.push(one, 2);
  }
  for (; begin < cols; begin += kChunk) {
    const size_t n = cols - begin < kChunk ? cols - begin : kChunk;
    fold_lanes16<T, Op, 1>(Values<T>{x}, begin, n, one);
    tree.push(one, 0);
  }
  tree.finish(one);
  return one[0].fold(Op{});
}

template <class T, class Op>
void reduce_rows(const T* x, ptrdiff_t row_step, size_t rows, size_t cols, T* y) {
  size_t r = 0;
  if (cols <= kChunk) {
    for (; rows - r >= 4; r += 4) {
      Lanes16<T> four[4];
      fold_four<T, Op>(x + static_cast<ptrdiff_t>(r) * row_step, row_step, cols, four);
#pragma GCC unroll 4
      for (size_t i = 0; i < 4; ++i) y[r + i] = four[i].fold(Op{});
    }
  }
  for (; r < rows; ++r) {
    y[r] = fold_values<T, Op>(x + static_cast<ptrdiff_t>(r) * row_step, cols);
  }
}

template <class T>
void mean_rows(const T* x, ptrdiff_t row_step, size_t rows, size_t cols, T* y) {
  reduce_rows<T, Add>(x, row_step, rows, cols, y);
  for (size_t r = 0; r < rows; ++r) y[r] = y[r] / static_cast<T>(cols);
}

// exp(x - shift) as it is summed.
template <class T>
struct ShiftedExp {
  const T* x;
  Vec<T> shift;
  template <bool Full>
  [[gnu::always_inline]] void operator()(size_t column, size_t n, Vec<T> (&value)[1]) const {
    value[0] = vec::exp(load<Full>(x + column, n) - shift);
  }
};

// log(sum(exp(x))) = m + log(sum(exp(x - m))), m the largest number. A row without a finite one is
// not shifted: -inf gives -inf, +inf gives +inf, and NaN stays.
template <class T>
void logsumexp_rows(const T* x, ptrdiff_t row_step, size_t rows, size_t cols, T* y) {
  for (size_t r = 0; r < rows; ++r) {
    const T* row = x + static_cast<ptrdiff_t>(r) * row_step;
    const T top = fold_values<T, MaximumOfNumbers>(row, cols);
    const T shift = top - top == T(0) ? top : T(0);
    T sum[1];
    fold_row<T, Add, 1>(ShiftedExp<T>{row, Vec<T>::broadcast(shift)}, cols, sum);
    y[r] = shift + scalar(sum[0], [](Vec<T> v) { return vec::log(v); });
  }
}

// ---- columns

// Columns to a tile, rows to a chunk, chunks to a group. A tile's three accumulators stay in the
// first-level cache, its rows are read as streams.
inline constexpr size_t kTileColumns = 512;
inline constexpr size_t kChunkRows = 64;
inline constexpr size_t kGroupRows = 64 * kChunkRows;

// total[j] = op(... op(op(total[j], row 0 [j]), row 1 [j]) ..., row Rows - 1 [j])
template <class T, class Op, size_t Rows>
[[gnu::always_inline]] inline void fold_into(const T* x, ptrdiff_t row_step, size_t cols,
                                             T* total) {
  constexpr size_t kWidth = Vec<T>::lanes;
  size_t j = 0;
  for (; j + kWidth <= cols; j += kWidth) {
    Vec<T> sum = Vec<T>::load(total + j);
#pragma GCC unroll 8
    for (size_t r = 0; r < Rows; ++r) {
      sum = Op{}(sum, Vec<T>::load(x + static_cast<ptrdiff_t>(r) * row_step + j));
    }
    sum.store(total + j);
  }
  if (j == cols) return;
  Vec<T> sum = Vec<T>::load_partial(total + j, cols - j);
#pragma GCC unroll 8
  for (size_t r = 0; r < Rows; ++r) {
    sum = Op{}(sum, Vec<T>::load_partial(x + static_cast<ptrdiff_t>(r) * row_step + j, cols - j));
  }
  sum.store_partial(total + j, cols - j);
}

template <class T, class Op>
[[gnu::always_inline]] inline void fold_rows_into(const T* x, ptrdiff_t row_step, size_t rows,
                                                  size_t cols, T* total) {
  size_t r = 0;
  for (; r + 8 <= rows; r += 8) {
    fold_into<T, Op, 8>(x + static_cast<ptrdiff_t>(r) * row_step, row_step, cols, total);
  }
  for (; r < rows; ++r) {
    fold_into<T, Op, 1>(x + static_cast<ptrdiff_t>(r) * row_step, row_step, cols, total);
  }
}

template <class T, class Op>
inline void fold_columns(const T* x, ptrdiff_t row_step, size_t rows, size_t cols, T* y) {
  constexpr T neutral = Op::template neutral<T>;
  alignas(64) T chunk[kTileColumns], group[kTileColumns];
  for (size_t j = 0; j < cols; ++j) y[j] = neutral;
  if (rows <= kChunkRows) {
    fold_rows_into<T, Op>(x, row_step, rows, cols, y);
    return;
  }
  for (size_t r = 0; r < rows; r += kGroupRows) {
    const size_t group_end = rows - r < kGroupRows ? rows : r + kGroupRows;
    for (size_t j = 0; j < cols; ++j) group[j] = neutral;
    for (size_t q = r; q < group_end; q += kChunkRows) {
      const size_t n = group_end - q < kChunkRows ? group_end - q : kChunkRows;
      for (size_t j = 0; j < cols; ++j) chunk[j] = neutral;
      fold_rows_into<T, Op>(x + static_cast<ptrdiff_t>(q) * row_step, row_step, n, cols, chunk);
      fold_into<T, Op, 1>(chunk, 0, cols, group);
    }
    fold_into<T, Op, 1>(group, 0, cols, y);
  }
}

template <class T, class Op>
void reduce_columns(const T* x, ptrdiff_t row_step, size_t rows, size_t cols, T* y) {
  for (size_t j = 0; j < cols; j += kTileColumns) {
    fold_columns<T, Op>(x + j, row_step, rows, cols - j < kTileColumns ? cols - j : kTileColumns,
                        y + j);
  }
}

template <class T>
void mean_columns(const T* x, ptrdiff_t row_step, size_t rows, size_t cols, T* y) {
  reduce_columns<T, Add>(x, row_step, rows, cols, y);
  for (size_t j = 0; j < cols; ++j) y[j] = y[j] / static_cast<T>(rows);
}

// ---- arg-extremes

// First column whose value equals the row's extreme, or is NaN if the extreme is; 0 for no columns.
template <class T, class Op>
void arg_rows(const T* x, ptrdiff_t row_step, size_t rows, size_t cols, std::int64_t* y) {
  constexpr size_t kWidth = Vec<T>::lanes;
  for (size_t r = 0; r < rows; ++r) {
    const T* row = x + static_cast<ptrdiff_t>(r) * row_step;
    const T extreme = fold_values<T, Op>(row, cols);
    const bool unordered = extreme != extreme;
    const Vec<T> wanted = Vec<T>::broadcast(extreme);
    size_t c = 0;
    for (; c + kWidth <= cols; c += kWidth) {
      const Vec<T> v = Vec<T>::load(row + c);
      if (any(unordered ? v != v : v == wanted)) break;
    }
    while (c < cols && !(unordered ? row[c] != row[c] : row[c] == extreme)) ++c;
    y[r] = static_cast<std::int64_t>(c < cols ? c : 0);
  }
}

}  // namespace lamella::kernels::LAMELLA_ISA_NAMESPACE
