// SPDX-License-Identifier: Apache-2.0
// Unary functions: one functor each, and the one list that names them.
//
// A functor is made from the activation's numbers and maps a vector to a vector with value(x). One
// with a cheaper way to the same bits for ordinary arguments adds usual(x) and says which they are:
// by kUsual, which their size does not exceed, or by is_usual(x).
// Every element goes through the same vector code wherever it stands, the tail as a partial
// vector, so that a result depends on its element alone. NaN gives NaN throughout.
#pragma once

#include "kernels/table.h"
#include "simd/math.h"

namespace lamella::kernels::LAMELLA_ISA_NAMESPACE {

using simd::LAMELLA_ISA_NAMESPACE::Mask;
using simd::LAMELLA_ISA_NAMESPACE::Vec;

template <class T>
inline constexpr T kLargest = T(__DBL_MAX__);
template <>
inline constexpr float kLargest<float> = __FLT_MAX__;

// A functor that takes no numbers.
template <class T>
struct Plain {
  explicit Plain(const T*) {}
};

// ---- functions of simd/math.h
#define LAMELLA_PLAIN(Name, function)                                           \
  template <class T>                                                            \
  struct Name : Plain<T> {                                                      \
    using Plain<T>::Plain;                                                      \
    [[gnu::always_inline]] Vec<T> value(Vec<T> x) const { return function(x); } \
  }
LAMELLA_PLAIN(Abs, abs);
LAMELLA_PLAIN(Sqrt, sqrt);
LAMELLA_PLAIN(Expm1, expm1);
LAMELLA_PLAIN(Erf, erf);
LAMELLA_PLAIN(Erfc, erfc);
LAMELLA_PLAIN(Sin, sin);
LAMELLA_PLAIN(Cos, cos);
LAMELLA_PLAIN(Floor, floor);
LAMELLA_PLAIN(Ceil, ceil);
LAMELLA_PLAIN(Round, round_even);
LAMELLA_PLAIN(Tanhshrink, tanhshrink);
LAMELLA_PLAIN(Tan, tan);
LAMELLA_PLAIN(Asin, asin);
LAMELLA_PLAIN(Acos, acos);
LAMELLA_PLAIN(Atan, atan);
LAMELLA_PLAIN(Sinh, sinh);
LAMELLA_PLAIN(Cosh, cosh);
LAMELLA_PLAIN(Asinh, asinh);
LAMELLA_PLAIN(Acosh, acosh);
LAMELLA_PLAIN(Atanh, atanh);
LAMELLA_PLAIN(Selu, selu);
#undef LAMELLA_PLAIN

template <class T>
struct Exp : Plain<T> {
  using Plain<T>::Plain;
  [[gnu::always_inline]] Vec<T> value(Vec<T> x) const { return exp(x); }
  static constexpr T kUsual = simd::LAMELLA_ISA_NAMESPACE::kExpUsual<T>;
  [[gnu::always_inline]] Vec<T> usual(Vec<T> x) const { return exp_usual(x); }
};
template <class T>
struct Log : Plain<T> {
  using Plain<T>::Plain;
  [[gnu::always_inline]] Vec<T> value(Vec<T> x) const { return log(x); }
  [[gnu::always_inline]] Mask<T> is_usual(Vec<T> x) const { return log_is_usual(x); }
  [[gnu::always_inline]] Vec<T> usual(Vec<T> x) const { return log_usual(x); }
};
template <class T>
struct Log1p : Plain<T> {
  using Plain<T>::Plain;
  [[gnu::always_inline]] Vec<T> value(Vec<T> x) const { return log1p(x); }
};
template <>
struct Log1p<float> : Plain<float> {
  using Plain<float>::Plain;
  [[gnu::always_inline]] Vec<float> value(Vec<float> x) const { return log1p(x); }
  [[gnu::always_inline]] Mask<float> is_usual(Vec<float> x) const { return log1p_is_usual(x); }
  [[gnu::always_inline]] Vec<float> usual(Vec<float> x) const { return log1p_usual(x); }
};
template <class T>
struct Tanh : Plain<T> {
  using Plain<T>::Plain;
  [[gnu::always_inline]] Vec<T> value(Vec<T> x) const { return tanh(x); }
};
template <>
struct Tanh<float> : Plain<float> {
  using Plain<float>::Plain;
  [[gnu::always_inline]] Vec<float> value(Vec<float> x) const { return tanh(x); }
  [[gnu::always_inline]] Mask<float> is_usual(Vec<float> x) const { return tanh_is_usual(x); }
  [[gnu::always_inline]] Vec<float> usual(Vec<float> x) const { return tanh_usual(x); }
};
template <class T>
struct Sigmoid : Plain<T> {
  using Plain<T>::Plain;
  [[gnu::always_inline]] Vec<T> value(Vec<T> x) const { return sigmoid(x); }
};
template <>
struct Sigmoid<float> : Plain<float> {
  using Plain<float>::Plain;
  [[gnu::always_inline]] Vec<float> value(Vec<float> x) const { return sigmoid(x); }
  static constexpr float kUsual = simd::LAMELLA_ISA_NAMESPACE::kSigmoidUsual;
  [[gnu::always_inline]] Vec<float> usual(Vec<float> x) const { return sigmoid_usual(x); }
};
template <class T>
struct Gelu : Plain<T> {
  using Plain<T>::Plain;
  [[gnu::always_inline]] Vec<T> value(Vec<T> x) const { return gelu(x); }
};
template <>
struct Gelu<float> : Plain<float> {
  using Plain<float>::Plain;
  [[gnu::always_inline]] Vec<float> value(Vec<float> x) const { return gelu(x); }
  [[gnu::always_inline]] Mask<float> is_usual(Vec<float> x) const { return gelu_is_usual(x); }
  [[gnu::always_inline]] Vec<float> usual(Vec<float> x) const { return gelu_usual(x); }
};
template <class T>
struct GeluTanh : Plain<T> {
  using Plain<T>::Plain;
  [[gnu::always_inline]] Vec<T> value(Vec<T> x) const { return gelu_tanh(x); }
};
template <>
struct GeluTanh<float> : Plain<float> {
  using Plain<float>::Plain;
  [[gnu::always_inline]] Vec<float> value(Vec<float> x) const { return gelu_tanh(x); }
  static constexpr float kUsual = simd::LAMELLA_ISA_NAMESPACE::kGeluTanhLimit;
  [[gnu::always_inline]] Vec<float> usual(Vec<float> x) const { return gelu_tanh_usual(x); }
};
template <class T>
struct Silu : Plain<T> {
  using Plain<T>::Plain;
  [[gnu::always_inline]] Vec<T> value(Vec<T> x) const { return silu(x); }
};
template <>
struct Silu<float> : Plain<float> {
  using Plain<float>::Plain;
  [[gnu::always_inline]] Vec<float> value(Vec<float> x) const { return silu(x); }
  static constexpr float kUsual = simd::LAMELLA_ISA_NAMESPACE::kSigmoidUsual;
  [[gnu::always_inline]] Vec<float> usual(Vec<float> x) const { return silu_usual(x); }
};
template <class T>
struct Mish : Plain<T> {
  using Plain<T>::Plain;
  [[gnu::always_inline]] Vec<T> value(Vec<T> x) const { return mish(x); }
};
template <>
struct Mish<float> : Plain<float> {
  using Plain<float>::Plain;
  [[gnu::always_inline]] Vec<float> value(Vec<float> x) const { return mish(x); }
  [[gnu::always_inline]] Mask<float> is_usual(Vec<float> x) const { return mish_is_usual(x); }
  [[gnu::always_inline]] Vec<float> usual(Vec<float> x) const { return mish_usual(x); }
};
template <class T>
struct Logsigmoid : Plain<T> {
  using Plain<T>::Plain;
  [[gnu::always_inline]] Vec<T> value(Vec<T> x) const { return logsigmoid(x); }
};
template <>
struct Logsigmoid<float> : Plain<float> {
  using Plain<float>::Plain;
  [[gnu::always_inline]] Vec<float> value(Vec<float> x) const { return logsigmoid(x); }
  [[gnu::always_inline]] Mask<float> is_usual(Vec<float> x) const { return softplus_is_usual(x); }
  [[gnu::always_inline]] Vec<float> usual(Vec<float> x) const { return logsigmoid_usual(x); }
};
// ---- arithmetic
template <class T>
struct Negative : Plain<T> {
  using Plain<T>::Plain;
  [[gnu::always_inline]] Vec<T> value(Vec<T> x) const { return -x; }
};
// 1, -1 or +0.
template <class T>
struct Sign : Plain<T> {
  using Plain<T>::Plain;
  [[gnu::always_inline]] Vec<T> value(Vec<T> x) const {
    using V = Vec<T>;
    const V one = V::broadcast(T(1));
    const V nonzero = select(x == x, copysign(one, x), x);
    return select(x == V::zero(), V::zero(), nonzero);
  }
};
template <class T>
struct Square : Plain<T> {
  using Plain<T>::Plain;
  [[gnu::always_inline]] Vec<T> value(Vec<T> x) const { return x * x; }
};
template <class T>
struct Rsqrt : Plain<T> {
  using Plain<T>::Plain;
  [[gnu::always_inline]] Vec<T> value(Vec<T> x) const { return Vec<T>::broadcast(T(1)) / sqrt(x); }
};
template <class T>
struct Reciprocal : Plain<T> {
  using Plain<T>::Plain;
  [[gnu::always_inline]] Vec<T> value(Vec<T> x) const { return Vec<T>::broadcast(T(1)) / x; }
};

// ---- piecewise linear activations
// max(x, 0); relu(-0) is -0.
template <class T>
struct Relu : Plain<T> {
  using Plain<T>::Plain;
  [[gnu::always_inline]] Vec<T> value(Vec<T> x) const { return at_least(T(0), x); }
};
template <class T>
struct Relu6 : Plain<T> {
  using Plain<T>::Plain;
  [[gnu::always_inline]] Vec<T> value(Vec<T> x) const { return at_most(T(6), at_least(T(0), x)); }
};
template <class T>
struct ReluSquared : Plain<T> {
  using Plain<T>::Plain;
  [[gnu::always_inline]] Vec<T> value(Vec<T> x) const {
    const Vec<T> positive = at_least(T(0), x);
    return positive * positive;
  }
};
template <class T>
struct LeakyRelu {
  Vec<T> slope;
  explicit LeakyRelu(const T* params) : slope(Vec<T>::broadcast(params[0])) {}
  [[gnu::always_inline]] Vec<T> value(Vec<T> x) const {
    return select(x > Vec<T>::zero(), x, x * slope);
  }
};
template <class T>
struct Hardtanh {
  Vec<T> low, high;
  explicit Hardtanh(const T* params)
      : low(Vec<T>::broadcast(params[0])), high(Vec<T>::broadcast(params[1])) {}
  [[gnu::always_inline]] Vec<T> value(Vec<T> x) const {
    return min_or_second(high, max_or_second(low, x));
  }
};
// min(max(x + 3, 0), 6) / 6.
template <class T>
struct Hardsigmoid : Plain<T> {
  using Plain<T>::Plain;
  [[gnu::always_inline]] Vec<T> value(Vec<T> x) const {
    using V = Vec<T>;
    return at_most(T(6), at_least(T(0), x + V::broadcast(T(3)))) / V::broadcast(T(6));
  }
};
// x hardsigmoid(x); -0 for every x <= -3.
template <class T>
struct Hardswish : Plain<T> {
  using Plain<T>::Plain;
  [[gnu::always_inline]] Vec<T> value(Vec<T> x) const {
    using V = Vec<T>;
    const V factor = at_least(T(-3), x);
    return factor * (at_most(T(6), factor + V::broadcast(T(3))) / V::broadcast(T(6)));
  }
};
template <class T>
struct Softshrink {
  Vec<T> lambda;
  explicit Softshrink(const T* params) : lambda(Vec<T>::broadcast(params[0])) {}
  [[gnu::always_inline]] Vec<T> value(Vec<T> x) const {
    const Vec<T> inside = x * Vec<T>::zero();  // keeps NaN
    return select(x > lambda, x - lambda, select(x < -lambda, x + lambda, inside));
  }
};
template <class T>
struct Hardshrink {
  Vec<T> lambda;
  explicit Hardshrink(const T* params) : lambda(Vec<T>::broadcast(params[0])) {}
  [[gnu::always_inline]] Vec<T> value(Vec<T> x) const {
    return select((x >= -lambda) & (x <= lambda), Vec<T>::zero(), x);
  }
};
template <class T>
struct Threshold {
  Vec<T> threshold, replacement;
  explicit Threshold(const T* params)
      : threshold(Vec<T>::broadcast(params[0])), replacement(Vec<T>::broadcast(params[1])) {}
  [[gnu::always_inline]] Vec<T> value(Vec<T> x) const {
    return select(x <= threshold, replacement, x);
  }
};

// ---- activations with a bend
template <class T>
struct Elu {
  Vec<T> alpha;
  explicit Elu(const T* params) : alpha(Vec<T>::broadcast(params[0])) {}
  [[gnu::always_inline]] Vec<T> value(Vec<T> x) const {
    return select(x < Vec<T>::zero(), scaled_expm1(x, alpha), x);
  }
};
template <class T>
struct Celu {
  Vec<T> alpha;
  explicit Celu(const T* params) : alpha(Vec<T>::broadcast(params[0])) {}
  [[gnu::always_inline]] Vec<T> value(Vec<T> x) const {
    using V = Vec<T>;
    return select(x > V::zero(), x, expm1_of_ratio(x, alpha));
  }
};
template <class T>
struct Softplus {
  Vec<T> beta, threshold;
  explicit Softplus(const T* params)
      : beta(Vec<T>::broadcast(params[0])), threshold(Vec<T>::broadcast(params[1])) {}
  [[gnu::always_inline]] Vec<T> value(Vec<T> x) const { return softplus(x, beta, threshold); }
};
template <>
struct Softplus<float> {
  bool plain;  // beta is 1
  Vec<float> beta, threshold, limit;
  explicit Softplus(const float* params)
      : plain(params[0] == 1.0f),
        beta(Vec<float>::broadcast(params[0])),
        threshold(Vec<float>::broadcast(params[1])),
        limit(Vec<float>::broadcast(plain ? 9.6f : 0.0f)) {}
  [[gnu::always_inline]] Vec<float> value(Vec<float> x) const {
    return select(x * beta > threshold, x, plain ? softplus(x) : softplus(x, beta));
  }
  [[gnu::always_inline]] Mask<float> is_usual(Vec<float> x) const { return abs(x) < limit; }
  [[gnu::always_inline]] Vec<float> usual(Vec<float> x) const {
    return select(x > threshold, x, softplus_usual(x));
  }
};
// x / (1 + |x|); +-1 at infinity.
template <class T>
struct Softsign : Plain<T> {
  using Plain<T>::Plain;
  [[gnu::always_inline]] Vec<T> value(Vec<T> x) const {
    using V = Vec<T>;
    const V limited = at_most(kLargest<T>, at_least(-kLargest<T>, x));
    return limited / (V::broadcast(T(1)) + abs(limited));
  }
};

template <class Functor, class T>
[[gnu::always_inline]] inline bool is_usual(const Functor& f, const Vec<T> (&r)[4]) {
  if constexpr (requires { Functor::kUsual; }) {
    return all_within(Functor::kUsual, r);
  } else {
    return all(f.is_usual(r[0]) & f.is_usual(r[1]) & f.is_usual(r[2]) & f.is_usual(r[3]));
  }
}

template <class T, class Functor>
void unary(const T* x, T* y, size_t n, const T* params) {
  using V = Vec<T>;
  constexpr size_t kStep = 4 * V::lanes;  // four independent chains at a time
  const Functor f(params);
  size_t i = 0;
  for (; i + kStep <= n; i += kStep) {
    V r[4];
#pragma GCC unroll 4
    for (size_t j = 0; j < 4; ++j) r[j] = V::load(x + i + j * V::lanes);
    if constexpr (requires { f.usual(r[0]); }) {
      if (is_usual(f, r)) {
#pragma GCC unroll 4
        for (size_t j = 0; j < 4; ++j) r[j] = f.usual(r[j]);
#pragma GCC unroll 4
        for (size_t j = 0; j < 4; ++j) r[j].store(y + i + j * V::lanes);
        continue;
      }
    }
#pragma GCC unroll 4
    for (size_t j = 0; j < 4; ++j) r[j] = f.value(r[j]);
#pragma GCC unroll 4
    for (size_t j = 0; j < 4; ++j) r[j].store(y + i + j * V::lanes);
  }
  for (; i + V::lanes <= n; i += V::lanes) f.value(V::load(x + i)).store(y + i);
  if (i < n) f.value(V::load_partial(x + i, n - i)).store_partial(y + i, n - i);
}

// Name, functor, how many numbers it takes.
// clang-format off
#define LAMELLA_UNARY_FUNCTIONS(row) \
  row("abs", Abs, 0)                 \
  row("neg", Negative, 0)            \
  row("sign", Sign, 0)               \
  row("square", Square, 0)           \
  row("sqrt", Sqrt, 0)               \
  row("rsqrt", Rsqrt, 0)             \
  row("reciprocal", Reciprocal, 0)   \
  row("exp", Exp, 0)                 \
  row("expm1", Expm1, 0)             \
  row("log", Log, 0)                 \
  row("log1p", Log1p, 0)             \
  row("erf", Erf, 0)                 \
  row("erfc", Erfc, 0)               \
  row("sin", Sin, 0)                 \
  row("cos", Cos, 0)                 \
  row("tan", Tan, 0)                 \
  row("asin", Asin, 0)               \
  row("acos", Acos, 0)               \
  row("atan", Atan, 0)               \
  row("sinh", Sinh, 0)               \
  row("cosh", Cosh, 0)               \
  row("asinh", Asinh, 0)             \
  row("acosh", Acosh, 0)             \
  row("atanh", Atanh, 0)             \
  row("floor", Floor, 0)             \
  row("ceil", Ceil, 0)               \
  row("round", Round, 0)             \
  row("tanh", Tanh, 0)               \
  row("sigmoid", Sigmoid, 0)         \
  row("relu", Relu, 0)               \
  row("relu6", Relu6, 0)             \
  row("relu_squared", ReluSquared, 0) \
  row("leaky_relu", LeakyRelu, 1)    \
  row("elu", Elu, 1)                 \
  row("selu", Selu, 0)               \
  row("celu", Celu, 1)               \
  row("gelu", Gelu, 0)               \
  row("gelu_tanh", GeluTanh, 0)      \
  row("silu", Silu, 0)               \
  row("mish", Mish, 0)               \
  row("softplus", Softplus, 2)       \
  row("softsign", Softsign, 0)       \
  row("hardtanh", Hardtanh, 2)       \
  row("clamp", Hardtanh, 2)          \
  row("hardsigmoid", Hardsigmoid, 0) \
  row("hardswish", Hardswish, 0)     \
  row("tanhshrink", Tanhshrink, 0)   \
  row("softshrink", Softshrink, 1)   \
  row("hardshrink", Hardshrink, 1)   \
  row("threshold", Threshold, 2)     \
  row("logsigmoid", Logsigmoid, 0)
// clang-format on

}  // namespace lamella::kernels::LAMELLA_ISA_NAMESPACE
