// SPDX-License-Identifier: Apache-2.0
// Losses of rows against classes given by index: cross-entropy of logits, and of log-probabilities.
//
//   l(c)  = m + log(sum(exp(x - m))) - x[c],   m = max(x)
//   loss  = hit w[t] l(t) + spread sum_c(w[c] l(c))
//   slope = exp(x - m) (hit w[t] + spread sum(w)) / sum(exp(x - m)) - spread w - hit w[t] [c = t]
//
// Sums are in fold.h's fixed order. No term of a loss is negative, so that nothing cancels, and
// m - x[c] overflows only where the loss does. Where one class has most of the sum, what the others
// add makes the loss, and the slope of that class if it is the target. The exponentials are stored where the slopes will be:
// one pass of exp serves both. NaN and +inf in a row make its loss NaN, whatever the target.
// Short rows lie side by side in the lanes of a register, class by class: the same sums.
#pragma once

#include "kernels/softmax.h"

namespace lamella::kernels::LAMELLA_ISA_NAMESPACE {

// w (top - x), whose sum a smoothed loss needs; the weights are ones unless `Weighted`.
template <class T, bool Weighted>
struct Distances {
  const T* x;
  const T* weight;
  Vec<T> top;
  template <bool Full>
  [[gnu::always_inline]] void operator()(size_t, size_t column, size_t n,
                                         Vec<T> (&value)[1]) const {
    value[0] = top - load<Full>(x + column, n);
    if constexpr (Weighted) value[0] = load<Full>(weight + column, n) * value[0];
  }
};

template <class T, class Map>
inline T fold_one(const Map& map, size_t cols) {
  T single[1][1];
  if (cols > kChunk) {
    fold_long_row<T, Add, 1, 1>(map, cols, single[0]);
  } else {
    fold_short_rows<T, Add, 1, 1>(map, cols, single);
  }
  return single[0][0];
}

template <class T>
inline T sum_distances(const T* x, const T* weight, T top, size_t cols) {
  const Vec<T> high = Vec<T>::broadcast(top);
  if (weight != nullptr) return fold_one<T>(Distances<T, true>{x, weight, high}, cols);
  return fold_one<T>(Distances<T, false>{x, nullptr, high}, cols);
}

// slope = exp * factor - spread * weight, in place.
template <class T>
inline void finish_slopes(T* slopes, const T* weight, size_t cols, T factor, T spread) {
  const Vec<T> f = Vec<T>::broadcast(factor), s = Vec<T>::broadcast(spread);
  if (weight == nullptr || spread == T(0)) {
    map_row(slopes, slopes, cols, [f, s](Vec<T> e) { return e * f - s; });
    return;
  }
  constexpr size_t kWidth = Vec<T>::lanes;
  size_t c = 0;
  for (; c + kWidth <= cols; c += kWidth) {
    (Vec<T>::load(slopes + c) * f - Vec<T>::load(weight + c) * s).store(slopes + c);
  }
  if (c < cols) {
    (Vec<T>::load_partial(slopes + c, cols - c) * f -
     Vec<T>::load_partial(weight + c, cols - c) * s)
        .store_partial(slopes + c, cols - c);
  }
}

// What an ignored row leaves: zeros.
template <class T>
inline void ignore_row(const ClassLossArgs<T>& a, size_t r) {
  if (a.losses != nullptr) a.losses[r] = T(0);
  if (a.weights != nullptr) a.weights[r] = T(0);
  if (a.slopes != nullptr) {
    T* const slopes = a.slopes + r * a.cols;
    map_row(slopes, slopes, a.cols, [](Vec<T>) { return Vec<T>::broadcast(T(0)); });
  }
}

// The sum of a row of raised exponentials but for its largest, 1, which is one alone.
template <class T>
struct OtherStored {
  const T* exponentials;
  Others<T> others;
  template <bool Full>
  [[gnu::always_inline]] void operator()(size_t, size_t column, size_t n,
                                         Vec<T> (&value)[1]) const {
    value[0] = others(load<Full>(exponentials + column, n));
  }
};
template <class T>
[[gnu::noinline]] T sum_of_other_stored(const T* exponentials, size_t cols) {
  return fold_one<T>(OtherStored<T>{exponentials, {}}, cols) * vec::kLowered<T>;
}

template <bool Slopes, class T>
inline void cross_entropy_of(const ClassLossArgs<T>& a) {
  T all_weights = static_cast<T>(a.cols);
  if (a.weight != nullptr && a.spread != T(0)) {
    all_weights = fold_one<T>(Values<T>{a.weight, 0}, a.cols);
  }
  const auto finish = [&](size_t r, T top, T sum) {
    if (a.target[r] == a.ignored) return ignore_row(a, r);
    const size_t target = static_cast<size_t>(a.target[r]);
    const T* const x = a.x + r * a.cols;
    const T weight = a.weight != nullptr ? a.weight[target] : T(1);
    const T hit = a.hit * weight;
    const bool near = sum < kNearOne<T>;
    T others = T(0), log_sum;
    if (near) {
      others = Slopes ? sum_of_other_stored(a.slopes + r * a.cols, a.cols)
                      : sum_of_others(x, a.cols, top);
      log_sum = scalar(others, [](Vec<T> v) { return vec::log1p(v); });
    } else {
      log_sum = scalar(sum, [](Vec<T> v) { return vec::log(v); });
    }
    T loss = hit * (log_sum + (top - x[target]));
    if (a.spread != T(0)) {
      const T distances = sum_distances(x, a.weight, top, a.cols);
      loss = loss + a.spread * (distances + all_weights * log_sum);
    }
    if (a.losses != nullptr) a.losses[r] = loss;
    if (a.weights != nullptr) a.weights[r] = weight;
    if constexpr (Slopes) {
      T* const slopes = a.slopes + r * a.cols;
      const T factor = (hit + a.spread * all_weights) / sum * vec::kLowered<T>;
      // Computed before the row is written: a number of a vector just stored is slow to read.
      const T share = a.spread != T(0) ? a.spread * weight : T(0);
      // 1 less the largest share is the others' share.
      const T own = near && x[target] == top && a.spread == T(0)
                        ? -hit * (others / sum)
                        : slopes[target] * factor - share - hit;
      finish_slopes(slopes, a.weight, a.cols, factor, a.spread);
      slopes[target] = own;
    }
  };
  with_sums<Slopes>(a.x, static_cast<ptrdiff_t>(a.cols), a.rows, a.cols, a.slopes, finish);
}

// The columns of `count` short rows from row `first` on: lane i of column[c] is class c of row i. The
// lanes behind `count` repeat the first row.
template <class T>
inline void load_columns(const T* x, size_t count, size_t cols, Vec<T> (&column)[kReduceLanes]) {
  constexpr size_t kWidth = Vec<T>::lanes;
  for (size_t c = 0; c < cols; c += kWidth) {
    Vec<T> square[kWidth];
#pragma GCC unroll 16
    for (size_t i = 0; i < kWidth; ++i) {
      const T* const row = x + (i < count ? i * cols : 0) + c;
      square[i] = cols - c < kWidth ? Vec<T>::load_partial(row, cols - c) : Vec<T>::load(row);
    }
    transpose(square);
#pragma GCC unroll 16
    for (size_t i = 0; i < kWidth; ++i) column[c + i] = square[i];
  }
}

template <class T>
inline void store_columns(const Vec<T> (&column)[kReduceLanes], size_t count, size_t cols, T* y) {
  constexpr size_t kWidth = Vec<T>::lanes;
  for (size_t c = 0; c < cols; c += kWidth) {
    Vec<T> square[kWidth];
#pragma GCC unroll 16
    for (size_t i = 0; i < kWidth; ++i) square[i] = column[c + i];
    transpose(square);
#pragma GCC unroll 16
    for (size_t i = 0; i < kWidth; ++i) {
      if (i >= count) break;
      T* const row = y + i * cols + c;
      cols - c < kWidth ? square[i].store_partial(row, cols - c) : square[i].store(row);
    }
  }
}

// f of each class's raised exponentials, summed by fold.h's tree over the classes; what lies behind
// the last one would add zeros.
template <class T, class F>
[[gnu::always_inline]] inline Vec<T> sum_classes(const Vec<T> (&value)[kReduceLanes], size_t cols,
                                                 F f) {
  Vec<T> sums[kReduceLanes];
  for (size_t c = 0; c < cols; ++c) sums[c] = f(value[c]);
  size_t left = cols;
  for (size_t half = kReduceLanes / 2; half > 0; half /= 2) {
    for (size_t c = 0; c + half < left; ++c) sums[c] = sums[c] + sums[c + half];
    left = left < half ? left : half;
  }
  return sums[0] * Vec<T>::broadcast(vec::kLowered<T>);
}

// At most a register's lanes of rows of at most kReduceLanes classes, without smoothing.
template <bool Slopes, class T>
[[gnu::noinline]] void cross_entropy_columns(const ClassLossArgs<T>& a, size_t first,
                                             size_t count) {
  constexpr size_t kWidth = Vec<T>::lanes;
  const T* const x = a.x + first * a.cols;
  // The target's number, -1 where it is ignored; what the row has there; its weight.
  alignas(64) T place[kWidth], own[kWidth], weight[kWidth];
  for (size_t i = 0; i < kWidth; ++i) {
    const size_t row = i < count ? i : 0;
    const std::int64_t target = a.target[first + row];
    const bool kept = target != a.ignored;
    const size_t at = kept ? static_cast<size_t>(target) : 0;
    place[i] = kept ? static_cast<T>(at) : T(-1);
    own[i] = x[row * a.cols + at];
    weight[i] = !kept ? T(0) : a.weight != nullptr ? a.weight[at] : T(1);
  }
  Vec<T> value[kReduceLanes];
  load_columns(x, count, a.cols, value);
  Vec<T> high = Vec<T>::broadcast(-kInfinity<T>);
  for (size_t c = 0; c < a.cols; ++c) high = max_or_second(value[c], high);
  for (size_t c = 0; c < a.cols; ++c) value[c] = vec::exp_raised(value[c] - high);
  const Vec<T> zero = Vec<T>::zero(), targets = Vec<T>::load(place);
  const Vec<T> sum = sum_classes(value, a.cols, [](Vec<T> e) { return e; });
  const Mask<T> near = sum < Vec<T>::broadcast(kNearOne<T>);
  Vec<T> log_sum = vec::log(sum), others = zero;
  if (any(near)) {
    others = sum_classes(value, a.cols, Others<T>{});
    log_sum = select(near, vec::log1p(others), log_sum);
  }
  const Vec<T> weights = Vec<T>::load(weight);
  const Mask<T> kept = targets >= zero;
  const Vec<T> hit = Vec<T>::broadcast(a.hit) * weights;
  const auto store = [count](Vec<T> v, T* y) {
    count < kWidth ? v.store_partial(y, count) : v.store(y);
  };
  if (a.losses != nullptr) {
    const Vec<T> loss = hit * (log_sum + (high - Vec<T>::load(own)));
    store(select(kept, loss, zero), a.losses + first);
  }
  if (a.weights != nullptr) store(weights, a.weights + first);
  if constexpr (Slopes) {
    const Vec<T> factor = (hit + zero) / sum * Vec<T>::broadcast(vec::kLowered<T>);
    // 1 less the largest share is the others' share.
    const Mask<T> by_others = near & (Vec<T>::load(own) == high);
    const Vec<T> rest = -hit * (others / sum);
    for (size_t c = 0; c < a.cols; ++c) {
      Vec<T> slope = value[c] * factor;
      const Vec<T> hit_slope = select(by_others, rest, slope - hit);
      slope = select(targets == Vec<T>::broadcast(static_cast<T>(c)), hit_slope, slope);
      value[c] = select(kept, slope, zero);
    }
    store_columns(value, count, a.cols, a.slopes + first * a.cols);
  }
}

// The rows from number `first` on.
template <class T>
inline ClassLossArgs<T> behind(ClassLossArgs<T> a, size_t first) {
  a.x += first * a.cols;
  a.target += first;
  a.rows -= first;
  if (a.losses != nullptr) a.losses += first;
  if (a.slopes != nullptr) a.slopes += first * a.cols;
  if (a.weights != nullptr) a.weights += first;
  return a;
}

// A register full of rows takes as long as three or four rows by themselves (10 classes, Zen 4).
template <bool Slopes, class T>
inline void cross_entropy_any(const ClassLossArgs<T>& a) {
  constexpr size_t kWidth = Vec<T>::lanes, kFewRows = kWidth < 4 ? 1 : kWidth / 4;
  size_t r = 0;
  if (a.cols > 0 && a.cols <= kReduceLanes && a.spread == T(0)) {
    for (; a.rows - r >= kFewRows; r += kWidth) {
      const size_t count = a.rows - r < kWidth ? a.rows - r : kWidth;
      cross_entropy_columns<Slopes>(a, r, count);
      if (count < kWidth) return;
    }
  }
  if (r < a.rows) cross_entropy_of<Slopes>(behind(a, r));
}

template <class T>
void cross_entropy_rows(const ClassLossArgs<T>& a) {
  if (a.slopes != nullptr) {
    cross_entropy_any<true>(a);
  } else {
    cross_entropy_any<false>(a);
  }
}

// x holds log-probabilities already: loss = -w[t] x[t]. Takes no smoothing.
template <class T>
void nll_rows(const ClassLossArgs<T>& a) {
  for (size_t r = 0; r < a.rows; ++r) {
    ignore_row(a, r);
    if (a.target[r] == a.ignored) continue;
    const size_t at = r * a.cols + static_cast<size_t>(a.target[r]);
    const T weight = a.weight != nullptr ? a.weight[a.target[r]] : T(1);
    if (a.losses != nullptr) a.losses[r] = -weight * a.x[at];
    if (a.weights != nullptr) a.weights[r] = weight;
    if (a.slopes != nullptr) a.slopes[at] = -weight;
  }
}

}  // namespace lamella::kernels::LAMELLA_ISA_NAMESPACE
