# SPDX-License-Identifier: Apache-2.0
"""Cases of operators that sum: reductions, softmax and its relatives, normalisations, losses.

Axes are missing, empty, negative, in any order; arrays and what is reduced are empty; rows are
constant, infinite or NaN. Sums of any numbers at all would depend on their order: their numbers are
moderate or special.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from corners.draw import Case, Draw, Generator, names
from corners.moving import ints


def _numbers(d: Draw, shape: Any, dtype: Any, extreme: bool = False) -> np.ndarray[Any, Any]:
    if np.dtype(dtype).kind not in "iub":
        flavour = d.pick(("tame", "special", "corner" if extreme else "tame"))
    else:
        flavour = d.pick(("small", "corner" if extreme else "small"))
    return d.array(shape, dtype, flavour)


def reduction(d: Draw) -> Case:
    shape = d.shape()
    extreme = d.op in ("ReduceMax", "ReduceMin")
    x = _numbers(d, shape, d.type(0), extreme)
    attributes: dict[str, Any] = {}
    if d.chance():
        attributes["keepdims"] = d.pick((0, 1))
    axes = None if d.chance(0.25) else d.some_axes(len(shape))
    if "axes" in d.schema.attributes:
        if axes:
            attributes["axes"] = axes
        return d.case([x], attributes)
    if d.chance(0.4):
        attributes["noop_with_empty_axes"] = d.pick((0, 1))
    return d.case([x, None if axes is None else ints(axes)], attributes)


def softmax(d: Draw) -> Case:
    shape = d.shape(1)
    extreme = d.op == "Hardmax"
    x = _numbers(d, shape, d.type(0), extreme)
    axis = d.axis(len(shape))
    fits = d.since >= 13 or len(shape) > 1
    return d.case([x], {} if fits and d.chance(0.3) else {"axis": axis})


def _epsilon(d: Draw) -> dict[str, Any]:
    return {} if d.chance() else {"epsilon": d.pick((1e-5, 1e-3, 1.0))}


def layer(d: Draw) -> Case:
    shape = d.shape(1, 4, (1, 2, 3, 7, 0))
    axis = d.axis(len(shape))
    at = axis % len(shape)
    attributes = _epsilon(d)
    if at != len(shape) - 1 or d.chance():
        attributes["axis"] = axis
    tail = shape[at:]
    if d.chance(0.2):
        tail = tuple(1 if d.chance() else n for n in tail)[d.integer(0, len(tail) - 1) :]
    x = d.array(shape, d.type(0), d.pick(("tame", "special")))
    scale = d.array(tail, d.type(1), "tame")
    if d.op == "RMSNormalization":
        return d.case([x, scale], attributes)
    bias = None if d.chance(0.3) else d.array(tail, scale.dtype, "tame")
    outputs = d.pick(((True,), (True,), (True, True, True), (True, False, True)))
    return d.case([x, scale, bias], attributes, outputs)


def _image(d: Draw, least: int = 3) -> tuple[int, ...]:
    return (d.pick((0, 1, 2, 3)), d.pick((1, 2, 3, 6)), *d.shape(least - 2, 3, (1, 2, 3)))


def batch(d: Draw) -> Case:
    shape = _image(d, 2)
    x = d.array(shape, d.type(0), d.pick(("tame", "special")))
    vectors = [d.array(shape[1:2], d.type(i), "tame") for i in (1, 2, 3, 4)]
    vectors[3] = np.abs(vectors[3])
    attributes = _epsilon(d)
    if d.since < 7:
        attributes["is_test"] = 1
    return d.case([x, *vectors], attributes)


def instance(d: Draw) -> Case:
    shape = _image(d)
    dtype = d.type(0)
    x = d.array(shape, dtype, d.pick(("tame", "special")))
    return d.case([x, *(d.array(shape[1:2], dtype, "tame") for _ in range(2))], _epsilon(d))


def group(d: Draw) -> Case:
    shape = _image(d)
    groups = d.pick([n for n in (1, 2, 3, 6) if shape[1] % n == 0])
    dtype = d.type(0)
    x = d.array(shape, dtype, d.pick(("tame", "special")))
    size = groups if d.since < 21 else shape[1]
    vectors = [d.array((size,), dtype, "tame") for _ in range(2)]
    return d.case([x, *vectors], {**_epsilon(d), "num_groups": groups})


def mean_variance(d: Draw) -> Case:
    if d.chance(0.3):
        shape: tuple[int, ...] = tuple(d.pick((1, 2, 3)) for _ in range(4))
        attributes = {}
    else:
        shape = d.shape(1, 4, (1, 2, 3, 7))
        attributes = {"axes": d.some_axes(len(shape), 1)}
    return d.case([d.array(shape, d.type(0), "tame")], attributes)


def lp(d: Draw) -> Case:
    shape = d.shape(1, 4, (1, 2, 3, 7))
    x = d.array(shape, d.type(0), d.pick(("tame", "special")))
    if d.chance(0.2):
        x *= x.dtype.type(0)
    attributes = {}
    if d.chance(0.7):
        attributes["axis"] = d.axis(len(shape)) if d.chance() else -1
    if d.chance(0.7):
        attributes["p"] = d.pick((1, 2))
    return d.case([x], attributes)


def lrn(d: Draw) -> Case:
    shape = (d.pick((1, 2)), d.pick((1, 2, 3, 7)), *d.shape(2, 2, (1, 2, 3)))
    attributes: dict[str, Any] = {"size": d.pick((1, 2, 3, 5))}
    if d.chance():
        attributes.update(
            alpha=d.pick((1e-4, 0.5)), beta=d.pick((0.75, 0.5)), bias=d.pick((1.0, 2.0))
        )
    return d.case([d.array(shape, d.type(0), "tame")], attributes)


def loss(d: Draw) -> Case:
    classes = d.pick((1, 2, 3, 7))
    shape = (d.pick((1, 2, 3)), classes, *d.shape(0, 2, (1, 2, 3)))
    dtype = d.type(0)
    x = d.array(shape, dtype, d.pick(("tame", "special") if d.op[0] == "N" else ("tame",)))
    target = d.rng.integers(0, classes, (shape[0], *shape[2:])).astype(d.type(1))
    attributes: dict[str, Any] = {}
    if d.chance(0.7):
        attributes["reduction"] = d.pick(("none", "sum", "mean"))
    if d.chance(0.4):
        ignored = d.pick((0, -1, classes, -100))
        attributes["ignore_index"] = ignored
        target[d.rng.random(target.shape) < 0.3] = ignored
    weight = None if d.chance() else np.abs(d.array((classes,), dtype, "tame"))
    outputs = (True, d.chance()) if d.op[0] == "S" else (True,)
    return d.case([x, target, weight], attributes, outputs)


_REDUCTIONS = names("""ReduceSum ReduceMax ReduceMin ReduceMean ReduceProd ReduceLogSumExp ReduceL1
    ReduceL2 ReduceSumSquare ReduceLogSum""")

GENERATORS: dict[str, Generator] = {
    **dict.fromkeys(_REDUCTIONS, reduction),
    **dict.fromkeys(("Softmax", "LogSoftmax", "Hardmax"), softmax),
    "LayerNormalization": layer,
    "RMSNormalization": layer,
    "BatchNormalization": batch,
    "InstanceNormalization": instance,
    "GroupNormalization": group,
    "MeanVarianceNormalization": mean_variance,
    "LpNormalization": lp,
    "LRN": lrn,
    "NegativeLogLikelihoodLoss": loss,
    "SoftmaxCrossEntropyLoss": loss,
}
