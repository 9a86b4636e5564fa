# SPDX-License-Identifier: Apache-2.0
"""Element types of fewer than 8 bits, and floating ones of 8: how they lie, and what they become.

Integers of 2 and 4 bits are computed with as int8 and uint8, floating types as float32, whose
numbers theirs are. Two and four elements share a byte, the first in its low bits. What rules would
take for another type (a bound, a width) is refused, by a walk over the nodes before there is a
plan. Source: onnx/onnx, docs/docsgen/source/technical/float8.md, float4.md, int4.md.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from lamella.ir.types import Array

__all__ = ["SMALL", "Small", "decoded", "is_whole", "room"]


class Small(NamedTuple):
    """bits; what it is computed as; of a floating one: bits of exponent and mantissa, the bias, and
    which codes are no numbers.
    """

    bits: int
    dtype: np.dtype[Any]
    exponent: int = 0
    mantissa: int = 0
    bias: int = 0
    special: str = ""


_INT8, _UINT8, _FLOAT = np.dtype(np.int8), np.dtype(np.uint8), np.dtype(np.float32)

# By ONNX's number of the type.
SMALL: dict[int, Small] = {
    17: Small(8, _FLOAT, 4, 3, 7, "last"),  # float8e4m3fn
    18: Small(8, _FLOAT, 4, 3, 8, "zero"),  # float8e4m3fnuz
    19: Small(8, _FLOAT, 5, 2, 15, "ieee"),  # float8e5m2
    20: Small(8, _FLOAT, 5, 2, 16, "zero"),  # float8e5m2fnuz
    21: Small(4, _UINT8),
    22: Small(4, _INT8),
    23: Small(4, _FLOAT, 2, 1, 1),  # float4e2m1
    24: Small(8, _FLOAT, 8, 0, 127, "scale"),  # float8e8m0
    25: Small(2, _UINT8),
    26: Small(2, _INT8),
}


def is_whole(data_type: Any) -> bool:
    """Whether a type is integers of fewer than 8 bits."""
    return data_type in SMALL and SMALL[data_type].dtype.kind in "iu"


def room(kind: Small, count: int) -> int:
    """Bytes that so many elements take."""
    return -(-count * kind.bits // 8)


def decoded(kind: Small, data: Array, count: int) -> Array:
    """The elements that lie in bytes."""
    per = 8 // kind.bits
    shifts = np.arange(per, dtype=np.uint8) * np.uint8(kind.bits)
    codes = (data[:, None] >> shifts & np.uint8(2**kind.bits - 1)).reshape(-1)[:count]
    return np.asarray(_numbers(kind)[codes])


@lru_cache(16)
def _numbers(kind: Small) -> Array:
    """What each code stands for."""
    codes = np.arange(2**kind.bits)
    if kind.dtype.kind in "iu":
        half = 2 ** (kind.bits - 1)
        whole = (codes ^ half) - half if kind.dtype.kind == "i" else codes
        return np.asarray(whole.astype(kind.dtype))
    if kind.special == "scale":
        values = np.exp2(codes - 127.0)
        values[-1] = np.nan
        return values.astype(np.float32)
    parts, steps = 2**kind.mantissa, kind.exponent + kind.mantissa
    exponent, fraction = codes >> kind.mantissa & (2**kind.exponent - 1), codes & (parts - 1)
    normal = np.exp2(np.maximum(exponent, 1) - float(kind.bias))
    values = normal * ((exponent > 0) + fraction / parts) * np.where(codes >> steps, -1.0, 1.0)
    top = exponent == 2**kind.exponent - 1
    if kind.special == "last":
        values[top & (fraction == parts - 1)] = np.nan
    elif kind.special == "zero":
        # What would be -0 is no number.
        values[2 ** (kind.bits - 1)] = np.nan
    elif kind.special == "ieee":
        values[top & (fraction > 0)] = np.nan
        values[top & (fraction == 0)] *= np.inf
    return np.asarray(values.astype(np.float32))
