# SPDX-License-Identifier: Apache-2.0
"""Functions of one operand, the core's own: rounding, exponentials, angles and their relatives."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from lamella.foreign.call import is_array
from lamella.foreign.rule import Rule
from lamella.foreign.words import (
    compare,
    floating,
    is_floating,
    logical,
    unary,
)
from lamella.onnx.rules.call import Call

__all__ = ["RULES"]


def _unary(name: str, call: Call, x: Any) -> Any:
    return unary(name, x)


def _float(name: str, call: Call, x: Any) -> Any:
    return unary(name, floating(call, x))


def _erf(call: Call, x: Any) -> Any:
    # Of integers too: -1, 0 or 1, since what lies between is cut towards zero.
    if is_array(x) and not is_floating(x):
        return np.sign(x) * ((x > 5) | (x < -5))
    return unary("erf", x)


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
    ("Abs", 1): Rule(_abs, "n"),
    ("Neg", 1): Rule(partial(_unary, "neg"), "n"),
    ("Sign", 9): Rule(partial(_unary, "sign"), "n"),
    **{
        (op, since): Rule(partial(_float, name), "f")
        for op, since, name in (
            ("Exp", 1, "exp"),
            ("Log", 1, "log"),
            ("Sqrt", 1, "sqrt"),
            ("Reciprocal", 1, "reciprocal"),
            ("Floor", 1, "floor"),
            ("Ceil", 1, "ceil"),
            ("Round", 11, "round"),
            ("Sin", 7, "sin"),
            ("Cos", 7, "cos"),
            ("Tan", 7, "tan"),
            ("Asin", 7, "asin"),
            ("Acos", 7, "acos"),
            ("Atan", 7, "atan"),
            ("Sinh", 9, "sinh"),
            ("Cosh", 9, "cosh"),
            ("Asinh", 9, "asinh"),
            ("Acosh", 9, "acosh"),
            ("Atanh", 9, "atanh"),
        )
    },
    ("Erf", 9): Rule(_erf, "n", floats=True),
    ("IsNaN", 9): Rule(_is_nan, "f", gives="bool"),
    ("IsInf", 10): Rule(_is_inf, "f", gives="bool"),
}
