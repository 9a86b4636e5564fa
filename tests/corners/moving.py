# SPDX-License-Identifier: Apache-2.0
"""Cases of operators that arrange elements otherwise, or make arrays out of shapes and types.

Axes, sizes and steps come as attributes in old opsets and as operands in newer ones; they are
negative, at both ends, far outside where that is clipped, or left out.
"""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
from onnx import TensorProto, helper

from corners.draw import HALVES, Case, Draw, Generator
from lamella.onnx import tensors

I64 = np.dtype(np.int64)
_FAR = (2**63 - 1, -(2**63), 2**31 - 1, -(2**31), 100, -100)


def ints(values: Any, dtype: Any = I64) -> np.ndarray[Any, Any]:
    """A list of integers as an operand."""
    return np.array(list(values), dtype)


def reshape(d: Draw) -> Case:
    x = d.array(d.shape(), d.type(0))
    target = list(x.shape)
    d.rng.shuffle(target)
    if len(target) > 1 and d.chance():
        at = d.integer(0, len(target) - 2)
        target[at : at + 2] = [target[at] * target[at + 1]]
    if d.chance(0.3):
        target.insert(d.integer(0, len(target)), 1)
    zero = x.size == 0
    attributes: dict[str, Any] = {}
    if "allowzero" in d.schema.attributes and (zero or d.chance(0.2)):
        attributes["allowzero"] = d.pick((0, 1)) if not zero else 1
    elif zero:
        # 0 copies an extent: only where that is what was meant.
        target = [0 if i < x.ndim else n for i, n in enumerate(x.shape)]
    if attributes.get("allowzero") != 1 or 0 not in target:
        for i, n in enumerate(target):
            if i < x.ndim and n == x.shape[i] and d.chance(0.3):
                if not attributes.get("allowzero"):
                    target[i] = 0
        rest = [i for i in range(len(target)) if target[i] != 0]
        if rest and not zero and d.chance(0.4):
            target[d.pick(rest)] = -1
    return d.case([x, ints(target)], attributes)


def flatten(d: Draw) -> Case:
    x = d.array(d.shape(0 if d.since >= 9 else 1), d.type(0))
    low = -x.ndim if d.counts_back else 0
    axis = d.integer(low, x.ndim)
    return d.case([x], {} if d.chance(0.2) and x.ndim > 0 else {"axis": axis})


def squeeze(d: Draw) -> Case:
    shape = d.shape(sizes=(1, 1, 1, 2, 3, 0))
    ones = [i for i, n in enumerate(shape) if n == 1]
    x = d.array(shape, d.type(0))
    if d.chance(0.2) or not ones:
        return d.case([x])
    picked = d.rng.permutation(ones)[: d.integer(1, len(ones))].tolist()
    axes = [a - len(shape) if d.chance(0.4) and d.counts_back else a for a in picked]
    return d.case([x, ints(axes)]) if d.since >= 13 else d.case([x], {"axes": axes})


def unsqueeze(d: Draw) -> Case:
    x = d.array(d.shape(0, 4), d.type(0))
    count = d.integer(0 if d.since >= 13 else 1, 2)
    rank = x.ndim + count
    picked = d.rng.permutation(rank)[:count].tolist()
    axes = [a - rank if d.chance(0.4) and d.counts_back else a for a in picked]
    if d.since >= 13:
        axes_operand = np.array(axes[0], I64) if count == 1 and d.chance(0.1) else ints(axes)
        return d.case([x, axes_operand])
    return d.case([x], {"axes": axes})


def transpose(d: Draw) -> Case:
    x = d.array(d.shape(), d.type(0))
    perm = d.rng.permutation(x.ndim).tolist()
    return d.case([x], {} if d.chance(0.2) or not perm else {"perm": perm})


def expand(d: Draw) -> Case:
    shape = d.shape(0, 4)
    x = d.array(tuple(1 if d.chance(0.4) else n for n in shape), d.type(0))
    target = [
        n if have == 1 or d.chance(0.7) else 1 for n, have in zip(shape, x.shape, strict=True)
    ]
    cut = d.integer(0, len(target)) if d.chance(0.3) else 0
    target = target[cut:]
    if d.chance(0.3):
        target = [d.pick((1, 2, 0)), *[1] * (x.ndim - len(target)), *target]
    return d.case([x, ints(target)])


def tile(d: Draw) -> Case:
    x = d.array(d.shape(0, 4), d.type(0))
    return d.case([x, ints(d.pick((0, 1, 1, 2, 3)) for _ in range(x.ndim))])


def concat(d: Draw) -> Case:
    dtype = d.type(0)
    shape = d.shape(1)
    axis = d.axis(len(shape))
    parts = []
    for _ in range(d.integer(1, 4)):
        extents = list(shape)
        extents[axis] = d.pick((0, 1, 2, 3))
        parts.append(d.array(extents, dtype))
    return d.case(parts, {"axis": axis})


def split(d: Draw) -> Case:
    shape = d.shape(1)
    axis = d.axis(len(shape))
    x = d.array(shape, d.type(0))
    attributes: dict[str, Any] = {} if axis == 0 and d.chance() else {"axis": axis}
    extent = shape[axis]
    if d.chance(0.4):
        count = d.integer(1, 3)
        if d.since >= 18:
            attributes["num_outputs"] = count
            if -(-extent // count) * (count - 1) > extent:
                attributes["num_outputs"] = count = 1
        elif extent % count:
            count = 1
        return d.case([x], attributes, count)
    cuts = sorted(d.integer(0, extent) for _ in range(d.integer(0, 3)))
    sizes = [b - a for a, b in zip([0, *cuts], [*cuts, extent], strict=True)]
    if d.since >= 13:
        return d.case([x, ints(sizes)], attributes, len(sizes))
    return d.case([x], {**attributes, "split": sizes}, len(sizes))


def slice_(d: Draw) -> Case:
    shape = d.shape(1)
    x = d.array(shape, d.type(0))
    axes = d.some_axes(len(shape), 1)
    kind = d.pick((np.int32, np.int64)) if d.since >= 10 else I64

    def bound(extent: int) -> int:
        far = d.chance(0.25)
        return d.pick([n for n in _FAR if kind == I64 or abs(n) < 2**31]) if far else d.integer(
            -extent - 1, extent + 1)  # fmt: skip

    all_axes = d.chance(0.25)
    if all_axes:
        axes = list(range(len(axes)))
    extents = [shape[a] for a in axes]
    starts, ends = ([bound(n) for n in extents] for _ in range(2))
    if d.since < 10:
        attributes: dict[str, Any] = {"starts": starts, "ends": ends}
        if not all_axes:
            attributes["axes"] = axes
        return d.case([x], attributes)
    steps = (
        None if d.chance(0.3) else ints((d.pick((1, 1, 2, -1, -2, 3, -3, 9)) for _ in axes), kind)
    )
    operands = [x, ints(starts, kind), ints(ends, kind)]
    return d.case([*operands, None if all_axes else ints(axes, kind), steps])


def pad(d: Draw) -> Case:
    modes = ["constant", "constant", "edge", "reflect"] + (["wrap"] if d.since >= 19 else [])
    mode = d.pick(modes)
    x = d.array(d.shape(1, 4), d.type(0))
    axes = d.some_axes(x.ndim, 1) if d.since >= 18 and d.chance() else None
    chosen = range(x.ndim) if axes is None else axes

    def amount(extent: int) -> int:
        if mode == "constant":
            return d.integer(-min(extent // 2, 1), 3)
        if extent == 0:
            return 0
        return d.integer(0, extent - 1 if mode == "reflect" else min(extent, 3))

    pads = [amount(x.shape[a]) for a in (*chosen, *chosen)]
    attributes: dict[str, Any] = {} if mode == "constant" and d.chance() else {"mode": mode}
    if d.since < 11:
        if d.chance():
            attributes["value"] = d.pick((1.5, -2.0, float("inf")))
        return d.case([x], {**attributes, "pads": pads})
    value = d.array((), x.dtype) if mode == "constant" and d.chance(0.6) else None
    kind = d.pick((np.int32, np.int64))
    return d.case([x, ints(pads), value, None if axes is None else ints(axes, kind)], attributes)


def shape_(d: Draw) -> Case:
    x = d.array(d.shape(), d.type(0))
    attributes = {}
    if d.since >= 15 and d.op == "Shape":
        for name in ("start", "end"):
            if d.chance():
                attributes[name] = d.integer(-x.ndim - 2, x.ndim + 2)
    return d.case([x], attributes)


def depth_to_space(d: Draw) -> Case:
    block = d.pick((1, 2, 3))
    n, c, h, w = (d.pick((0, 1, 2, 3)) for _ in range(4))
    c = c if c else 1
    attributes: dict[str, Any] = {"blocksize": block}
    if "mode" in d.schema.attributes and d.chance(0.7):
        attributes["mode"] = d.pick(("DCR", "CRD"))
    if d.op == "DepthToSpace":
        return d.case([d.array((n, c * block * block, h, w), d.type(0))], attributes)
    return d.case([d.array((n, c, h * block, w * block), d.type(0))], attributes)


def center_crop_pad(d: Draw) -> Case:
    x = d.array(d.shape(1, 4), d.type(0))
    axes = d.some_axes(x.ndim, 1) if d.chance() else None
    count = x.ndim if axes is None else len(axes)
    sizes = ints((d.integer(1, 8) for _ in range(count)), d.pick((np.int32, np.int64)))
    return d.case([x, sizes], {} if axes is None else {"axes": axes})


def dropout(d: Draw) -> Case:
    x = d.array(d.shape(), d.type(0))
    outputs = d.pick(((True,), (True, True), (True, False)))
    if d.since < 12:
        return d.case([x], {"ratio": d.pick((0.0, 0.5, 0.9))} if d.chance() else {}, outputs)
    ratio = None if d.chance() else np.asarray(d.pick((0.0, 0.3, 0.9)), d.type(1))
    training = None if d.chance() else np.array(False)
    if training is not None and ratio is not None and ratio == 0 and d.chance():
        training = np.array(True)
    return d.case([x, ratio, training], {"seed": 7} if d.chance(0.2) else {}, outputs)


def trilu(d: Draw) -> Case:
    shape = (*d.shape(0, 3), d.pick((0, 1, 2, 3, 7)), d.pick((0, 1, 2, 3, 7)))
    while prod(shape) > 700:
        shape = (2, *shape[2:])
    k = None if d.chance(0.3) else np.array(d.pick((0, 1, -1, 2, -3, 9, -9, *_FAR[:2])))
    return d.case([d.array(shape, d.type(0)), k], d.pick(({}, {"upper": 0}, {"upper": 1})))


def constant(d: Draw) -> Case:
    forms = ["value"]
    if "value_int" in d.schema.attributes:
        forms += ["value_int", "value_ints", "value_float", "value_floats"]
    form = d.pick(forms)
    value: Any
    if form == "value":
        number = d.pick(sorted(tensors.DTYPES))
        value = d.array(d.shape(), helper.tensor_dtype_to_np_dtype(number))
    elif "float" in form:
        values = d.array((d.integer(1, 3),), np.float32).tolist()
        value = values if form.endswith("s") else values[0]
    else:
        values = d.array((d.integer(1, 3),), I64).tolist()
        value = values if form.endswith("s") else values[0]
    return d.case([], {form: value})


def constant_of_shape(d: Draw) -> Case:
    shape = ints(d.shape(0, 4))
    attributes = {}
    if d.chance(0.8):
        number = d.pick(sorted(tensors.DTYPES))
        attributes["value"] = d.array((1,), helper.tensor_dtype_to_np_dtype(number))
    return d.case([shape], attributes)


def range_(d: Draw) -> Case:
    dtype = d.type(0)
    whole = dtype.kind in "iu"
    delta = d.pick((1, 2, -1, -3)) if whole else d.pick((0.5, 1.0, -0.25, 0.1, -1.5))
    start = d.integer(-9, 9) if whole else d.integer(-36, 36) / 4
    limit = start + d.integer(-3, 9) * delta + (0 if whole else d.pick((0.0, 0.04)))
    if whole and d.chance(0.1):
        start = np.iinfo(dtype).max - 3
        limit, delta = np.iinfo(dtype).max, d.pick((1, 2))
    return d.case([np.array(n, dtype) for n in (start, limit, delta)])


def eye_like(d: Draw) -> Case:
    x = d.array((d.pick((0, 1, 2, 3, 7)), d.pick((0, 1, 2, 3, 7))), d.type(0))
    attributes = {}
    if d.chance():
        attributes["k"] = d.pick((0, 1, -1, 2, 9, -9))
    if d.chance():
        attributes["dtype"] = d.pick((1, 6, 7, 9, 10, 11))
    return d.case([x], attributes)


def window(d: Draw) -> Case:
    size = np.array(d.pick((0, 1, 2, 3, 7, 10)), d.type(0))
    attributes = {}
    if d.chance():
        attributes["periodic"] = d.pick((0, 1))
    if d.chance():
        attributes["output_datatype"] = d.pick((TensorProto.FLOAT, TensorProto.DOUBLE))
    return d.case([size], attributes)


def cast(d: Draw) -> Case:
    dtype = d.type(0)
    x = d.array(d.shape(), dtype)
    targets = [n for n in tensors.DTYPES if n != TensorProto.BFLOAT16 or d.since >= 13]
    attributes: dict[str, Any] = {"to": d.pick(targets)}
    return d.case([x], attributes)


def cast_like(d: Draw) -> Case:
    return d.case([d.array(d.shape(), d.type(0)), d.array(d.shape(0, 2), d.type(1))])


def bit_cast(d: Draw) -> Case:
    # Half floats are computed as float32, and have not their own bits.
    dtype = d.type(0, lambda t: t not in HALVES)
    x = d.array(d.shape(), dtype)
    same = [n for n, t in tensors.DTYPES.items() if t.itemsize == dtype.itemsize
            and n not in (10, 16)]  # fmt: skip
    return d.case([x], {"to": d.pick(same or [1])})


GENERATORS: dict[str, Generator] = {
    "Reshape": reshape,
    "Flatten": flatten,
    "Squeeze": squeeze,
    "Unsqueeze": unsqueeze,
    "Transpose": transpose,
    "Expand": expand,
    "Tile": tile,
    "Concat": concat,
    "Split": split,
    "Slice": slice_,
    "Pad": pad,
    "Shape": shape_,
    "Size": shape_,
    "DepthToSpace": depth_to_space,
    "SpaceToDepth": depth_to_space,
    "CenterCropPad": center_crop_pad,
    "Dropout": dropout,
    "Trilu": trilu,
    "Constant": constant,
    "ConstantOfShape": constant_of_shape,
    "Range": range_,
    "EyeLike": eye_like,
    "HannWindow": window,
    "HammingWindow": window,
    "BlackmanWindow": window,
    "Cast": cast,
    "CastLike": cast_like,
    "BitCast": bit_cast,
}
