# SPDX-License-Identifier: Apache-2.0
"""Cases of operators that pick elements by index or order, and of those that write them.

Indices are negative and at both ends, repeated where that has a meaning, and given or known.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from corners.draw import Case, Draw, Generator

_SMALL = (0, 1, 2, 3)


def _indices(d: Draw, shape: Any, extent: int, dtype: Any) -> np.ndarray[Any, Any]:
    """Indices of one axis from both ends; none where the axis is empty."""
    found = d.rng.integers(-extent, max(extent, 1 - extent), tuple(shape))
    if extent and d.chance(0.3):
        found = np.where(d.rng.random(found.shape) < 0.4, d.pick((-1, -extent, extent - 1)), found)
    return np.asarray(found, dtype)


def gather(d: Draw) -> Case:
    shape = d.shape(1)
    axis = d.axis(len(shape))
    x = d.array(shape, d.type(0))
    wanted = d.shape(0, 3, _SMALL)
    if shape[axis] == 0:
        wanted = (0, *wanted)
    indices = _indices(d, wanted, shape[axis], d.type(1))
    if d.since < 11:
        indices = np.asarray(indices % max(shape[axis], 1), indices.dtype)
    return d.case([x, indices], {} if axis == 0 and d.chance() else {"axis": axis})


def gather_elements(d: Draw) -> Case:
    shape = d.shape(1)
    axis = d.axis(len(shape))
    x = d.array(shape, d.type(0))
    wanted = [d.integer(0, n) for n in shape]
    wanted[axis] = d.integer(0, 5) if shape[axis] else 0
    indices = _indices(d, wanted, shape[axis], d.type(1))
    return d.case([x, indices], {} if axis == 0 and d.chance() else {"axis": axis})


def gather_nd(d: Draw) -> Case:
    shape = d.shape(1)
    batch = d.integer(0, len(shape) - 1) if d.since >= 12 and d.chance() else 0
    depth = d.integer(1, len(shape) - batch)
    lead = [*shape[:batch], *(d.pick(_SMALL) for _ in range(d.integer(0, 2)))]
    empty = 0 in shape[batch : batch + depth]
    if empty and np.prod(lead):
        lead = [*lead, 0]
    parts = [_indices(d, lead, n, np.int64) for n in shape[batch : batch + depth]]
    attributes = {"batch_dims": batch} if batch or (d.since >= 12 and d.chance()) else {}
    return d.case([d.array(shape, d.type(0)), np.stack(parts, -1)], attributes)


def arg(d: Draw) -> Case:
    shape = d.shape(1, sizes=(1, 2, 3, 7))
    dtype = d.type(0)
    x = d.array(shape, dtype, d.pick(("small", "corner", "corner")))
    attributes: dict[str, Any] = {}
    axis = d.axis(len(shape))
    if axis != 0 or d.chance():
        attributes["axis"] = axis
    if d.chance():
        attributes["keepdims"] = d.pick((0, 1))
    if d.since >= 12 and d.chance(0.4):
        attributes["select_last_index"] = d.pick((0, 1))
    return d.case([x], attributes)


def top_k(d: Draw) -> Case:
    shape = d.shape(1, sizes=(0, 1, 2, 3, 7))
    x = d.array(shape, d.type(0), d.pick(("small", "corner", "tame")))
    if x.dtype.kind == "f" and d.chance(0.8):
        x = np.nan_to_num(x, nan=2.0)
    axis = d.axis(len(shape))
    attributes: dict[str, Any] = (
        {} if axis in (-1, len(shape) - 1) and d.chance() else {"axis": axis}
    )
    count = d.integer(0 if d.since >= 10 else min(1, shape[axis]), shape[axis])
    if d.since >= 11 and d.chance():
        attributes["largest"] = d.pick((0, 1))
    if d.since < 10:
        return d.case([x], {**attributes, "k": count}, 2)
    return d.case([x, np.array([count])], attributes, 2)


def non_zero(d: Draw) -> Case:
    return d.case([d.array(d.shape(), d.type(0))])


def compress(d: Draw) -> Case:
    shape = d.shape(1)
    x = d.array(shape, d.type(0))
    flat = d.chance(0.3)
    axis = d.axis(len(shape))
    extent = x.size if flat else shape[axis]
    kept = d.array((d.integer(0, extent),), bool)
    return d.case([x, kept], {} if flat else {"axis": axis})


def unique(d: Draw) -> Case:
    shape = d.shape(1, 3, (1, 2, 3, 7))
    x = d.array(shape, d.type(0), d.pick(("small", "small", "corner")))
    if x.dtype.kind == "f" and d.chance(0.8):
        x = np.nan_to_num(x, nan=2.0)
    attributes: dict[str, Any] = {}
    if d.chance():
        attributes["axis"] = d.axis(len(shape))
    if d.chance():
        attributes["sorted"] = d.pick((0, 1))
    outputs = d.pick(((True,) * 4, (True,), (True, False, True, True), (True, True)))
    return d.case([x], attributes, outputs)


def one_hot(d: Draw) -> Case:
    depth = d.pick((1, 2, 3, 7))
    kind = d.type(0)
    shape = d.shape(0, 3)
    # Outside of the depth too: such a place has no hot element.
    low = 0 if kind.kind == "u" else -depth - 2
    indices = d.rng.integers(low, depth + 3, shape).astype(kind)
    values = d.array((2,), d.type(2), d.pick(("corner", "small")))
    depth_operand = np.asarray(depth, d.type(1)).reshape(d.pick(((), (1,))))
    attributes = {} if d.chance(0.3) else {"axis": d.integer(-len(shape) - 1, len(shape))}
    return d.case([indices, depth_operand, values], attributes)


def cumulate(d: Draw) -> Case:
    shape = d.shape(1)
    flavour = d.pick(("tame", "special"))
    x = d.array(shape, d.type(0), flavour if d.type(0).kind == "f" else "corner")
    attributes = {
        name: d.pick((0, 1)) for name in ("exclusive", "reverse") if d.chance(0.6)
    }  # fmt: skip
    axis = np.array(d.axis(len(shape)), d.type(1))
    return d.case([x, axis], attributes)


def reverse_sequence(d: Draw) -> Case:
    shape = (d.pick(_SMALL), d.pick((1, 2, 3)), *d.shape(0, 2))
    time = d.pick((0, 1))
    x = d.array(shape, d.type(0))
    lengths = d.rng.integers(min(1, shape[time]), shape[time] + 1, shape[1 - time])
    attributes = {"time_axis": time, "batch_axis": 1 - time}
    if time == 0 and d.chance():
        attributes = {}
    return d.case([x, np.asarray(lengths, np.int64)], attributes)


_REDUCTIONS = {16: ("none", "add", "mul"), 18: ("none", "add", "mul", "max", "min")}


def _reduction(d: Draw) -> dict[str, Any]:
    if d.since < 16 or d.chance(0.3):
        return {}
    return {"reduction": d.pick(_REDUCTIONS[d.since])}


def scatter(d: Draw) -> Case:
    shape = d.shape(1)
    axis = d.axis(len(shape))
    attributes = _reduction(d)
    plain = attributes.get("reduction", "none") == "none"
    wanted = [d.integer(0, n) for n in shape]
    indices = _indices(d, wanted, shape[axis], d.type(1))
    if plain and indices.size:
        # Which of several writes to one place wins is open: each place is written once.
        order = np.argsort(d.rng.random((*wanted[:axis], shape[axis], *wanted[axis:][1:])), axis)
        once = np.take(order, np.arange(wanted[axis]), axis)
        indices = np.where(indices < 0, once - shape[axis], once).astype(indices.dtype)
    flavour = "special" if not plain else "corner"
    x, updates = d.array(shape, d.type(0), flavour), d.array(wanted, d.type(0), flavour)
    if axis != 0 or d.chance():
        attributes["axis"] = axis
    return d.case([x, indices, updates], attributes)


def scatter_nd(d: Draw) -> Case:
    shape = d.shape(1, 4)
    attributes = _reduction(d)
    plain = attributes.get("reduction", "none") == "none"
    depth = d.integer(1, len(shape))
    lead = [d.pick(_SMALL) for _ in range(d.integer(0, 2))]
    places = int(np.prod(shape[:depth]))
    if (plain and np.prod(lead) > places) or not places:
        lead = [0]
    count = int(np.prod(lead))
    chosen = (
        d.rng.permutation(places)[:count] if plain else d.rng.integers(0, max(places, 1), count)
    )
    parts = (
        np.stack(np.unravel_index(chosen, shape[:depth]), -1) if places else np.zeros((0, depth))
    )
    indices = parts.reshape(*lead, depth).astype(np.int64)
    back = d.rng.random(indices.shape) < 0.4
    if d.counts_back:
        indices = np.where(back, indices - np.array(shape[:depth]), indices)
    flavour = "special" if not plain else "corner"
    x = d.array(shape, d.type(0), flavour)
    return d.case([x, indices, d.array((*lead, *shape[depth:]), x.dtype, flavour)], attributes)


def tensor_scatter(d: Draw) -> Case:
    shape = d.shape(2, 4, (1, 2, 3, 7))
    axis = d.integer(1, len(shape) - 1)
    room = shape[axis]
    length = d.integer(0, room)
    update = [*shape]
    update[axis] = length
    circular = d.chance()
    starts = None
    if d.chance(0.7):
        last = 2 * room if circular else room - length
        starts = np.asarray(d.rng.integers(0, last + 1, shape[0]), np.int64)
    attributes: dict[str, Any] = {"axis": axis - len(shape) if d.chance() else axis}
    if axis == len(shape) - 2 and d.chance(0.3):
        attributes = {}
    if circular or d.chance(0.3):
        attributes["mode"] = "circular" if circular else "linear"
    dtype = d.type(0)
    return d.case([d.array(shape, dtype), d.array(update, dtype), starts], attributes)


GENERATORS: dict[str, Generator] = {
    "Gather": gather,
    "GatherElements": gather_elements,
    "GatherND": gather_nd,
    "ArgMax": arg,
    "ArgMin": arg,
    "TopK": top_k,
    "NonZero": non_zero,
    "Compress": compress,
    "Unique": unique,
    "OneHot": one_hot,
    "CumSum": cumulate,
    "CumProd": cumulate,
    "ReverseSequence": reverse_sequence,
    "Scatter": scatter,
    "ScatterElements": scatter,
    "ScatterND": scatter_nd,
    "TensorScatter": tensor_scatter,
}
