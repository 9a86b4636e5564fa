# SPDX-License-Identifier: Apache-2.0
"""Writing elements into a copy: Scatter and its relatives, on arrays; whole rows in programs too.

Later writes win.
"""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from lamella.foreign.call import is_array
from lamella.foreign.rule import Rule
from lamella.foreign.words import axis_of, index_copy, is_floating, reshape
from lamella.ir.types import Array
from lamella.onnx.rules.call import Call
from lamella.onnx.rules.selection import only_arrays

__all__ = ["RULES"]


def _write(call: Call, y: Array, where: tuple[Any, ...], updates: Array) -> Array:
    kind = call.text("reduction", "none")
    with np.errstate(all="ignore"):
        if kind == "none":
            y[where] = updates
        elif kind in _REDUCTIONS:
            _REDUCTIONS[kind].at(y, where, updates)
        else:
            raise call.malformed(f"reduction {kind!r}")
    return y


_REDUCTIONS = {"add": np.add, "mul": np.multiply, "max": np.maximum, "min": np.minimum}


def _elements(call: Call, x: Any, indices: Any, updates: Any) -> Any:
    only_arrays(call, x, indices, updates)
    axis = axis_of(call, call.integer("axis", 0), x.ndim)
    if indices.shape != updates.shape or indices.ndim != x.ndim:
        raise call.malformed("indices and updates do not fit")
    extent = x.shape[axis]
    if indices.size and not -extent <= indices.min() <= indices.max() < extent:
        raise call.malformed("an index is outside its axis")
    call.room((*indices.shape,))
    grid = list(np.indices(indices.shape, sparse=True))
    grid[axis] = np.where(indices < 0, indices + extent, indices)
    return _write(call, x.copy(), tuple(grid), updates)


def _nd(call: Call, x: Any, indices: Any, updates: Any) -> Any:
    rows = len(indices.shape) > 0 and indices.shape[-1] == 1 and is_floating(x)
    if rows and not is_array(x, indices, updates) and call.text("reduction", "none") == "none":
        if tuple(updates.shape) != (*indices.shape[:-1], *x.shape[1:]):
            raise call.malformed("indices and updates do not fit")
        count = prod(indices.shape)
        source = reshape(updates, (count, *x.shape[1:]))
        return index_copy(call, x, 0, reshape(indices, (count,)), source, from_end=True)
    only_arrays(call, x, indices, updates)
    depth = indices.shape[-1] if indices.ndim else 0
    if not 1 <= depth <= x.ndim or updates.shape != indices.shape[:-1] + x.shape[depth:]:
        raise call.malformed("indices and updates do not fit")
    extents = np.array(x.shape[:depth])
    if indices.size and (np.any(indices < -extents) or np.any(indices >= extents)):
        raise call.malformed("an index is outside its axis")
    where = tuple(indices[..., i] for i in range(depth))
    return _write(call, x.copy(), where, updates)


def _tensor_scatter(call: Call, past: Any, update: Any, starts: Any = None) -> Any:
    axis = axis_of(call, call.integer("axis", -2), len(past.shape))
    call.ranked(update, len(past.shape), len(past.shape))
    want = tuple(past.shape[i] if i != axis else n for i, n in enumerate(update.shape))
    if tuple(update.shape) != want or axis == 0:
        raise call.malformed("the update does not fit the cache")
    if starts is not None and tuple(starts.shape) != tuple(past.shape[:1]):
        raise call.malformed("one write position a sequence")
    mode = call.text("mode", "linear")
    # One sequence and one token.
    single = past.shape[0] == 1 and axis > 0 and update.shape[axis] == 1 and is_floating(past)
    if single and starts is not None and mode == "linear" and not is_array(past, update, starts):
        return index_copy(call, past, axis, starts, update)
    only_arrays(call, past, update, starts)
    y = past.copy()
    length = update.shape[axis]
    moved, source = np.moveaxis(y, axis, 1), np.moveaxis(update, axis, 1)
    for row in range(past.shape[0]):
        start = 0 if starts is None else int(starts[row])
        index = np.arange(start, start + length)
        if mode == "circular":
            index %= past.shape[axis]
        if length and not 0 <= index.min() <= index.max() < past.shape[axis]:
            raise call.malformed("writes outside the cache")
        moved[row, index] = source[row]
    return y


RULES: dict[tuple[str, int], Rule] = {
    ("Scatter", 9): Rule(_elements, "A i A"),
    ("ScatterElements", 11): Rule(_elements, "A i A"),
    ("ScatterND", 11): Rule(_nd, "A i A"),
    ("TensorScatter", 24): Rule(_tensor_scatter, "A A i?"),
}
