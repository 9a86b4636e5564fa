# SPDX-License-Identifier: Apache-2.0
"""Writing elements into a copy: Scatter and its relatives. Later writes win."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from lamella.foreign.rule import Rule
from lamella.foreign.words import (
    axis_of,
    binary,
    dtype_of,
    expand,
    positions,
    put,
    reshape,
    slices,
)
from lamella.onnx.rules.call import Call

__all__ = ["RULES", "combined"]

_KINDS = {"none": "replace", "add": "sum", "mul": "prod", "max": "amax", "min": "amin"}


def _kind(call: Call) -> str:
    name = call.text("reduction", "none")
    if name not in _KINDS:
        raise call.malformed(f"reduction {name!r}")
    return _KINDS[name]


def combined(call: Call, indices: Any, extents: tuple[int, ...]) -> Any:
    """Indices of several axes, which lie along the last one, as one of their elements in order."""
    every = (slice(None),) * (len(indices.shape) - 1)
    total: Any = None
    for number, extent in enumerate(extents):
        one = positions(call, slices(indices, (*every, number)), extent)
        if total is not None:
            one = binary(call, "add", binary(call, "mul", total, np.asarray(extent)), one)
        total = one
    return total


def _elements(call: Call, x: Any, indices: Any, updates: Any) -> Any:
    axis = axis_of(call, call.integer("axis", 0), len(x.shape))
    fits = tuple(indices.shape) == tuple(updates.shape) and len(indices.shape) == len(x.shape)
    if not fits or any(
        number != axis and have > extent
        for number, (have, extent) in enumerate(zip(indices.shape, x.shape, strict=True))
    ):
        raise call.malformed("indices and updates do not fit")
    return put(call, x, indices, updates, axis, _kind(call))


def _nd(call: Call, x: Any, indices: Any, updates: Any) -> Any:
    depth = indices.shape[-1] if len(indices.shape) else 0
    rest = tuple(x.shape[depth:])
    fits = 1 <= depth <= len(x.shape)
    if not fits or tuple(updates.shape) != (*indices.shape[:-1], *rest):
        raise call.malformed("indices and updates do not fit")
    extents = tuple(x.shape[:depth])
    count, size = prod(indices.shape[:-1]), prod(rest)
    index = reshape(combined(call, indices, extents), (count, 1))
    flat, source = reshape(x, (prod(extents), size)), reshape(updates, (count, size))
    return reshape(put(call, flat, index, source, 0, _kind(call)), x.shape)


def _tensor_scatter(call: Call, past: Any, update: Any, starts: Any = None) -> Any:
    axis = axis_of(call, call.integer("axis", -2), len(past.shape))
    call.ranked(update, len(past.shape), len(past.shape))
    want = tuple(past.shape[i] if i != axis else n for i, n in enumerate(update.shape))
    if tuple(update.shape) != want or axis == 0:
        raise call.malformed("the update does not fit the cache")
    if starts is not None and tuple(starts.shape) != tuple(past.shape[:1]):
        raise call.malformed("one write position a sequence")
    length, capacity = update.shape[axis], past.shape[axis]
    if call.text("mode", "linear") not in ("linear", "circular"):
        raise call.malformed("mode is linear or circular")
    ones = [1] * len(past.shape)
    steps = np.arange(length)
    index: Any = reshape(steps, [length if i == axis else 1 for i in range(len(ones))])
    if starts is not None:
        begin = reshape(starts, [-1, *ones[1:]])
        index = begin if length == 1 else binary(call, "add", begin, index.astype(dtype_of(starts)))
    if call.text("mode", "linear") == "circular":
        index = binary(call, "remainder", index, np.asarray(capacity, dtype_of(index)))
    if past.shape[0] != 1 and starts is not None:
        index = expand(call, index, update.shape)
    return put(call, past, index, update, axis)


RULES: dict[tuple[str, int], Rule] = {
    ("Scatter", 9): Rule(_elements, "A i A"),
    ("ScatterElements", 11): Rule(_elements, "A i A"),
    ("ScatterND", 11): Rule(_nd, "A i A"),
    ("TensorScatter", 24): Rule(_tensor_scatter, "A A i?"),
}
