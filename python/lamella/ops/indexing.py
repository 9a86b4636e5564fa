# SPDX-License-Identifier: Apache-2.0
"""x[key]: integers, slices, None and one ellipsis, and arrays or values of integers, as in NumPy.

Arrays of integers broadcast among each other and pick together; a known mask stands for the
positions where it is true. A mask that is not known would decide a shape and is refused. So is the
one case in which NumPy and PyTorch disagree: an integer apart from the arrays.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from lamella.errors import DTypeError, UnsupportedError, message
from lamella.ir.extent import Extent
from lamella.ir.extent import index as whole
from lamella.ir.graph import Constant, Place, Value
from lamella.ir.types import Array, DType, broadcast_shapes
from lamella.ops.base import number
from lamella.ops.composites import expand, permute, reshape
from lamella.ops.elementwise import Binary
from lamella.ops.entries import judged
from lamella.ops.gather import Gather
from lamella.ops.shape import Slice

__all__ = ["index"]


def index(place: Place, x: Value, key: Any) -> Value:
    """x[key]; arrays and values among the keys pick entries, all others cut."""
    keys = _every_axis(x, list(key) if isinstance(key, tuple) else [key])
    starts: list[int] = []
    sizes: list[int] = []
    steps: list[int] = []
    shape: list[int] = []
    # The axes of `shape` that are picked from, by what, and which kind of key stood where.
    axes: list[int] = []
    picks: list[Value] = []
    kinds = ""
    for item in keys:
        axis = len(starts)
        if item is None:
            shape.append(1)
            kinds += "s"
            continue
        if isinstance(item, Value):
            axes.append(len(shape))
            picks.append(item)
            start, size, step = 0, x.shape[axis], 1
        elif isinstance(item, slice):
            start, size, step = _span(item, x.shape[axis])
        else:
            start, size, step = _position(item, axis, x), 1, 1
        kinds += "a" if isinstance(item, Value) else "s" if isinstance(item, slice) else "i"
        starts.append(start)
        sizes.append(size)
        steps.append(step)
        if kinds[-1] != "i":
            shape.append(size)
    if tuple(sizes) != x.shape or any(step != 1 for step in steps):
        x = place(Slice(tuple(starts), tuple(sizes), tuple(steps)), x)
    x = reshape(place, x, shape)
    if not picks:
        return x
    together = axes[-1] - axes[0] + 1 == len(axes)
    if together and axes[0] and "s" in kinds.strip("s"):
        raise UnsupportedError(
            message(
                "index",
                "NumPy and PyTorch put the picked axis elsewhere when an integer stands apart",
                {"x": x.shape},
                "integers beside the arrays, or none",
                "Index in two steps, as in x[0][:, ids]",
            )
        )
    if not together:
        rest = [axis for axis in range(len(shape)) if axis not in axes]
        x = permute(place, x, (*axes, *rest))
        axes = list(range(len(axes)))
    return _picked(place, x, axes[0], picks)


def _picked(place: Place, x: Value, first: int, picks: Sequence[Value]) -> Value:
    """Entries of neighbouring axes of x, picked together."""
    last = first + len(picks)
    extents = x.shape[first:last]
    common = broadcast_shapes(*(pick.shape for pick in picks))
    if common is None:
        shapes = ", ".join(str(pick.shape) for pick in picks)
        raise IndexError(
            message("index", "arrays do not broadcast", {"shapes": shapes}, "one shape")
        )
    if len(picks) == 1 and not isinstance(picks[0], Constant):
        where = picks[0]
    else:
        where = _combined(place, picks, extents)
    front, behind = x.shape[:first], x.shape[last:]
    x = reshape(place, x, (*front, prod(extents), *behind))
    where = expand(place, where, common)
    ones = [1] * len(x.shape)
    ones[first] = where.type.size
    y = place(Gather(first, len(picks) == 1), x, reshape(place, where, ones))
    return reshape(place, y, (*front, *common, *behind))


def _combined(place: Place, picks: Sequence[Value], extents: Sequence[int]) -> Value:
    """One index of several, in row-major order, counted from the front."""
    found = [
        judged("index", place, pick, extent, True)
        for pick, extent in zip(picks, extents, strict=True)
    ]
    total = found[0]
    for extent, one in zip(extents[1:], found[1:], strict=True):
        if isinstance(total, Constant) and isinstance(one, Constant) and type(extent) is int:
            total = Constant(np.asarray(total.array * extent + one.array))
        else:
            scaled = place(Binary("mul"), total, number(extent, DType.int64))
            total = place(Binary("add"), scaled, one)
    return total


def _every_axis(x: Value, keys: Sequence[Any]) -> list[Any]:
    """Keys for each axis: slices for the ellipsis and what is not named, positions for masks."""
    named = sum(_axes_of(item) for item in keys)
    ellipses = sum(1 for item in keys if item is Ellipsis)
    if ellipses > 1 or named > len(x.shape):
        raise IndexError(
            message(
                "index",
                "too many indices",
                {"x": x.shape, "indices": named},
                f"at most {len(x.shape)} and one ellipsis",
            )
        )
    rest = [slice(None)] * (len(x.shape) - named)
    found: list[Any] = []
    axis = 0
    for item in (*keys, *[Ellipsis] * (not ellipses)):
        mask = _mask_of(item)
        if item is Ellipsis:
            found += rest
            axis += len(rest)
            continue
        found += [item] if mask is None else _positions(x, axis, mask)
        axis += _axes_of(item)
    return found


def _axes_of(item: Any) -> int:
    """How many axes of x a key takes."""
    if item is None or item is Ellipsis:
        return 0
    mask = _mask_of(item)
    return 1 if mask is None else mask.ndim


def _mask_of(item: Any) -> Array | None:
    """A key of truth values as an array."""
    if isinstance(item, np.ndarray):
        return item
    if isinstance(item, Value) and item.dtype is DType.bool:
        if isinstance(item, Constant) and item.shape:
            return item.array
        raise UnsupportedError(
            message(
                "index",
                "a mask of the run would decide the shape of the result",
                {"mask": item.type},
                "a mask that is known while tracing",
                "Keep the shape: where(mask, x, y), masked_fill, or multiply by mask.float()",
            )
        )
    if isinstance(item, Value) and not item.dtype.is_integer:
        raise DTypeError(
            message(
                "index",
                "keys are not integers",
                {"key": item.dtype},
                "integers or bool",
                "Convert with .long()",
            )
        )
    return None


def _positions(x: Value, axis: int, mask: Array) -> list[Constant]:
    """Where a known mask is true, an index for each of its axes."""
    if mask.shape != x.shape[axis : axis + mask.ndim] or not mask.ndim:
        raise IndexError(
            message(
                "index",
                "the mask does not fit",
                {"x": x.shape, "mask": mask.shape, "axis": axis},
                f"mask.shape == {x.shape[axis : axis + mask.ndim]}",
            )
        )
    return [Constant(positions) for positions in np.nonzero(mask)]


def _span(key: slice, extent: int) -> tuple[int, int, int]:
    """Where a slice begins, how many elements it has, and its step; begins at 0 if it has none."""
    if not any(type(one) is Extent for one in (extent, key.start, key.stop, key.step)):
        span = range(*key.indices(extent))
        return span.start if len(span) else 0, len(span), span.step
    step = 1 if key.step is None else whole(key.step)
    if step == 0:
        raise ValueError("slice step cannot be zero")
    # What range(*key.indices(extent)) is, for extents that may be free.
    low, high = (0, extent) if step > 0 else (-1, extent - 1)

    def bound(end: Any, default: int) -> int:
        if end is None:
            return default
        found = whole(end)
        return max(found + extent, low) if found < 0 else min(found, high)

    start = bound(key.start, low if step > 0 else high)
    stop = bound(key.stop, high if step > 0 else low)
    size = -((start - stop) // step) if (start < stop if step > 0 else stop < start) else 0
    return (start if size else 0), size, step


def _position(item: Any, axis: int, x: Value) -> int:
    """One integer index, counted from the front."""
    if isinstance(item, bool | np.bool_) or not hasattr(item, "__index__") or np.ndim(item):
        raise UnsupportedError(
            message(
                "index",
                "no such key",
                {"x": x.shape, "key": type(item).__name__},
                "integers, slices, None, ... and arrays of integers or truth values",
            )
        )
    position = whole(item)
    extent = x.shape[axis]
    if not -extent <= position < extent:
        raise IndexError(
            message(
                "index",
                "outside the axis",
                {"x": x.shape, "index": position, "axis": axis},
                f"{-extent} <= index < {extent}",
            )
        )
    return position + extent if position < 0 else position
