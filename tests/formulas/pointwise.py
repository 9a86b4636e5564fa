# SPDX-License-Identifier: Apache-2.0
"""Functions of one element, or of elements that stand at the same place."""

from __future__ import annotations

import math

import numpy as np
from mpmath import mpf

from cases.elementwise import INF, UNARY
from formulas.formula import Formula, call, draw, formula
from lamella import functional as F

X, Y, ROW = draw(4, 6), draw(4, 6, seed=1), draw(6, seed=2)
POSITIVE, UNIT = draw(4, 6, low=0.25), draw(4, 6, low=-0.9, high=0.9)
SMALL = draw(4, 6, low=-1.2, high=1.2)
CORNERS = np.float32([-6, -3, -1, -0.5, 0, 0.5, 1, 3, 6, 8, 25, -25])
TRUE, FALSE = draw(4, 6, seed=3) > 0, draw(4, 6, seed=4) > 0
BITS, OTHER = (np.random.default_rng(110 + i).integers(-99, 99, (4, 6)) for i in (0, 1))
SHIFTS = np.array([0, 1, 7, 63, 64, -1])
EQUAL = np.where(TRUE, X, Y)

_erf = np.vectorize(math.erf)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def _gelu(x, approximate="none"):
    if approximate == "tanh":
        return x / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))
    return x / 2 * (1 + _erf(x / np.sqrt(2)))


def _elu(x, alpha=1.0):
    return np.where(x > 0, x, alpha * (np.exp(np.minimum(x, 0)) - 1))


def _celu(x, alpha=1.0):
    return np.maximum(x, 0) + np.minimum(0, alpha * (np.exp(x / alpha) - 1))


def _softplus(x, beta=1.0, threshold=20.0):
    return np.where(x * beta > threshold, x, np.log1p(np.exp(np.minimum(beta * x, 700))) / beta)


def _glu(x, dim=-1):
    value, gate = np.split(x, 2, dim)
    return value * sigmoid(gate)


def _prelu(x, weight):
    slopes = weight.reshape(-1) if weight.size == 1 else weight.reshape(-1, *[1] * (x.ndim - 2))
    return np.where(x > 0, x, slopes * x)


def _maxout(x, num_pieces, dim=-1):
    x = np.moveaxis(x, dim, -1)
    best = [x[..., i::num_pieces] for i in range(num_pieces)]
    return np.moveaxis(np.max(best, 0), -1, dim)


def _softshrink(x, lambd=0.5):
    return np.sign(x) * np.maximum(np.abs(x) - lambd, 0)


def _clamp(x, min=None, max=None):
    x = x if min is None else np.maximum(x, min)
    return x if max is None else np.minimum(x, max)


def _div(x, y, rounding_mode=None):
    return np.floor(x / y) if rounding_mode == "floor" else x / y


def _filled(number):
    def of(*size, dtype=float):
        return np.full(size[0] if isinstance(size[0], tuple) else size, number, dtype)

    return of


def _arange(start, end=None, step=1, dtype=None):
    first, last = (0, start) if end is None else (start, end)
    count = math.ceil((last - first) / step)
    return np.array([first + step * i for i in range(count)], dtype or type(first + step))


def _dropout(x, p=0.5, training=True):
    return x if not training else x / (1 - p) if p < 1 else np.zeros_like(x)


def _one(of, x=X, *more):
    return formula(of, call(x), *more)


def _two(of, *more):
    return formula(of, call(X, Y), call(X, ROW), call(ROW, X), call(X, 1.5), call(1.5, X), *more)


def _exact(name):
    """The function of one element whose oracle in mpmath stands in cases/elementwise.py."""
    row = UNARY[name]
    low, high = row.domain
    points = np.concatenate([X.ravel(), CORNERS, 4.0 + X.ravel()])
    exact = np.vectorize(lambda v: float(row.exact(mpf(float(v)))), otypes=[float])
    points = points[(points > low) & (points < high)]
    return _one(exact, points[points != 0] if row.special[2] in (INF, -INF) else points)


# Arrays made of a shape: the dtype of the default is that of the kind of number.
FILLED = {
    "zeros": formula(_filled(0), call(2, 3), call((4,)), call(2, dtype="int32")),
    "ones": formula(_filled(1), call(2, 3), call((4,)), call(2, dtype="bool")),
    "full": formula(
        lambda size, value, dtype=None: np.full(size, value, dtype),
        *(call((2, 3), 2.5), call((4,), 7), call((2,), True), call((3,), 7, dtype="uint8")),
    ),
    "zeros_like": formula(np.zeros_like, call(X), call(BITS), call(X, dtype="int8")),
    "ones_like": formula(np.ones_like, call(X), call(BITS), call(X, dtype="int8")),
    "full_like": formula(np.full_like, call(X, 2.5), call(BITS, 7), call(X, 7, dtype="int8")),
    "arange": formula(
        _arange,
        *(call(5), call(2, 9), call(1, 9, 3), call(9, 1, -3), call(0.5, 2, 0.25), call(3, 3)),
        call(5, dtype="int8"),
    ),
    "eye": formula(
        lambda n, m=None, dtype=float: np.eye(n, m, dtype=dtype),
        *(call(3), call(3, 5), call(3, 2, dtype="int64")),
    ),
}

FORMULAS: dict[str, Formula] = {
    # Every function of one element that takes no numbers; those that do have a row.
    **{n: _exact(n) for n, row in UNARY.items() if row.params == ((),) and n in F.__all__},
    "celu": _one(_celu, X, call(X, 0.5), call(CORNERS, alpha=2.0)),
    "elu": _one(_elu, X, call(X, 0.5), call(CORNERS, alpha=2.0)),
    "gelu": _one(_gelu, X, call(X, "tanh"), call(CORNERS, approximate="tanh")),
    "glu": _one(_glu, X, call(X, 0), call(draw(2, 4, 3), 1)),
    "hardshrink": _one(lambda x, lambd=0.5: x * (np.abs(x) > lambd), X, call(CORNERS, 1.0)),
    "hardtanh": _one(
        lambda x, min_val=-1.0, max_val=1.0: np.clip(x, min_val, max_val), X, call(X, -0.5, 2.0)
    ),
    "leaky_relu": _one(
        lambda x, negative_slope=0.01: np.where(x > 0, x, negative_slope * x), X, call(X, 0.2)
    ),
    "maxout": formula(_maxout, call(X, 3), call(X, 2, 0), call(draw(2, 6, 3), 3, dim=1)),
    "prelu": formula(
        _prelu,
        call(X, np.float32([0.3])),
        call(X, ROW),
        call(draw(2, 3, 4), draw(3, seed=5)),
    ),
    "softplus": _one(_softplus, X, call(X, 2.0, 3.0), call(CORNERS, threshold=0.75, beta=0.5)),
    "softshrink": _one(_softshrink, X, call(CORNERS, 1.0)),
    "threshold": formula(lambda x, t, v: np.where(x > t, x, v), call(X, 0.5, -2.0)),
    "add": _two(lambda x, y, alpha=1: x + alpha * y, call(X, Y, alpha=0.5)),
    "sub": _two(lambda x, y, alpha=1: x - alpha * y, call(X, Y, alpha=0.5)),
    "mul": _two(np.multiply),
    "div": _two(_div, call(X, Y, rounding_mode="floor")),
    "floor_divide": _two(lambda x, y: np.floor(x / y)),
    "remainder": _two(lambda x, y: x - y * np.floor(x / y)),
    "pow": formula(np.power, call(POSITIVE, Y), call(POSITIVE, 2.5), call(1.5, X), call(X, 2)),
    "maximum": _two(np.maximum),
    "minimum": _two(np.minimum),
    "clamp": formula(
        _clamp, call(X, -1.0, 0.5), call(X, max=Y), call(X, Y), call(X, max=0.5), call(X, ROW, 1.0)
    ),
    "eq": _two(np.equal, call(X, EQUAL)),
    "ne": _two(np.not_equal, call(X, EQUAL)),
    "ge": _two(np.greater_equal, call(X, EQUAL)),
    "gt": _two(np.greater, call(X, EQUAL)),
    "le": _two(np.less_equal, call(X, EQUAL)),
    "lt": _two(np.less, call(X, EQUAL)),
    "logical_and": formula(np.logical_and, call(TRUE, FALSE), call(TRUE, FALSE[0])),
    "logical_or": formula(np.logical_or, call(TRUE, FALSE), call(TRUE, FALSE[0])),
    "logical_xor": formula(np.logical_xor, call(TRUE, FALSE), call(TRUE, FALSE[0])),
    "logical_not": formula(np.logical_not, call(TRUE)),
    "bitwise_and": formula(np.bitwise_and, call(BITS, OTHER), call(BITS, 5), call(TRUE, FALSE)),
    "bitwise_or": formula(np.bitwise_or, call(BITS, OTHER), call(BITS, 5), call(TRUE, FALSE)),
    "bitwise_xor": formula(np.bitwise_xor, call(BITS, OTHER), call(BITS, 5), call(TRUE, FALSE)),
    "bitwise_not": formula(np.bitwise_not, call(BITS), call(TRUE)),
    "bitwise_left_shift": formula(np.left_shift, call(BITS, SHIFTS), call(BITS, 3)),
    "bitwise_right_shift": formula(np.right_shift, call(BITS, SHIFTS), call(BITS, 3)),
    **FILLED,
    "where": formula(np.where, call(TRUE, X, Y), call(TRUE, X, 0.5), call(TRUE[:, :1], ROW, Y)),
    "dropout": formula(
        _dropout, call(X, training=False), call(X, 0.0), call(X, 1.0), call(X, 0.3, False)
    ),
}
