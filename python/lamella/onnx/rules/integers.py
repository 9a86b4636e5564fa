# SPDX-License-Identifier: Apache-2.0
"""Bits of integers; on arrays."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from lamella import functional as F
from lamella.foreign.call import is_array
from lamella.foreign.rule import Rule
from lamella.foreign.words import broadcast
from lamella.onnx.rules.call import Call

__all__ = ["RULES"]

_BITS = {
    "and": (np.bitwise_and, F.bitwise_and),
    "or": (np.bitwise_or, F.bitwise_or),
    "xor": (np.bitwise_xor, F.bitwise_xor),
    "LEFT": (np.left_shift, F.bitwise_left_shift),
    "RIGHT": (np.right_shift, F.bitwise_right_shift),
}


def _bitwise(kind: str, call: Call, a: Any, b: Any) -> Any:
    broadcast(call, a, b)
    on_arrays, in_programs = _BITS[kind]
    return on_arrays(a, b) if is_array(a, b) else in_programs(a, b)


def _not(call: Call, x: Any) -> Any:
    return np.invert(x) if is_array(x) else F.bitwise_not(x)


def _shift(call: Call, a: Any, b: Any) -> Any:
    direction = call.text("direction")
    if direction not in ("LEFT", "RIGHT"):
        raise call.malformed(f"direction {direction!r}")
    return _bitwise(direction, call, a, b)


RULES: dict[tuple[str, int], Rule] = {
    ("BitwiseAnd", 18): Rule(partial(_bitwise, "and"), "I I"),
    ("BitwiseOr", 18): Rule(partial(_bitwise, "or"), "I I"),
    ("BitwiseXor", 18): Rule(partial(_bitwise, "xor"), "I I"),
    ("BitwiseNot", 18): Rule(_not, "i"),
    ("BitShift", 11): Rule(_shift, "I I"),
}
