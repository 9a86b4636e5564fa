# SPDX-License-Identifier: Apache-2.0
"""Arithmetic of two and more operands, with the old opsets' own broadcasting.

Integers divide towards zero, as in C, and by zero give zero. Until opset 6 two operands broadcast
only when asked to, the second one aligned at `axis`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from lamella.foreign.call import is_array, is_sizes
from lamella.foreign.rule import Rule
from lamella.foreign.words import (
    binary,
    broadcast,
    cast,
    compare,
    dtype_of,
    floating,
    is_floating,
    like,
    logical,
    reshape,
    unary,
    where,
)
from lamella.onnx.rules.call import Call

__all__ = ["RULES", "aligned"]


def aligned(call: Call, a: Any, b: Any) -> Any:
    """b as the old opsets meant it: axes counted from `axis` of a, ones behind."""
    if not call.integer("broadcast", 0) or not call.has("axis"):
        return b
    axis = call.integer("axis")
    axis += len(a.shape) if axis < 0 else 0
    if not 0 <= axis <= len(a.shape):
        raise call.malformed("no such axis")
    behind = len(a.shape) - axis - len(b.shape)
    return reshape(b, (*b.shape, *(1,) * behind)) if behind > 0 else b


def _old(rule: Callable[..., Any], call: Call, a: Any, b: Any) -> Any:
    return rule(call, a, aligned(call, a, b))


def _binary(name: str, call: Call, a: Any, b: Any) -> Any:
    return binary(call, name, a, b)


def _div(call: Call, a: Any, b: Any) -> Any:
    if is_floating(a) or is_sizes(a) or is_sizes(b):
        return binary(call, "div", a, b)
    # Towards zero: the floor, and one more where the quotient is negative and not whole.
    floor, rest = (binary(call, name, a, b) for name in ("floor_divide", "remainder"))
    signs = [compare(call, "lt", x, like(x, 0)) for x in (a, b)]
    more = logical(call, "logical_xor", *signs)
    more = logical(call, "logical_and", more, compare(call, "ne", rest, like(rest, 0)))
    return binary(call, "add", floor, cast(more, dtype_of(a)))


def _pow(call: Call, a: Any, b: Any) -> Any:
    if not is_array(a, b) and not (is_floating(a) and (is_floating(b) or _exact(a, b))):
        # The base decides the type, and an exponent in it may be another number.
        wide = np.dtype(np.float64)
        return cast(binary(call, "pow", cast(a, wide), cast(b, wide)), dtype_of(a))
    if is_array(b) and not is_array(a):
        if b.size == 1 and b.reshape(()) == 2 and len(b.shape) <= len(a.shape):
            return unary("square", a)
        return binary(call, "pow", a, b.astype(a._type.dtype.numpy))
    if is_array(a, b) and (a.dtype != b.dtype or a.dtype.kind in "iu"):
        # The base decides the type of the result, whatever the exponent's is.
        broadcast(call, a, b)
        return np.power(a.astype(np.float64), b.astype(np.float64)).astype(a.dtype)
    return binary(call, "pow", a, b)


def _exact(a: Any, b: Any) -> bool:
    """Whether the integers b are known, and numbers of a's type."""
    limit = 2 ** np.finfo(a._type.dtype.numpy).nmant if not is_array(a) else 0
    return is_array(b) and bool((np.abs(b.astype(np.float64)) <= limit).all())


def _mod(call: Call, a: Any, b: Any) -> Any:
    if not call.integer("fmod", 0):
        return binary(call, "remainder", a, b)
    if is_array(a, b):
        broadcast(call, a, b)
        with np.errstate(all="ignore"):
            return np.fmod(a, b)
    if not is_floating(a):
        # Of the floored remainder the sign is b's; where a's differs, b is taken off again.
        rest = binary(call, "remainder", a, b)
        apart = logical(call, "logical_xor", *(compare(call, "lt", x, like(x, 0)) for x in (a, b)))
        apart = logical(call, "logical_and", apart, compare(call, "ne", rest, like(rest, 0)))
        return where(call, apart, binary(call, "sub", rest, b), rest)
    # The remainder of the sizes, with a's sign.
    size = binary(call, "remainder", unary("abs", a), unary("abs", b))
    signed = binary(call, "mul", unary("sign", a), size)
    # Of a zero the sign is a's own, unless b is zero too.
    return where(call, compare(call, "eq", signed, 0.0), binary(call, "mul", a, 0.0), signed)


def _many(name: str, call: Call, *operands: Any) -> Any:
    if not operands:
        raise call.malformed("at least one operand")
    total = operands[0]
    for operand in operands[1:]:
        total = binary(call, name, total, operand)
    return total


def _mean(call: Call, *operands: Any) -> Any:
    total = floating(call, _many("add", call, *operands))
    return binary(call, "div", total, float(len(operands)))


_TWO: dict[str, Callable[..., Any]] = {
    "Add": partial(_binary, "add"),
    "Sub": partial(_binary, "sub"),
    "Mul": partial(_binary, "mul"),
    "Div": _div,
}

RULES: dict[tuple[str, int], Rule] = {
    **{(op, 1): Rule(partial(_old, rule), "N N") for op, rule in _TWO.items()},
    **{(op, 7): Rule(rule, "N N") for op, rule in _TWO.items()},
    ("Pow", 1): Rule(partial(_old, _pow), "f f"),
    ("Pow", 7): Rule(_pow, "n n"),
    ("Mod", 10): Rule(_mod, "N N"),
    ("Sum", 1): Rule(partial(_many, "add"), "N*"),
    ("Max", 1): Rule(partial(_many, "maximum"), "N*"),
    ("Min", 1): Rule(partial(_many, "minimum"), "N*"),
    ("Mean", 1): Rule(_mean, "f*"),
}
