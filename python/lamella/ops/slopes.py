# SPDX-License-Identifier: Apache-2.0
"""Slopes of the table's functions that need more than a line: x, y, dy and numbers give dx.

A slope is a formula of elementwise functions, so that it fuses into one pass over memory and needs
no kernel. It is the derivative to within a few roundings of its own size wherever that costs
nothing, has torch's value at corners, and is a number wherever the derivative has a limit. Where y
alone decides it leaves x alone: a dense layer's epilogue then never has to write x down.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lamella.ops.elementwise import Term

__all__ = [
    "SELU_ALPHA",
    "SELU_SCALE",
    "acosh",
    "arcsine",
    "asinh",
    "atan",
    "celu",
    "clamp",
    "elu",
    "gelu",
    "gelu_tanh",
    "hardshrink",
    "hardswish",
    "inside",
    "leaky_relu",
    "maximum",
    "minimum",
    "mish",
    "pow",
    "selu",
    "silu",
    "softplus",
    "threshold",
]

# Klambauer et al., "Self-Normalizing Neural Networks", 2017, to double precision.
SELU_ALPHA = 1.6732632423543772848170429916717
SELU_SCALE = 1.0507009873554804934193349852946

_ROOT_2 = math.sqrt(2.0)
_ROOT_2_PI = math.sqrt(2.0 * math.pi)
# tanh's gelu: 0.5 x (1 + tanh(k (x + c x^3))).
_TANH_SCALE = math.sqrt(2.0 / math.pi)
_TANH_CUBE = 0.044715

# Beyond these the exponential tails are 0 in float64 too, and the slope is its limit: cutting x off
# there changes no bit and keeps infinity times 0 out of the products.
_GELU_END = 40.0
_SIGMOID_END = 800.0


def inside(y: Term, dy: Term, low: float, high: float) -> Term:
    """dy strictly between two bounds that y was clamped to, and at NaN."""
    return dy.drop(y >= high).drop(y <= low)


def clamp(x: Term, y: Term, dy: Term, low: float, high: float) -> Term:
    """dy between the bounds and, unlike hardtanh's, on them."""
    dx = dy if high == math.inf else dy.keep(x <= high)
    return dx if low == -math.inf else dx.keep(x >= low)


def arcsine(x: Term) -> Term:
    """1 / sqrt(1 - x^2); 1 - x keeps its digits near 1."""
    return ((1.0 - x) * (x + 1.0)).unary("rsqrt")


def _hypotenuse(x: Term) -> tuple[Term, Term]:
    """t and 1 + v^2, where sqrt(1 + x^2) is sqrt(1 + v^2) / t: x^2 itself would overflow."""
    size = x.unary("abs")
    t = size.unary("clamp", 1.0, math.inf).unary("reciprocal")
    return t, size.binary("minimum", t).unary("square") + 1.0


def atan(x: Term, y: Term, dy: Term) -> Term:
    """1 / (1 + x^2)."""
    t, square = _hypotenuse(x)
    return dy * (t.unary("square") / square)


def asinh(x: Term, y: Term, dy: Term) -> Term:
    """1 / sqrt(1 + x^2)."""
    t, square = _hypotenuse(x)
    return dy * (t * square.unary("rsqrt"))


def acosh(x: Term, y: Term, dy: Term) -> Term:
    """1 / sqrt(x^2 - 1), root by root: the square would overflow, and cancel near 1."""
    size = x.unary("abs")
    return dy * ((size - 1.0).unary("rsqrt") * (size + 1.0).unary("rsqrt"))


def leaky_relu(x: Term, y: Term, dy: Term, negative_slope: float) -> Term:
    """y has x's sign unless the slope turns it."""
    positive = (y if negative_slope >= 0.0 else x) > 0.0
    return positive.choose(dy, dy * negative_slope)


def _exponential(x: Term, dy: Term, right: float, left: float, rate: float) -> Term:
    """right for x > 0, else left exp(rate x); y + left would lose the digits of the tail."""
    tail = (x if rate == 1.0 else x * rate).unary("exp")
    return (x > 0.0).choose(dy * right, dy * (tail * left))


def elu(x: Term, y: Term, dy: Term, alpha: float) -> Term:
    """1 or alpha exp(x)."""
    return _exponential(x, dy, 1.0, alpha, 1.0)


def celu(x: Term, y: Term, dy: Term, alpha: float) -> Term:
    """1 or exp(x / alpha)."""
    return _exponential(x, dy, 1.0, 1.0, 1.0 / alpha)


def selu(x: Term, y: Term, dy: Term) -> Term:
    """scale or scale alpha exp(x)."""
    return _exponential(x, dy, SELU_SCALE, SELU_SCALE * SELU_ALPHA, 1.0)


def gelu(x: Term, y: Term, dy: Term) -> Term:
    """Phi(x) + x phi(x), Phi through erfc, which keeps the digits of the negative tail."""
    x = x.unary("hardtanh", -_GELU_END, _GELU_END)
    below = (x * (-1.0 / _ROOT_2)).unary("erfc") * 0.5
    density = (x.unary("square") * -0.5).unary("exp") * (1.0 / _ROOT_2_PI)
    return dy * (below + x * density)


def gelu_tanh(x: Term, y: Term, dy: Term) -> Term:
    """s + x s (1 - s) v' with s = sigmoid(v), v = 2 k (x + c x^3), so that 0.5 (1 + tanh) = s."""
    x = x.unary("hardtanh", -_GELU_END, _GELU_END)
    square = x.unary("square")
    s = (x * (square * (2.0 * _TANH_SCALE * _TANH_CUBE) + 2.0 * _TANH_SCALE)).unary("sigmoid")
    inner = square * (6.0 * _TANH_SCALE * _TANH_CUBE) + 2.0 * _TANH_SCALE
    return dy * (s + s * (1.0 - s) * (x * inner))


def silu(x: Term, y: Term, dy: Term) -> Term:
    """s (1 + x (1 - s)) with s = sigmoid(x)."""
    x = x.unary("hardtanh", -_SIGMOID_END, _SIGMOID_END)
    s = x.unary("sigmoid")
    return dy * (s * (x * (1.0 - s) + 1.0))


def mish(x: Term, y: Term, dy: Term) -> Term:
    """t + x sigmoid(x) (1 - t^2) with t = tanh(softplus(x))."""
    x = x.unary("hardtanh", -_SIGMOID_END, _SIGMOID_END)
    t = x.unary("softplus").unary("tanh")
    return dy * (t + x * x.unary("sigmoid") * (1.0 - t.unary("square")))


def softplus(x: Term, y: Term, dy: Term, beta: float, threshold: float) -> Term:
    """sigmoid(beta x), and 1 where the function is x itself."""
    scaled = x if beta == 1.0 else x * beta
    return (scaled > threshold).choose(dy, dy * scaled.unary("sigmoid"))


def hardswish(x: Term, y: Term, dy: Term) -> Term:
    """0 up to -3, x / 3 + 1/2, 1 from 3 on."""
    middle = dy * (x * (1.0 / 3.0) + 0.5)
    return (x >= 3.0).choose(dy, middle).drop(x <= -3.0)


def hardshrink(x: Term, y: Term, dy: Term, lambd: float) -> Term:
    """0 where the function is; a negative lambd shrinks nothing."""
    return dy.drop(y.equals(0.0)) if lambd >= 0.0 else dy


def threshold(x: Term, y: Term, dy: Term, threshold: float, value: float) -> Term:
    """0 where the value was put in; y tells when the value is not beyond the threshold."""
    return dy.drop((y if value <= threshold else x) <= threshold)


def pow(a: Term, b: Term, y: Term, dy: Term) -> tuple[Term, Term]:
    """b a^(b - 1) and y log(a), each 0 where the power does not depend on it: b = 0, a = 0 <= b."""
    exponent = b.number
    if exponent == 0.0:
        da = dy.zeros()
    elif exponent is not None:
        # The exponents that models write, without the C library's pow.
        known = {2.0: a, 3.0: a.unary("square"), 0.5: a.unary("rsqrt"), 1.0: None}
        base = known.get(exponent, a.binary("pow", exponent - 1.0))
        da = dy if base is None else dy * (base * exponent)
    else:
        da = (dy * (b * a.binary("pow", b - 1.0))).drop(b.equals(0.0))
    db = dy * (y * a.unary("log"))
    return da, (b < 0.0).choose(db, db.drop(a.equals(0.0)))


def maximum(a: Term, b: Term, y: Term, dy: Term) -> tuple[Term, Term]:
    """The larger one takes all, equal ones take half each; NaN passes dy to both."""
    shared = a.equals(b).choose(dy * 0.5, dy)
    return shared.drop(a < b), shared.drop(a > b)


def minimum(a: Term, b: Term, y: Term, dy: Term) -> tuple[Term, Term]:
    """The smaller one takes all, equal ones take half each; NaN passes dy to both."""
    shared = a.equals(b).choose(dy * 0.5, dy)
    return shared.drop(a > b), shared.drop(a < b)
