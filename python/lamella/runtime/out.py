# SPDX-License-Identifier: Apache-2.0
"""Arrays that callers give for results: what they have to be, and when programs write them at once.

A program writes in its own layout, and must not overwrite what it is still to read. Whatever else
may be given is written from a result of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from lamella.errors import DTypeError, ShapeError, message
from lamella.ir.types import Array
from lamella.runtime.signature import refuse_masked

__all__ = ["check_out", "disjoint", "is_direct"]


def check_out(op: str, target: Any, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    """Raises unless an array may receive a result of this shape and dtype."""
    if not isinstance(target, np.ndarray):
        raise TypeError(message(op, "out is not an array", {"out": target.__class__.__name__}))
    refuse_masked(target, op, "out")
    if target.dtype != dtype:
        raise DTypeError(message(op, "out has another dtype", {"out": target.dtype}, f"{dtype}"))
    if target.shape != shape:
        raise ShapeError(message(op, "out has another shape", {"out": target.shape}, f"{shape}"))
    if not target.flags.writeable:
        raise ValueError(message(op, "out is read-only", None, "a writeable array"))


def is_direct(target: Array) -> bool:
    """Whether a program can write there itself."""
    flags = target.flags
    return bool(flags.c_contiguous and flags.aligned and target.dtype.isnative)


def disjoint(targets: Sequence[Array], others: Sequence[Array]) -> bool:
    """True when no target shares a byte with another target or with what is read."""
    for number, target in enumerate(targets):
        for other in (*others, *targets[:number]):
            if np.may_share_memory(target, other):
                return False
    return True
