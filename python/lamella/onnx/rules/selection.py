# SPDX-License-Identifier: Apache-2.0
"""Picking elements: Gather and its relatives, order statistics, triangles, one-hot vectors.

Gather along one axis runs in the core, also by indices that differ from call to call. The others
do so with known indices; else they are cold and run on arrays.
"""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from lamella.errors import UnsupportedError
from lamella.foreign.call import is_array
from lamella.foreign.rule import Rule
from lamella.foreign.words import axis_of, gather, reshape, rows, where
from lamella.onnx.rules.call import Call

__all__ = ["RULES", "only_arrays"]


def only_arrays(call: Call, *operands: Any) -> None:
    """Raises UnsupportedError for tensors: the operator moves elements on arrays only."""
    if not is_array(*(operand for operand in operands if operand is not None)):
        raise UnsupportedError(f"{call.op}: runs on arrays only")


def _gather(call: Call, x: Any, indices: Any) -> Any:
    return gather(call, x, indices, axis_of(call, call.integer("axis", 0), len(x.shape)))


def _in_range(call: Call, indices: Any, extent: int) -> Any:
    if indices.size and not -extent <= indices.min() <= indices.max() < extent:
        raise call.malformed("an index is outside its axis")
    return np.where(indices < 0, indices + extent, indices).astype(np.int64)


def _gather_elements(call: Call, x: Any, indices: Any) -> Any:
    axis = axis_of(call, call.integer("axis", 0), len(x.shape))
    only_arrays(call, indices)
    if indices.ndim != len(x.shape) or any(
        i != axis and have > extent
        for i, (have, extent) in enumerate(zip(indices.shape, x.shape, strict=True))
    ):
        raise call.malformed("indices do not fit")
    call.room(indices.shape)
    grid = list(np.indices(indices.shape, sparse=True))
    grid[axis] = _in_range(call, indices, x.shape[axis])
    if is_array(x):
        return x[tuple(grid)]
    flat = np.ravel_multi_index(np.broadcast_arrays(*grid), x.shape)
    return reshape(rows(call, reshape(x, (prod(x.shape), 1)), flat), indices.shape)


def _gather_nd(call: Call, x: Any, indices: Any) -> Any:
    only_arrays(call, indices)
    batch = call.integer("batch_dims", 0)
    depth = indices.shape[-1] if indices.ndim else 0
    rank = len(x.shape)
    if not 0 <= batch < max(indices.ndim, 1) or not 1 <= depth <= rank - batch:
        raise call.malformed("indices do not fit")
    if tuple(indices.shape[:batch]) != tuple(x.shape[:batch]):
        raise call.malformed("batches differ")
    picked = [_in_range(call, indices[..., i], x.shape[batch + i]) for i in range(depth)]
    lead = indices.shape[:-1]
    grid = [np.arange(lead[i]).reshape((-1,) + (1,) * (len(lead) - i - 1)) for i in range(batch)]
    where_to = np.broadcast_arrays(*grid, *picked)
    rest = tuple(x.shape[batch + depth :])
    call.room((*lead, *rest))
    if is_array(x):
        return x[tuple(where_to)]
    flat = np.ravel_multi_index(where_to, x.shape[: batch + depth])
    table = reshape(x, (prod(x.shape[: batch + depth]), prod(rest)))
    return reshape(rows(call, table, np.asarray(flat, np.int64)), (*lead, *rest))


def _arg(kind: str, call: Call, x: Any) -> Any:
    axis = axis_of(call, call.integer("axis", 0), len(x.shape))
    keep = bool(call.integer("keepdims", 1))
    last = bool(call.integer("select_last_index", 0))
    if len(x.shape) and not x.shape[axis]:
        raise call.malformed("an empty axis has no extreme")
    if is_array(x):
        pick = np.argmax if kind == "argmax" else np.argmin
        if last:
            found = x.shape[axis] - 1 - pick(np.flip(x, axis), axis=axis, keepdims=keep)
        else:
            found = pick(x, axis=axis, keepdims=keep)
        return np.asarray(found, np.int64)
    if last:
        raise call.unsupported("select_last_index on a tensor")
    return getattr(x, kind)(axis, keep)


def _argmax(call: Call, x: Any) -> Any:
    return _arg("argmax", call, x)


def _argmin(call: Call, x: Any) -> Any:
    return _arg("argmin", call, x)


def _top_k(call: Call, x: Any, k: Any = None) -> Any:
    only_arrays(call, x)
    axis = axis_of(call, call.integer("axis", -1), x.ndim)
    count = call.integer("k") if call.version < 10 else int(call.scalar(k))
    if not 0 <= count <= x.shape[axis]:
        raise call.malformed("k is outside the axis")
    if call.integer("largest", 1):
        # Stable from the end, so that equal elements keep their order.
        flipped = np.flip(np.argsort(np.flip(x, axis), axis=axis, kind="stable"), axis)
        order = x.shape[axis] - 1 - flipped
    else:
        order = np.argsort(x, axis=axis, kind="stable")
    picked = np.take(order, np.arange(count), axis=axis)
    return np.take_along_axis(x, picked, axis), picked.astype(np.int64)


def _non_zero(call: Call, x: Any) -> Any:
    only_arrays(call, x)
    call.room((x.ndim, x.size))
    if not x.ndim:
        # Of no axes, as often as x is not zero.
        return np.zeros((0, int(bool(x))), np.int64)
    return np.array(np.nonzero(x), np.int64).reshape(x.ndim, -1)


def _compress(call: Call, x: Any, condition: Any) -> Any:
    only_arrays(call, x, condition)
    call.ranked(condition, 1, 1)
    axis = axis_of(call, call.integer("axis"), x.ndim) if call.has("axis") else None
    picked = np.flatnonzero(condition)
    if picked.size and picked[-1] >= (x.size if axis is None else x.shape[axis]):
        raise call.malformed("a condition is longer than the axis")
    return np.take(x, picked, axis=axis)


def _unique(call: Call, x: Any) -> Any:
    only_arrays(call, x)
    axis = axis_of(call, call.integer("axis"), x.ndim) if call.has("axis") else None
    values, first, inverse, counts = np.unique(x, True, True, True, axis=axis)
    inverse = inverse.reshape(-1)
    if not call.integer("sorted", 1):
        order = np.argsort(first)
        values = np.take(values, order, axis=axis or 0)
        first, counts = first[order], counts[order]
        place = np.empty_like(order)
        place[order] = np.arange(order.size)
        inverse = place[inverse]
    return tuple(np.asarray(y, np.int64) if i else y
                 for i, y in enumerate((values, first, inverse, counts)))  # fmt: skip


def _one_hot(call: Call, indices: Any, depth: Any, values: Any) -> Any:
    count = int(call.scalar(depth))
    axis = call.integer("axis", -1)
    only_arrays(call, indices, values)
    if values.shape != (2,):
        raise call.malformed("values are not two")
    rank = len(indices.shape) + 1
    axis = axis_of(call, axis, rank)
    call.room((*indices.shape, max(count, 0)))
    index = np.asarray(indices)
    index = np.where(index < 0, index + count, index)
    shape = [1] * rank
    shape[axis] = count
    hit = np.expand_dims(index, axis) == np.arange(count).reshape(shape)
    return np.where(hit, values[1], values[0])


def _trilu(call: Call, x: Any, k: Any = None) -> Any:
    shift = 0 if k is None else int(call.scalar(k))
    call.ranked(x, 2)
    rows_, columns = x.shape[-2:]
    shift = max(-rows_ - 1, min(columns + 1, shift))
    call.room((rows_, columns), 1)
    upper = bool(call.integer("upper", 1))
    ones = np.ones((rows_, columns), np.bool_)
    kept = np.triu(ones, shift) if upper else np.tril(ones, shift)
    if is_array(x):
        return np.where(kept, x, np.zeros((), x.dtype))
    return where(call, kept, x, np.zeros((), x._type.dtype.numpy))


def _cum(kind: str, call: Call, x: Any, axis: Any) -> Any:
    only_arrays(call, x)
    dim = axis_of(call, int(call.scalar(axis)), x.ndim)
    if call.integer("reverse", 0):
        x = np.flip(x, dim)
    total = np.cumsum if kind == "sum" else np.cumprod
    with np.errstate(all="ignore"):
        y = total(x, axis=dim, dtype=x.dtype)
    if call.integer("exclusive", 0) and x.shape[dim]:
        first = np.full_like(np.take(x, [0], axis=dim), 0 if kind == "sum" else 1)
        y = np.concatenate([first, np.take(y, np.arange(x.shape[dim] - 1), axis=dim)], axis=dim)
    return np.flip(y, dim) if call.integer("reverse", 0) else y


def _cum_sum(call: Call, x: Any, axis: Any) -> Any:
    return _cum("sum", call, x, axis)


def _cum_prod(call: Call, x: Any, axis: Any) -> Any:
    return _cum("prod", call, x, axis)


def _reverse_sequence(call: Call, x: Any, lengths: Any) -> Any:
    only_arrays(call, x, lengths)
    time, batch = call.integer("time_axis", 0), call.integer("batch_axis", 1)
    if {time, batch} != {0, 1} or x.ndim < 2 or lengths.shape != (x.shape[batch],):
        raise call.malformed("axes or lengths do not fit")
    y = x.copy()
    for number, length in enumerate(lengths.tolist()):
        if not 0 <= length <= x.shape[time]:
            raise call.malformed("a length is outside the axis")
        part = (slice(0, length), number) if time == 0 else (number, slice(0, length))
        y[part] = np.flip(x[part], 0)
    return y


RULES: dict[tuple[str, int], Rule] = {
    ("Gather", 1): Rule(_gather, "a i"),
    ("GatherElements", 11): Rule(_gather_elements, "a i"),
    ("GatherND", 11): Rule(_gather_nd, "a i"),
    ("ArgMax", 1): Rule(_argmax, "n"),
    ("ArgMin", 1): Rule(_argmin, "n"),
    ("TopK", 1): Rule(_top_k, "n i?"),
    ("NonZero", 9): Rule(_non_zero, "a"),
    ("Compress", 9): Rule(_compress, "a b"),
    ("Unique", 11): Rule(_unique, "a"),
    ("OneHot", 9): Rule(_one_hot, "n n a"),
    ("Trilu", 14): Rule(_trilu, "a i?"),
    ("CumSum", 11): Rule(_cum_sum, "n i"),
    ("CumProd", 26): Rule(_cum_prod, "n i"),
    ("ReverseSequence", 10): Rule(_reverse_sequence, "a i"),
}
