# SPDX-License-Identifier: Apache-2.0
"""Activations: each a row of the core's table, or a few of its functions.

Softmax and its relatives flatten to two axes before opset 13 and take one axis from then on.
"""

from __future__ import annotations

from functools import partial
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
    is_floating,
    like,
    permute,
    reshape,
    unary,
    where,
)
from lamella.foreign.words import rows as look_up
from lamella.onnx.rules.call import Call
from lamella.ops import elementwise

__all__ = ["RULES", "softmax"]

# Bounds that Clip has by default until opset 6: not infinite.
_MAX = float(np.finfo(np.float32).max)


def _plain(name: str, call: Call, x: Any) -> Any:
    return unary(name, floating(call, x))


def _relu(call: Call, x: Any) -> Any:
    return np.maximum(x, np.zeros((), x.dtype)) if is_array(x) else unary("relu", x)


def _one(name: str, attribute: str, default: float, call: Call, x: Any) -> Any:
    return unary(name, floating(call, x), call.number(attribute, default))


def _hard_sigmoid(call: Call, x: Any) -> Any:
    alpha, beta = call.number("alpha", 0.2), call.number("beta", 0.5)
    scaled = binary(call, "add", binary(call, "mul", floating(call, x), alpha), beta)
    return unary("hardtanh", scaled, 0.0, 1.0)


def _selu(call: Call, x: Any) -> Any:
    alpha = call.number("alpha", 1.67326319217681884765625)
    gamma = call.number("gamma", 1.05070102214813232421875)
    return binary(call, "mul", unary("elu", floating(call, x), alpha), gamma)


def _elu(call: Call, x: Any) -> Any:
    return unary("elu", floating(call, x), call.number("alpha", 1.0))


def _gelu(call: Call, x: Any) -> Any:
    form = call.text("approximate", "none")
    if form not in ("none", "tanh"):
        raise call.malformed(f"approximate {form!r}")
    return unary("gelu" if form == "none" else "gelu_tanh", floating(call, x))


def _swish(call: Call, x: Any) -> Any:
    alpha = call.number("alpha", 1.0)
    if alpha == 1.0:
        return unary("silu", floating(call, x))
    gate = unary("sigmoid", binary(call, "mul", floating(call, x), alpha))
    y = binary(call, "mul", x, gate)
    if alpha == 0.0:
        return binary(call, "mul", x, 0.5)
    # The limit where the gate is closed at an infinity.
    closed = compare(call, "eq", x, like(x, -np.inf if alpha > 0 else np.inf))
    return where(call, closed, _zero(x), y)


def _swiglu(call: Call, gate: Any, x: Any) -> Any:
    if tuple(gate.shape) != tuple(x.shape):
        raise call.malformed("operands of different shapes")
    return binary(call, "mul", _swish(call, gate), x)


def _softplus(call: Call, x: Any) -> Any:
    # No threshold: max(x, 0) + log1p(exp(-|x|)) for every x.
    return unary("softplus", floating(call, x), 1.0, 1e30)


def _prelu(call: Call, x: Any, slope: Any) -> Any:
    if call.version < 7 and len(slope.shape) == 1 and len(x.shape) > 1:
        slope = reshape(slope, (-1, *(1,) * (len(x.shape) - 2)))
    below = binary(call, "mul", x, slope)
    return where(call, compare(call, "lt", x, like(x, 0.0)), below, x)


def _thresholded(call: Call, x: Any) -> Any:
    above = compare(call, "gt", floating(call, x), like(x, call.number("alpha", 1.0)))
    return where(call, above, x, _zero(x))


def _shrink(call: Call, x: Any) -> Any:
    bias, bound = call.number("bias", 0.0), call.number("lambd", 0.5)
    if not is_floating(x):
        # A bias is a fraction, a bound below zero: no numbers of an integer's own type.
        return cast(_shrink(call, cast(x, np.dtype(np.float64))), x.dtype)
    low = where(
        call, compare(call, "lt", x, like(x, -bound)), binary(call, "add", x, bias), _zero(x)
    )
    return where(call, compare(call, "gt", x, like(x, bound)), binary(call, "sub", x, bias), low)


def _zero(x: Any) -> Any:
    """The number 0 of x's type."""
    return np.zeros((), x.dtype if is_array(x) else x._type.dtype.numpy)


def _clip(call: Call, x: Any, low: Any = None, high: Any = None) -> Any:
    if call.version < 11:
        low, high = call.number("min", -_MAX), call.number("max", _MAX)
        return _bounded(floating(call, x), low, high)
    if is_array(low, high) and not is_array(x) and low.size == high.size == 1:
        if not is_floating(x):
            return binary(call, "minimum", binary(call, "maximum", x, low), high)
        return _bounded(x, call.scalar(low), call.scalar(high))
    # By comparison, as its function's body does: a bound that is NaN bounds nothing.
    if low is not None:
        x = where(call, compare(call, "lt", x, low), low, x)
    return x if high is None else where(call, compare(call, "lt", high, x), high, x)


def _bounded(x: Any, low: float, high: float) -> Any:
    """clamp's slope on its bounds; exporters write relu6 as a Clip too."""
    return unary("relu6", x) if (low, high) == (0.0, 6.0) else unary("clamp", x, low, high)


def softmax(call: Call, x: Any, axis: int, log: bool = False) -> Any:
    """Softmax along one axis, or its logarithm."""
    rank = len(x.shape)
    axis = axis_of(call, axis, rank) if rank else 0
    if not is_array(x):
        return x.log_softmax(axis) if log else x.softmax(axis)
    row = elementwise.UNARY
    peak = x.max(axis=axis, keepdims=True, initial=-np.inf)
    shifted = floating(call, x).astype(np.float64) - peak
    total = row["exp"].reference(shifted).sum(axis=axis, keepdims=True)
    with np.errstate(all="ignore"):
        y = shifted - np.log(total) if log else np.exp(shifted) / total
    return y.astype(x.dtype)


def _softmax(log: bool, call: Call, x: Any) -> Any:
    if call.version >= 13:
        return softmax(call, floating(call, x), call.integer("axis", -1), log)
    axis = call.integer("axis", 1)
    axis = axis + len(x.shape) if axis < 0 else axis
    flat = reshape(floating(call, x), (prod(x.shape[:axis]), prod(x.shape[axis:])))
    return reshape(softmax(call, flat, 1, log), x.shape)


def _hardmax(call: Call, x: Any) -> Any:
    shape = tuple(x.shape)
    axis = call.integer("axis", -1 if call.version >= 13 else 1)
    axis = axis_of(call, axis, len(shape))
    if call.version < 13:
        x, axis = reshape(x, (prod(shape[:axis]), prod(shape[axis:]))), 1
    if 0 in shape:
        return x if call.version >= 13 else reshape(x, shape)
    if is_array(x):
        best = np.argmax(x, axis=axis, keepdims=True)
        mark = np.zeros(x.shape, x.dtype)
        np.put_along_axis(mark, best, np.ones((), x.dtype), axis)
        return mark.reshape(shape)
    order = (*(i for i in range(len(x.shape)) if i != axis), axis)
    rows = permute(x, order)
    size = rows.shape[-1]
    table = np.eye(size, dtype=rows._type.dtype.numpy)
    marks = look_up(call, table, rows.argmax(-1))
    back = tuple(order.index(i) for i in range(len(order)))
    return reshape(permute(marks, back), shape)


RULES: dict[tuple[str, int], Rule] = {
    **{
        (op, since): Rule(partial(_plain, name), "f")
        for op, since, name in (
            ("Tanh", 1, "tanh"),
            ("Sigmoid", 1, "sigmoid"),
            ("Softsign", 1, "softsign"),
            ("HardSwish", 14, "hardswish"),
            ("Mish", 18, "mish"),
        )
    },
    ("Relu", 1): Rule(_relu, "n"),
    ("LeakyRelu", 1): Rule(partial(_one, "leaky_relu", "alpha", 0.01), "f"),
    ("Elu", 1): Rule(_elu, "f"),
    ("Celu", 12): Rule(partial(_one, "celu", "alpha", 1.0), "f"),
    ("Selu", 1): Rule(_selu, "f"),
    ("HardSigmoid", 1): Rule(_hard_sigmoid, "f"),
    ("Gelu", 20): Rule(_gelu, "f"),
    ("Swish", 24): Rule(_swish, "f"),
    ("SwiGLU", 28): Rule(_swiglu, "f f"),
    ("Softplus", 1): Rule(_softplus, "f"),
    ("PRelu", 1): Rule(_prelu, "N N"),
    ("ThresholdedRelu", 10): Rule(_thresholded, "f"),
    ("Shrink", 9): Rule(_shrink, "n"),
    ("Clip", 1): Rule(_clip, "N N? N?"),
    ("Softmax", 1): Rule(partial(_softmax, False), "f"),
    ("LogSoftmax", 1): Rule(partial(_softmax, True), "f"),
    ("Hardmax", 1): Rule(_hardmax, "f"),
}
