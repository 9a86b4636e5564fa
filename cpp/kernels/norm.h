// SPDX-License-Identifier: Apache-2.0
// Variance, deviation, norm, layer normalisation and root-mean-square normalisation of rows.
//
// Sums are in fold.h's fixed order. Moments take two passes: the mean, then the deviations d from
// it, corrected for the mean's own rounding error (Chan, Golub and LeVeque, "Algorithms for
// computing the sample variance", 1983):
//   sum of squares = sum(d^2) - sum(d)^2 / n,   true mean = mean + sum(d) / n
// A row of equal values therefore has variance 0 and normalises to 0 exactly, however large they
// are. When the squares or the sum overflow, the row is done again scaled by a power of two, and so
// are deviations and norms whose squares underflow; rows with NaN or an infinity give NaN (rms_norm:
// 0 beside an infinity).
#pragma once

#include "kernels/fold.h"

namespace lamella::kernels::LAMELLA_ISA_NAMESPACE {

// d = scaled x - mean, twice: it is summed, and so are its squares.
template <class T, Scale kScale, size_t Rows>
struct Deviations {
  const T* x;
  ptrdiff_t row_step;
  Vec<T> mean[Rows];
  template <bool Full>
  [[gnu::always_inline]] void operator()(size_t row, size_t column, size_t n,
                                         Vec<T> (&value)[2]) const {
    const T* at = x + static_cast<ptrdiff_t>(row) * row_step + column;
    value[1] = value[0] = scaled<kScale>(load<Full>(at, n)) - mean[row];
  }
};

// The same of one row whose deviations are small, scaled up.
template <class T>
struct RaisedDeviations {
  const T* x;
  Vec<T> mean;
  template <bool Full>
  [[gnu::always_inline]] void operator()(size_t, size_t column, size_t n,
                                         Vec<T> (&value)[2]) const {
    const Vec<T> d = load<Full>(x + column, n) - mean;
    value[1] = value[0] = d * Vec<T>::broadcast(kUpScale<T>);
  }
};

// A map that asks for the rows at `asked` as it goes.
template <class T, class Map>
struct Asking {
  const Map& map;
  const T* asked;
  ptrdiff_t row_step;
  template <bool Full, size_t Count>
  [[gnu::always_inline]] void operator()(size_t row, size_t column, size_t n,
                                         Vec<T> (&value)[Count]) const {
    map.template operator()<Full>(row, column, n, value);
    if constexpr (Full) prefetch(asked + static_cast<ptrdiff_t>(row) * row_step + column, 0);
  }
};

// The true mean is mean + correction; squares is the sum of squared deviations from it.
template <class T>
struct Moments {
  T mean, correction, squares;
  bool finite() const { return is_finite(squares); }
  static Moments of(T mean, T deviations, T squares, T n) {
    const T correction = deviations / n, corrected = squares - deviations * correction;
    // Rounding may leave a few units below zero; NaN stays.
    return {mean, correction, corrected < T(0) ? T(0) : corrected};
  }
};

// The moments of `Rows` rows at once; one if they are longer than a chunk. The second pass asks for
// as many rows at `asked`.
template <class T, Scale kScale, size_t Rows>
[[gnu::noinline]] void row_moments(const T* x, ptrdiff_t row_step, size_t cols, const T* asked,
                                   Moments<T> (&moments)[Rows]) {
  const ScaledValues<T, kScale> values{x, row_step};
  const T n = static_cast<T>(cols);
  T sum[Rows][1], sums[Rows][2];
  Deviations<T, kScale, Rows> deviations{x, row_step, {}};
  const bool is_long = Rows == 1 && cols > kChunk;
  if (is_long) {
    fold_long_row<T, Add, 1, streams<T, 1>()>(values, cols, sum[0]);
  } else {
    fold_short_rows<T, Add>(values, cols, sum);
  }
#pragma GCC unroll 4
  for (size_t i = 0; i < Rows; ++i) {
    moments[i].mean = sum[i][0] / n;
    deviations.mean[i] = Vec<T>::broadcast(moments[i].mean);
  }
  const Asking<T, Deviations<T, kScale, Rows>> asking{deviations, asked, row_step};
  if (is_long) {
    fold_long_row<T, AddSquares<1>, 2, streams<T, 2>()>(asking, cols, sums[0]);
  } else {
    fold_short_rows<T, AddSquares<1>>(asking, cols, sums);
  }
#pragma GCC unroll 4
  for (size_t i = 0; i < Rows; ++i) {
    moments[i] = Moments<T>::of(moments[i].mean, sums[i][0], sums[i][1], n);
  }
}

// The sums of squares of `Rows` rows; a row longer than a chunk asks for the one at `asked`.
template <class T, Scale kScale, size_t Rows>
[[gnu::noinline]] void row_squares(const T* x, ptrdiff_t row_step, size_t cols, const T* asked,
                                   T (&squares)[Rows]) {
  const ScaledValues<T, kScale> values{x, row_step};
  T sum[Rows][1];
  if (Rows == 1 && cols > kChunk) {
    const Asking<T, ScaledValues<T, kScale>> asking{values, asked, row_step};
    fold_long_row<T, AddSquares<0>, 1, streams<T, 1>()>(asking, cols, sum[0]);
  } else {
    fold_short_rows<T, AddSquares<0>>(values, cols, sum);
  }
#pragma GCC unroll 4
  for (size_t i = 0; i < Rows; ++i) squares[i] = sum[i][0];
}

// Calls f as by_groups does, with as many rows at once as `Count` sums each allow.
template <class T, size_t Count, class F>
[[gnu::always_inline]] inline void by_streams(size_t rows, size_t cols, F f) {
  if (cols > kChunk) {
    by_groups<1>(rows, f);
  } else {
    by_groups<streams<T, Count>()>(rows, f);
  }
}

template <class T>
void variance_rows(const T* x, ptrdiff_t row_step, size_t rows, size_t cols, T divisor, T* y) {
  by_streams<T, 2>(rows, cols, [&](size_t r, auto group) {
    const T* row = x + static_cast<ptrdiff_t>(r) * row_step;
    Moments<T> moments[group.value];
    const size_t ahead = next_group<group.value>(r, rows, static_cast<size_t>(row_step));
    row_moments<T, Scale::none>(row, row_step, cols, row + ahead, moments);
    for (size_t i = 0; i < group.value; ++i, row += row_step) {
      y[r + i] = moments[i].squares / divisor;
      if (moments[i].finite()) continue;
      Moments<T> again[1];
      row_moments<T, Scale::down>(row, 0, cols, row, again);
      y[r + i] = again[0].squares / divisor * kUpScale<T> * kUpScale<T>;
    }
  });
}

template <class T>
[[gnu::always_inline]] inline T root_of(T x) {
  return scalar(x, [](Vec<T> v) { return sqrt(v); });
}

// The sum of squared deviations from the mean, which may be rounded, scaled up twice.
template <class T>
[[gnu::noinline]] T raised_squares(const T* x, size_t cols, T mean) {
  const RaisedDeviations<T> map{x, Vec<T>::broadcast(mean)};
  T sums[1][2];
  if (cols > kChunk) {
    fold_long_row<T, AddSquares<1>, 2, 1>(map, cols, sums[0]);
  } else {
    fold_short_rows<T, AddSquares<1>>(map, cols, sums);
  }
  return Moments<T>::of(T(0), sums[0][0], sums[0][1], static_cast<T>(cols)).squares;
}

// sqrt(variance), right wherever it is representable itself.
template <class T>
void deviation_rows(const T* x, ptrdiff_t row_step, size_t rows, size_t cols, T divisor, T* y) {
  by_streams<T, 2>(rows, cols, [&](size_t r, auto group) {
    const T* row = x + static_cast<ptrdiff_t>(r) * row_step;
    Moments<T> moments[group.value];
    const size_t ahead = next_group<group.value>(r, rows, static_cast<size_t>(row_step));
    row_moments<T, Scale::none>(row, row_step, cols, row + ahead, moments);
    for (size_t i = 0; i < group.value; ++i, row += row_step) {
      T squares = moments[i].squares, scale = T(1);
      if (!moments[i].finite()) {
        Moments<T> again[1];
        row_moments<T, Scale::down>(row, 0, cols, row, again);
        squares = again[0].squares;
        scale = kUpScale<T>;
      } else if (squares < kSmallSquares<T>) {
        squares = raised_squares(row, cols, moments[i].mean);
        scale = kDownScale<T>;
      }
      y[r + i] = root_of(squares / divisor) * scale;
    }
  });
}

// sqrt(sum of squares), likewise; infinite beside an infinity, NaN where there is one.
template <class T>
void norm_rows(const T* x, ptrdiff_t row_step, size_t rows, size_t cols, T* y) {
  by_streams<T, 1>(rows, cols, [&](size_t r, auto group) {
    const T* row = x + static_cast<ptrdiff_t>(r) * row_step;
    T squares[group.value];
    const size_t ahead = next_group<group.value>(r, rows, static_cast<size_t>(row_step));
    row_squares<T, Scale::none>(row, row_step, cols, row + ahead, squares);
    for (size_t i = 0; i < group.value; ++i, row += row_step) {
      T sum[1] = {squares[i]}, scale = T(1);
      if (!is_finite(squares[i])) {
        row_squares<T, Scale::down>(row, 0, cols, row, sum);
        scale = kUpScale<T>;
      } else if (squares[i] < kSmallSquares<T>) {
        row_squares<T, Scale::up>(row, 0, cols, row, sum);
        scale = kDownScale<T>;
      }
      y[r + i] = root_of(sum[0]) * scale;
    }
  });
}

// 1 / sqrt(sum of squares / n + epsilon).
template <class T>
[[gnu::always_inline]] inline T inverse_root(T squares, size_t n, T epsilon) {
  const T mean = squares / static_cast<T>(n) + epsilon;
  return T(1) / root_of(mean);
}

// v * weight + bias, of which there may be neither.
template <bool Weight, bool Bias, class V>
[[gnu::always_inline]] inline V affine(V v, V weight, V bias) {
  if constexpr (Weight && Bias) return vec::mul_add(v, weight, bias);
  if constexpr (Weight) return v * weight;
  if constexpr (Bias) return v + bias;
  return v;
}

// y = ((x - mean) - correction) * inverse * weight + bias of `Rows` rows, `cols` elements apart,
// which share what is loaded of weight and bias, while those `ahead` elements on are asked for. y
// may be x.
template <class T, bool Weight, bool Bias, size_t Rows>
[[gnu::always_inline]] inline void normalise_rows(const T* x, T* y, size_t cols, size_t ahead,
                                                  const Moments<T> (&moments)[Rows], T epsilon,
                                                  const T* weight, const T* bias) {
  constexpr size_t kWidth = Vec<T>::lanes;
  Vec<T> mean[Rows], correction[Rows], factor[Rows];
#pragma GCC unroll 4
  for (size_t i = 0; i < Rows; ++i) {
    mean[i] = Vec<T>::broadcast(moments[i].mean);
    correction[i] = Vec<T>::broadcast(moments[i].correction);
    factor[i] = Vec<T>::broadcast(inverse_root(moments[i].squares, cols, epsilon));
  }
  const auto column = [&](size_t c, auto load_at, auto store_at) __attribute__((always_inline)) {
    Vec<T> w, b;
    if constexpr (Weight) w = load_at(weight + c);
    if constexpr (Bias) b = load_at(bias + c);
#pragma GCC unroll 4
    for (size_t i = 0; i < Rows; ++i) {
      prefetch(x + i * cols + c, ahead);
      const Vec<T> v = ((load_at(x + i * cols + c) - mean[i]) - correction[i]) * factor[i];
      store_at(affine<Weight, Bias>(v, w, b), y + i * cols + c);
    }
  };
  size_t c = 0;
  for (; c + kWidth <= cols; c += kWidth) {
    column(c, [](const T* p) { return Vec<T>::load(p); }, [](Vec<T> v, T* p) { v.store(p); });
  }
  if (c == cols) return;
  const size_t n = cols - c;
  column(
      c, [n](const T* p) { return Vec<T>::load_partial(p, n); },
      [n](Vec<T> v, T* p) { v.store_partial(p, n); });
}

template <class T, bool Weight, bool Bias>
void layer_norm_with(const T* x, T* y, size_t rows, size_t cols, const T* weight, const T* bias,
                     T epsilon) {
  // A row so small that its squares lose digits, which no epsilon covers. Beside a larger mean no
  // deviation but 0 is as small.
  const auto is_small = [epsilon](const Moments<T>& m) {
    return m.squares < kSmallSquares<T> && epsilon < kSmallSquares<T> &&
           m.mean * m.mean < kSmallSquares<T>;
  };
  const auto normalise = [&](size_t r, auto group) {
    const T* row = x + r * cols;
    T* to = y + r * cols;
    const size_t ahead = next_group<group.value>(r, rows, cols);
    Moments<T> moments[group.value];
    row_moments<T, Scale::none>(row, static_cast<ptrdiff_t>(cols), cols, to, moments);
    bool plain = true;
    for (size_t i = 0; i < group.value; ++i) {
      plain = plain && moments[i].finite() && !is_small(moments[i]);
    }
    if (plain) {
      return normalise_rows<T, Weight, Bias>(row, to, cols, ahead, moments, epsilon, weight, bias);
    }
    for (size_t i = 0; i < group.value; ++i, row += cols, to += cols) {
      Moments<T> own[1] = {moments[i]};
      const T* from = row;
      T own_epsilon = epsilon;
      if (!own[0].finite() || is_small(own[0])) {
        const T scale = own[0].finite() ? kUpScale<T> : kDownScale<T>;
        const Vec<T> step = Vec<T>::broadcast(scale);
        map_row(row, to, cols, [step](Vec<T> v) { return v * step; });
        row_moments<T, Scale::none>(to, 0, cols, to, own);
        from = to;
        own_epsilon = epsilon * scale * scale;
      }
      normalise_rows<T, Weight, Bias>(from, to, cols, 0, own, own_epsilon, weight, bias);
    }
  };
  // Four rows of more than 3 KB, what is written for them, weight and bias would not fit into a
  // first-level cache of 32 KB: 1024 x 1000 took 1.1 times as long (Zen 4).
  if (streams<T, 2>() == 4 && cols * sizeof(T) > 3072 && cols <= kChunk) {
    by_groups<2>(rows, normalise);
  } else {
    by_streams<T, 2>(rows, cols, normalise);
  }
}

template <class T>
void layer_norm_rows(const T* x, T* y, size_t rows, size_t cols, const T* weight, const T* bias,
                     T epsilon) {
  if (weight != nullptr && bias != nullptr) {
    return layer_norm_with<T, true, true>(x, y, rows, cols, weight, bias, epsilon);
  }
  if (weight != nullptr) {
    return layer_norm_with<T, true, false>(x, y, rows, cols, weight, bias, epsilon);
  }
  if (bias != nullptr) {
    return layer_norm_with<T, false, true>(x, y, rows, cols, weight, bias, epsilon);
  }
  return layer_norm_with<T, false, false>(x, y, rows, cols, weight, bias, epsilon);
}

// y = f(x) * weight of one row, while what comes `ahead` elements on is asked for. y may be x.
template <class T, bool Weight, class F>
[[gnu::always_inline]] inline void weighted_row(const T* x, T* y, size_t cols, size_t ahead,
                                                const T* weight, F f) {
  constexpr size_t kWidth = Vec<T>::lanes;
  const auto g = [&](const auto& at) __attribute__((always_inline)) {
    const Vec<T> v = f(at(x));
    if constexpr (Weight) return v * at(weight);
    return v;
  };
  size_t c = 0;
  for (; c + kWidth <= cols; c += kWidth) {
    prefetch(x + c, ahead);
    g([c](const T* p) { return Vec<T>::load(p + c); }).store(y + c);
  }
  if (c == cols) return;
  const size_t n = cols - c;
  g([c, n](const T* p) { return Vec<T>::load_partial(p + c, n); }).store_partial(y + c, n);
}

template <class T, bool Weight>
void rms_norm_with(const T* x, T* y, size_t rows, size_t cols, const T* weight, T epsilon) {
  by_streams<T, 1>(rows, cols, [&](size_t r, auto group) {
    const T* row = x + r * cols;
    T* to = y + r * cols;
    const size_t ahead = next_group<group.value>(r, rows, cols);
    T squares[group.value];
    row_squares<T, Scale::none>(row, static_cast<ptrdiff_t>(cols), cols, to, squares);
    for (size_t i = 0; i < group.value; ++i, row += cols, to += cols) {
      const bool finite = is_finite(squares[i]);
      const bool small = squares[i] < kSmallSquares<T> && epsilon < kSmallSquares<T>;
      T sum[1] = {squares[i]};
      if (!finite) row_squares<T, Scale::down>(row, 0, cols, to, sum);
      if (small) row_squares<T, Scale::up>(row, 0, cols, to, sum);
      const T scale = small ? kUpScale<T> : finite ? T(1) : kDownScale<T>;
      const Vec<T> step = Vec<T>::broadcast(scale);
      const Vec<T> factor = Vec<T>::broadcast(inverse_root(sum[0], cols, epsilon * scale * scale));
      // The factor of a row that was scaled would leave the range if it were scaled in turn.
      if (finite && !small) {
        weighted_row<T, Weight>(row, to, cols, ahead, weight, [&](Vec<T> v) { return v * factor; });
      } else {
        weighted_row<T, Weight>(row, to, cols, ahead, weight,
                                [&](Vec<T> v) { return v * step * factor; });
      }
    }
  });
}

template <class T>
void rms_norm_rows(const T* x, T* y, size_t rows, size_t cols, const T* weight, T epsilon) {
  if (weight != nullptr) return rms_norm_with<T, true>(x, y, rows, cols, weight, epsilon);
  return rms_norm_with<T, false>(x, y, rows, cols, weight, epsilon);
}

}  // namespace lamella::kernels::LAMELLA_ISA_NAMESPACE
