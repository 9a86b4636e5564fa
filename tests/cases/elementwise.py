# SPDX-License-Identifier: Apache-2.0
"""Elementwise functions: their exact values, sample points, limits and special values.

The oracle is mpmath at 200 bits, rounded to an 80-bit longdouble: independent of the library's
NumPy references and precise enough for both dtypes. `limit` is the error that DESIGN.md promises in
units in the last place; where it promises none, what a careful libm reaches. A row of the library
may state a smaller bound and is then held to that.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
from mpmath import mp, mpf

mp.prec = 200

INF, NAN = float("inf"), float("nan")
# Marks a zero whose sign is free.
ANY_ZERO = "any zero"
# Where exponentials overflow or underflow, tails begin and rounding changes.
HARD_SPOTS = (0.5, 1, 1.5, 2, 2.5, 3, 5.5, 5.9, 6, 9.0109, 9.19, 13, 16.6, 20, 27.2, 38.4)
HARD_SPOTS += (5.1, 6.25, 9.03, 11.6, 0.6931472, 87.3, 88.7, 103.9, 709.7, 745.1)


@dataclass(frozen=True)
class Unary:
    """exact: the function on mpmath numbers. special: values at inf, -inf, 0, -0.

    zero: the zero that stands for an exact 0 at a non-zero argument. params: sets to be tried.
    """

    exact: Callable[..., object]
    special: tuple[object, object, object, object]
    limit: float = 0.5
    domain: tuple[float, float] = (-INF, INF)
    zero: object = 0.0
    params: tuple[tuple[float, ...], ...] = ((),)


def _bounded(x: mpf, limit: int = 20000) -> mpf:
    """Far arguments of functions that have saturated long before."""
    return mp.mpf(limit) if x > limit else -mp.mpf(limit) if x < -limit else x


def _sigmoid(x):
    e = mp.exp(-abs(_bounded(x)))
    return 1 / (1 + e) if x >= 0 else e / (1 + e)


def _softplus(x, beta=1, threshold=INF):
    scaled = x * beta
    if scaled > threshold:
        return x
    return (max(scaled, 0) + mp.log1p(mp.exp(-abs(_bounded(scaled))))) / beta


def _gelu(x):
    return x * mp.erfc(-_bounded(x, 300) / mp.sqrt(2)) / 2


def _gelu_tanh(x):
    inner = mp.sqrt(2 / mp.pi) * (x + mp.mpf("0.044715") * x**3)
    return x * _sigmoid(2 * inner)


def _mish(x):
    e = mp.exp(-abs(_bounded(x)))
    if x >= 0:  # tanh(log(1 + exp(x))) without its intermediate overflow
        return x * (1 + 2 * e) / (1 + 2 * e + 2 * e * e)
    return x * (e * e + 2 * e) / (e * e + 2 * e + 2)


def _tanh(x):
    return mp.tanh(_bounded(x))


def _tanhshrink(x):
    if abs(x) < mp.mpf(2) ** -30:
        return x**3 / 3 - 2 * x**5 / 15 + 17 * x**7 / 315
    return x - _tanh(x)


def _hardsigmoid(x):
    return min(max(x + 3, mp.mpf(0)), mp.mpf(6)) / 6


def _expm1(x):
    return mp.expm1(_bounded(x))


_SELU_ALPHA = mp.mpf("1.6732632423543772848170429916717")
_SELU_SCALE = mp.mpf("1.0507009873554804934193349852946")


def _exactly(function: Callable[[float], float]) -> Callable[[mpf], float]:
    """A function whose value is a float64 for a float64 argument."""
    return lambda x: function(float(x))


# Names and parameters are torch's; threshold is given as (threshold, value).
UNARY: dict[str, Unary] = {
    "abs": Unary(abs, (INF, INF, 0.0, 0.0)),
    "neg": Unary(lambda x: -x, (-INF, INF, -0.0, 0.0)),
    "sign": Unary(mp.sign, (1, -1, 0.0, ANY_ZERO)),
    "square": Unary(lambda x: x * x, (INF, INF, 0.0, 0.0)),
    "sqrt": Unary(mp.sqrt, (INF, NAN, 0.0, -0.0), domain=(0, INF)),
    "rsqrt": Unary(lambda x: 1 / mp.sqrt(x), (0.0, NAN, INF, -INF), 2, (0, INF)),
    "reciprocal": Unary(lambda x: 1 / x, (0.0, -0.0, INF, -INF)),
    "exp": Unary(lambda x: mp.exp(_bounded(x)), (INF, 0.0, 1, 1), 1),
    "expm1": Unary(_expm1, (INF, -1, 0.0, -0.0), 1),
    "log": Unary(mp.log, (INF, NAN, -INF, -INF), 1, (0, INF)),
    "log1p": Unary(mp.log1p, (INF, NAN, 0.0, -0.0), 1, (-1, INF)),
    "erf": Unary(lambda x: mp.erf(_bounded(x, 300)), (1, -1, 0.0, -0.0), 1),
    "erfc": Unary(lambda x: mp.erfc(_bounded(x, 300)), (0.0, 2, 1, 1), 2),
    "sin": Unary(mp.sin, (NAN, NAN, 0.0, -0.0), 2),
    "cos": Unary(mp.cos, (NAN, NAN, 1, 1), 2),
    "tan": Unary(mp.tan, (NAN, NAN, 0.0, -0.0), 1),
    "asin": Unary(mp.asin, (NAN, NAN, 0.0, -0.0), 1, (-1, 1)),
    "acos": Unary(mp.acos, (NAN, NAN, float(mp.pi / 2), float(mp.pi / 2)), 1, (-1, 1)),
    "atan": Unary(mp.atan, (float(mp.pi / 2), float(-mp.pi / 2), 0.0, -0.0), 1),
    "sinh": Unary(lambda x: mp.sinh(_bounded(x)), (INF, -INF, 0.0, -0.0), 1),
    "cosh": Unary(lambda x: mp.cosh(_bounded(x)), (INF, INF, 1, 1), 1),
    "asinh": Unary(mp.asinh, (INF, -INF, 0.0, -0.0), 1),
    "acosh": Unary(mp.acosh, (INF, NAN, NAN, NAN), 1, (1, INF)),
    "atanh": Unary(mp.atanh, (NAN, NAN, 0.0, -0.0), 1, (-1, 1)),
    "floor": Unary(_exactly(np.floor), (INF, -INF, 0.0, -0.0)),
    "ceil": Unary(_exactly(np.ceil), (INF, -INF, 0.0, -0.0)),
    "round": Unary(_exactly(np.rint), (INF, -INF, 0.0, -0.0)),
    "tanh": Unary(_tanh, (1, -1, 0.0, -0.0), 1),
    "sigmoid": Unary(_sigmoid, (1, 0.0, 0.5, 0.5), 1),
    "relu": Unary(lambda x: max(x, mp.mpf(0)), (INF, 0.0, 0.0, -0.0)),
    "relu6": Unary(lambda x: min(max(x, mp.mpf(0)), mp.mpf(6)), (6, 0.0, 0.0, -0.0)),
    "relu_squared": Unary(lambda x: max(x, mp.mpf(0)) ** 2, (INF, 0.0, 0.0, 0.0)),
    "leaky_relu": Unary(
        lambda x, slope: x if x > 0 else x * slope,
        (INF, -INF, 0.0, -0.0),
        params=((0.01,), (0.5,)),
    ),
    "elu": Unary(
        lambda x, alpha: x if x > 0 else alpha * _expm1(x),
        (INF, lambda alpha: -alpha, 0.0, -0.0),
        2,
        params=((1.0,), (0.7,)),
    ),
    "selu": Unary(
        lambda x: _SELU_SCALE * (x if x > 0 else _SELU_ALPHA * _expm1(x)),
        (INF, float(-_SELU_SCALE * _SELU_ALPHA), 0.0, -0.0),
        2.5,
    ),
    "celu": Unary(
        lambda x, alpha: x if x > 0 else alpha * _expm1(x / alpha),
        (INF, lambda alpha: -alpha, 0.0, -0.0),
        2.5,
        params=((1.0,), (0.5,)),
    ),
    "gelu": Unary(_gelu, (INF, -0.0, 0.0, -0.0), 2),
    "gelu_tanh": Unary(_gelu_tanh, (INF, -0.0, 0.0, -0.0), 2),
    "silu": Unary(lambda x: x * _sigmoid(x), (INF, -0.0, 0.0, -0.0), 2),
    "mish": Unary(_mish, (INF, -0.0, 0.0, -0.0), 2),
    "softplus": Unary(_softplus, (INF, 0.0, None, None), 2, params=((1.0, 20.0), (2.0, 20.0))),
    "softsign": Unary(lambda x: x / (1 + abs(x)), (1, -1, 0.0, -0.0), 1.5),
    "hardtanh": Unary(
        lambda x, low, high: min(max(x, low), high),
        (lambda low, high: high, lambda low, high: low, None, None),
        params=((-1.0, 1.0), (-0.25, 2.0), (0.5, 3.0)),
    ),
    "clamp": Unary(
        lambda x, low, high: min(max(x, low), high),
        (lambda low, high: high, lambda low, high: low, None, None),
        params=((-1.0, 1.0), (0.5, 3.0), (-INF, INF)),
    ),
    "hardsigmoid": Unary(_hardsigmoid, (1, 0.0, 0.5, 0.5), 1.5),
    "hardswish": Unary(lambda x: x * _hardsigmoid(x), (INF, ANY_ZERO, 0.0, -0.0), 2, zero=ANY_ZERO),
    "tanhshrink": Unary(_tanhshrink, (INF, -INF, 0.0, ANY_ZERO), 2),
    "softshrink": Unary(
        lambda x, size: mp.sign(x) * max(abs(x) - size, mp.mpf(0)),
        (INF, -INF, 0.0, ANY_ZERO),
        zero=ANY_ZERO,
        params=((0.5,), (0.1,)),
    ),
    "hardshrink": Unary(
        lambda x, size: x if abs(x) > size else mp.mpf(0),
        (INF, -INF, 0.0, ANY_ZERO),
        zero=ANY_ZERO,
        params=((0.5,), (0.1,)),
    ),
    "threshold": Unary(
        lambda x, limit, value: x if x > limit else value,
        (INF, lambda limit, value: value, None, None),
        params=((0.1, 20.0), (-1.0, -3.0)),
    ),
    "logsigmoid": Unary(lambda x: -_softplus(-x), (ANY_ZERO, -INF, None, None), 2),
}


def longdouble(value: object) -> np.longdouble:
    """An mpmath number to 64 significant bits; too small or too large ones become 0 and inf."""
    if not isinstance(value, mpf):
        return np.longdouble(value)
    if not mp.isfinite(value):
        return np.longdouble(float(value))
    sign, mantissa, exponent, bits = value._mpf_
    if bits > 64:
        mantissa, exponent = int(mantissa) >> (bits - 64), exponent + bits - 64
    whole = np.longdouble(int(mantissa) >> 32) * 2.0**32 + np.longdouble(int(mantissa) & 0xFFFFFFFF)
    with np.errstate(all="ignore"):
        return np.ldexp(-whole if sign else whole, int(max(min(exponent, 40000), -40000)))


def points(dtype: str, domain: tuple[float, float], params: tuple[float, ...]) -> np.ndarray:
    """Finite, non-zero sample points of the domain: all magnitudes, the middle, and hard spots."""
    kind = np.dtype(dtype)
    rng = np.random.default_rng(20)
    unsigned = np.dtype(f"u{kind.itemsize}")
    limits = np.finfo(kind)
    patterns = rng.integers(0, np.iinfo(unsigned).max, 200, unsigned, endpoint=True).view(kind)
    middle = np.concatenate([rng.uniform(-20, 20, 120), rng.normal(0, 1, 60)]).astype(kind)
    powers = np.ldexp(kind.type(1), np.arange(-40, 40, 3))
    spots = np.array(
        (*HARD_SPOTS, limits.tiny, limits.max, limits.eps, limits.smallest_subnormal, *params), kind
    )
    spots = np.concatenate([powers, spots, limits.smallest_subnormal * np.arange(2, 99, 24)])
    spots = spots.astype(kind)
    spots = np.concatenate([spots, np.nextafter(spots, kind.type(0)), spots * kind.type(0.99999)])
    x = np.concatenate([patterns, middle, spots, -spots])
    low, high = domain
    return np.unique(x[np.isfinite(x) & (x != 0) & (x > low) & (x < high)])


@cache
def unary_truth(name: str, dtype: str, params: tuple[float, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Sample points and the exact values there, as longdouble."""
    case = UNARY[name]
    x = points(dtype, case.domain, params)
    exact_params = [mp.mpf(float(np.dtype(dtype).type(p))) for p in params]
    values = [longdouble(case.exact(mp.mpf(float(v)), *exact_params)) for v in x]
    truth = np.array(values, np.longdouble)
    return x, truth


def unary_special(name: str, dtype: str, params: tuple[float, ...]) -> list[tuple[float, object]]:
    """(argument, wanted value) at inf, -inf, 0, -0 and NaN; ANY_ZERO where the sign is free."""
    case = UNARY[name]
    kind = np.dtype(dtype).type
    pairs: list[tuple[float, object]] = [(NAN, NAN)]
    for argument, wanted in zip((INF, -INF, 0.0, -0.0), case.special, strict=True):
        if wanted is None:
            exact = case.exact(mp.mpf(0), *[mp.mpf(float(kind(p))) for p in params])
            wanted = float(exact)
            if wanted == 0:
                wanted = argument
        elif callable(wanted):
            wanted = wanted(*params)
        pairs.append((argument, wanted))
    if case.domain[0] > -INF:
        pairs.append((kind(case.domain[0]) - kind(0.5), NAN))
    return pairs


# Exactly rounded in the dtype itself: NumPy's own arithmetic is the oracle.
BINARY_EXACT: dict[str, Callable[..., np.ndarray]] = {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "div": np.divide,
    "remainder": np.remainder,
    "floor_divide": np.floor_divide,
}
BINARY_LIMIT = {"pow": 2.0}
# The functions of two that choose: their oracles are below.
CHOICES = ("maximum", "minimum", "clamp_min", "clamp_max")
COMPARE: dict[str, Callable[..., np.ndarray]] = {
    "eq": np.equal,
    "ne": np.not_equal,
    "lt": np.less,
    "le": np.less_equal,
    "gt": np.greater,
    "ge": np.greater_equal,
}
LOGICAL: dict[str, Callable[..., np.ndarray]] = {
    "logical_and": np.logical_and,
    "logical_or": np.logical_or,
    "logical_xor": np.logical_xor,
}


def maximum(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """NaN from either side; +0 is larger than -0."""
    larger = np.maximum(a, b)
    positive = (a == 0) & (b == 0) & ~(np.signbit(a) & np.signbit(b))
    return np.where(positive, larger.dtype.type(0), larger)


def minimum(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """NaN from either side; -0 is smaller than +0."""
    return -maximum(-a, -b)


def choice(name: str) -> Callable[..., np.ndarray]:
    """The oracle of one of CHOICES; a bound is a maximum or minimum, slopes apart."""
    return maximum if name in ("maximum", "clamp_min") else minimum


def hard_values(dtype: str) -> np.ndarray:
    """Values that meet each other in all pairs: zeros, subnormals, limits, infinities, NaN."""
    limits = np.finfo(dtype)
    positive = [0.0, limits.smallest_subnormal, limits.tiny / 3, limits.tiny, limits.eps, 0.1, 0.5]
    positive += [1, 1 + limits.eps, 1.5, 2, 3, 7, 10, 1e10, limits.max / 2, limits.max, INF, NAN]
    half = np.array(positive, dtype)
    return np.concatenate([half, -half])


@cache
def pow_truth(dtype: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Bases, exponents and exact powers, all finite and positive bases or whole exponents."""
    rng = np.random.default_rng(30)
    kind = np.dtype(dtype).type
    a = np.concatenate([np.exp(rng.uniform(-40, 40, 200)), rng.uniform(0.9, 1.1, 100)]).astype(kind)
    b = np.concatenate([rng.uniform(-3, 3, 200), rng.uniform(-400, 400, 100)]).astype(kind)
    whole = rng.integers(-9, 10, 60).astype(kind)
    signed = rng.normal(0, 3, 60).astype(kind)
    a, b = np.concatenate([a, signed]), np.concatenate([b, whole])
    keep = a != 0
    a, b = a[keep], b[keep]
    exact = [
        longdouble(mp.power(mp.mpf(float(p)), mp.mpf(float(q)))) for p, q in zip(a, b, strict=True)
    ]
    return a, b, np.array(exact, np.longdouble)
