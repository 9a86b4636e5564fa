# SPDX-License-Identifier: Apache-2.0
"""The tables of elementwise functions: name, numbers, meaning, accuracy.

One row here and one functor in C++ make a function: eager call, fused epilogue, every instruction
set, the gradient and every test follow. Names and parameter names are torch's. References are NumPy
float64 and keep NaN, infinities and signed zeros as IEEE 754 does. `ulp` bounds the error of the
kernels of both precisions in units in the last place, rounding included; `domain` is where test
data is drawn from; slopes are formulas of other rows (slopes.py). What functions mean on integers
and truth values stands in tables of their own: NumPy's rules, exact.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from lamella.ir.types import Array
from lamella.ops import slopes
from lamella.ops.slopes import SELU_ALPHA, SELU_SCALE

if TYPE_CHECKING:
    from lamella.ops.elementwise import Term

__all__ = [
    "BINARY",
    "BITWISE",
    "COMPARE",
    "INTEGER",
    "LOGICAL",
    "TRUTH",
    "UNARY",
    "BinaryRow",
    "UnaryRow",
]


@dataclass(frozen=True, slots=True)
class UnaryRow:
    """A function of one number and of constants: `reference(x, *params)`.

    slope: the gradient of x from `slope(x, y, dy, *params)`.
    """

    reference: Callable[..., Array]
    slope: Callable[..., Term]
    domain: tuple[float, float] = (-10.0, 10.0)
    ulp: float = 1.0
    params: tuple[str, ...] = ()
    defaults: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class BinaryRow:
    """A function of two numbers: `reference(a, b)`; domains of the first and the second.

    slopes: the gradients of a and b from `slopes(a, b, y, dy)`, in the result's shape.
    """

    reference: Callable[[Array, Array], Array]
    slopes: Callable[[Term, Term, Term, Term], tuple[Term, Term]]
    ulp: float = 0.5
    domains: tuple[tuple[float, float], tuple[float, float]] = ((-10.0, 10.0), (-10.0, 10.0))


_vector_erf = np.vectorize(math.erf, otypes=[np.float64])
_vector_erfc = np.vectorize(math.erfc, otypes=[np.float64])

_TWO_BY_ROOT_PI = 2.0 / math.sqrt(math.pi)


def _relu(x: Array) -> Array:
    return np.where(x > 0, x, np.where(np.isnan(x), x, 0.0))


def _sigmoid(x: Array) -> Array:
    # Both branches from exp(-|x|) <= 1: nothing overflows and small results keep their digits.
    e = np.exp(-np.abs(x))
    return np.where(x >= 0, 1.0, e) / (1.0 + e)


def _softplus(x: Array, beta: float, threshold: float) -> Array:
    scaled = x * beta
    smooth = (np.maximum(scaled, 0.0) + np.log1p(np.exp(-np.abs(scaled)))) / beta
    return np.where(scaled > threshold, x, smooth)


def _logsigmoid(x: Array) -> Array:
    return np.minimum(x, 0.0) - np.log1p(np.exp(-np.abs(x)))


def _gelu(x: Array) -> Array:
    # Through erfc, which keeps the digits of the negative tail; -inf gives -0.
    tail = 0.5 * _vector_erfc(-x / math.sqrt(2.0))
    return np.where(np.isneginf(x), -0.0, x * tail)


def _gelu_tanh(x: Array) -> Array:
    # 0.5 (1 + tanh u) = sigmoid(2u), which keeps the digits of the negative tail.
    inner = math.sqrt(2.0 / math.pi) * (x + 0.044715 * x**3)
    return np.where(np.isneginf(x), -0.0, x * _sigmoid(2.0 * inner))


def _silu(x: Array) -> Array:
    return np.where(np.isneginf(x), -0.0, x * _sigmoid(x))


def _mish(x: Array) -> Array:
    # tanh(log1p(e^x)) = (w^2 - 1) / (w^2 + 1) with w = 1 + e^x, written without cancellation.
    e = np.exp(-np.abs(x))
    positive = (1.0 + 2.0 * e) / (1.0 + 2.0 * e + 2.0 * e * e)
    negative = e * (e + 2.0) / (e * (e + 2.0) + 2.0)
    return np.where(np.isneginf(x), -0.0, x * np.where(x >= 0, positive, negative))


def _elu(x: Array, alpha: float) -> Array:
    return np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0.0)))


def _celu(x: Array, alpha: float) -> Array:
    return np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0.0) / alpha))


def _selu(x: Array) -> Array:
    return np.where(x > 0, SELU_SCALE * x, SELU_SCALE * SELU_ALPHA * np.expm1(np.minimum(x, 0.0)))


def _hardtanh(x: Array, min_val: float, max_val: float) -> Array:
    return np.minimum(np.maximum(x, min_val), max_val)


def _hardsigmoid(x: Array) -> Array:
    return np.minimum(np.maximum(x + 3.0, 0.0), 6.0) / 6.0


def _hardswish(x: Array) -> Array:
    return np.where(x <= -3.0, np.copysign(0.0, x), np.where(x >= 3.0, x, x * _hardsigmoid(x)))


def _softshrink(x: Array, lambd: float) -> Array:
    shrunk = np.where(x > lambd, x - lambd, np.where(x < -lambd, x + lambd, 0.0))
    return np.where(np.isnan(x), x, shrunk)


def _hardshrink(x: Array, lambd: float) -> Array:
    return np.where((x >= -lambd) & (x <= lambd), 0.0, x)


def _threshold(x: Array, threshold: float, value: float) -> Array:
    return np.where(x <= threshold, value, x)


def _softsign(x: Array) -> Array:
    # x / (1 + |x|) would be NaN at the infinities; its limit is meant.
    return np.where(np.isinf(x), np.sign(x), x / (1.0 + np.abs(x)))


def _flat(x: Term, y: Term, dy: Term) -> Term:
    """The slope of steps."""
    return dy.zeros()


def _bell(x: Term, dy: Term, scale: float) -> Term:
    """scale exp(-x^2), the slope of the error functions."""
    return dy * ((-x.unary("square")).unary("exp") * scale)


UNARY: dict[str, UnaryRow] = {
    "abs": UnaryRow(np.abs, lambda x, y, dy: dy * x.unary("sign"), ulp=0.0),
    "neg": UnaryRow(np.negative, lambda x, y, dy: -dy, ulp=0.0),
    "sign": UnaryRow(np.sign, _flat, ulp=0.0),
    "square": UnaryRow(np.square, lambda x, y, dy: dy * (x * 2.0), ulp=0.5),
    "sqrt": UnaryRow(np.sqrt, lambda x, y, dy: dy / (y * 2.0), domain=(0.0, 100.0), ulp=0.5),
    "rsqrt": UnaryRow(
        lambda x: 1.0 / np.sqrt(x),
        lambda x, y, dy: dy * (y * -0.5 * y.unary("square")),
        domain=(1e-3, 100.0),
        ulp=1.5,
    ),
    "reciprocal": UnaryRow(
        np.reciprocal, lambda x, y, dy: dy * -y.unary("square"), domain=(0.1, 10.0), ulp=0.5
    ),
    "exp": UnaryRow(np.exp, lambda x, y, dy: dy * y, domain=(-87.0, 88.0)),
    # y + 1 would lose the digits of the tail.
    "expm1": UnaryRow(np.expm1, lambda x, y, dy: dy * x.unary("exp"), domain=(-10.0, 80.0)),
    "log": UnaryRow(np.log, lambda x, y, dy: dy / x, domain=(1e-6, 1e6)),
    "log1p": UnaryRow(np.log1p, lambda x, y, dy: dy / (x + 1.0), domain=(-0.99, 1e3)),
    "erf": UnaryRow(
        _vector_erf, lambda x, y, dy: _bell(x, dy, _TWO_BY_ROOT_PI), domain=(-4.0, 4.0)
    ),
    "erfc": UnaryRow(
        _vector_erfc, lambda x, y, dy: _bell(x, dy, -_TWO_BY_ROOT_PI), domain=(-4.0, 9.0), ulp=2.0
    ),
    "sin": UnaryRow(np.sin, lambda x, y, dy: dy * x.unary("cos"), domain=(-100.0, 100.0)),
    "cos": UnaryRow(np.cos, lambda x, y, dy: dy * -x.unary("sin"), domain=(-100.0, 100.0)),
    "tan": UnaryRow(np.tan, lambda x, y, dy: dy * (y.unary("square") + 1.0), domain=(-1.5, 1.5)),
    "asin": UnaryRow(np.arcsin, lambda x, y, dy: dy * slopes.arcsine(x), domain=(-0.999, 0.999)),
    "acos": UnaryRow(np.arccos, lambda x, y, dy: -dy * slopes.arcsine(x), domain=(-0.999, 0.999)),
    "atan": UnaryRow(np.arctan, slopes.atan),
    "sinh": UnaryRow(np.sinh, lambda x, y, dy: dy * x.unary("cosh"), domain=(-80.0, 80.0)),
    "cosh": UnaryRow(np.cosh, lambda x, y, dy: dy * x.unary("sinh"), domain=(-80.0, 80.0)),
    "asinh": UnaryRow(np.arcsinh, slopes.asinh, domain=(-100.0, 100.0)),
    "acosh": UnaryRow(np.arccosh, slopes.acosh, domain=(1.01, 100.0)),
    "atanh": UnaryRow(
        np.arctanh, lambda x, y, dy: dy / ((1.0 - x) * (x + 1.0)), domain=(-0.999, 0.999)
    ),
    "floor": UnaryRow(np.floor, _flat, ulp=0.0),
    "ceil": UnaryRow(np.ceil, _flat, ulp=0.0),
    "round": UnaryRow(np.rint, _flat, ulp=0.0),
    "tanh": UnaryRow(np.tanh, lambda x, y, dy: dy * (1.0 - y.unary("square"))),
    "sigmoid": UnaryRow(_sigmoid, lambda x, y, dy: dy * (y * (1.0 - y)), domain=(-80.0, 80.0)),
    "relu": UnaryRow(_relu, lambda x, y, dy: dy.drop(y <= 0.0), ulp=0.0),
    "relu6": UnaryRow(
        lambda x: _hardtanh(x, 0.0, 6.0), lambda x, y, dy: slopes.inside(y, dy, 0.0, 6.0), ulp=0.0
    ),
    "relu_squared": UnaryRow(
        lambda x: _relu(x) ** 2, lambda x, y, dy: (dy * (x * 2.0)).drop(x <= 0.0), ulp=0.5
    ),
    "leaky_relu": UnaryRow(
        lambda x, negative_slope: np.where(x > 0, x, x * negative_slope),
        slopes.leaky_relu,
        ulp=0.5,
        params=("negative_slope",),
        defaults=(0.01,),
    ),
    "elu": UnaryRow(_elu, slopes.elu, ulp=2.0, params=("alpha",), defaults=(1.0,)),
    "selu": UnaryRow(_selu, slopes.selu, ulp=2.0),
    "celu": UnaryRow(_celu, slopes.celu, ulp=2.0, params=("alpha",), defaults=(1.0,)),
    "gelu": UnaryRow(_gelu, slopes.gelu, ulp=2.0),
    "gelu_tanh": UnaryRow(_gelu_tanh, slopes.gelu_tanh, domain=(-4.0, 10.0), ulp=2.0),
    "silu": UnaryRow(_silu, slopes.silu, domain=(-80.0, 80.0), ulp=2.0),
    "mish": UnaryRow(_mish, slopes.mish, domain=(-80.0, 80.0), ulp=2.0),
    "softplus": UnaryRow(
        _softplus,
        slopes.softplus,
        domain=(-80.0, 40.0),
        ulp=2.0,
        params=("beta", "threshold"),
        defaults=(1.0, 20.0),
    ),
    "softsign": UnaryRow(
        _softsign,
        lambda x, y, dy: dy * (x.unary("abs") + 1.0).unary("reciprocal").unary("square"),
        ulp=1.5,
    ),
    "hardtanh": UnaryRow(
        _hardtanh,
        lambda x, y, dy, min_val, max_val: slopes.inside(y, dy, min_val, max_val),
        ulp=0.0,
        params=("min_val", "max_val"),
        defaults=(-1.0, 1.0),
    ),
    # hardtanh, but for the slope at its bounds.
    "clamp": UnaryRow(
        _hardtanh,
        slopes.clamp,
        ulp=0.0,
        params=("min", "max"),
        defaults=(-math.inf, math.inf),
    ),
    "hardsigmoid": UnaryRow(
        _hardsigmoid,
        lambda x, y, dy: slopes.inside(x, dy * (1.0 / 6.0), -3.0, 3.0),
        domain=(-2.9, 10.0),
        ulp=1.5,
    ),
    "hardswish": UnaryRow(_hardswish, slopes.hardswish, domain=(-2.9, 10.0), ulp=2.0),
    "tanhshrink": UnaryRow(
        lambda x: x - np.tanh(x),
        lambda x, y, dy: dy * x.unary("tanh").unary("square"),
        domain=(1.0, 10.0),
        ulp=2.0,
    ),
    "softshrink": UnaryRow(
        _softshrink,
        lambda x, y, dy, lambd: dy.drop(y.equals(0.0)),
        ulp=0.5,
        params=("lambd",),
        defaults=(0.5,),
    ),
    "hardshrink": UnaryRow(
        _hardshrink, slopes.hardshrink, ulp=0.0, params=("lambd",), defaults=(0.5,)
    ),
    # torch has no defaults for these two; the row's are relu.
    "threshold": UnaryRow(
        _threshold,
        slopes.threshold,
        ulp=0.0,
        params=("threshold", "value"),
        defaults=(0.0, 0.0),
    ),
    "logsigmoid": UnaryRow(
        _logsigmoid, lambda x, y, dy: dy * (-x).unary("sigmoid"), domain=(-80.0, 80.0), ulp=2.0
    ),
}

_NONZERO = (0.1, 10.0)

BINARY: dict[str, BinaryRow] = {
    "add": BinaryRow(np.add, lambda a, b, y, dy: (dy, dy)),
    "sub": BinaryRow(np.subtract, lambda a, b, y, dy: (dy, -dy)),
    "mul": BinaryRow(np.multiply, lambda a, b, y, dy: (dy * b, dy * a)),
    "div": BinaryRow(
        np.divide,
        lambda a, b, y, dy: (dy / b, -dy * (y / b)),
        domains=((-10.0, 10.0), _NONZERO),
    ),
    "pow": BinaryRow(np.power, slopes.pow, ulp=1.0, domains=(_NONZERO, (-5.0, 5.0))),
    "maximum": BinaryRow(np.maximum, slopes.maximum, ulp=0.0),
    "minimum": BinaryRow(np.minimum, slopes.minimum, ulp=0.0),
    # The same, but where both are equal the first takes all: the second is a bound.
    "clamp_min": BinaryRow(
        np.maximum, lambda a, b, y, dy: (dy.keep(a >= b), dy.keep(a < b)), ulp=0.0
    ),
    "clamp_max": BinaryRow(
        np.minimum, lambda a, b, y, dy: (dy.keep(a <= b), dy.keep(a > b)), ulp=0.0
    ),
    "remainder": BinaryRow(
        np.remainder,
        lambda a, b, y, dy: (dy, -dy * a.binary("floor_divide", b)),
        ulp=0.5,
        domains=((-10.0, 10.0), _NONZERO),
    ),
    "floor_divide": BinaryRow(
        np.floor_divide,
        lambda a, b, y, dy: (dy.zeros(), dy.zeros()),
        ulp=0.0,
        domains=((-10.0, 10.0), _NONZERO),
    ),
}

COMPARE: dict[str, Callable[[Any, Any], Array]] = {
    "eq": np.equal,
    "ne": np.not_equal,
    "lt": np.less,
    "le": np.less_equal,
    "gt": np.greater,
    "ge": np.greater_equal,
}

LOGICAL: dict[str, Callable[..., Array]] = {
    "logical_and": np.logical_and,
    "logical_or": np.logical_or,
    "logical_xor": np.logical_xor,
    "logical_not": np.logical_not,
}


def _integer_power(base: Array, exponent: Array) -> Array:
    """base ** exponent, wrapped; below 0 what is left of the fraction: 0, or 1 and -1 of those."""
    base, exponent = np.broadcast_arrays(base, exponent)
    y = np.power(base, np.maximum(exponent, 0))
    odd = (exponent & 1).astype(bool)
    whole = np.where(base == 1, 1, np.where(base == -1, np.where(odd, -1, 1), 0))
    return np.where(exponent < 0, whole.astype(base.dtype), y)


# What functions mean on integers, in the operands' own type: sums, differences and products wrap
# around, quotients are rounded down and 0 where the divisor is, shifts by all bits leave the sign.
INTEGER: dict[str, Callable[..., Array]] = {
    "abs": np.abs,
    "neg": np.negative,
    "sign": np.sign,
    "square": np.square,
    "relu": lambda x: np.maximum(x, np.zeros((), x.dtype)),
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "pow": _integer_power,
    "floor_divide": np.floor_divide,
    "remainder": np.remainder,
    "maximum": np.maximum,
    "minimum": np.minimum,
    "clamp_min": np.maximum,
    "clamp_max": np.minimum,
}

# Functions of the bits of integers; of truth values, those of LOGICAL (see TRUTH).
BITWISE: dict[str, Callable[..., Array]] = {
    "bitwise_and": np.bitwise_and,
    "bitwise_or": np.bitwise_or,
    "bitwise_xor": np.bitwise_xor,
    "bitwise_not": np.bitwise_not,
    "left_shift": np.left_shift,
    "right_shift": np.right_shift,
}

# What a function is on truth values: for sums and products one of LOGICAL.
TRUTH: dict[str, str] = {
    "add": "logical_or",
    "mul": "logical_and",
    "maximum": "maximum",
    "minimum": "minimum",
    "bitwise_and": "logical_and",
    "bitwise_or": "logical_or",
    "bitwise_xor": "logical_xor",
    "bitwise_not": "logical_not",
}
