// SPDX-License-Identifier: Apache-2.0
// Unary functions: one functor each, and the one list that names them.
//
// A functor is made from the activation's numbers and maps a vector to a vector with value(x). One
// with a cheaper way to the same bits for ordinary arguments adds usual(x) and says which they are:
// by kUsual, which their size does not exceed, or by is_usual(x).
// Every element goes through the same vector code wherever it stands, the tail as a partial
// vector, so that a result depends on its element alone. NaN gives NaN throughout.
#pragma once

#include "kernels/cost.h"
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

// Name, functor, how many numbers it takes; what an element costs (cost.h) in float and in double,
// each with SSE2, AVX2 and AVX-512.
// clang-format off
#define LAMELLA_UNARY_FUNCTIONS(row)                                           \
  row("abs",          Abs,          0, (0.07, 0.07, 0.07), (0.14, 0.14, 0.14)) \
  row("neg",          Negative,     0, (0.07, 0.07, 0.07), (0.14, 0.14, 0.14)) \
  row("sign",         Sign,         0, (0.17, 0.08, 0.08), (0.34, 0.16, 0.15)) \
  row("square",       Square,       0, (0.07, 0.07, 0.07), (0.14, 0.14, 0.14)) \
  row("sqrt",         Sqrt,         0, (0.34, 0.17, 0.17), (1.14, 0.57, 0.54)) \
  row("rsqrt",        Rsqrt,        0, (0.56, 0.28, 0.27), (1.83, 0.92, 0.85)) \
  row("reciprocal",   Reciprocal,   0, (0.20, 0.10, 0.10), (0.61, 0.30, 0.30)) \
  row("exp",          Exp,          0, (1.33, 0.17, 0.15), (2.28, 0.86, 0.71)) \
  row("expm1",        Expm1,        0, (1.55, 0.51, 0.40), (2.93, 1.14, 0.79)) \
  row("log",          Log,          0, (12.8, 0.28, 0.23), (3.85, 1.18, 0.82)) \
  row("log1p",        Log1p,        0, (14.7, 0.41, 0.27), (5.55, 1.89, 1.29)) \
  row("erf",          Erf,          0, (1.67, 0.51, 0.24), (6.61, 2.26, 2.12)) \
  row("erfc",         Erfc,         0, (2.82, 1.08, 0.93), (12.5, 3.63, 3.17)) \
  row("sin",          Sin,          0, (2.21, 0.80, 0.59), (4.70, 1.70, 1.09)) \
  row("cos",          Cos,          0, (2.22, 0.82, 0.60), (4.48, 1.65, 1.08)) \
  row("tan",          Tan,          0, (2.61, 0.94, 0.71), (8.65, 2.50, 1.62)) \
  row("asin",         Asin,         0, (3.02, 1.32, 0.85), (4.93, 1.70, 1.07)) \
  row("acos",         Acos,         0, (3.45, 1.52, 1.00), (5.16, 1.83, 1.19)) \
  row("atan",         Atan,         0, (2.58, 1.03, 0.77), (8.08, 2.23, 1.53)) \
  row("sinh",         Sinh,         0, (2.01, 0.86, 0.64), (4.21, 1.69, 1.19)) \
  row("cosh",         Cosh,         0, (1.54, 0.66, 0.56), (3.14, 1.22, 0.86)) \
  row("asinh",        Asinh,        0, (11.2, 4.29, 4.34), (10.5, 3.95, 3.18)) \
  row("acosh",        Acosh,        0, (14.5, 5.23, 4.34), (13.8, 4.75, 3.30)) \
  row("atanh",        Atanh,        0, (8.73, 3.01, 1.96), (8.36, 2.57, 1.78)) \
  row("floor",        Floor,        0, (0.39, 0.07, 0.07), (0.77, 0.14, 0.14)) \
  row("ceil",         Ceil,         0, (0.39, 0.07, 0.07), (0.77, 0.14, 0.14)) \
  row("round",        Round,        0, (0.23, 0.07, 0.07), (0.46, 0.14, 0.14)) \
  row("tanh",         Tanh,         0, (1.40, 0.43, 0.19), (5.18, 1.70, 1.18)) \
  row("sigmoid",      Sigmoid,      0, (1.70, 0.48, 0.22), (5.30, 1.67, 1.17)) \
  row("relu",         Relu,         0, (0.07, 0.07, 0.07), (0.14, 0.14, 0.14)) \
  row("relu6",        Relu6,        0, (0.08, 0.07, 0.07), (0.15, 0.14, 0.14)) \
  row("relu_squared", ReluSquared,  0, (0.07, 0.07, 0.07), (0.14, 0.14, 0.14)) \
  row("leaky_relu",   LeakyRelu,    1, (0.11, 0.07, 0.07), (0.22, 0.15, 0.14)) \
  row("elu",          Elu,          1, (1.76, 0.29, 0.23), (3.15, 1.20, 0.85)) \
  row("selu",         Selu,         0, (1.88, 0.31, 0.27), (3.22, 1.22, 0.86)) \
  row("celu",         Celu,         1, (1.86, 0.66, 0.52), (4.52, 1.57, 1.14)) \
  row("gelu",         Gelu,         0, (2.79, 0.48, 0.22), (14.6, 3.78, 3.30)) \
  row("gelu_tanh",    GeluTanh,     0, (1.96, 0.55, 0.28), (9.30, 2.67, 1.73)) \
  row("silu",         Silu,         0, (1.55, 0.47, 0.22), (5.69, 1.98, 1.32)) \
  row("mish",         Mish,         0, (1.63, 0.53, 0.25), (9.65, 2.86, 1.75)) \
  row("softplus",     Softplus,     2, (2.42, 0.52, 0.25), (9.61, 3.44, 2.64)) \
  row("softsign",     Softsign,     0, (0.21, 0.10, 0.10), (0.61, 0.30, 0.30)) \
  row("hardtanh",     Hardtanh,     2, (0.08, 0.07, 0.07), (0.15, 0.14, 0.14)) \
  row("clamp",        Hardtanh,     2, (0.08, 0.07, 0.07), (0.15, 0.14, 0.14)) \
  row("hardsigmoid",  Hardsigmoid,  0, (0.20, 0.10, 0.10), (0.61, 0.30, 0.30)) \
  row("hardswish",    Hardswish,    0, (0.20, 0.10, 0.10), (0.62, 0.31, 0.30)) \
  row("tanhshrink",   Tanhshrink,   0, (1.64, 0.65, 0.56), (8.03, 2.39, 1.87)) \
  row("softshrink",   Softshrink,   1, (0.22, 0.09, 0.08), (0.44, 0.18, 0.15)) \
  row("hardshrink",   Hardshrink,   1, (0.10, 0.08, 0.07), (0.20, 0.15, 0.15)) \
  row("threshold",    Threshold,    2, (0.10, 0.07, 0.07), (0.20, 0.15, 0.14)) \
  row("logsigmoid",   Logsigmoid,   0, (2.19, 0.46, 0.21), (8.18, 3.22, 2.04))
// clang-format on

}  // namespace lamella::kernels::LAMELLA_ISA_NAMESPACE
