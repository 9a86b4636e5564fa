# SPDX-License-Identifier: Apache-2.0
"""Normalisations, inference only; RMS and layer normalisation are ops of the core.

Source: docs/Operators.md of ONNX, whose formulas these are.
"""

from __future__ import annotations

import math
from math import prod
from typing import Any

import numpy as np

from lamella.foreign.call import is_array
from lamella.foreign.rule import Rule
from lamella.foreign.words import (
    axis_of,
    binary,
    cast,
    compare,
    floating,
    like,
    matmul,
    reduce,
    reshape,
    unary,
    where,
)
from lamella.onnx import tensors
from lamella.onnx.rules.call import Call
from lamella.ops.norm import LayerNorm, RmsNorm
from lamella.runtime.tensor import apply

__all__ = ["RULES"]


def _centred(call: Call, x: Any, axes: list[int], epsilon: float) -> tuple[Any, Any, Any]:
    """(x - mean) / sqrt(var + epsilon), mean, and 1 / sqrt(var + epsilon)."""
    mean = reduce(call, "mean", x, axes, True)
    deviation = binary(call, "sub", x, mean)
    root = _root(call, _spread(call, x, axes), epsilon)
    return binary(call, "div", deviation, root), mean, unary("reciprocal", root)


def _spread(call: Call, x: Any, axes: list[int]) -> Any:
    """sqrt(var) over axes, right where the variance itself would leave the range."""
    return reduce(call, "std", x, axes, True)


def _root(call: Call, spread: Any, epsilon: float) -> Any:
    """sqrt(spread^2 + epsilon), the squares taken of ratios to the larger of the two."""
    if epsilon == 0.0:
        return spread
    least = math.sqrt(epsilon)
    larger = unary("clamp", spread, least, np.inf)
    first = unary("square", binary(call, "div", spread, larger))
    second = unary("square", binary(call, "div", like(spread, least), larger))
    root = binary(call, "mul", larger, unary("sqrt", binary(call, "add", first, second)))
    # An infinite one has no ratio to itself.
    return where(call, compare(call, "lt", spread, like(spread, np.inf)), root, spread)


def _epsilon(call: Call) -> float:
    epsilon = call.number("epsilon", 1e-5)
    if not 0.0 <= epsilon < np.inf:
        raise call.malformed("epsilon is negative or not finite")
    return epsilon


def _layer(call: Call, x: Any, scale: Any, bias: Any = None) -> Any:
    axis = axis_of(call, call.integer("axis", -1), len(x.shape))
    epsilon = _epsilon(call)
    axes = list(range(axis, len(x.shape)))
    tail = tuple(x.shape[axis:])
    fits = tuple(scale.shape) == tail and (bias is None or tuple(bias.shape) == tail)
    if not is_array(x, scale) and call.outputs == 1 and fits:
        extra = (scale,) if bias is None else (scale, bias)
        return apply(LayerNorm(len(axes), epsilon, True, bias is not None), x, *extra)
    y, mean, inverse = _centred(call, floating(call, x), axes, epsilon)
    y = binary(call, "mul", y, scale)
    stash = tensors.dtype(call.integer("stash_type", 1))
    mean, inverse = cast(mean, stash), cast(inverse, stash)
    return (y if bias is None else binary(call, "add", y, bias)), mean, inverse


def _rms(call: Call, x: Any, scale: Any) -> Any:
    axis = axis_of(call, call.integer("axis", -1), len(x.shape))
    epsilon = _epsilon(call)
    if not is_array(x, scale) and tuple(scale.shape) == tuple(x.shape[axis:]):
        return apply(RmsNorm(len(x.shape) - axis, epsilon, True), x, scale)
    axes = list(range(axis, len(x.shape)))
    # The root of a mean square is a length by the root of the number of terms.
    count = math.sqrt(prod(x.shape[axis:]))
    power = binary(call, "div", reduce(call, "norm", floating(call, x), axes, True), count)
    return binary(call, "mul", binary(call, "div", x, _root(call, power, epsilon)), scale)


def _channels(call: Call, x: Any, vector: Any) -> Any:
    """A vector of one element a channel, shaped to stand beside x."""
    if tuple(vector.shape) != tuple(x.shape[1:2]):
        raise call.malformed("one element a channel")
    return reshape(vector, (-1, *(1,) * (len(x.shape) - 2)))


def _batch(call: Call, x: Any, scale: Any, bias: Any, mean: Any, variance: Any) -> Any:
    if call.integer("training_mode", 0) or not call.integer("spatial", 1):
        raise call.unsupported("batch normalisation in training, or of single pixels")
    if call.version < 7 and not call.integer("is_test", 0) and call.outputs > 1:
        raise call.unsupported("batch normalisation in training")
    epsilon = _epsilon(call)
    deviation = binary(call, "add", _channels(call, x, variance), epsilon)
    factor = binary(call, "mul", unary("rsqrt", deviation), _channels(call, x, scale))
    centred = binary(call, "sub", x, _channels(call, x, mean))
    return binary(call, "add", binary(call, "mul", centred, factor), _channels(call, x, bias))


def _instance(call: Call, x: Any, scale: Any, bias: Any) -> Any:
    axes = list(range(2, len(x.shape)))
    y = _centred(call, floating(call, x), axes, _epsilon(call))[0]
    y = binary(call, "mul", y, _channels(call, x, scale))
    return binary(call, "add", y, _channels(call, x, bias))


def _group(call: Call, x: Any, scale: Any, bias: Any) -> Any:
    groups = call.integer("num_groups")
    call.ranked(x, 2)
    n, c = x.shape[:2]
    if groups < 1 or c % groups:
        raise call.malformed("channels are no multiple of num_groups")
    flat = reshape(floating(call, x), (n, groups, prod(x.shape[1:]) // groups))
    y = _centred(call, flat, [2], _epsilon(call))[0]
    if call.version < 21:
        y = reshape(y, (n, groups, c // groups, *x.shape[2:]))
        ones = (1,) * (len(x.shape) - 1)
        y = binary(call, "mul", y, reshape(scale, (groups, *ones)))
        return reshape(binary(call, "add", y, reshape(bias, (groups, *ones))), x.shape)
    y = reshape(y, x.shape)
    y = binary(call, "mul", y, _channels(call, x, scale))
    return binary(call, "add", y, _channels(call, x, bias))


def _mean_variance(call: Call, x: Any) -> Any:
    axes = [axis_of(call, axis, len(x.shape)) for axis in call.ints("axes", (0, 2, 3))]
    mean = reduce(call, "mean", floating(call, x), axes, True)
    deviation = binary(call, "sub", x, mean)
    return binary(call, "div", deviation, binary(call, "add", _spread(call, x, axes), 1e-9))


def _lp(call: Call, x: Any) -> Any:
    axis = [axis_of(call, call.integer("axis", -1), len(x.shape))]
    p = call.integer("p", 2)
    if p not in (1, 2):
        raise call.malformed("p is 1 or 2")
    if p == 1:
        norm = reduce(call, "sum", unary("abs", floating(call, x)), axis, True)
    else:
        norm = reduce(call, "norm", floating(call, x), axis, True)
    # A row of zeros stays one: it is divided by one.
    return binary(call, "div", x, where(call, compare(call, "eq", norm, 0.0), like(x, 1.0), norm))


def _lrn(call: Call, x: Any) -> Any:
    size, bias = call.integer("size"), call.number("bias", 1.0)
    alpha, beta = call.number("alpha", 1e-4), call.number("beta", 0.75)
    call.ranked(x, 2)
    channels = x.shape[1]
    if not 1 <= size <= 4096:
        raise call.malformed("no such size")
    call.room((channels, channels))
    # The window over channels as a banded matrix: a product sums the squares.
    offset = np.arange(channels)[:, None] - np.arange(channels)[None, :]
    band = (offset <= (size - 1) // 2) & (offset >= -(size // 2))
    dtype = x.dtype if is_array(x) else x._type.dtype.numpy
    flat = reshape(unary("square", floating(call, x)), (x.shape[0], channels, -1))
    total = reshape(matmul(call, band.astype(dtype), flat), x.shape)
    scale = binary(call, "add", binary(call, "mul", total, alpha / size), bias)
    return binary(call, "div", x, binary(call, "pow", scale, beta))


RULES: dict[tuple[str, int], Rule] = {
    ("LayerNormalization", 17): Rule(_layer, "f f f?"),
    ("RMSNormalization", 23): Rule(_rms, "f f"),
    ("BatchNormalization", 1): Rule(_batch, "f f f f f"),
    ("InstanceNormalization", 1): Rule(_instance, "f f f"),
    ("GroupNormalization", 18): Rule(_group, "f f f"),
    ("MeanVarianceNormalization", 9): Rule(_mean_variance, "f"),
    ("LpNormalization", 1): Rule(_lp, "f"),
    ("LRN", 1): Rule(_lrn, "f"),
}
