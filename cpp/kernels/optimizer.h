// SPDX-License-Identifier: Apache-2.0
// Optimisers' updates: one pass over a parameter, its gradient and its state.
//
// A rule is a struct over registers: the order and number of its roundings are those of PyTorch's
// single-tensor loops on its vectorised CPU kernels (torch/optim/*.py; aten/src/ATen/native/cpu/
// LerpKernel.cpp, PointwiseOpsKernel.cpp, BinaryOpsKernel.cpp), where add with a factor, lerp and
// addcmul end in a fused multiply-add and addcdiv does not. Square roots are correctly rounded
// here. Scalars arrive in double (steps/optimizer.cpp computes them) and are rounded once.
#pragma once

#include "kernels/table.h"
#include "simd/vec.h"

namespace lamella::kernels::LAMELLA_ISA_NAMESPACE {

using simd::LAMELLA_ISA_NAMESPACE::Vec;
namespace vec = simd::LAMELLA_ISA_NAMESPACE;

template <class T>
[[gnu::always_inline]] inline Vec<T> scalar(double x) {
  return Vec<T>::broadcast(static_cast<T>(x));
}

// PyTorch's lerp: from start where the weight is below a half, from end otherwise.
template <class T>
struct Lerp {
  Vec<T> factor;
  vec::Mask<T> from_start;
  explicit Lerp(double weight) {
    const T w = static_cast<T>(weight);
    const bool below = w < T(0.5) && w > T(-0.5);
    factor = Vec<T>::broadcast(below ? w : w - T(1));
    from_start = vec::first_lanes<T>(below ? Vec<T>::lanes : 0);
  }
  [[gnu::always_inline]] Vec<T> operator()(Vec<T> start, Vec<T> end) const {
    return mul_add(factor, end - start, select(from_start, start, end));
  }
};

// x / divisor for x >= 0, correctly rounded without the divider, which the square root beside it and the
// division after it keep busy: 4096 parameters of Adam 1.63 -> 1.35 us (Zen 4). The quotient is within
// an ulp after one correction by the exact remainder, and right after two (Markstein, "Computation of
// elementary functions on the IBM RISC System/6000 processor", 1990, theorem 3), since `inverse` is
// correctly rounded. The remainders stay normal: a root is at least 2^-75 (2^-537 in double), and the
// divisor between 2^-27 and 1.
template <class T>
struct SharedDivisor {
  Vec<T> divisor, inverse;
  explicit SharedDivisor(double d)
      : divisor(scalar<T>(d)), inverse(Vec<T>::broadcast(T(1) / static_cast<T>(d))) {}
  [[gnu::always_inline]] Vec<T> under(Vec<T> x) const {
    if constexpr (!vec::kHasFma) return x / divisor;
    Vec<T> quotient = x * inverse;
    quotient = mul_add(mul_add(-quotient, divisor, x), inverse, quotient);
    quotient = mul_add(mul_add(-quotient, divisor, x), inverse, quotient);
    return select(x < Vec<T>::broadcast(T(__builtin_huge_val())), quotient, x);
  }
};

// x[0] the parameter, x[1] the gradient, the state behind; a rule leaves the new parameter in x[0]
// and the new state where the old one was.
template <class T, bool Momentum, bool Nesterov>
struct Sgd {
  static constexpr size_t kStates = Momentum ? 1 : 0;
  Vec<T> decay, keep, momentum, step;
  explicit Sgd(const double* s)
      : decay(scalar<T>(s[0])),
        keep(scalar<T>(s[1])),
        momentum(scalar<T>(s[2])),
        step(scalar<T>(s[3])) {}
  [[gnu::always_inline]] void operator()(Vec<T>* x) const {
    Vec<T> direction = x[1];
    if constexpr (Momentum) {
      x[2] = mul_add(keep, x[1], x[2] * decay);
      direction = Nesterov ? mul_add(momentum, x[2], x[1]) : x[2];
    }
    x[0] = mul_add(step, direction, x[0]);
  }
};

template <class T, bool Amsgrad, bool Decoupled>
struct Adam {
  static constexpr size_t kStates = Amsgrad ? 3 : 2;
  Lerp<T> mean;
  Vec<T> beta2, rest2, eps, step, shrink;
  SharedDivisor<T> correction;
  explicit Adam(const double* s)
      : mean(s[0]),
        beta2(scalar<T>(s[1])),
        rest2(scalar<T>(s[2])),
        eps(scalar<T>(s[4])),
        step(scalar<T>(s[5])),
        shrink(scalar<T>(s[6])),
        correction(s[3]) {}
  [[gnu::always_inline]] void operator()(Vec<T>* x) const {
    x[2] = mean(x[2], x[1]);
    x[3] = mul_add(rest2 * x[1], x[1], x[3] * beta2);
    Vec<T> square = x[3];
    if constexpr (Amsgrad) square = x[4] = max(x[4], x[3]);
    const Vec<T> spread = correction.under(sqrt(square)) + eps;
    if constexpr (Decoupled) x[0] = x[0] * shrink;
    x[0] = x[0] + (step * x[2]) / spread;
  }
};

template <class T, bool Centered, bool Momentum>
struct RmsProp {
  static constexpr size_t kStates = 1 + (Centered ? 1 : 0) + (Momentum ? 1 : 0);
  static constexpr size_t kBuffer = Centered ? 4 : 3;
  Vec<T> alpha, rest, eps, step, momentum;
  Lerp<T> mean;
  explicit RmsProp(const double* s)
      : alpha(scalar<T>(s[0])),
        rest(scalar<T>(s[1])),
        eps(scalar<T>(s[2])),
        step(scalar<T>(s[3])),
        momentum(scalar<T>(s[4])),
        mean(s[1]) {}
  [[gnu::always_inline]] void operator()(Vec<T>* x) const {
    x[2] = mul_add(rest * x[1], x[1], x[2] * alpha);
    Vec<T> square = x[2];
    if constexpr (Centered) {
      x[3] = mean(x[3], x[1]);
      square = mul_add(-x[3], x[3], x[2]);
    }
    const Vec<T> spread = sqrt(square) + eps;
    if constexpr (Momentum) {
      x[kBuffer] = x[kBuffer] * momentum + x[1] / spread;
      x[0] = mul_add(step, x[kBuffer], x[0]);
    } else {
      x[0] = x[0] + (step * x[1]) / spread;
    }
  }
};

template <class T>
struct Adagrad {
  static constexpr size_t kStates = 1;
  Vec<T> eps, step;
  explicit Adagrad(const double* s) : eps(scalar<T>(s[0])), step(scalar<T>(s[1])) {}
  [[gnu::always_inline]] void operator()(Vec<T>* x) const {
    x[2] = mul_add(x[1], x[1], x[2]);
    x[0] = x[0] + (step * x[1]) / (sqrt(x[2]) + eps);
  }
};

template <class T, class Rule, bool Decay>
[[gnu::always_inline]] inline void update_all(const T* const* x, T* const* y, size_t n,
                                              const double* scalars) {
  constexpr size_t kWidth = Vec<T>::lanes, kOperands = 2 + Rule::kStates;
  const Rule rule(scalars + kUpdateCommon);
  const Vec<T> sign = scalar<T>(scalars[0]), decay = scalar<T>(scalars[1]);
  // Copied, or every store would make the compiler read the pointers again.
  const T* from[kOperands];
  T* to[kOperands];
#pragma GCC unroll 8
  for (size_t k = 0; k < kOperands; ++k) {
    from[k] = x[k];
    to[k] = k == 1 ? nullptr : y[k == 0 ? 0 : k - 1];
  }
  const auto updated = [&](Vec<T>* v) __attribute__((always_inline)) {
    v[1] = sign * v[1];
    if constexpr (Decay) v[1] = mul_add(decay, v[0], v[1]);
    rule(v);
  };
  size_t i = 0;
  for (; i + kWidth <= n; i += kWidth) {
    Vec<T> v[kOperands];
#pragma GCC unroll 8
    for (size_t k = 0; k < kOperands; ++k) v[k] = Vec<T>::load(from[k] + i);
    updated(v);
#pragma GCC unroll 8
    for (size_t k = 0; k < kOperands; ++k) {
      if (k != 1) v[k].store(to[k] + i);
    }
  }
  if (i == n) return;
  Vec<T> v[kOperands];
#pragma GCC unroll 8
  for (size_t k = 0; k < kOperands; ++k) v[k] = Vec<T>::load_partial(from[k] + i, n - i);
  updated(v);
#pragma GCC unroll 8
  for (size_t k = 0; k < kOperands; ++k) {
    if (k != 1) v[k].store_partial(to[k] + i, n - i);
  }
}

// PyTorch leaves the gradient alone without weight decay, where 0 * parameter would make NaN of an
// infinite parameter.
template <class T, class Rule>
void update(const T* const* x, T* const* y, size_t n, const double* scalars) {
  if (scalars[1] == 0) {
    update_all<T, Rule, false>(x, y, n, scalars);
  } else {
    update_all<T, Rule, true>(x, y, n, scalars);
  }
}

}  // namespace lamella::kernels::LAMELLA_ISA_NAMESPACE
