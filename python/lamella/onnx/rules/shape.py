# SPDX-License-Identifier: Apache-2.0
"""The same elements arranged otherwise, and shapes as values.

Axes and sizes come as attributes in old opsets and as operands in newer ones; both are read here.
"""

from __future__ import annotations

from itertools import pairwise
from math import prod
from typing import Any

import numpy as np

from lamella import functional as F
from lamella.foreign.call import is_array, sizes
from lamella.foreign.rule import Rule
from lamella.foreign.words import axis_of, concat, expand, gather, pad, permute, reshape, slices
from lamella.onnx.rules.call import Call

__all__ = ["RULES", "axes_operand"]


def axes_operand(call: Call, since: int, operand: Any) -> tuple[int, ...] | None:
    """Axes from the operand (opset `since` on) or the attribute; None where there are none."""
    if call.version >= since:
        return None if operand is None else call.numbers(operand)
    return call.ints("axes") if call.has("axes") else None


def _reshape(call: Call, x: Any, shape: Any) -> Any:
    target = list(call.numbers(shape))
    if not call.integer("allowzero", 0):
        for axis, extent in enumerate(target):
            if extent == 0:
                target[axis] = x.shape[axis_of(call, axis, len(x.shape))]
    return reshape(x, target)


def _flatten(call: Call, x: Any) -> Any:
    axis = call.integer("axis", 1)
    axis += len(x.shape) if axis < 0 else 0
    if not 0 <= axis <= len(x.shape):
        raise call.malformed("no such axis")
    return reshape(x, (prod(x.shape[:axis]), prod(x.shape[axis:])))


def _squeeze(call: Call, x: Any, axes: Any = None) -> Any:
    dims = axes_operand(call, 13, axes)
    rank = len(x.shape)
    if dims is None:
        return reshape(x, [extent for extent in x.shape if extent != 1])
    gone = {axis_of(call, dim, rank) for dim in dims}
    if any(x.shape[axis] != 1 for axis in gone):
        raise call.malformed("an axis to squeeze is not of extent 1")
    return reshape(x, [extent for axis, extent in enumerate(x.shape) if axis not in gone])


def _unsqueeze(call: Call, x: Any, axes: Any = None) -> Any:
    dims = axes_operand(call, 13, axes)
    if dims is None:
        raise call.malformed("no axes")
    rank = len(x.shape) + len(dims)
    new = {axis_of(call, dim, rank) for dim in dims}
    if len(new) != len(dims):
        raise call.malformed("an axis is named twice")
    rest = iter(x.shape)
    return reshape(x, [1 if axis in new else next(rest) for axis in range(rank)])


def _transpose(call: Call, x: Any) -> Any:
    rank = len(x.shape)
    order = call.ints("perm", tuple(reversed(range(rank))))
    if sorted(order) != list(range(rank)):
        raise call.malformed("perm is not an order of the axes")
    return permute(x, order)


def _expand(call: Call, x: Any, shape: Any) -> Any:
    target = call.numbers(shape)
    rank = max(len(x.shape), len(target))
    have = (1,) * (rank - len(x.shape)) + tuple(x.shape)
    want = (1,) * (rank - len(target)) + target
    return expand(
        call, x, [b if a == 1 else a if b == 1 else b for a, b in zip(have, want, strict=True)]
    )


def _tile(call: Call, x: Any, repeats: Any) -> Any:
    counts = call.numbers(repeats)
    if len(counts) != len(x.shape) or any(count < 0 for count in counts):
        raise call.malformed("repeats do not fit the axes")
    pairs = list(zip(counts, x.shape, strict=True))
    spread = expand(
        call,
        reshape(x, [n for _, extent in pairs for n in (1, extent)]),
        [n for pair in pairs for n in pair],
    )
    return reshape(spread, [count * extent for count, extent in pairs])


def _concat(call: Call, *operands: Any) -> Any:
    if not operands:
        raise call.malformed("nothing to join")
    axis = axis_of(call, call.integer("axis", 1), len(operands[0].shape))
    return concat(call, operands, axis)


def _split(call: Call, x: Any, split: Any = None) -> Any:
    axis = axis_of(call, call.integer("axis", 0), len(x.shape))
    extent = x.shape[axis]
    if call.version >= 13 and split is not None:
        extents = call.numbers(split)
    elif call.has("split"):
        extents = call.ints("split")
    else:
        count = call.integer("num_outputs", call.outputs)
        if count != call.outputs:
            raise call.malformed("num_outputs is not the number of outputs")
        step = -(-extent // max(count, 1))
        starts = [min(extent, step * i) for i in range(count + 1)]
        extents = tuple(b - a for a, b in pairwise(starts))
    if sum(extents) != extent or any(size < 0 for size in extents):
        raise call.malformed("sizes do not add up to the axis")
    pieces, start = [], 0
    for size in extents:
        pieces.append(slices(x, (slice(None),) * axis + (slice(start, start + size),)))
        start += size
    return tuple(pieces)


def _slice(call: Call, x: Any, *operands: Any) -> Any:
    if call.version < 10:
        starts, ends = call.ints("starts"), call.ints("ends")
        axes = call.ints("axes", tuple(range(len(starts))))
        steps = (1,) * len(starts)
    else:
        given = [None if operand is None else call.numbers(operand) for operand in operands]
        given += [None] * (4 - len(given))
        if given[0] is None or given[1] is None:
            raise call.malformed("starts and ends are missing")
        starts, ends = given[0], given[1]
        axes = given[2] if given[2] is not None else tuple(range(len(starts)))
        steps = given[3] if given[3] is not None else (1,) * len(starts)
    if not len(starts) == len(ends) == len(axes) == len(steps) or 0 in steps:
        raise call.malformed("starts, ends, axes and steps do not fit each other")
    key = [slice(None)] * len(x.shape)
    for start, end, dim, step in zip(starts, ends, axes, steps, strict=True):
        axis = axis_of(call, dim, len(x.shape))
        extent = x.shape[axis]
        if step < 0 and end < -extent:
            # Before the first element; Python clips it there too.
            end = -extent - 1
        key[axis] = slice(start, end, step)
    return slices(x, tuple(key))


def _pad(call: Call, x: Any, pads: Any = None, value: Any = None, axes: Any = None) -> Any:
    mode = call.text("mode", "constant")
    rank = len(x.shape)
    if call.version < 11:
        amounts = call.ints("pads")
        fill: Any = call.number("value", 0.0)
        dims: tuple[int, ...] = tuple(range(rank))
    else:
        amounts = call.numbers(pads)
        fill = 0 if value is None else call.scalar(value)
        dims = tuple(range(rank)) if axes is None else call.numbers(axes)
    if len(amounts) != 2 * len(dims):
        raise call.malformed("pads do not fit the axes")
    before, after = [0] * rank, [0] * rank
    for position, dim in enumerate(dims):
        axis = axis_of(call, dim, rank)
        before[axis], after[axis] = amounts[position], amounts[position + len(dims)]
    if mode == "constant":
        return pad(call, x, before, after, fill)
    modes = {"reflect": "reflect", "edge": "edge", "wrap": "wrap"}
    if mode not in modes:
        raise call.malformed(f"mode {mode!r}")
    return _pad_by_index(call, x, before, after, mode)


def _pad_by_index(call: Call, x: Any, before: list[int], after: list[int], mode: str) -> Any:
    """Padding with elements of x itself: a gather along each axis that grows."""
    for axis, (front, back) in enumerate(zip(before, after, strict=True)):
        extent = x.shape[axis]
        if front == back == 0:
            continue
        if extent == 0:
            raise call.malformed("an empty axis has nothing to pad with")
        call.room((extent + front + back,))
        index = np.arange(-front, extent + back)
        if mode == "wrap":
            index %= extent
        elif mode == "edge":
            index = index.clip(0, extent - 1)
        else:
            period = max(1, 2 * (extent - 1))
            index = np.abs((index + extent - 1) % period - (extent - 1))
        x = gather(call, x, index, axis)
    return x


def _shape(call: Call, x: Any) -> Any:
    start, end = call.integer("start", 0), call.integer("end", len(x.shape))
    return sizes(x.shape[slice(start, end)])


def _size(call: Call, x: Any) -> Any:
    return sizes(prod(x.shape))


def _identity(call: Call, x: Any) -> Any:
    return x


def _depth_to_space(call: Call, x: Any) -> Any:
    call.ranked(x, 4, 4)
    n, c, h, w = x.shape
    block = call.integer("blocksize")
    if block < 1 or c % (block * block):
        raise call.malformed("channels are no multiple of blocksize squared")
    left = c // (block * block)
    if call.text("mode", "DCR") == "DCR":
        split, order = (n, block, block, left, h, w), (0, 3, 4, 1, 5, 2)
    else:
        split, order = (n, left, block, block, h, w), (0, 1, 4, 2, 5, 3)
    return reshape(permute(reshape(x, split), order), (n, left, h * block, w * block))


def _space_to_depth(call: Call, x: Any) -> Any:
    call.ranked(x, 4, 4)
    n, c, h, w = x.shape
    block = call.integer("blocksize")
    if block < 1 or h % block or w % block:
        raise call.malformed("the image is no multiple of blocksize")
    cut = reshape(x, (n, c, h // block, block, w // block, block))
    crd = call.text("mode", "DCR") == "CRD"
    moved = permute(cut, (0, 1, 3, 5, 2, 4) if crd else (0, 3, 5, 1, 2, 4))
    return reshape(moved, (n, c * block * block, h // block, w // block))


def _center_crop_pad(call: Call, x: Any, shape: Any) -> Any:
    rank = len(x.shape)
    wanted = call.numbers(shape)
    axes = call.ints("axes", tuple(range(rank)))
    if len(axes) != len(wanted):
        raise call.malformed("sizes do not fit the axes")
    for dim, size in zip(axes, wanted, strict=True):
        axis = axis_of(call, dim, rank)
        extent = x.shape[axis]
        before, after = [0] * rank, [0] * rank
        if size < extent:
            start = (extent - size) // 2
            x = slices(x, (slice(None),) * axis + (slice(start, start + size),))
        elif size > extent:
            before[axis] = (size - extent) // 2
            after[axis] = size - extent - before[axis]
            x = pad(call, x, before, after, 0)
    return x


def _dropout(call: Call, x: Any, ratio: Any = None, training: Any = None) -> Any:
    wanted = training is not None and bool(call.scalar(training))
    probability = 0.5 if ratio is None else call.scalar(ratio)
    if call.version < 12:
        probability = call.number("ratio", 0.5)
    if wanted and probability > 0:
        raise call.unsupported("training_mode, whose random numbers no two libraries share")
    mask = None
    if call.outputs > 1:
        call.room(x.shape, 1)
        own = x.dtype if is_array(x) else x._type.dtype.numpy
        mask = np.ones(tuple(x.shape), np.bool_ if call.version >= 10 else own)
    if call.training and probability and not is_array(x):
        return F.dropout(x, float(probability), True), mask
    return x, mask


RULES: dict[tuple[str, int], Rule] = {
    ("Reshape", 5): Rule(_reshape, "a i!", moves=True),
    ("Flatten", 1): Rule(_flatten, "a", moves=True),
    ("Squeeze", 1): Rule(_squeeze, "a i!?", moves=True),
    ("Unsqueeze", 1): Rule(_unsqueeze, "a i!?", moves=True),
    ("Transpose", 1): Rule(_transpose, "a", moves=True),
    ("Expand", 8): Rule(_expand, "a i!", moves=True),
    ("Tile", 6): Rule(_tile, "a i!", moves=True),
    ("Concat", 1): Rule(_concat, "A*", moves=True),
    ("Split", 1): Rule(_split, "a i!?", moves=True),
    ("Slice", 1): Rule(_slice, "a i!? i!? i!? i!?", moves=True),
    ("Pad", 1): Rule(_pad, "A i!? A!? i!?", moves=True),
    ("Shape", 1): Rule(_shape, "a", gives="int64", shapes=True),
    ("Size", 1): Rule(_size, "a", gives="int64", shapes=True),
    ("Identity", 1): Rule(_identity, "a", moves=True),
    ("DepthToSpace", 1): Rule(_depth_to_space, "a", moves=True),
    ("SpaceToDepth", 1): Rule(_space_to_depth, "a", moves=True),
    ("CenterCropPad", 18): Rule(_center_crop_pad, "a i!", moves=True),
    ("Dropout", 1): Rule(_dropout, "f f!? b!?", gives="0 bool"),
}
