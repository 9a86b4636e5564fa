# SPDX-License-Identifier: Apache-2.0
"""Comparisons, logic on truth values, and the choice between two operands."""

from __future__ import annotations

from functools import partial
from typing import Any

from lamella.foreign.call import Rule
from lamella.foreign.words import compare, logical, where
from lamella.onnx.rules.arithmetic import aligned
from lamella.onnx.rules.call import Call

__all__ = ["RULES"]


def _compare(name: str, call: Call, a: Any, b: Any) -> Any:
    return compare(call, name, a, b)


def _old(rule: Rule, call: Call, a: Any, b: Any) -> Any:
    return rule(call, a, aligned(call, a, b))


def _logical(name: str, call: Call, a: Any, b: Any) -> Any:
    return logical(call, name, a, b)


def _not(call: Call, x: Any) -> Any:
    return logical(call, "logical_not", x)


def _where(call: Call, condition: Any, a: Any, b: Any) -> Any:
    return where(call, condition, a, b)


_COMPARE = {"Equal": "eq", "Greater": "gt", "Less": "lt"}
_LOGICAL = {"And": "logical_and", "Or": "logical_or", "Xor": "logical_xor"}

RULES: dict[tuple[str, int], Rule] = {
    **{(op, 1): partial(_old, partial(_compare, name)) for op, name in _COMPARE.items()},
    **{(op, 7): partial(_compare, name) for op, name in _COMPARE.items()},
    ("GreaterOrEqual", 12): partial(_compare, "ge"),
    ("LessOrEqual", 12): partial(_compare, "le"),
    **{(op, 1): partial(_old, partial(_logical, name)) for op, name in _LOGICAL.items()},
    **{(op, 7): partial(_logical, name) for op, name in _LOGICAL.items()},
    ("Not", 1): _not,
    ("Where", 9): _where,
}
