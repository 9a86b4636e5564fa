# SPDX-License-Identifier: Apache-2.0
"""Reductions: axes as an attribute in old opsets, as an operand from 13 (ReduceSum) or 18 on."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from lamella.foreign.call import is_array
from lamella.foreign.rule import Rule
from lamella.foreign.words import axis_of, binary, cast, dtype_of, is_floating, reduce, unary
from lamella.onnx.rules.call import Call
from lamella.onnx.rules.shape import axes_operand

__all__ = ["RULES"]


def _reduce(kind: str, since: int, call: Call, x: Any, axes: Any = None) -> Any:
    dims = axes_operand(call, since, axes)
    keep = bool(call.integer("keepdims", 1))
    over: tuple[int, ...] | None = None
    if not dims:
        if call.integer("noop_with_empty_axes", 0):
            over = ()
    else:
        over = tuple(sorted({axis_of(call, dim, len(x.shape)) for dim in dims}))
    if kind == "l2" and (not is_array(x) or is_floating(x)):
        return _over(call, "norm", x, over, keep)
    if kind in _PREPARED:
        before, inner, after = _PREPARED[kind]
        y = _over(call, inner, before(call, x), over, keep)
        return after(call, y)
    return _over(call, kind, x, over, keep)


def _over(call: Call, kind: str, x: Any, over: tuple[int, ...] | None, keep: bool) -> Any:
    if over == ():
        # Of one number each: log(exp(x)) is x, and its length is its size.
        return _abs(call, x) if kind == "norm" else x
    if is_array(x) and x.dtype.kind == "b" and kind in ("max", "min"):
        return reduce(call, kind, x.astype(np.uint8), over, keep) != 0
    if not is_array(x) and kind in ("max", "min") and 0 in x.shape:
        x = np.zeros(x.shape, dtype_of(x))
    return reduce(call, kind, x, over, keep)


def _same(call: Call, x: Any) -> Any:
    return x


def _square(call: Call, x: Any) -> Any:
    return binary(call, "mul", x, x)


def _abs(call: Call, x: Any) -> Any:
    return np.abs(x) if is_array(x) else unary("abs", x)


def _root(call: Call, x: Any) -> Any:
    return _fractional("sqrt", x)


def _log(call: Call, x: Any) -> Any:
    return _fractional("log", x)


def _fractional(name: str, x: Any) -> Any:
    """A function whose result of an integer is cut towards zero."""
    wide = x if is_floating(x) else cast(x, np.dtype(np.float64))
    return cast(unary(name, wide), dtype_of(x))


_PREPARED: dict[str, tuple[Any, str, Any]] = {
    "l1": (_abs, "sum", _same),
    "l2": (_square, "sum", _root),
    "sumsquare": (_square, "sum", _same),
    "logsum": (_same, "sum", _log),
}

_KINDS = {
    "ReduceMax": "max",
    "ReduceMin": "min",
    "ReduceMean": "mean",
    "ReduceProd": "prod",
    "ReduceLogSumExp": "logsumexp",
    "ReduceL1": "l1",
    "ReduceL2": "l2",
    "ReduceSumSquare": "sumsquare",
    "ReduceLogSum": "logsum",
}

RULES: dict[tuple[str, int], Rule] = {
    ("ReduceSum", 1): Rule(partial(_reduce, "sum", 13), "n i!?"),
    **{
        (op, 1): Rule(
            partial(_reduce, kind, 18), "e i!?" if kind in ("max", "min") else "n i!?", floats=True
        )
        for op, kind in _KINDS.items()
    },
}
