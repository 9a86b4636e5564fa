# SPDX-License-Identifier: Apache-2.0
"""The vocabulary of the rules: each word works on known arrays and on symbolic tensors.

Arrays are computed by NumPy in their own element type; with a tensor among the operands the word
places lamella's op, which judges shapes and types. Programs know int64 alone: words that move
elements hand on the width that integers have in the file, the others take no uint64. Words that can
make a result much larger than their operands ask `call.room` first.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from lamella import functional as F
from lamella.errors import DTypeError, ShapeError, message
from lamella.foreign.call import Call, is_array, is_sizes
from lamella.ir.extent import index
from lamella.ir.types import Array, DType, TensorType, broadcast_shapes
from lamella.ops import elementwise
from lamella.ops.elementwise import BINARY, COMPARE, UNARY, Binary, Cast, Compare
from lamella.ops.gather import Gather
from lamella.ops.indices import Index
from lamella.ops.logical import LOGICAL, Logical
from lamella.ops.matmul import MatMul
from lamella.ops.reduce import REDUCE
from lamella.runtime import tensor
from lamella.runtime.narrow import Narrow
from lamella.runtime.tensor import Tensor, apply

__all__ = [
    "along",
    "as_element",
    "axis_of",
    "binary",
    "broadcast",
    "cast",
    "compare",
    "concat",
    "dtype_of",
    "expand",
    "floating",
    "gather",
    "is_floating",
    "like",
    "logical",
    "matmul",
    "pad",
    "permute",
    "positions",
    "put",
    "reduce",
    "reshape",
    "rows",
    "slices",
    "unary",
    "where",
]


def is_floating(x: Any) -> bool:
    """Whether x has floating elements."""
    return bool(x.dtype.kind == "f") if is_array(x) else bool(x._type.dtype.is_floating)


def dtype_of(x: Any) -> np.dtype[Any]:
    """The element type that x has in the file."""
    declared = x.dtype if is_array(x) else getattr(x, "element", None)
    found: np.dtype[Any] = x._type.dtype.numpy if declared is None else declared
    return found


def as_element(x: Any, dtype: np.dtype[Any]) -> Any:
    """A tensor of int64 as what holds integers of another width; others as they are."""
    integer = isinstance(x, Tensor) and x.dtype is DType.int64
    return Narrow(x, dtype) if integer and dtype.kind in "iu" and dtype != np.int64 else x


def _moved(x: Any, y: Any) -> Any:
    """y, which has elements of x, with the element type of x."""
    return as_element(y, x.element) if isinstance(x, Narrow) else y


def floating(call: Call, x: Any) -> Any:
    """x, or DTypeError: the operator computes with floating elements only."""
    if not is_floating(x):
        dtype = x.dtype if is_array(x) else x._type.dtype
        raise DTypeError(message(call.op, "not floating", {"x": dtype}, "float32 or float64"))
    return x


def like(x: Any, number: float) -> Any:
    """A number as an operand beside x, of its element type."""
    return np.asarray(number, dtype_of(x))


def axis_of(call: Call, axis: int, rank: int) -> int:
    """An axis counted from the front."""
    if not -rank <= axis < rank:
        raise ShapeError(message(call.op, "no such axis", {"axis": axis, "ndim": rank}))
    return axis % rank


def broadcast(call: Call, *operands: Any) -> tuple[int, ...]:
    """The common shape of the operands, asked for as a result."""
    shape = broadcast_shapes(*(tuple(operand.shape) for operand in operands))
    if shape is None:
        shapes = {f"operand {i}": operand.shape for i, operand in enumerate(operands)}
        raise ShapeError(message(call.op, "shapes do not broadcast", shapes))
    if is_array(*operands):
        call.room(shape, max(operand.itemsize for operand in operands))
    return shape


def unary(name: str, x: Any, *params: float) -> Any:
    """A row of UNARY."""
    if not is_array(x):
        return apply(elementwise.unary(name, *params), x)
    row = UNARY[name]
    wide = x.astype(np.float64) if x.dtype.kind == "f" else x
    with np.errstate(all="ignore"):
        y = row.reference(wide, *params, *row.defaults[len(params) :])
        return np.asarray(y).astype(x.dtype)


def binary(call: Call, name: str, a: Any, b: Any) -> Any:
    """A row of BINARY; b may be a Python number."""
    if is_array(a) and not hasattr(b, "shape"):
        b = like(a, b)
    if not is_array(a, b):
        return apply(Binary(name), a, b)
    broadcast(call, a, b)
    if is_sizes(a) or is_sizes(b):
        return np.asarray(_SIZES[name](a, b))
    with np.errstate(all="ignore"):
        return np.asarray(BINARY[name].reference(a, b)).astype(a.dtype, copy=False)


def _quotient(a: int, b: int) -> int:
    """a / b towards zero, and 0 where b is 0."""
    if b == 0:
        return 0
    return a // b if a >= 0 else -(-a // b)


# On operands that hold free extents NumPy asks Python's operators.
_SIZES: dict[str, Any] = {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "div": np.frompyfunc(_quotient, 2, 1),
    "remainder": np.remainder,
    "maximum": np.maximum,
    "minimum": np.minimum,
}


def compare(call: Call, name: str, a: Any, b: Any) -> Any:
    """A row of COMPARE; truth values."""
    if is_array(a) and not hasattr(b, "shape"):
        b = like(a, b)
    if not is_array(a, b):
        return apply(Compare(name), a, b)
    broadcast(call, a, b)
    return np.asarray(COMPARE[name](a, b))


def logical(call: Call, name: str, *operands: Any) -> Any:
    """A row of LOGICAL on truth values."""
    if not is_array(*operands):
        return apply(Logical(name), *operands)
    broadcast(call, *operands)
    return np.asarray(LOGICAL[name](*operands))


def matmul(call: Call, a: Any, b: Any) -> Any:
    """The matrix product, as NumPy's."""
    if not is_array(a, b):
        return tensor.matmul(a, b)
    (found,) = MatMul().infer([TensorType(x.shape, DType.float32) for x in (a, b)])
    call.room(found.shape, a.itemsize)
    with np.errstate(all="ignore"):
        return np.asarray(np.matmul(a, b)).astype(a.dtype, copy=False)


def where(call: Call, condition: Any, a: Any, b: Any) -> Any:
    """a where the condition is true, else b."""
    if not is_array(condition, a, b):
        return tensor.where(condition, a, b)
    broadcast(call, condition, a, b)
    return np.where(condition, a, b)


def cast(x: Any, dtype: np.dtype[Any]) -> Any:
    """The same numbers as another NumPy type; floats to integers are cut towards zero."""
    if is_sizes(x):
        return x
    if is_array(x):
        with np.errstate(all="ignore"):
            return x.astype(dtype)
    if dtype_of(x) == dtype:
        return x
    return apply(Cast(DType.of(dtype)), x)


def reshape(x: Any, shape: Sequence[int]) -> Any:
    """The same elements under another shape."""
    target = tuple(map(index, shape))
    if not is_array(x):
        return _moved(x, x.reshape(target))
    try:
        return x.reshape(target)
    except ValueError:
        raise ShapeError(
            message("reshape", "sizes differ", {"x": x.shape, "shape": target})
        ) from None


def permute(x: Any, order: Sequence[int]) -> Any:
    """Axis i of the result is axis order[i] of x."""
    return x.transpose(tuple(order)) if is_array(x) else _moved(x, x.permute(tuple(order)))


def expand(call: Call, x: Any, shape: Sequence[int]) -> Any:
    """x repeated up to `shape`."""
    target = tuple(map(index, shape))
    if not is_array(x):
        return _moved(x, x.expand(target))
    if broadcast_shapes(x.shape, target) != target:
        raise ShapeError(
            message(call.op, "shapes do not broadcast", {"x": x.shape, "shape": target})
        )
    call.room(target, x.itemsize)
    return np.broadcast_to(x, target).copy()


def concat(call: Call, operands: Sequence[Any], axis: int) -> Any:
    """The operands one after the other along an axis."""
    if not is_array(*operands):
        whole = next(x for x in operands if not is_array(x))
        return _moved(whole, tensor.cat(list(operands), axis))
    call.room((sum(x.nbytes for x in operands),), 1)
    try:
        return np.concatenate(operands, axis=axis)
    except ValueError as error:
        shapes = {f"operand {i}": x.shape for i, x in enumerate(operands)}
        raise ShapeError(message(call.op, str(error).replace("\n", " "), shapes)) from None


def slices(x: Any, key: tuple[slice | int, ...]) -> Any:
    """Basic slicing of leading axes."""
    return _moved(x, x[key])


def pad(call: Call, x: Any, before: Sequence[int], after: Sequence[int], value: float) -> Any:
    """x with elements of one value around it; negative amounts cut off."""
    if not is_array(x):
        pairs = [n for pair in zip(before, after, strict=True) for n in pair[::-1]][::-1]
        return _moved(x, F.pad(x, tuple(pairs), value=value))
    key = tuple(
        slice(max(0, -front), extent - max(0, -back))
        for front, extent, back in zip(before, x.shape, after, strict=True)
    )
    x = x[key]
    widths = [(max(0, front), max(0, back)) for front, back in zip(before, after, strict=True)]
    call.room([sum(pair) + extent for pair, extent in zip(widths, x.shape, strict=True)],
              x.itemsize)  # fmt: skip
    return np.pad(x, widths, constant_values=np.asarray(value, x.dtype))


def rows(call: Call, table: Any, indices: Any) -> Any:
    """table[indices] along the first axis; negative indices count from the end."""
    rest = tuple(table.shape[1:])
    if is_array(table, indices):
        call.room((*indices.shape, *rest), table.itemsize)
        return table[indices]
    if 0 in table.shape or 0 in indices.shape:
        if prod(indices.shape) and not table.shape[0]:
            raise ShapeError(message(call.op, "an empty axis has no rows", {"x": table.shape}))
        return np.zeros((*indices.shape, *rest), dtype_of(table))
    flat = reshape(table, (table.shape[0], -1))
    column = reshape(cast(indices, np.dtype(np.int64)), (prod(indices.shape), 1))
    picked = _moved(table, apply(Gather(0, from_end=True), flat, column))
    return reshape(picked, (*indices.shape, *rest))


def positions(call: Call, index: Any, extent: int, from_end: bool = True) -> Any:
    """Indices of an axis counted from its front; one outside of it is told, here or by the run."""
    if not is_array(index):
        return apply(Index(extent, from_end), cast(index, np.dtype(np.int64)))
    first = -extent if from_end else 0
    if index.size and not first <= index.min() <= index.max() < extent:
        raise ShapeError(
            message(
                call.op,
                "an index is outside the axis",
                {"extent": extent, "indices": f"{index.min()}..{index.max()}"},
                f"{first} <= index < {extent}",
            )
        )
    return np.where(index < 0, index + extent, index).astype(np.int64)


def along(call: Call, x: Any, index: Any, axis: int) -> Any:
    """One element for each index: y[i, j] = x[index[i, j], j] for axis 0."""
    index = positions(call, index, x.shape[axis])
    if not is_array(x, index):
        return _moved(x, F.gather(x, axis, index))
    call.room(index.shape, x.itemsize)
    grid: list[Any] = list(np.indices(index.shape, sparse=True))
    grid[axis] = index
    return x[tuple(grid)]


_REDUCED = {"replace": None, "sum": np.add, "prod": np.multiply, "amax": np.maximum,
            "amin": np.minimum}  # fmt: skip


def put(call: Call, x: Any, index: Any, source: Any, axis: int, kind: str = "replace") -> Any:
    """x with elements where an index says: y[index[i, j], j] = source[i, j] for axis 0.

    Of several in one place the last stays, or they are added up and so on, by `kind`. Axes on which
    the index has an extent of 1 it counts for as a whole.
    """
    index = positions(call, index, x.shape[axis])
    if tuple(index.shape) != tuple(source.shape):
        index = expand(call, index, source.shape)
    if not is_array(x, index, source):
        if dtype_of(x).kind == "b":
            # The sum of truth values is whether there is one, the product whether all are.
            kind = {"sum": "amax", "prod": "amin"}.get(kind, kind)
        if kind == "replace":
            return F.scatter(x, axis, index, source)
        return F.scatter_reduce(x, axis, index, source, kind)
    call.room(source.shape)
    grid: list[Any] = list(np.indices(index.shape, sparse=True))
    grid[axis] = index
    y, many = x.copy(), _REDUCED[kind]
    with np.errstate(all="ignore"):
        if many is None:
            y[tuple(grid)] = source
        else:
            many.at(y, tuple(grid), source)
    return y


def gather(call: Call, x: Any, indices: Any, axis: int) -> Any:
    """Entries of one axis by index; negative ones count from the end."""
    if is_array(indices):
        if is_array(x):
            call.room((*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :]), x.itemsize)
            return np.take(x, positions(call, indices, x.shape[axis]), axis=axis)
        indices = positions(call, indices, x.shape[axis])
        if indices.ndim == 0:
            key = (slice(None),) * axis + (indices.item(),)
            return slices(x, key)
    rank = len(x.shape)
    front = (axis, *(other for other in range(rank) if other != axis))
    found = rows(call, permute(x, front) if axis else x, indices)
    if not axis:
        return found
    count = len(indices.shape)
    order = [*range(count, count + axis), *range(count), *range(count + axis, count + rank - 1)]
    return permute(found, order)


_NUMPY: dict[str, Any] = {"sum": np.sum, "prod": np.prod, "max": np.max, "min": np.min}


def reduce(call: Call, kind: str, x: Any, axes: Sequence[int] | None, keepdims: bool) -> Any:
    """sum, prod, max, min, mean, logsumexp over axes (None: all); none listed reduces nothing.

    Also norm, the root of a sum of squares, and std, the population's.
    """
    if kind in ("norm", "std"):
        return _spread(kind, x, range(len(x.shape)) if axes is None else axes, keepdims)
    if not is_array(x):
        return _on_tensor(call, kind, x, None if axes is None else tuple(axes), keepdims)
    x = np.asarray(x)
    over = None if axes is None else tuple(axes)
    if kind == "mean" and not x.size and x.dtype.kind != "f":
        raise call.malformed("a mean of no integers")
    with np.errstate(all="ignore"):
        if kind == "mean":
            return _mean(x, over, keepdims)
        if kind == "logsumexp":
            return _logsumexp(x, over, keepdims)
        if kind in ("max", "min") and x.size == 0:
            return _extreme_of_nothing(kind, x, over, keepdims)
        options: dict[str, Any] = {"dtype": x.dtype} if kind in ("sum", "prod") else {}
        return np.asarray(_NUMPY[kind](x, axis=over, keepdims=keepdims, **options))


def _on_tensor(call: Call, kind: str, x: Any, axes: tuple[int, ...] | None, keepdims: bool) -> Any:
    """Integers keep their type: sums wrap in it, what is no integer is cut towards zero."""
    name = {"max": "amax", "min": "amin"}.get(kind, kind)
    if kind in ("mean", "logsumexp") and not is_floating(x):
        wide = cast(x, np.dtype(np.float64))
        return cast(_on_tensor(call, kind, wide, axes, keepdims), dtype_of(x))
    y = getattr(x, name)(axes, keepdims)
    return y if is_floating(x) else cast(y, dtype_of(x))


def _spread(kind: str, x: Any, axes: Sequence[int], keepdims: bool) -> Any:
    if not is_array(x):
        wide = x if is_floating(x) else cast(x, np.dtype(np.float64))
        return cast(wide._reduce(kind, tuple(axes), keepdims, 0.0), dtype_of(x))
    kept = [axis for axis in range(x.ndim) if axis not in axes]
    rows = x.astype(np.float64).transpose(*kept, *axes)
    rows = rows.reshape(*(x.shape[axis] for axis in kept), prod(x.shape[axis] for axis in axes))
    with np.errstate(all="ignore"):
        y = REDUCE[kind].reference(rows, 0.0).astype(x.dtype)
    shape = tuple(1 if axis in axes else extent for axis, extent in enumerate(x.shape))
    return y.reshape(shape) if keepdims else y


def _mean(x: Array, over: tuple[int, ...] | None, keepdims: bool) -> Array:
    wide = x if x.dtype.kind == "f" else x.astype(np.float64)
    count = x.size if over is None else prod(x.shape[axis] for axis in over)
    return np.asarray(wide.sum(axis=over, keepdims=keepdims) / wide.dtype.type(count)).astype(
        x.dtype
    )


def _logsumexp(x: Array, over: tuple[int, ...] | None, keepdims: bool) -> Array:
    wide = x.astype(np.float64)
    peak = np.max(wide, axis=over, keepdims=True, initial=-np.inf)
    shift = np.where(np.isfinite(peak), peak, 0.0)
    total = np.log(np.exp(wide - shift).sum(axis=over, keepdims=True)) + shift
    y = total if keepdims else total.squeeze(over)
    return np.asarray(y).astype(x.dtype)


def _extreme_of_nothing(kind: str, x: Array, over: Any, keepdims: bool) -> Array:
    if x.dtype.kind == "f":
        start: Any = -np.inf if kind == "max" else np.inf
    elif x.dtype.kind == "b":
        start = kind == "min"
    else:
        limits = np.iinfo(x.dtype)
        start = limits.min if kind == "max" else limits.max
    return np.asarray(_NUMPY[kind](x, axis=over, keepdims=keepdims, initial=start))
