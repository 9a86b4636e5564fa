# SPDX-License-Identifier: Apache-2.0
"""Element types of storage: what a parameter's bits are where NumPy has no such type.

bfloat16 is the upper half of a float32: 8 bits of significand, so that a rounded number is within
1 / 256 of what it was. NumPy knows it not; its bits lie in a uint16. float16 is NumPy's own: 11
bits, within 1 / 2048, and at most 65504.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from lamella.errors import DTypeError, message
from lamella.ir.types import Array, DType, is_bfloat16

__all__ = ["narrowed", "overflows", "storage", "widened"]


def storage(op: str, dtype: Any) -> DType:
    """The storage type of this name or NumPy type; DTypeError for another.

    >>> storage("narrow", "bfloat16")
    bfloat16
    """
    found = DType.of(dtype)
    if not found.is_storage:
        cure = "float() and double() make wider ones" if found.is_floating else ""
        raise DTypeError(
            message(op, "no type of storage", {"dtype": found}, "bfloat16 or float16", cure)
        )
    return found


def widened(array: Array) -> Array:
    """Numbers that NumPy can show: bfloat16 as float32 with the same values, all else as it is.

    array: of a parameter's own memory, where uint16 is bfloat16, or of another library's bfloat16.

    >>> widened(np.array([0x3FC0], np.uint16))
    array([1.5], dtype=float32)
    """
    if array.dtype != np.uint16 and not is_bfloat16(array.dtype):
        return array
    return np.left_shift(array.view(np.uint16), np.uint32(16), dtype=np.uint32).view(np.float32)


def narrowed(array: Array, dtype: DType) -> Array:
    """Numbers as a parameter's memory has them, rounded once, to the nearest or else to even.

    NaN stays NaN, with the upper bits of its payload; subnormal numbers are kept.

    >>> [hex(bits) for bits in narrowed(np.array([1.5, 1.0 + 2**-9]), DType.bfloat16)]
    ['0x3fc0', '0x3f80']
    """
    array = widened(array) if is_bfloat16(array.dtype) else array
    with np.errstate(all="ignore"):
        if dtype is not DType.bfloat16:
            return array.astype(dtype.numpy)
        bits = (array if array.dtype == np.float32 else _rounded_to_odd(array)).view(np.uint32)
    rounded = bits + np.uint32(0x7FFF) + (bits >> np.uint32(16) & np.uint32(1))
    is_nan = (bits & np.uint32(0x7FFFFFFF)) > np.uint32(0x7F800000)
    halves = np.where(is_nan, bits | np.uint32(0x400000), rounded) >> np.uint32(16)
    return np.asarray(halves, np.uint16)


def _rounded_to_odd(array: Array) -> Array:
    """float32 that, where it had to be rounded, has an odd last bit: rounding again is right then.

    Source: Boldo and Melquiond, "Emulation of FMA and correctly rounded sums", 2008.
    """
    # Integers of 64 bits fit in x87's numbers.
    exact = array.astype(np.float64 if array.dtype.kind == "f" else np.longdouble)
    near = np.array(exact, np.float32)
    bits = near.view(np.uint32)
    back, even = np.abs(near.astype(exact.dtype)), (bits & 1) == 0
    bits -= (even & (back > np.abs(exact))).astype(np.uint32)
    bits += (even & (back < np.abs(exact))).astype(np.uint32)
    return near


def overflows(array: Array, dtype: DType) -> bool:
    """Whether a number becomes infinite that is not.

    >>> overflows(np.array([7e4], np.float32), DType.float16)
    True
    """
    return bool((np.isinf(widened(narrowed(array, dtype))) & ~np.isinf(array)).any())
