# SPDX-License-Identifier: Apache-2.0
"""Picking elements: Gather and its relatives, order statistics, triangles, one-hot vectors.

Gather along one axis runs in the core, also by indices that differ from call to call. The others
do so with known indices; else they are cold and run on arrays.
"""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from lamella import functional as F
from lamella.foreign.call import is_array
from lamella.foreign.rule import Rule
from lamella.foreign.words import (
    along,
    axis_of,
    binary,
    compare,
    concat,
    dtype_of,
    expand,
    gather,
    logical,
    positions,
    reshape,
    rows,
    slices,
    where,
)
from lamella.onnx.rules.call import Call
from lamella.onnx.rules.scatter import combined

__all__ = ["RULES"]


def _gather(call: Call, x: Any, indices: Any) -> Any:
    return gather(call, x, indices, axis_of(call, call.integer("axis", 0), len(x.shape)))


def _gather_elements(call: Call, x: Any, indices: Any) -> Any:
    axis = axis_of(call, call.integer("axis", 0), len(x.shape))
    if len(indices.shape) != len(x.shape) or any(
        i != axis and have > extent
        for i, (have, extent) in enumerate(zip(indices.shape, x.shape, strict=True))
    ):
        raise call.malformed("indices do not fit")
    return along(call, x, indices, axis)


def _gather_nd(call: Call, x: Any, indices: Any) -> Any:
    batch = call.integer("batch_dims", 0)
    count = len(indices.shape)
    depth = indices.shape[-1] if count else 0
    if not 0 <= batch < max(count, 1) or not 1 <= depth <= len(x.shape) - batch:
        raise call.malformed("indices do not fit")
    if tuple(indices.shape[:batch]) != tuple(x.shape[:batch]):
        raise call.malformed("batches differ")
    lead, rest = tuple(indices.shape[:-1]), tuple(x.shape[batch + depth :])
    extents = tuple(x.shape[batch : batch + depth])
    index = combined(call, indices, extents)
    if batch:
        # The elements of one batch lie behind those of the one before.
        start = np.arange(prod(lead[:batch])).reshape(lead[:batch]) * prod(extents)
        index = binary(
            call, "add", index, start.reshape(*lead[:batch], *(1,) * (count - 1 - batch))
        )
    table = reshape(x, (prod(x.shape[: batch + depth]), prod(rest)))
    return reshape(rows(call, table, reshape(index, (prod(lead),))), (*lead, *rest))


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
    if not last:
        return getattr(x, kind)(axis, keep)
    every = (slice(None),) * axis
    found = getattr(slices(x, (*every, slice(None, None, -1))), kind)(axis, keep)
    return gather(call, np.arange(x.shape[axis])[::-1].copy(), found, 0)


def _argmax(call: Call, x: Any) -> Any:
    return _arg("argmax", call, x)


def _argmin(call: Call, x: Any) -> Any:
    return _arg("argmin", call, x)


def _top_k(call: Call, x: Any, k: Any = None) -> Any:
    axis = axis_of(call, call.integer("axis", -1), len(x.shape))
    count = call.integer("k") if call.version < 10 else int(call.scalar(k))
    if not 0 <= count <= x.shape[axis]:
        raise call.malformed("k is outside the axis")
    largest = bool(call.integer("largest", 1))
    if not is_array(x):
        return tuple(F.topk(x, count, axis, largest))
    if largest:
        # Stable from the end, so that equal elements keep their order.
        flipped = np.flip(np.argsort(np.flip(x, axis), axis=axis, kind="stable"), axis)
        order = x.shape[axis] - 1 - flipped
    else:
        order = np.argsort(x, axis=axis, kind="stable")
    picked = np.take(order, np.arange(count), axis=axis)
    return np.take_along_axis(x, picked, axis), picked.astype(np.int64)


def _non_zero(call: Call, x: Any) -> Any:
    x = call.value(x)
    call.room((x.ndim, x.size))
    if not x.ndim:
        # Of no axes, as often as x is not zero.
        return np.zeros((0, int(bool(x))), np.int64)
    return np.array(np.nonzero(x), np.int64).reshape(x.ndim, -1)


def _compress(call: Call, x: Any, condition: Any) -> Any:
    kept = call.value(condition)
    call.ranked(kept, 1, 1)
    if not call.has("axis"):
        x = reshape(x, (prod(x.shape),))
    axis = axis_of(call, call.integer("axis", 0), len(x.shape))
    picked = np.flatnonzero(kept)
    if picked.size and picked[-1] >= x.shape[axis]:
        raise call.malformed("a condition is longer than the axis")
    return gather(call, x, picked, axis)


def _unique(call: Call, x: Any) -> Any:
    x = call.value(x)
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
    axis = axis_of(call, call.integer("axis", -1), len(indices.shape) + 1)
    if tuple(values.shape) != (2,):
        raise call.malformed("values are not two")
    call.room((*indices.shape, max(count, 0)))
    shape = [1] * (len(indices.shape) + 1)
    shape[axis] = -1
    index = reshape(indices, (*indices.shape[:axis], 1, *indices.shape[axis:]))
    # Negative ones count from the end; what is outside on either side is off everywhere.
    classes = [np.arange(start, start + count).reshape(shape) for start in (0, -count)]
    hits = [compare(call, "eq", index, one.astype(dtype_of(index))) for one in classes]
    if dtype_of(index).kind == "u":
        hits = hits[:1]
    hit = hits[0] if len(hits) == 1 else logical(call, "logical_or", *hits)
    off, on = (slices(values, (i,)) for i in (0, 1))
    return where(call, hit, on, off)


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
    dim = axis_of(call, int(call.scalar(axis)), len(x.shape))
    every = (slice(None),) * dim
    turned = (*every, slice(None, None, -1))
    if call.integer("reverse", 0):
        x = slices(x, turned)
    if is_array(x):
        total = np.cumsum if kind == "sum" else np.cumprod
        with np.errstate(all="ignore"):
            y: Any = total(x, axis=dim, dtype=x.dtype)
    else:
        y = F.cumsum(x, dim, dtype=x.dtype) if kind == "sum" else F.cumprod(x, dim, dtype=x.dtype)
    if call.integer("exclusive", 0) and x.shape[dim]:
        shape = (*x.shape[:dim], 1, *x.shape[dim + 1 :])
        first = expand(call, np.asarray(0 if kind == "sum" else 1, dtype_of(x)), shape)
        y = concat(call, [first, slices(y, (*every, slice(0, -1)))], dim)
    return slices(y, turned) if call.integer("reverse", 0) else y


def _cum_sum(call: Call, x: Any, axis: Any) -> Any:
    return _cum("sum", call, x, axis)


def _cum_prod(call: Call, x: Any, axis: Any) -> Any:
    return _cum("prod", call, x, axis)


def _reverse_sequence(call: Call, x: Any, lengths: Any) -> Any:
    time, batch = call.integer("time_axis", 0), call.integer("batch_axis", 1)
    if {time, batch} != {0, 1} or len(x.shape) < 2 or tuple(lengths.shape) != (x.shape[batch],):
        raise call.malformed("axes or lengths do not fit")
    lengths = positions(call, lengths, x.shape[time] + 1, from_end=False)
    step = reshape(np.arange(x.shape[time]), (-1, 1) if time == 0 else (1, -1))
    length = reshape(lengths, (1, -1) if time == 0 else (-1, 1))
    last = binary(call, "sub", length, np.asarray(1))
    turned = binary(call, "sub", last, step)
    index = where(call, compare(call, "lt", step, length), turned, step)
    index = reshape(index, (*index.shape, *(1,) * (len(x.shape) - 2)))
    return along(call, x, expand(call, index, x.shape), time)


RULES: dict[tuple[str, int], Rule] = {
    ("Gather", 1): Rule(_gather, "a i", moves=True),
    ("GatherElements", 11): Rule(_gather_elements, "a i", moves=True),
    ("GatherND", 11): Rule(_gather_nd, "a i", moves=True),
    ("ArgMax", 1): Rule(_argmax, "n", gives="int64"),
    ("ArgMin", 1): Rule(_argmin, "n", gives="int64"),
    ("TopK", 1): Rule(_top_k, "n i!?", gives="0 int64"),
    ("NonZero", 9): Rule(_non_zero, "a", gives="int64", arrays=True),
    ("Compress", 9): Rule(_compress, "a b@"),
    ("Unique", 11): Rule(_unique, "a", gives="0 int64", arrays=True),
    ("OneHot", 9): Rule(_one_hot, "n n! a", gives="2"),
    ("Trilu", 14): Rule(_trilu, "a i!?"),
    ("CumSum", 11): Rule(_cum_sum, "n i!"),
    ("CumProd", 26): Rule(_cum_prod, "n i!"),
    ("ReverseSequence", 10): Rule(_reverse_sequence, "a i"),
}
