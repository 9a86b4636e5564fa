# SPDX-License-Identifier: Apache-2.0
"""Functions of one operand: rounding, exponentials, trigonometry and its relatives.

What the core has no function for is composed of those it has, from formulas that keep their digits
near zero: sinh and atanh by expm1 and log1p, the arc functions by one rational approximation.
Source: Moshier, Cephes Mathematical Library, atan.c; Abramowitz and Stegun, 4.5 and 4.6.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import numpy as np

from lamella.onnx.rules.call import Call, Rule, is_array
from lamella.onnx.rules.dual import (
    binary,
    compare,
    floating,
    is_floating,
    like,
    logical,
    unary,
    where,
)

__all__ = ["RULES"]


def _unary(name: str, call: Call, x: Any) -> Any:
    return unary(name, x)


def _float(name: str, call: Call, x: Any) -> Any:
    return unary(name, floating(call, x))


def _tan(call: Call, x: Any) -> Any:
    return binary(call, "div", unary("sin", floating(call, x)), unary("cos", x))


# atan(x) on |x| <= 0.66 is x + x z P(z) / Q(z), z = x^2.
_P = (-8.750608600031904122785e-1, -1.615753718733365076637e1, -7.500855792314704667340e1,
      -1.228866684490136173410e2, -6.485021904942025371773e1)  # fmt: skip
_Q = (1.0, 2.485846490142306297962e1, 1.650270098316988542046e2, 4.328810604912902668951e2,
      4.853903996359136964868e2, 1.945506571482613964425e2)  # fmt: skip


def _polynomial(call: Call, z: Any, coefficients: tuple[float, ...]) -> Any:
    total: Any = None
    for coefficient in coefficients:
        if total is None:
            total = coefficient
        elif isinstance(total, float):
            total = binary(call, "add", binary(call, "mul", z, total), coefficient)
        else:
            total = binary(call, "add", binary(call, "mul", total, z), coefficient)
    return total


def arctangent(call: Call, x: Any) -> Any:
    """atan(x), with |x| brought below 0.66 by atan(x) = pi/2 - atan(1/x), pi/4 + atan(...)."""
    size = unary("abs", floating(call, x))
    big = compare(call, "gt", size, 2.41421356237309504880)
    middle = compare(call, "gt", size, 0.66)
    inverse = unary("neg", unary("reciprocal", size))
    turned = binary(call, "div", binary(call, "sub", size, 1.0), binary(call, "add", size, 1.0))
    small = where(call, big, inverse, where(call, middle, turned, size))
    base = where(
        call, big, like(x, math.pi / 2), where(call, middle, like(x, math.pi / 4), like(x, 0.0))
    )
    z = unary("square", small)
    ratio = binary(call, "div", _polynomial(call, z, _P), _polynomial(call, z, _Q))
    tail = binary(call, "mul", binary(call, "mul", small, z), ratio)
    y = binary(call, "add", base, binary(call, "add", small, tail))
    return binary(call, "mul", unary("sign", x), y)


def _asin(call: Call, x: Any) -> Any:
    product = binary(
        call, "mul", binary(call, "sub", like(x, 1.0), floating(call, x)),
        binary(call, "add", x, 1.0),
    )  # fmt: skip
    return arctangent(call, binary(call, "div", x, unary("sqrt", product)))


def _acos(call: Call, x: Any) -> Any:
    ratio = binary(
        call, "div", binary(call, "sub", like(x, 1.0), floating(call, x)),
        binary(call, "add", x, 1.0),
    )  # fmt: skip
    return binary(call, "mul", arctangent(call, unary("sqrt", ratio)), 2.0)


def _sinh(call: Call, x: Any) -> Any:
    e = unary("expm1", unary("abs", floating(call, x)))
    fraction = binary(call, "div", e, binary(call, "add", e, 1.0))
    # Where e is infinite so is the result.
    fraction = where(call, compare(call, "lt", e, np.inf), fraction, like(x, 1.0))
    half = binary(call, "mul", binary(call, "add", e, fraction), 0.5)
    return binary(call, "mul", unary("sign", x), half)


def _cosh(call: Call, x: Any) -> Any:
    e = unary("exp", unary("abs", floating(call, x)))
    return binary(call, "mul", binary(call, "add", e, unary("reciprocal", e)), 0.5)


def _asinh(call: Call, x: Any) -> Any:
    size = unary("abs", floating(call, x))
    root = unary("sqrt", binary(call, "add", unary("square", size), 1.0))
    squared = binary(call, "div", unary("square", size), binary(call, "add", root, 1.0))
    y = unary("log1p", binary(call, "add", size, squared))
    return binary(call, "mul", unary("sign", x), y)


def _acosh(call: Call, x: Any) -> Any:
    above = binary(call, "sub", floating(call, x), 1.0)
    product = binary(call, "mul", above, binary(call, "add", x, 1.0))
    return unary("log1p", binary(call, "add", above, unary("sqrt", product)))


def _atanh(call: Call, x: Any) -> Any:
    size = unary("abs", floating(call, x))
    ratio = binary(
        call, "div", binary(call, "mul", size, 2.0), binary(call, "sub", like(x, 1.0), size)
    )
    y = binary(call, "mul", unary("log1p", ratio), 0.5)
    return binary(call, "mul", unary("sign", x), y)


def _is_nan(call: Call, x: Any) -> Any:
    return compare(call, "ne", floating(call, x), x)


def _is_inf(call: Call, x: Any) -> Any:
    negative = bool(call.integer("detect_negative", 1))
    positive = bool(call.integer("detect_positive", 1))
    below = compare(call, "eq", floating(call, x), -np.inf)
    above = compare(call, "eq", x, np.inf)
    if negative and positive:
        return logical(call, "logical_or", below, above)
    if negative or positive:
        return below if negative else above
    return logical(call, "logical_and", below, above)


def _abs(call: Call, x: Any) -> Any:
    return np.abs(x) if is_array(x) and not is_floating(x) else unary("abs", x)


RULES: dict[tuple[str, int], Rule] = {
    ("Abs", 1): _abs,
    ("Neg", 1): partial(_unary, "neg"),
    ("Sign", 9): partial(_unary, "sign"),
    **{
        (op, since): partial(_float, name)
        for op, since, name in (
            ("Exp", 1, "exp"),
            ("Log", 1, "log"),
            ("Sqrt", 1, "sqrt"),
            ("Reciprocal", 1, "reciprocal"),
            ("Floor", 1, "floor"),
            ("Ceil", 1, "ceil"),
            ("Round", 11, "round"),
            ("Erf", 9, "erf"),
            ("Sin", 7, "sin"),
            ("Cos", 7, "cos"),
        )
    },
    ("Tan", 7): _tan,
    ("Asin", 7): _asin,
    ("Acos", 7): _acos,
    ("Atan", 7): arctangent,
    ("Sinh", 9): _sinh,
    ("Cosh", 9): _cosh,
    ("Asinh", 9): _asinh,
    ("Acosh", 9): _acosh,
    ("Atanh", 9): _atanh,
    ("IsNaN", 9): _is_nan,
    ("IsInf", 10): _is_inf,
}
