# SPDX-License-Identifier: Apache-2.0
"""Entries picked and put by index, with torch's arguments on top of Gather and Scatter.

Index operands that only repeat what lies along the axis move whole rows: an index (N, 1) expanded
to (N, D) is read as the (N, 1) that it is. Indices that are known are judged here, others when the
program runs. The callers are those of composites.py.
"""

from __future__ import annotations

from math import prod

import numpy as np

from lamella.errors import ShapeError, message
from lamella.ir.extent import Extent
from lamella.ir.graph import Constant, Place, Result, Value
from lamella.ir.types import DType, Shape, broadcast_shapes, normalize_axis, same_shape
from lamella.ops.base import number
from lamella.ops.composites import flatten, reshape, split
from lamella.ops.elementwise import Binary, Cast
from lamella.ops.gather import Gather, Scatter
from lamella.ops.indices import Index, counted, require_indices
from lamella.ops.shape import Concat, Expand, Slice

__all__ = [
    "as_indices",
    "gather",
    "index_scatter",
    "index_select",
    "judged",
    "rows",
    "scatter",
    "take_along_dim",
]


def as_indices(op: str, place: Place, index: Value) -> Value:
    """Integers of every width as int64; DTypeError for what is none."""
    if index.dtype.is_integer and index.dtype is not DType.int64:
        if isinstance(index, Constant):
            return Constant(index.array.astype(np.int64))
        return place(Cast(DType.int64), index)
    require_indices(op, index.type)
    return index


def judged(op: str, place: Place, index: Value, rows: int, from_end: bool = False) -> Value:
    """Indices counted from the front; IndexError for one outside, at once where it is known."""
    index = as_indices(op, place, index)
    if isinstance(index, Constant):
        array = counted(op, index.array, rows, from_end)
        if not from_end or type(rows) is not Extent:
            return Constant(array)
    return place(Index(rows, from_end), index)


def _whole(place: Place, x: Value, shape: Shape) -> Value:
    return x if same_shape(x.shape, shape) else place(Expand(shape), x)


def _laid_out(place: Place, index: Value, axis: int, shape: Shape) -> Value:
    """An index of `shape`'s rank as the ops take it: in front and behind whole, or ones.

    Ones stay, repeated ones become ones again where all of a group are.
    """
    source = index
    if isinstance(index, Result) and isinstance(index.node.op, Expand):
        source = index.node.inputs[0]
        ones = (1,) * (len(shape) - len(source.shape))
        if (*ones, *source.shape)[axis] == shape[axis]:
            source = reshape(place, source, (*ones, *source.shape))
        else:
            source = index
    if isinstance(index, Constant):
        source = _repeats_left_out(index, axis)
    wanted = list(source.shape)
    for group in (range(axis), range(axis + 1, len(shape))):
        if not all(wanted[i] == 1 for i in group):
            for i in group:
                wanted[i] = shape[i]
    return _whole(place, source, tuple(wanted))


def _repeats_left_out(index: Constant, axis: int) -> Constant:
    """A known index with ones in front or behind where all of that repeats itself."""
    array = index.array
    for group in (range(axis), range(axis + 1, array.ndim)):
        first = array[tuple(slice(0, 1) if i in group else slice(None) for i in range(array.ndim))]
        if array.size and (array == first).all():
            array = first
    return index if array is index.array else Constant(np.ascontiguousarray(array))


def _begin(place: Place, x: Value, shape: Shape) -> Value:
    """The first entries of x along each axis."""
    if same_shape(x.shape, shape):
        return x
    zeros, ones = (0,) * len(shape), (1,) * len(shape)
    return place(Slice(zeros, shape, ones), x)


def rows(
    place: Place,
    table: Value,
    index: Value,
    padding_idx: int | None = None,
    from_end: bool = False,
) -> Value:
    """table[index] along the first axis, for an index of any shape."""
    index = as_indices("gather", place, index)
    column = reshape(place, index, (index.type.size, *(1,) * (len(table.shape) - 1)))
    if isinstance(index, Constant):
        column = judged("gather", place, column, table.shape[0], from_end)
        from_end = from_end and not isinstance(column, Constant)
    picked = place(Gather(0, from_end, padding_idx), table, column)
    return reshape(place, picked, (*index.shape, *table.shape[1:]))


def _same_rank(op: str, dim: int, index: Value, **others: Value) -> int:
    """The axis, of operands that have as many axes as the index."""
    shapes = {name: value.shape for name, value in others.items()}
    if any(len(shape) != len(index.shape) for shape in shapes.values()):
        raise ShapeError(
            message(op, "axes differ", {**shapes, "index": index.shape}, "as many axes everywhere")
        )
    return normalize_axis(op, dim, max(len(index.shape), 1))


def _within(op: str, axis: int, index: Value, **others: Value) -> None:
    """Raises for an index that is larger than an operand, other than along the axis."""
    for name, value in others.items():
        along = -1 if name == "source" else axis
        if any(
            i != along and have > extent
            for i, (have, extent) in enumerate(zip(index.shape, value.shape, strict=True))
        ):
            raise ShapeError(
                message(
                    op,
                    f"the index is larger than the {name}",
                    {name: value.shape, "index": index.shape, "dim": axis},
                    "index.shape[d] <= " + f"{name}.shape[d]" + ("" if along < 0 else ", but dim"),
                )
            )


def gather(place: Place, x: Value, dim: int, index: Value, from_end: bool = False) -> Value:
    """torch.gather; with from_end negative indices count from the end, as in ONNX."""
    index = as_indices("gather", place, index)
    axis = _same_rank("gather", dim, index, input=x)
    if not x.shape:
        x, index = reshape(place, x, (1,)), reshape(place, index, (1,))
        return reshape(place, gather(place, x, 0, index, from_end), ())
    _within("gather", axis, index, input=x)
    shape = index.shape
    x = _begin(place, x, (*shape[:axis], x.shape[axis], *shape[axis + 1 :]))
    index = _laid_out(place, index, axis, shape)
    return _gathered("gather", place, x, axis, index, from_end)


def _gathered(
    op: str, place: Place, x: Value, axis: int, index: Value, from_end: bool = False
) -> Value:
    """A Gather by an index that lies as the op takes it, judged at once where it is known."""
    if isinstance(index, Constant):
        index = judged(op, place, index, x.shape[axis], from_end)
        from_end = from_end and not isinstance(index, Constant)
    return place(Gather(axis, from_end), x, index)


def take_along_dim(place: Place, x: Value, index: Value, dim: int | None) -> Value:
    """torch.take_along_dim, NumPy's take_along_axis: other axes broadcast."""
    op = "take_along_dim"
    index = as_indices(op, place, index)
    if dim is None:
        x, index, dim = flatten(place, x), flatten(place, index), 0
    axis = _same_rank(op, dim, index, input=x)
    shapes = [(*one.shape[:axis], 1, *one.shape[axis + 1 :]) for one in (x, index)]
    common = broadcast_shapes(*shapes)
    if common is None:
        raise ShapeError(
            message(
                op,
                "shapes do not broadcast",
                {"input": x.shape, "indices": index.shape},
                f"extents that are equal or one, but along dim {axis}",
            )
        )
    front, behind = common[:axis], common[axis + 1 :]
    x = _whole(place, x, (*front, x.shape[axis], *behind))
    index = _laid_out(place, index, axis, (*front, index.shape[axis], *behind))
    return _gathered(op, place, x, axis, index, True)


def _along(op: str, place: Place, dim: int, rank: int, index: Value) -> tuple[int, Value]:
    """The axis, and an index of one axis or none lying along it."""
    index = as_indices(op, place, index)
    if len(index.shape) > 1:
        raise ShapeError(
            message(op, "the index has several axes", {"index": index.shape}, "(N,) or ()")
        )
    axis = normalize_axis(op, dim, rank)
    shape = [1] * rank
    shape[axis] = index.type.size
    return axis, reshape(place, index, shape)


def index_select(place: Place, x: Value, dim: int, index: Value) -> Value:
    """torch.index_select; of a 0-d array as of one element."""
    if not x.shape:
        return reshape(place, index_select(place, reshape(place, x, (1,)), dim, index), ())
    axis, index = _along("index_select", place, dim, len(x.shape), index)
    return _gathered("index_select", place, x, axis, index)


def _meeting_entries(
    place: Place, axis: int, index: Value, rows: int, dtype: DType, include_self: bool
) -> Value:
    """How many entries meet along the axis, at least one; with one more for what is there."""
    ones = _whole(place, number(1.0, dtype), index.shape)
    count = place(Scatter(axis, "sum", rows=rows), index, ones)
    one = number(1.0, dtype)
    return place(Binary("add" if include_self else "maximum"), count, one)


def _reduced(
    place: Place, x: Value, axis: int, index: Value, source: Value, reduce: str, include_self: bool
) -> Value:
    """A Scatter by a judged index that lies as the op takes it; also of means."""
    if reduce != "mean":
        return place(Scatter(axis, reduce, include_self), x, index, source)
    total = place(Scatter(axis, "sum", include_self), x, index, source)
    count = _meeting_entries(place, axis, index, x.shape[axis], x.dtype, include_self)
    return place(Binary("div" if x.dtype.is_floating else "floor_divide"), total, count)


def scatter(
    op: str,
    place: Place,
    x: Value,
    dim: int,
    index: Value,
    source: Value,
    reduce: str = "replace",
    include_self: bool = True,
    from_end: bool = False,
) -> Value:
    """torch.scatter_reduce, of `replace` torch.scatter; a 0-d source is put everywhere.

    With from_end negative indices count from the end, as in ONNX.
    """
    index = as_indices(op, place, index)
    if not source.shape:
        source = _whole(place, source, index.shape)
    axis = _same_rank(op, dim, index, input=x, source=source)
    if not x.shape:
        x, index, source = (reshape(place, one, (1,)) for one in (x, index, source))
        y = scatter(op, place, x, 0, index, source, reduce, include_self, from_end)
        return reshape(place, y, ())
    _within(op, axis, index, input=x, source=source)
    for other, (have, extent) in enumerate(zip(index.shape, x.shape, strict=True)):
        if other != axis and have < extent:
            # What the index does not reach stays as it is.
            head, tail = split(place, x, (have, extent - have), other)
            y = scatter(op, place, head, dim, index, source, reduce, include_self, from_end)
            return place(Concat(other), y, tail)
    source = _begin(place, source, index.shape)
    index = _laid_out(place, index, axis, index.shape)
    index = judged(op, place, index, x.shape[axis], from_end)
    return _reduced(place, x, axis, index, source, reduce, include_self)


def index_scatter(
    op: str,
    place: Place,
    x: Value,
    dim: int,
    index: Value,
    source: Value,
    reduce: str = "replace",
    include_self: bool = True,
    from_end: bool = False,
) -> Value:
    """torch.index_reduce, of `replace` index_copy and of `sum` index_add.

    A 0-d source is put everywhere.
    """
    if not x.shape:
        x, source = reshape(place, x, (1,)), reshape(place, source, (1,) * source.type.size)
        y = index_scatter(op, place, x, dim, index, source, reduce, include_self, from_end)
        return reshape(place, y, ())
    axis, index = _along(op, place, dim, len(x.shape), index)
    wanted = (*x.shape[:axis], index.shape[axis], *x.shape[axis + 1 :])
    if not source.shape:
        source = _whole(place, source, wanted)
    if not same_shape(source.shape, wanted):
        raise ShapeError(
            message(
                op,
                "not one index an entry",
                {"input": x.shape, "index": (prod(index.shape),), "source": source.shape},
                f"index (N,) or (), source as input but for N along dim {axis}",
            )
        )
    index = judged(op, place, index, x.shape[axis], from_end)
    return _reduced(place, x, axis, index, source, reduce, include_self)
