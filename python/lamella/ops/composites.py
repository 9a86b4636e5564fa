# SPDX-License-Identifier: Apache-2.0
"""Functions made of several ops: torch's argument conventions on top of the plain ops.

Each takes `place`, which adds one op to a graph and gives its output, and values of that graph;
tracer, doors and gradient rules share them. Negative axes are counted from the last one.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from math import prod

from lamella.errors import ShapeError, message
from lamella.ir.extent import index as whole
from lamella.ir.graph import Place, Value
from lamella.ir.types import DType, Shape, normalize_axis, same_shape
from lamella.ops.elementwise import Cast
from lamella.ops.matmul import MatMul
from lamella.ops.reduce import REDUCE, Reduce
from lamella.ops.shape import Concat, Expand, Pad, Permute, Reshape, Slice
from lamella.ops.softmax import Softmax

__all__ = [
    "chunk",
    "concatenate",
    "expand",
    "flatten",
    "matmul",
    "pad",
    "permute",
    "reduce",
    "reshape",
    "softmax",
    "split",
    "squeeze",
    "stack",
    "transpose",
    "truth",
    "unsqueeze",
]


def reshape(place: Place, x: Value, shape: Sequence[int]) -> Value:
    """x under another shape; one extent may be -1 and is then computed."""
    extents = tuple(shape)
    unknown = extents.count(-1)
    known = prod(extent for extent in extents if extent != -1)
    bad = unknown > 1 or any(extent < -1 for extent in extents)
    if unknown == 1 and not bad:
        bad = known == 0 or x.type.size % known != 0
    if bad:
        raise ShapeError(
            message(
                "reshape",
                "no such shape",
                {"x": x.shape, "shape": extents},
                f"extents whose product is {x.type.size}, at most one of them -1",
            )
        )
    if unknown:
        extents = tuple(x.type.size // known if extent == -1 else extent for extent in extents)
    return x if same_shape(extents, x.shape) else place(Reshape(extents), x)


def flatten(place: Place, x: Value, start_dim: int = 0, end_dim: int = -1) -> Value:
    """Axes start_dim..end_dim as one; a 0-d value becomes 1-d."""
    if not x.shape:
        return reshape(place, x, (1,))
    rank = len(x.shape)
    first = normalize_axis("flatten", start_dim, rank, "start_dim")
    last = normalize_axis("flatten", end_dim, rank, "end_dim")
    if first > last:
        raise ShapeError(
            message(
                "flatten",
                "axes in the wrong order",
                {"start_dim": start_dim, "end_dim": end_dim, "x": x.shape},
                "start_dim <= end_dim",
            )
        )
    joined = prod(x.shape[first : last + 1])
    return reshape(place, x, (*x.shape[:first], joined, *x.shape[last + 1 :]))


def unsqueeze(place: Place, x: Value, dim: int) -> Value:
    """x with a new axis of extent one before axis `dim` of the result."""
    axis = normalize_axis("unsqueeze", dim, len(x.shape) + 1)
    return reshape(place, x, (*x.shape[:axis], 1, *x.shape[axis:]))


def squeeze(place: Place, x: Value, dim: int | Sequence[int] | None = None) -> Value:
    """x without its axes of extent one: all of them, or those listed (others are kept)."""
    rank = len(x.shape)
    axes = set(range(rank)) if dim is None else set(_axes("squeeze", dim, rank))
    kept = [extent for axis, extent in enumerate(x.shape) if axis not in axes or extent != 1]
    return reshape(place, x, kept)


def permute(place: Place, x: Value, dims: Sequence[int]) -> Value:
    """Axis i of the result is axis dims[i] of x."""
    rank = len(x.shape)
    order = tuple(normalize_axis("permute", dim, rank, "dims") for dim in dims)
    return x if order == tuple(range(rank)) else place(Permute(order), x)


def transpose(place: Place, x: Value, dim0: int, dim1: int) -> Value:
    """Two axes exchanged."""
    rank = len(x.shape)
    first = normalize_axis("transpose", dim0, rank, "dim0")
    second = normalize_axis("transpose", dim1, rank, "dim1")
    order = list(range(rank))
    order[first], order[second] = order[second], order[first]
    return permute(place, x, order)


def expand(place: Place, x: Value, shape: Sequence[int]) -> Value:
    """x repeated up to `shape`; -1 keeps an extent."""
    offset = len(shape) - len(x.shape)
    target = tuple(
        x.shape[axis - offset] if extent == -1 and axis >= offset else extent
        for axis, extent in enumerate(shape)
    )
    return x if same_shape(target, x.shape) else place(Expand(target), x)


def split(
    place: Place, x: Value, split_size: int | Sequence[int], dim: int = 0
) -> tuple[Value, ...]:
    """Pieces along `dim`: of split_size elements (the last may be smaller), or of listed sizes."""
    axis = normalize_axis("split", dim, len(x.shape))
    extent = x.shape[axis]
    if isinstance(split_size, Sequence):
        sizes = [whole(size) for size in split_size]
        fits = sum(sizes) == extent and all(size >= 0 for size in sizes)
    else:
        step = whole(split_size)
        fits = step > 0
        sizes, rest = [], extent
        while fits and rest > 0:
            # The rest first: where the axis comes out even, it is the last piece at every size.
            sizes.append(min(rest, step))
            rest = rest - step
        sizes = sizes or [0]
    if not fits:
        raise ShapeError(
            message(
                "split",
                "sizes do not fit the axis",
                {"x": x.shape, "split_size": split_size, "dim": dim},
                f"a size > 0, or sizes whose sum is {extent}",
            )
        )
    pieces = []
    start = 0
    for size in sizes:
        pieces.append(_narrow(place, x, axis, start, size))
        start += size
    return tuple(pieces)


def chunk(place: Place, x: Value, chunks: int, dim: int = 0) -> tuple[Value, ...]:
    """At most `chunks` pieces of equal size along `dim`; the last may be smaller."""
    axis = normalize_axis("chunk", dim, len(x.shape))
    if whole(chunks) < 1:
        raise ShapeError(
            message("chunk", "no such number of pieces", {"chunks": chunks}, "chunks >= 1")
        )
    return split(place, x, max(-(-x.shape[axis] // chunks), 1), axis)


def _narrow(place: Place, x: Value, axis: int, start: int, size: int) -> Value:
    if start == 0 and size == x.shape[axis]:
        return x
    starts = [0] * len(x.shape)
    sizes = list(x.shape)
    starts[axis], sizes[axis] = start, size
    return place(Slice(tuple(starts), tuple(sizes), (1,) * len(sizes)), x)


def concatenate(place: Place, values: Sequence[Value], dim: int = 0) -> Value:
    """The values one after the other along an existing axis."""
    if not values:
        raise ShapeError(message("cat", "nothing to join", None, "at least one tensor"))
    axis = normalize_axis("cat", dim, len(values[0].shape))
    return place(Concat(axis), *values)


def stack(place: Place, values: Sequence[Value], dim: int = 0) -> Value:
    """The values one after the other along a new axis."""
    if not values:
        raise ShapeError(message("stack", "nothing to join", None, "at least one tensor"))
    first = values[0].shape
    for position, value in enumerate(values):
        if value.shape != first:
            raise ShapeError(
                message(
                    "stack",
                    "shapes differ",
                    {"tensors[0]": first, f"tensors[{position}]": value.shape},
                    "one shape",
                )
            )
    axis = normalize_axis("stack", dim, len(first) + 1)
    return place(Concat(axis), *(unsqueeze(place, value, axis) for value in values))


def pad(place: Place, x: Value, amounts: Sequence[int], value: float = 0.0) -> Value:
    """torch's pad: (before, after) pairs from the last axis on; negative amounts cut off."""
    rank = len(x.shape)
    if len(amounts) % 2 or len(amounts) > 2 * rank:
        raise ShapeError(
            message(
                "pad",
                "amounts do not fit",
                {"x": x.shape, "pad": tuple(amounts)},
                f"pairs (before, after) for at most {rank} axes, the last axis first",
            )
        )
    before, after = [0] * rank, [0] * rank
    for pair in range(len(amounts) // 2):
        before[rank - 1 - pair], after[rank - 1 - pair] = amounts[2 * pair : 2 * pair + 2]
    for axis in range(rank):
        cut_front, cut_back = max(-before[axis], 0), max(-after[axis], 0)
        if cut_front + cut_back > x.shape[axis]:
            raise ShapeError(
                message(
                    "pad",
                    "cuts off more than there is",
                    {"x": x.shape, "pad": tuple(amounts)},
                    "extents >= 0",
                )
            )
        x = _narrow(place, x, axis, cut_front, x.shape[axis] - cut_front - cut_back)
    fronts = tuple(max(amount, 0) for amount in before)
    backs = tuple(max(amount, 0) for amount in after)
    return place(Pad(fronts, backs, float(value)), x) if any(fronts + backs) else x


def _axes(op: str, dim: int | Sequence[int], rank: int) -> list[int]:
    """Axes in ascending order, each once."""
    dims = dim if isinstance(dim, Sequence) else (dim,)
    axes = sorted(normalize_axis(op, operator.index(axis), rank) for axis in dims)
    if len(set(axes)) != len(axes):
        raise ShapeError(
            message(op, "an axis is named twice", {"dim": tuple(dims)}, "different axes")
        )
    return axes


def reduce(
    place: Place,
    kind: str,
    x: Value,
    dim: int | Sequence[int] | None = None,
    keepdim: bool = False,
    correction: float = 1.0,
    pick: bool = False,
) -> Value:
    """A row of REDUCE over any axes: None for all; argmax and argmin take one axis or None.

    Axes that are not neighbours are brought together behind the others first, and so are axes that
    no kernel reduces where they are. correction is for var and std alone; pick is Reduce's.
    """
    row = REDUCE[kind]
    rank = len(x.shape)
    if dim is None or (isinstance(dim, Sequence) and not dim):
        axes = list(range(rank))
    else:
        axes = _axes(kind, dim, max(rank, 1))
    if row.index and dim is not None and isinstance(dim, Sequence):
        raise ShapeError(message(kind, "one axis at a time", {"dim": dim}, "an int or None"))
    shape: Shape = tuple(
        1 if axis in axes else extent
        for axis, extent in enumerate(x.shape)
        if keepdim or axis not in axes
    )
    amount = correction if kind in ("var", "std") else 1.0
    if not rank:
        x, axes, shape = reshape(place, x, (1,)), [0], ()
    others = [axis for axis in range(len(x.shape)) if axis not in axes]
    neighbours = axes[-1] - axes[0] + 1 == len(axes)
    inner = prod(x.shape[axes[-1] + 1 :])
    if not neighbours or (inner != 1 and not row.columns):
        x = permute(place, x, (*others, *axes))
        axes = list(range(len(others), len(x.shape)))
    y = place(Reduce(kind, axes[0], axes[-1], False, float(amount), pick), x)
    return reshape(place, y, shape)


def truth(
    place: Place, x: Value, kind: str, dim: int | Sequence[int] | None, keepdim: bool
) -> Value:
    """Whether any, or all, of the elements over some axes are not zero."""
    x = place(Cast(DType.bool), x) if x.dtype.is_floating else x
    return reduce(place, kind, x, dim, keepdim)


def softmax(place: Place, x: Value, dim: int = -1, log: bool = False) -> Value:
    """Softmax, or its logarithm, along any axis."""
    rank = len(x.shape)
    if not rank:
        return reshape(place, place(Softmax(log), reshape(place, x, (1,))), ())
    axis = normalize_axis("log_softmax" if log else "softmax", dim, rank)
    if prod(x.shape[axis + 1 :]) == 1:
        # Trailing axes of extent one do not move anything.
        rows = reshape(place, x, x.shape[: axis + 1])
        return reshape(place, place(Softmax(log), rows), x.shape)
    swapped = transpose(place, x, axis, -1)
    return transpose(place, place(Softmax(log), swapped), axis, -1)


def matmul(place: Place, x: Value, w: Value) -> Value:
    """NumPy's matmul."""
    return place(MatMul(), x, w)
