// SPDX-License-Identifier: Apache-2.0
// Elementary functions on Vec<float> and Vec<double>, one name for both.
//
// float: the same bits on every ISA with FMA (only correctly rounded operations and fma are used),
// within the same bounds on the others; no flushing, IEEE special values. Bounds, checked by
// tests/cpp/ulp_sweep.cpp, which takes all 2^32 inputs with --stride 1:
//   exp expm1 log log1p tanh sigmoid erf                                          1.0 ULP
//   erfc gelu gelu_tanh silu mish softplus logsigmoid tanhshrink elu selu celu    2.0 ULP
// Measured: exp, log and log1p 0.93, tanh 0.89, sigmoid 0.97, erf 0.77, softplus and logsigmoid
// 1.39, elu 1.45, selu 1.62, mish 1.81, gelu 1.86, gelu_tanh 1.87, silu 1.92; the others, which run in
// double, 0.50 to 0.67, as all but log and log1p do without FMA.
// double: the same promises, the same bounds; tested at random, as 2^64 inputs are too many. In both
// types 1.0 for sin cos tan asin acos atan sinh cosh asinh acosh atanh. pow is the C library's.
// Limits, not indeterminate forms, decide at infinity: silu(-inf) = gelu(-inf) = -0.
#pragma once

#include "simd/arc.h"
#include "simd/erf.h"
#include "simd/erf_double.h"
#include "simd/exp.h"
#include "simd/hyperbolic.h"
#include "simd/log.h"
#include "simd/log_double.h"
#include "simd/sigmoid.h"
#include "simd/sigmoid_double.h"
#include "simd/tanh.h"
#include "simd/trigonometry.h"
