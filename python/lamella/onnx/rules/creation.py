# SPDX-License-Identifier: Apache-2.0
"""Arrays out of nothing: constants, ranges, identities. Known, so within the folding allowance."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from lamella.foreign.rule import Rule
from lamella.foreign.words import dtype_of
from lamella.onnx import tensors
from lamella.onnx.rules.call import Call

__all__ = ["RULES"]


def _constant(call: Call) -> Any:
    for name, kind in (
        ("value_float", np.float32),
        ("value_int", np.int64),
        ("value_floats", np.float32),
        ("value_ints", np.int64),
    ):
        if call.has(name):
            return np.array(call.attributes[name], kind)
    if call.has("value"):
        return call.tensor("value")
    raise call.unsupported("a constant that is no dense tensor of numbers")


def _constant_of_shape(call: Call, shape: Any) -> Any:
    extents = call.numbers(shape)
    fill = call.tensor("value") if call.has("value") else np.zeros(1, np.float32)
    if fill.size != 1:
        raise call.malformed("value is not one element")
    call.room(extents, fill.itemsize)
    return np.full(extents, fill.reshape(()), fill.dtype)


def _range(call: Call, start: Any, limit: Any, delta: Any) -> Any:
    first, last, step = (call.scalar(x) for x in (start, limit, delta))
    if step == 0 or not all(math.isfinite(x) for x in (first, last, step)):
        raise call.malformed("no such range")
    count = max(0, math.ceil((last - first) / step))
    call.room((count,))
    dtype = call.value(start).dtype
    return (np.arange(count) * np.asarray(step, dtype) + np.asarray(first, dtype)).astype(dtype)


def _eye_like(call: Call, x: Any) -> Any:
    if len(x.shape) != 2:
        raise call.malformed("not a matrix")
    dtype = dtype_of(x)
    if call.has("dtype"):
        dtype = tensors.dtype(call.integer("dtype"))
    call.room(x.shape, dtype.itemsize)
    return np.eye(x.shape[0], x.shape[1], call.integer("k", 0), dtype)


def _window(weights: tuple[float, ...], call: Call, size: Any) -> Any:
    count = int(call.scalar(size))
    call.room((count,))
    dtype = tensors.dtype(call.integer("output_datatype", 1))
    length = count if call.integer("periodic", 1) else count - 1
    phase = 2 * np.pi * np.arange(count) / length if count else np.zeros(0)
    return sum(w * np.cos(i * phase) for i, w in enumerate(weights)).astype(dtype)  # type: ignore[union-attr]


def _hann(call: Call, size: Any) -> Any:
    return _window((0.5, -0.5), call, size)


def _hamming(call: Call, size: Any) -> Any:
    return _window((25 / 46, -21 / 46), call, size)


def _blackman(call: Call, size: Any) -> Any:
    return _window((0.42, -0.5, 0.08), call, size)


RULES: dict[tuple[str, int], Rule] = {
    ("Constant", 1): Rule(_constant, ""),
    ("ConstantOfShape", 9): Rule(_constant_of_shape, "i!"),
    ("Range", 11): Rule(_range, "N! N! N!"),
    ("EyeLike", 9): Rule(_eye_like, "e", shapes=True),
    ("HannWindow", 17): Rule(_hann, "i!"),
    ("HammingWindow", 17): Rule(_hamming, "i!"),
    ("BlackmanWindow", 17): Rule(_blackman, "i!"),
}
