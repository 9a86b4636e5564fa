# SPDX-License-Identifier: Apache-2.0
"""The ai.onnx.ml operators that scikit-learn pipelines with a network consist of."""

from __future__ import annotations

from typing import Any

import numpy as np

from lamella.foreign.call import is_array
from lamella.foreign.rule import Rule
from lamella.foreign.words import (
    binary,
    cast,
    compare,
    gather,
    is_floating,
    like,
    reduce,
    unary,
    where,
)
from lamella.onnx.rules.call import Call

__all__ = ["RULES"]

_FLOAT = np.dtype(np.float32)


def _scaler(call: Call, x: Any) -> Any:
    offset = np.array(call.floats("offset", (0.0,)), _FLOAT)
    scale = np.array(call.floats("scale", (1.0,)), _FLOAT)
    wide = cast(x, _FLOAT)
    return binary(call, "mul", binary(call, "sub", wide, offset), scale)


def _normalizer(call: Call, x: Any) -> Any:
    norm = call.text("norm", "MAX")
    call.ranked(x, 1, 2)
    wide = cast(x, _FLOAT)
    axes = [len(x.shape) - 1]
    if norm == "MAX":
        size = reduce(call, "max", wide, axes, True)
    elif norm == "L1":
        size = reduce(call, "sum", unary("abs", wide), axes, True)
    elif norm == "L2":
        size = reduce(call, "norm", wide, axes, True)
    else:
        raise call.malformed(f"norm {norm!r}")
    zero = compare(call, "eq", size, 0.0)
    return binary(call, "div", wide, where(call, zero, like(wide, 1.0), size))


def _binarizer(call: Call, x: Any) -> Any:
    # A threshold is a fraction, also of integers.
    wide = x if is_floating(x) else cast(x, np.dtype(np.float64))
    above = compare(call, "gt", wide, like(wide, call.number("threshold", 0.0)))
    return cast(above, x.dtype if is_array(x) else x._type.dtype.numpy)


def _features(call: Call, x: Any, indices: Any) -> Any:
    index = indices.reshape(-1) if is_array(indices) else indices.reshape((-1,))
    call.ranked(x, 1)
    if len(x.shape) == 1:
        x = x.reshape(1, -1)
    return gather(call, x, index, len(x.shape) - 1)


def _label_encoder(call: Call, x: Any) -> Any:
    keys = next((call.attributes[k] for k in ("keys_int64s", "keys_floats") if call.has(k)), None)
    values = next(
        (call.attributes[k] for k in ("values_int64s", "values_floats") if call.has(k)), None
    )
    array = call.value(x)
    if keys is None or values is None or len(keys) != len(values):
        raise call.unsupported("labels that are texts or tensors")
    floats = call.has("values_floats")
    other = call.number("default_float", -0.0) if floats else call.integer("default_int64", -1)
    y = np.full(array.shape, other, np.float32 if floats else np.int64)
    for key, value in zip(keys, values, strict=True):
        y[array == key] = value
    return y


RULES: dict[tuple[str, int], Rule] = {
    ("ai.onnx.ml:Scaler", 1): Rule(_scaler, "n", gives="float32"),
    ("ai.onnx.ml:Normalizer", 1): Rule(_normalizer, "n", gives="float32"),
    ("ai.onnx.ml:Binarizer", 1): Rule(_binarizer, "n"),
    ("ai.onnx.ml:ArrayFeatureExtractor", 1): Rule(_features, "nt i"),
    ("ai.onnx.ml:LabelEncoder", 2): Rule(_label_encoder, "nt", arrays=True),
}
