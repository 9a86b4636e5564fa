# SPDX-License-Identifier: Apache-2.0
"""Comparisons, logic on truth values, and the choice between two operands."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from lamella.foreign.rule import Rule
from lamella.foreign.words import compare, logical, where
from lamella.onnx.rules.arithmetic import aligned
from lamella.onnx.rules.call import Call

__all__ = ["RULES"]


def _compare(name: str, call: Call, a: Any, b: Any) -> Any:
    return compare(call, name, a, b)


def _old(rule: Callable[..., Any], call: Call, a: Any, b: Any) -> Any:
    return rule(call, a, aligned(call, a, b))


def _logical(name: str, call: Call, a: Any, b: Any) -> Any:
    return logical(call, name, a, b)


def _not(call: Call, x: Any) -> Any:
    return logical(call, "logical_not", x)


def _where(call: Call, condition: Any, a: Any, b: Any) -> Any:
    return where(call, condition, a, b)


_LOGICAL = {"And": "logical_and", "Or": "logical_or", "Xor": "logical_xor"}

RULES: dict[tuple[str, int], Rule] = {
    ("Equal", 1): Rule(partial(_old, partial(_compare, "eq")), "IB IB", gives="bool"),
    ("Equal", 7): Rule(partial(_compare, "eq"), "A A", gives="bool"),
    ("Greater", 1): Rule(partial(_old, partial(_compare, "gt")), "f f", gives="bool"),
    ("Greater", 7): Rule(partial(_compare, "gt"), "N N", gives="bool"),
    ("Less", 1): Rule(partial(_old, partial(_compare, "lt")), "f f", gives="bool"),
    ("Less", 7): Rule(partial(_compare, "lt"), "N N", gives="bool"),
    ("GreaterOrEqual", 12): Rule(partial(_compare, "ge"), "N N", gives="bool"),
    ("LessOrEqual", 12): Rule(partial(_compare, "le"), "N N", gives="bool"),
    **{
        (op, 1): Rule(partial(_old, partial(_logical, name)), "b b", gives="bool")
        for op, name in _LOGICAL.items()
    },
    **{
        (op, 7): Rule(partial(_logical, name), "b b", gives="bool") for op, name in _LOGICAL.items()
    },
    ("Not", 1): Rule(_not, "b", gives="bool"),
    ("Where", 9): Rule(_where, "b A A", gives="1"),
}
