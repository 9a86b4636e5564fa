# SPDX-License-Identifier: Apache-2.0
"""Functions for which ONNX has no operator, as nodes that keep their digits.

The obvious forms, Exp - 1, Log(1 + x), 1 - Erf, x - Tanh, cancel. Each form here takes the obvious
one where it is good and another where it is not; its error in units in the last place is that of
float32 in ONNX Runtime 1.2x, whose Exp, Log, Tanh and Erf err by up to 3, and of lamella reading
the file back (tests/onnx/test_digits.py). Source: Kahan's forms of log1p and expm1 (Higham,
"Accuracy and stability of numerical algorithms", 2002, section 1.14.1).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from lamella.ir.types import DType

if TYPE_CHECKING:
    from lamella.onnx.exporting import Out

__all__ = ["erfc", "expm1", "floor_divide", "length", "log1p", "remainder", "tanhshrink"]


def expm1(out: Out, x: str, dtype: DType) -> str:
    """(e - 1) x / log(e) with e = exp(x), below 1 in size; e - 1 beyond: 4 units."""
    one = out.number(1.0, dtype)
    e = out.add("Exp", x)
    less = out.add("Sub", e, one)
    same = out.add("Equal", e, one)
    ratio = out.add("Div", x, out.add("Log", out.add("Where", same, out.number(2.0, dtype), e)))
    near = out.add("Where", same, x, out.add("Mul", less, ratio))
    return out.add("Where", _below(out, x, 1.0, dtype), near, less)


def log1p(out: Out, x: str, dtype: DType) -> str:
    """log(u) x / (u - 1) with u = 1 + x, below 1/2 in size; log(u) beyond: 4 units."""
    one = out.number(1.0, dtype)
    u = out.add("Add", x, one)
    same = out.add("Equal", u, one)
    log = out.add("Log", u)
    ratio = out.add("Div", x, out.add("Where", same, one, out.add("Sub", u, one)))
    near = out.add("Where", same, x, out.add("Mul", log, ratio))
    return out.add("Where", _below(out, x, 0.5, dtype), near, log)


# (x - tanh(x)) / x^3 in x^2 <= 1, for float32 (2^-31) and float64 (2^-54): Chebyshev interpolation.
_SHRINK = {
    DType.float32: (
        0.3333333331834693, -0.13333330899461984, 0.05396759669145474, -0.02186257538161619,
        0.00882625034385819, -0.003478386489588535, 0.001242157496259036, -0.00033768981029704557,
        4.846711195865875e-05,
    ),
    DType.float64: (
        0.3333333333333333, -0.1333333333333309, 0.05396825396804637, -0.02186948852912909,
        0.008863235404578283, -0.003592126679366341, 0.0014558246920964941, -0.0005899792946300052,
        0.00023895705228738225, -9.646277743313181e-05, 3.8389607893147334e-05,
        -1.4606131676715378e-05, 4.987760317520347e-06, -1.3791814499083342e-06,
        2.633077223295933e-07, -2.5155023659382105e-08,
    ),
}  # fmt: skip


def tanhshrink(out: Out, x: str, dtype: DType) -> str:
    """x^3 P(x^2) below 1 in size, (|x| - 1) + 2 / (exp(2 |x|) + 1) beyond: 4 units."""
    one, two = out.number(1.0, dtype), out.number(2.0, dtype)
    square = out.add("Mul", x, x)
    cube = out.add("Mul", x, square)
    near = out.add("Mul", cube, _polynomial(out, square, _SHRINK[dtype], dtype))
    size = out.add("Abs", x)
    power = out.add("Exp", out.add("Add", size, size))
    rest = out.add("Div", two, out.add("Add", power, one))
    far = out.add("Add", out.add("Sub", size, one), rest)
    signed = out.add("Mul", out.add("Sign", x), far)
    return out.add("Where", out.add("Less", size, one), near, signed)


# (1 + 2 x) exp(x^2) erfc(x) in (x - 3) / (x + 3), for 1/2 <= x <= 10.1 (2^-28) and 27.3 (2^-54):
# the variables of Shepherd and Laframboise, "Chebyshev approximation of (1 + 2x) exp(x^2) erfc x in
# 0 <= x < infinity", 1981.
_TAIL = {
    DType.float32: (
        1.2530080575952898, -0.13562105087191592, -0.047562229691103665, 0.12964278552055597,
        -0.11927503033453725, 0.0683360583056514, -0.023756820656651682, 0.00239982915704806,
        0.0018252134306764995, -0.0005421525888460399,
    ),
    DType.float64: (
        1.2530080582697296, -0.13562110612458134, -0.04756229435345047, 0.12964515870278256,
        -0.11927366341533124, 0.06830802734310616, -0.02377051491786196, 0.0025293918320448477,
        0.0018886903443845538, -0.0007798324336425877, -0.00010515963609280746,
        0.00012510033565038369, 4.948382232961931e-06, -2.0104312171114753e-05,
        -7.268660538086061e-07, 3.4813408032432953e-06, 3.4450616209463116e-07,
        -6.29393457896962e-07, -1.2140240349691923e-07, 1.1133566989316784e-07,
        2.2812055732459082e-08, -1.525003185997634e-08,
    ),
}  # fmt: skip
# Where erfc is 0 to the last place, and where the polynomials end.
_TAIL_END = {DType.float32: 10.1, DType.float64: 27.3}


def erfc(out: Out, x: str, dtype: DType) -> str:
    """1 - erf(x) below 1/2, exp(-x^2) P beyond, its square split at an eighth: 6 units."""

    def number(value: float) -> str:
        return out.number(value, dtype)

    half = number(0.5)
    near = out.add("Sub", number(1.0), out.add("Erf", x))
    body = out.add("Less", x, half)
    over = out.add("Greater", x, number(_TAIL_END[dtype]))
    a = out.add("Where", body, half, out.add("Where", over, number(_TAIL_END[dtype]), x))
    # The square of whole eighths is exact, and what is left of the exponent is small.
    eighths = out.add("Mul", out.add("Round", out.add("Mul", a, number(8.0))), number(0.125))
    large = out.add("Exp", out.add("Neg", out.add("Mul", eighths, eighths)))
    rest = out.add("Mul", out.add("Sub", eighths, a), out.add("Add", eighths, a))
    s = out.add("Div", out.add("Sub", a, number(3.0)), out.add("Add", a, number(3.0)))
    curve = out.add("Mul", out.add("Exp", rest), _polynomial(out, s, _TAIL[dtype], dtype))
    scale = out.add("Add", out.add("Add", a, a), number(1.0))
    tail = out.add("Mul", large, out.add("Div", curve, scale))
    far = out.add("Where", over, number(0.0), tail)
    return out.add("Where", body, near, far)


def remainder(out: Out, a: str, b: str, dtype: DType) -> str:
    """What Mod leaves of floating operands, brought to b's sign: exact."""
    zero = out.number(0.0, dtype)
    left = out.add("Mod", a, b, fmod=1)
    sign = out.add("Sign", b)
    opposite = out.add("Less", out.add("Mul", out.add("Sign", left), sign), zero)
    found = out.add("Where", opposite, out.add("Add", left, b), left)
    return out.add("Where", out.add("Equal", left, zero), out.add("Mul", zero, sign), found)


def floor_divide(out: Out, a: str, b: str, dtype: DType) -> str:
    """(a - remainder) / b, which is whole but for a rounding; a / b by zero."""
    zero = out.number(0.0, dtype)
    ratio = out.add("Div", a, b)
    taken = out.add("Sub", a, remainder(out, a, b, dtype))
    whole = out.add("Round", out.add("Div", taken, b))
    # Of a zero the sign is the quotient's.
    signed = out.add("Where", out.add("Equal", whole, zero), out.add("Mul", zero, ratio), whole)
    return out.add("Where", out.add("Equal", b, zero), ratio, signed)


def length(
    out: Out, x: str, axes: list[int], keepdims: bool, dtype: DType, divisor: float | None = None
) -> str:
    """sqrt(sum of x^2 / divisor) over axes, scaled by the largest: no square leaves the range."""
    names = out.integers(axes)
    peak = out.add("ReduceMax", out.add("Abs", x), names, keepdims=1)
    zero, infinity, one = (out.number(value, dtype) for value in (0.0, math.inf, 1.0))
    plain = out.add("Or", out.add("Equal", peak, zero), out.add("Equal", peak, infinity))
    scale = out.add("Where", plain, one, peak)
    ratio = out.add("Div", x, scale)
    total = out.add("ReduceSum", out.add("Mul", ratio, ratio), names, keepdims=1)
    if divisor is not None:
        total = out.add("Div", total, out.number(divisor, dtype))
    y = out.add("Mul", out.add("Sqrt", total), scale)
    return y if keepdims else out.add("Squeeze", y, names)


def _below(out: Out, x: str, bound: float, dtype: DType) -> str:
    return out.add("Less", out.add("Abs", x), out.number(bound, dtype))


def _polynomial(out: Out, x: str, coefficients: tuple[float, ...], dtype: DType) -> str:
    """By Horner's rule, the constant first in the list."""
    total = out.number(coefficients[-1], dtype)
    for coefficient in reversed(coefficients[:-1]):
        total = out.add("Add", out.add("Mul", total, x), out.number(coefficient, dtype))
    return total
