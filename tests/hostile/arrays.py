# SPDX-License-Identifier: Apache-2.0
"""What the world hands over instead of the array that was asked for.

SAME_VALUES: other forms of the same array; a call must give the same result. OTHERS: other dtypes,
ranks, sizes and things that are no arrays; a call must compute what they mean or refuse them.
HUGE: arrays that exist only through strides of zero, whose copies fit no machine.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np


def misaligned(x: np.ndarray) -> np.ndarray:
    """The same values one byte off any alignment."""
    memory = np.zeros(x.nbytes + 1, np.uint8)
    view = memory[1:].view(x.dtype).reshape(x.shape)
    view[...] = x
    return view


def spread(x: np.ndarray) -> np.ndarray:
    """Every second element of an array that is twice as long along each axis."""
    wide = np.zeros([2 * n for n in x.shape], x.dtype)
    part = tuple(slice(None, None, 2) for _ in x.shape)
    wide[part] = x
    return wide[part]


def backwards(x: np.ndarray) -> np.ndarray:
    """The same values under negative strides."""
    turn = tuple(slice(None, None, -1) for _ in x.shape)
    return np.ascontiguousarray(x[turn])[turn]


def read_only(x: np.ndarray) -> np.ndarray:
    frozen = x.copy()
    frozen.flags.writeable = False
    return frozen


class Subclass(np.ndarray):
    """A subclass with its own ideas about arithmetic."""

    def __array_finalize__(self, other: object) -> None:
        self.note = "kept"


class Interface:
    """Something that only turns into an array when asked."""

    def __init__(self, x: np.ndarray) -> None:
        self._x = x

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return self._x if dtype is None else self._x.astype(dtype)


SAME_VALUES: dict[str, Callable[[np.ndarray], Any]] = {
    "spread": spread,
    "backwards": backwards,
    "fortran": np.asfortranarray,
    "misaligned": misaligned,
    "byte-swapped": lambda x: x.astype(x.dtype.newbyteorder()),
    "read-only": read_only,
    "subclass": lambda x: x.view(Subclass),
    "interface": Interface,
    "misaligned and swapped": lambda x: misaligned(x.astype(x.dtype.newbyteorder())),
}

OTHERS: dict[str, Callable[[np.ndarray], Any]] = {
    "int8": lambda x: x.astype(np.int8),
    "int32": lambda x: x.astype(np.int32),
    "int64": lambda x: x.astype(np.int64),
    "uint64": lambda x: x.astype(np.uint64),
    "bool": lambda x: x.astype(bool),
    "float16": lambda x: x.astype(np.float16),
    "longdouble": lambda x: x.astype(np.longdouble),
    "other float": lambda x: x.astype("float64" if x.dtype == np.float32 else "float32"),
    "complex64": lambda x: x.astype(np.complex64),
    "object": lambda x: x.astype(object),
    "object of lists": lambda x: np.array([[1, 2], [3]], dtype=object),
    "strings": lambda x: x.astype(str),
    "bytes": lambda x: x.astype("S8"),
    "datetime": lambda x: np.zeros(x.shape, "datetime64[s]"),
    "timedelta": lambda x: np.zeros(x.shape, "timedelta64[s]"),
    "record": lambda x: np.zeros(x.shape, [("a", "f4"), ("b", "f4")]),
    "void": lambda x: np.zeros(x.shape, "V4"),
    "list": lambda x: x.tolist(),
    "ragged list": lambda x: [[1.0, 2.0], [3.0]],
    "masked": lambda x: np.ma.masked_array(x, mask=x > 0.5),
    "none": lambda x: None,
    "text": lambda x: "abc",
    "number": lambda x: 2.5,
    "whole number": lambda x: 3,
    "truth": lambda x: True,
    "nan": lambda x: float("nan"),
    "big number": lambda x: 10**400,
    "decimal": lambda x: Decimal("0.5"),
    "fraction": lambda x: Fraction(1, 2),
    "complex number": lambda x: 1 + 2j,
    "numpy scalar": lambda x: x.dtype.type(0.5),
    "dict": lambda x: {"x": x},
    "set": lambda x: {1.0, 2.0},
    "ellipsis": lambda x: ...,
    "object()": lambda x: object(),
    "generator": lambda x: (row for row in x),
    "memoryview": lambda x: memoryview(x.tobytes()),
    "rank up": lambda x: x[None],
    "rank up behind": lambda x: x[..., None],
    "rank down": lambda x: x[0] if x.ndim else x,
    "rank zero": lambda x: np.array(0.5, x.dtype) if x.dtype.kind == "f" else x.ravel()[0],
    "rank 32": lambda x: x.reshape((1,) * (32 - x.ndim) + x.shape),
    "rank 64": lambda x: x.reshape((1,) * (64 - x.ndim) + x.shape),
    "one row more": lambda x: np.concatenate([x, x[:1]]),
    "one row less": lambda x: x[:-1].copy(),
    "one column less": lambda x: x[..., :-1].copy(),
    "one row": lambda x: x[:1].copy(),
    "no rows": lambda x: x[:0].copy(),
    "no columns": lambda x: x[..., :0].copy(),
    "nothing": lambda x: np.zeros((0,) * x.ndim, x.dtype),
    "empty list": lambda x: [],
    "transposed": lambda x: np.ascontiguousarray(x.T),
    "broadcast": lambda x: np.broadcast_to(x[:1], x.shape),
    "broadcast rows": lambda x: np.broadcast_to(x, (3, *x.shape)),
    "not finite": lambda x: np.full(x.shape, np.nan, x.dtype) if x.dtype.kind == "f" else x,
    "huge values": lambda x: np.full(x.shape, 2**62, x.dtype) if x.dtype.kind in "iu" else x * 1e38,
    "negative values": lambda x: np.full(x.shape, -1, x.dtype) if x.dtype.kind in "iu" else -x,
}

# Copies of these would need 2^48 bytes and more: refused by any machine, touched by none.
HUGE: dict[str, tuple[int, ...]] = {
    "2^46 elements": (2**23, 2**23),
    "2^60 elements": (2**30, 2**30),
    "2^48 in a row": (2**48,),
    "many axes": (2**12,) * 4,
}


def huge(shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    return np.broadcast_to(np.ones((), dtype), shape)
