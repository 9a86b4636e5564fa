// SPDX-License-Identifier: Apache-2.0
// Two and three operands of floating types: arithmetic, comparison, selection.
//
// A step of 0 stands for one value used for all. Each functor maps two vectors to a vector or a
// mask; functions that only the C library has go lane by lane through the same loop.
#pragma once

#include "kernels/table.h"
#include "simd/math.h"

namespace lamella::kernels::LAMELLA_ISA_NAMESPACE {

using simd::LAMELLA_ISA_NAMESPACE::Mask;
using simd::LAMELLA_ISA_NAMESPACE::Vec;

// ---- arithmetic
struct Sum {
  template <class T>
  [[gnu::always_inline]] static Vec<T> value(Vec<T> a, Vec<T> b) {
    return a + b;
  }
};
struct Difference {
  template <class T>
  [[gnu::always_inline]] static Vec<T> value(Vec<T> a, Vec<T> b) {
    return a - b;
  }
};
struct Product {
  template <class T>
  [[gnu::always_inline]] static Vec<T> value(Vec<T> a, Vec<T> b) {
    return a * b;
  }
};
struct Quotient {
  template <class T>
  [[gnu::always_inline]] static Vec<T> value(Vec<T> a, Vec<T> b) {
    return a / b;
  }
};
struct Larger {
  template <class T>
  [[gnu::always_inline]] static Vec<T> value(Vec<T> a, Vec<T> b) {
    return max(a, b);
  }
};
struct Smaller {
  template <class T>
  [[gnu::always_inline]] static Vec<T> value(Vec<T> a, Vec<T> b) {
    return min(a, b);
  }
};

// ---- lane by lane
[[gnu::always_inline]] inline float c_fmod(float a, float b) { return __builtin_fmodf(a, b); }
[[gnu::always_inline]] inline double c_fmod(double a, double b) { return __builtin_fmod(a, b); }
[[gnu::always_inline]] inline float c_floor(float a) { return __builtin_floorf(a); }
[[gnu::always_inline]] inline double c_floor(double a) { return __builtin_floor(a); }
[[gnu::always_inline]] inline float c_copysign(float a, float b) {
  return __builtin_copysignf(a, b);
}
[[gnu::always_inline]] inline double c_copysign(double a, double b) {
  return __builtin_copysign(a, b);
}

template <class Scalar>
struct LaneByLane {
  template <class T>
  [[gnu::always_inline]] static Vec<T> value(Vec<T> a, Vec<T> b) {
    T x[Vec<T>::lanes], y[Vec<T>::lanes];
    a.store(x);
    b.store(y);
    for (size_t i = 0; i < Vec<T>::lanes; ++i) x[i] = Scalar::of(x[i], y[i]);
    return Vec<T>::load(x);
  }
};

struct PowerOfScalars {
  [[gnu::always_inline]] static float of(float a, float b) { return __builtin_powf(a, b); }
  [[gnu::always_inline]] static double of(double a, double b) { return __builtin_pow(a, b); }
};

// a - b floor(a / b), exactly; the result has the sign of b, also when it is zero.
struct RemainderOfScalars {
  template <class T>
  [[gnu::always_inline]] static T of(T a, T b) {
    const T rest = c_fmod(a, b);
    if (rest == T(0)) return c_copysign(T(0), b);
    return (rest < T(0)) != (b < T(0)) ? rest + b : rest;
  }
};

// The integer q with a = q b + remainder(a, b); a / b itself where b is zero.
struct FloorQuotientOfScalars {
  template <class T>
  [[gnu::always_inline]] static T of(T a, T b) {
    if (b == T(0)) return a / b;
    const T rest = c_fmod(a, b);
    T quotient = (a - rest) / b;
    if (rest != T(0) && (rest < T(0)) != (b < T(0))) quotient -= T(1);
    if (quotient == T(0)) return c_copysign(T(0), a / b);
    const T below = c_floor(quotient);  // (a - rest) / b is an integer but for its rounding
    return quotient - below > T(0.5) ? below + T(1) : below;
  }
};

// ---- comparison
struct Equal {
  template <class T>
  [[gnu::always_inline]] static Mask<T> value(Vec<T> a, Vec<T> b) {
    return a == b;
  }
};
struct NotEqual {
  template <class T>
  [[gnu::always_inline]] static Mask<T> value(Vec<T> a, Vec<T> b) {
    return a != b;
  }
};
struct Less {
  template <class T>
  [[gnu::always_inline]] static Mask<T> value(Vec<T> a, Vec<T> b) {
    return a < b;
  }
};
struct LessEqual {
  template <class T>
  [[gnu::always_inline]] static Mask<T> value(Vec<T> a, Vec<T> b) {
    return a <= b;
  }
};
struct Greater {
  template <class T>
  [[gnu::always_inline]] static Mask<T> value(Vec<T> a, Vec<T> b) {
    return a > b;
  }
};
struct GreaterEqual {
  template <class T>
  [[gnu::always_inline]] static Mask<T> value(Vec<T> a, Vec<T> b) {
    return a >= b;
  }
};

// ---- loops
// An operand that moves with the element or stays at one value.
template <class T, bool kMoves>
struct Operand {
  const T* p;
  Vec<T> fixed;
  explicit Operand(const T* at) : p(at), fixed(kMoves ? Vec<T>::zero() : Vec<T>::broadcast(*at)) {}
  [[gnu::always_inline]] Vec<T> whole(size_t i) const {
    if constexpr (kMoves) return Vec<T>::load(p + i);
    return fixed;
  }
  [[gnu::always_inline]] Vec<T> part(size_t i, size_t count) const {
    if constexpr (kMoves) return Vec<T>::load_partial(p + i, count);
    return fixed;
  }
};

// whole(i) for every full vector in [0, n), then part(i, count) for the rest.
template <class T, class Whole, class Part>
[[gnu::always_inline]] inline void each_vector(size_t n, Whole whole, Part part) {
  constexpr size_t kLanes = Vec<T>::lanes;
  size_t i = 0;
  for (; i + 4 * kLanes <= n; i += 4 * kLanes) {
#pragma GCC unroll 4
    for (size_t j = 0; j < 4; ++j) whole(i + j * kLanes);
  }
  for (; i + kLanes <= n; i += kLanes) whole(i);
  if (i < n) part(i, n - i);
}

template <class T, class F, bool kA, bool kB>
void binary_of(const T* a_at, const T* b_at, T* y, size_t n) {
  const Operand<T, kA> a(a_at);
  const Operand<T, kB> b(b_at);
  each_vector<T>(
      n, [&](size_t i) { F::value(a.whole(i), b.whole(i)).store(y + i); },
      [&](size_t i, size_t count) {
        F::value(a.part(i, count), b.part(i, count)).store_partial(y + i, count);
      });
}

template <class T, class F>
void binary(const T* a, ptrdiff_t a_step, const T* b, ptrdiff_t b_step, T* y, size_t n) {
  if (n == 0) return;
  if (a_step != 0 && b_step != 0) return binary_of<T, F, true, true>(a, b, y, n);
  if (a_step != 0) return binary_of<T, F, true, false>(a, b, y, n);
  if (b_step != 0) return binary_of<T, F, false, true>(a, b, y, n);
  return binary_of<T, F, false, false>(a, b, y, n);
}

template <class T, class F, bool kA, bool kB>
void compare_of(const T* a_at, const T* b_at, std::uint8_t* y, size_t n) {
  const Operand<T, kA> a(a_at);
  const Operand<T, kB> b(b_at);
  each_vector<T>(
      n, [&](size_t i) { store_truth(F::value(a.whole(i), b.whole(i)), y + i); },
      [&](size_t i, size_t count) {
        store_truth_partial(F::value(a.part(i, count), b.part(i, count)), y + i, count);
      });
}

template <class T, class F>
void compare(const T* a, ptrdiff_t a_step, const T* b, ptrdiff_t b_step, std::uint8_t* y,
             size_t n) {
  if (n == 0) return;
  if (a_step != 0 && b_step != 0) return compare_of<T, F, true, true>(a, b, y, n);
  if (a_step != 0) return compare_of<T, F, true, false>(a, b, y, n);
  if (b_step != 0) return compare_of<T, F, false, true>(a, b, y, n);
  return compare_of<T, F, false, false>(a, b, y, n);
}

template <class T, bool kA, bool kB>
void choose_of(const std::uint8_t* condition, ptrdiff_t condition_step, const T* a_at,
               const T* b_at, T* y, size_t n) {
  using simd::LAMELLA_ISA_NAMESPACE::load_truth;
  using simd::LAMELLA_ISA_NAMESPACE::load_truth_partial;
  const Operand<T, kA> a(a_at);
  const Operand<T, kB> b(b_at);
  const Mask<T> fixed = Vec<T>::broadcast(*condition != 0 ? T(1) : T(0)) == Vec<T>::broadcast(T(1));
  const bool moves = condition_step != 0;
  each_vector<T>(
      n,
      [&](size_t i) {
        const Mask<T> m = moves ? load_truth<T>(condition + i) : fixed;
        select(m, a.whole(i), b.whole(i)).store(y + i);
      },
      [&](size_t i, size_t count) {
        const Mask<T> m = moves ? load_truth_partial<T>(condition + i, count) : fixed;
        select(m, a.part(i, count), b.part(i, count)).store_partial(y + i, count);
      });
}

template <class T>
void choose(const std::uint8_t* condition, ptrdiff_t condition_step, const T* a, ptrdiff_t a_step,
            const T* b, ptrdiff_t b_step, T* y, size_t n) {
  if (n == 0) return;
  if (a_step != 0 && b_step != 0) {
    return choose_of<T, true, true>(condition, condition_step, a, b, y, n);
  }
  if (a_step != 0) return choose_of<T, true, false>(condition, condition_step, a, b, y, n);
  if (b_step != 0) return choose_of<T, false, true>(condition, condition_step, a, b, y, n);
  return choose_of<T, false, false>(condition, condition_step, a, b, y, n);
}

// ---- several operations in one pass, each rounded as it is alone
// kMoves: the usual operands, which have a loop of their own; others are read as if all moved.
// a (b - c c), with b = 1 the slope of tanh.
struct ProductOfRest {
  static constexpr size_t kOperands = 3;
  static constexpr bool kMoves[kOperands] = {true, false, true};
  template <class T>
  [[gnu::always_inline]] static Vec<T> value(const Vec<T> (&x)[kOperands]) {
    return x[0] * (x[1] - x[2] * x[2]);
  }
};
// A comparison and what it selects, without a truth value in memory: the slope of relu.
template <class Comparison>
struct Choice {
  static constexpr size_t kOperands = 4;
  static constexpr bool kMoves[kOperands] = {true, false, false, true};
  template <class T>
  [[gnu::always_inline]] static Vec<T> value(const Vec<T> (&x)[kOperands]) {
    return select(Comparison::value(x[0], x[1]), x[2], x[3]);
  }
};

template <class T, class F>
void joined_usual(const T* const* x, T* y, size_t n) {
  constexpr size_t kOperands = F::kOperands;
  const T* at[kOperands];
  Vec<T> fixed[kOperands];
#pragma GCC unroll 4
  for (size_t k = 0; k < kOperands; ++k) {
    at[k] = x[k];
    fixed[k] = Vec<T>::broadcast(*x[k]);
  }
  const auto value = [&](auto load) __attribute__((always_inline)) {
    Vec<T> v[kOperands];
#pragma GCC unroll 4
    for (size_t k = 0; k < kOperands; ++k) v[k] = F::kMoves[k] ? load(at[k]) : fixed[k];
    return F::value(v);
  };
  each_vector<T>(
      n,
      [&](size_t i) __attribute__((always_inline)) {
        value([i](const T* p) { return Vec<T>::load(p + i); }).store(y + i);
      },
      [&](size_t i, size_t count) __attribute__((always_inline)) {
        const auto load = [i, count](const T* p) { return Vec<T>::load_partial(p + i, count); };
        value(load).store_partial(y + i, count);
      });
}

template <class T, class F>
void joined(const T* const* x, const ptrdiff_t* step, T* y, size_t n) {
  constexpr size_t kLanes = Vec<T>::lanes, kOperands = F::kOperands;
  if (n == 0) return;
  bool usual = true;
  for (size_t k = 0; k < kOperands; ++k) usual = usual && (step[k] != 0) == F::kMoves[k];
  if (usual) return joined_usual<T, F>(x, y, n);
  // One value for all is a register's width of it that is read again and again.
  alignas(64) T fixed[kOperands][kLanes];
  for (size_t k = 0; k < kOperands; ++k) Vec<T>::broadcast(*x[k]).store(fixed[k]);
  for (size_t i = 0; i < n; i += kLanes) {
    const size_t count = n - i < kLanes ? n - i : kLanes;
    Vec<T> v[kOperands];
#pragma GCC unroll 4
    for (size_t k = 0; k < kOperands; ++k) {
      const T* const at = step[k] == 0 ? fixed[k] : x[k] + i;
      v[k] = count == kLanes || step[k] == 0 ? Vec<T>::load(at) : Vec<T>::load_partial(at, count);
    }
    count == kLanes ? F::value(v).store(y + i) : F::value(v).store_partial(y + i, count);
  }
}

}  // namespace lamella::kernels::LAMELLA_ISA_NAMESPACE
