# SPDX-License-Identifier: Apache-2.0
"""Operators whose text is computed here, in float64: where the oracles do not serve as they are.

Each says why: the reference computes in single precision, cancels, lacks a version or gets an old
one wrong. ONNX Runtime still runs beside it. Functions get the case with float64 operands.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from onnx import defs, helper

from corners.draw import Case
from corners.oracles import run_reference

Results = list[np.ndarray]


@dataclass(frozen=True)
class Formula:
    why: str
    results: Callable[[Case], Results]


def attribute(case: Case, name: str) -> Any:
    """An attribute, or its default of the schema: a float32 number where it is floating."""
    if name in case.attributes:
        value = case.attributes[name]
        return float(np.float32(value)) if isinstance(value, float) else value
    schema = defs.get_schema(case.op, case.opset, case.domain)
    default = schema.attributes[name].default_value
    return {1: default.f, 2: default.i, 3: default.s.decode(), 7: list(default.ints)}[default.type]


def _each(function: Callable[[float], float], x: np.ndarray) -> np.ndarray:
    return np.array([function(v) for v in x.reshape(-1).tolist()], np.float64).reshape(x.shape)


def _sigmoid(x: np.ndarray) -> np.ndarray:
    e = np.exp(-np.abs(x))
    return np.where(x >= 0, 1.0, e) / (1.0 + e)


def _times(x: np.ndarray, gate: np.ndarray) -> np.ndarray:
    """x * gate, and the limit 0 where the gate is closed at an infinity."""
    return np.where(np.isinf(x) & (gate == 0), 0.0, x * gate)


def spread(case: Case) -> float:
    """How much larger the numbers of a normalisation are than what they differ by, at worst.

    Their mean is rounded, and its error stays in what is left of them.
    """
    x = case.inputs[0].astype(np.float64)
    if case.op == "MeanVarianceNormalization":
        axes = tuple(axis % x.ndim for axis in attribute(case, "axes"))
    elif case.op == "LayerNormalization":
        axes = tuple(range(attribute(case, "axis") % x.ndim, x.ndim))
    else:
        axes = tuple(range(2, x.ndim))
        if case.op == "GroupNormalization":
            x = x.reshape(x.shape[0], case.attributes["num_groups"], -1)
            axes = (2,)
    epsilon = 1e-18 if case.op[0] == "M" else attribute(case, "epsilon")
    worst = np.abs(x).max(axes, initial=0) / np.sqrt(x.var(axes) + epsilon)
    return float(np.nanmax(worst, initial=0))


def _erf(case: Case) -> Results:
    y, dtype = _each(math.erf, case.inputs[0]), case.inputs[0].dtype
    return [y if dtype.kind == "f" else y.astype(dtype)]


def _gelu(case: Case) -> Results:
    x = case.inputs[0]
    if case.attributes.get("approximate", "none") == "tanh":
        return [_times(x, _sigmoid(2 * math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))]
    return [_times(x, 0.5 * _each(math.erfc, -x / math.sqrt(2)))]


def _swish(case: Case) -> Results:
    x = case.inputs[0]
    alpha = attribute(case, "alpha")
    y = _times(x, _sigmoid(alpha * x if alpha else 0 * np.nan_to_num(x)))
    return [y * case.inputs[1] if case.op == "SwiGLU" else y]


def _mish(case: Case) -> Results:
    x = case.inputs[0]
    e = np.exp(-np.abs(x))
    up, down = (1 + 2 * e) / (1 + 2 * e + 2 * e * e), e * (e + 2) / (e * (e + 2) + 2)
    return [_times(x, np.where(x >= 0, up, down))]


def _softsign(case: Case) -> Results:
    x = case.inputs[0]
    return [np.where(np.isinf(x), np.sign(x), x / (1 + np.abs(x)))]


def _hardswish(case: Case) -> Results:
    x = case.inputs[0]
    return [_times(x, np.clip(x / 6 + 0.5, 0, 1))]


def _flattened(case: Case) -> Results:
    """Softmax and its relatives: of one axis, before opset 13 of all from `axis` on together."""
    x = case.inputs[0]
    if not x.size:
        return [x]
    axis = attribute(case, "axis") % x.ndim
    moved = x if case.since < 13 else np.moveaxis(x, axis, -1)
    over = math.prod(x.shape[axis:]) if case.since < 13 else x.shape[axis]
    flat = moved.reshape(-1, over)
    if case.op == "Hardmax":
        y = np.eye(over)[np.argmax(flat, 1)]
    else:
        shifted = flat - flat.max(1, keepdims=True)
        total = np.exp(shifted).sum(1, keepdims=True)
        y = shifted - np.log(total) if case.op == "LogSoftmax" else np.exp(shifted) / total
    y = y.reshape(moved.shape)
    return [y if case.since < 13 else np.moveaxis(y, -1, axis)]


def _beside(vector: np.ndarray, x: np.ndarray) -> np.ndarray:
    return vector.reshape(-1, *(1,) * (x.ndim - 2))


def _batch(case: Case) -> Results:
    x = case.inputs[0]
    scale, bias, mean, variance = (_beside(v, x) for v in case.inputs[1:5])
    return [(x - mean) / np.sqrt(variance + attribute(case, "epsilon")) * scale + bias]


def _centred(x: np.ndarray, axes: tuple[int, ...], epsilon: float) -> Results:
    mean = x.mean(axes, keepdims=True)
    inverse = 1 / np.sqrt(np.square(x - mean).mean(axes, keepdims=True) + epsilon)
    return [(x - mean) * inverse, mean, inverse]


def _layer(case: Case) -> Results:
    x, scale = case.inputs[:2]
    axes = tuple(range(attribute(case, "axis") % x.ndim, x.ndim))
    epsilon = attribute(case, "epsilon")
    if case.op == "RMSNormalization":
        return [x / np.sqrt(np.square(x).mean(axes, keepdims=True) + epsilon) * scale]
    y, *rest = _centred(x, axes, epsilon)
    y = y * scale + (case.inputs[2] if len(case.inputs) > 2 else 0.0)
    return [result for result, asked in zip([y, *rest], case.outputs, strict=False) if asked]


def _instance(case: Case) -> Results:
    x, scale, bias = case.inputs
    y = _centred(x, tuple(range(2, x.ndim)), attribute(case, "epsilon"))[0]
    return [y * _beside(scale, x) + _beside(bias, x)]


def _group(case: Case) -> Results:
    x, scale, bias = case.inputs
    n, c = x.shape[:2]
    groups = case.attributes["num_groups"]
    flat = x.reshape(n, groups, c // groups * math.prod(x.shape[2:]))
    y = _centred(flat, (2,), attribute(case, "epsilon"))[0].reshape(x.shape)
    if case.since < 21:
        scale, bias = (np.repeat(v, c // groups) for v in (scale, bias))
    return [y * _beside(scale, x) + _beside(bias, x)]


def _mean_variance(case: Case) -> Results:
    x = case.inputs[0]
    axes = tuple(axis % x.ndim for axis in attribute(case, "axes"))
    deviation = x - x.mean(axes, keepdims=True)
    # The body of the function divides by the root and 1e-9, so that a constant gives 0.
    return [deviation / (np.sqrt(np.square(deviation).mean(axes, keepdims=True)) + 1e-9)]


def _lp(case: Case) -> Results:
    x = case.inputs[0]
    axis, p = attribute(case, "axis"), attribute(case, "p")
    size = np.abs(x) if p == 1 else np.square(x)
    norm = size.sum(axis, keepdims=True) ** (1 / p)
    return [np.where(norm == 0, 0.0, x / norm)]


def _lrn(case: Case) -> Results:
    x = case.inputs[0]
    size = case.attributes["size"]
    total = np.zeros_like(x)
    for c in range(x.shape[1]):
        first = max(0, c - (size - 1) // 2)
        last = min(x.shape[1] - 1, c + math.ceil((size - 1) / 2))
        total[:, c] = np.square(x[:, first : last + 1]).sum(1)
    scale = attribute(case, "bias") + attribute(case, "alpha") / size * total
    return [x / scale ** attribute(case, "beta")]


def _mean(case: Case) -> Results:
    return [np.asarray(sum(case.inputs) / len(case.inputs))]


def _dropout(case: Case) -> Results:
    x = case.inputs[0]
    both = [x, np.ones(x.shape, bool if case.since >= 10 else x.dtype)]
    return [y for y, asked in zip(both, case.outputs, strict=False) if asked]


def _scatter(case: Case) -> Results:
    return run_reference(replace(case, op="ScatterElements", opset=11, since=11)).arrays or []


def _one_hot(case: Case) -> Results:
    indices, depth, (off, on) = case.inputs
    count = int(depth.reshape(()))
    axis = attribute(case, "axis") % (indices.ndim + 1)
    index = np.expand_dims(np.trunc(indices).astype(np.int64), axis)
    index = np.where(index < 0, index + count, index)
    shape = [1] * (indices.ndim + 1)
    shape[axis] = count
    return [np.where(index == np.arange(count).reshape(shape), on, off)]


def _pad(case: Case) -> Results:
    x, *rest = case.inputs
    rank = x.ndim
    pads = case.attributes["pads"] if case.since < 11 else rest[0].tolist()
    value = attribute(case, "value") if case.since < 11 else 0.0
    if case.since >= 11 and len(rest) > 1 and rest[1] is not None:
        value = rest[1].reshape(())
    axes = rest[2] % rank if len(rest) > 2 else np.arange(rank)
    widths = [(0, 0)] * rank
    for i, axis in enumerate(axes):
        widths[axis] = pads[i], pads[i + len(axes)]
    x = x[
        tuple(slice(max(0, -a), n - max(0, -b)) for (a, b), n in zip(widths, x.shape, strict=True))
    ]
    widths = [(max(0, a), max(0, b)) for a, b in widths]
    mode = case.attributes.get("mode", "constant")
    options = {"constant_values": np.asarray(value, x.dtype)} if mode == "constant" else {}
    return [np.pad(x, widths, mode, **options)]


def _clip(case: Case) -> Results:
    """By comparison, as the body of the function does: a bound that is NaN bounds nothing."""
    if case.since < 11:
        return run_reference(case).arrays or []
    x, low, high = [*case.inputs, None, None][:3]
    if low is not None:
        x = np.where(x < low, low, x)
    return [x if high is None else np.where(high < x, high, x)]


def _prelu(case: Case) -> Results:
    x, slope = case.inputs
    if case.since < 7 and x.ndim > 1:
        slope = _beside(slope, x)
    return [np.where(x < 0, slope * x, x)]


def _matmul_integer(case: Case) -> Results:
    a, b = (x.astype(np.int32) for x in case.inputs[:2])
    a_zero, b_zero = [*case.inputs, None, None][2:4]
    if a_zero is not None:
        a = a - (a_zero.astype(np.int32).reshape(-1, 1) if a_zero.ndim else a_zero.astype(np.int32))
    return [np.matmul(a, b if b_zero is None else b - b_zero.astype(np.int32))]


def _aligned(case: Case) -> Results:
    """The broadcasting of opset 6 written as today's."""
    if case.since >= 7:
        return run_reference(case).arrays or []
    a, b = case.inputs
    if "axis" in case.attributes:
        b = b.reshape((*b.shape, *(1,) * (a.ndim - case.attributes["axis"] - b.ndim)))
    newer = replace(case, opset=7, since=7, attributes={}, inputs=[a, b])
    return run_reference(newer).arrays or []


def _beside_scale(case: Case, x: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """A scale or zero point by number, axis or block."""
    if scale.size == 1:
        return scale.reshape(())
    axis = attribute(case, "axis") % x.ndim
    if scale.ndim == 1 and not case.attributes.get("block_size"):
        return scale.reshape(-1, *(1,) * (x.ndim - axis - 1))
    repeated = np.repeat(scale, case.attributes["block_size"], axis)
    return np.take(repeated, np.arange(x.shape[axis]), axis)


def _quantize(case: Case) -> Results:
    x, scale = case.inputs[:2]
    zero = case.inputs[2] if len(case.inputs) > 2 else np.zeros((), np.uint8)
    whole = zero.dtype if len(case.inputs) > 2 else np.dtype(
        helper.tensor_dtype_to_np_dtype(case.attributes.get("output_dtype", 2)))  # fmt: skip
    # In the type of the scale, and saturated before it is an integer.
    wide = x.astype(scale.dtype) if scale.dtype.kind == "f" else x
    quotient = wide / _beside_scale(case, x, scale)
    y = np.rint(quotient).astype(np.float64) + _beside_scale(case, x, zero)
    limits = np.iinfo(whole)
    return [np.clip(np.nan_to_num(y, nan=0.0), limits.min, limits.max).astype(whole)]


def _qlinear(case: Case) -> Results:
    a, a_scale, a_zero, b, b_scale, b_zero, y_scale, y_zero = (
        x.astype(np.float64) for x in case.inputs
    )
    product = np.matmul((a - a_zero) * a_scale, (b - b_zero) * b_scale)
    # Rounded before the zero point is added.
    y = np.rint(product / y_scale) + y_zero
    limits = np.iinfo(case.inputs[7].dtype)
    return [np.clip(y, limits.min, limits.max).astype(case.inputs[7].dtype)]


def _reduced(case: Case) -> Results:
    """The logarithm of a sum, integers cut towards zero; where asked of each element alone."""
    x = case.inputs[0].astype(np.float64)
    axes = case.attributes.get("axes")
    if len(case.inputs) > 1:
        axes = case.inputs[1].tolist()
    over = tuple(axis % x.ndim for axis in axes) if axes else None
    if not axes and case.attributes.get("noop_with_empty_axes"):
        over = ()
    keep = bool(attribute(case, "keepdims"))
    if case.op == "ReduceLogSum":
        y = np.log(x.sum(over, keepdims=keep))
    else:
        peak = np.max(x, over, keepdims=True, initial=-np.inf)
        peak = np.where(np.isfinite(peak), peak, 0)
        total = np.log(np.exp(x - peak).sum(over, keepdims=True)) + peak
        y = total if keep else total.squeeze(over)
    dtype = case.inputs[0].dtype
    return [y if dtype.kind == "f" else y.astype(dtype)]


def _unique(case: Case) -> Results:
    x = case.inputs[0]
    axis = case.attributes.get("axis")
    values, first, inverse, counts = np.unique(x, True, True, True, axis)
    inverse = inverse.reshape(-1)
    if not attribute(case, "sorted"):
        order = np.argsort(first)
        values = np.take(values, order, 0 if axis is None else axis)
        first, counts, inverse = first[order], counts[order], np.argsort(order)[inverse]
    found = [values, first, inverse, counts]
    return [y for y, asked in zip(found, case.outputs, strict=False) if asked]


def _trilu(case: Case) -> Results:
    x = case.inputs[0]
    k = int(case.inputs[1]) if len(case.inputs) > 1 else 0
    row, column = (np.arange(n) for n in x.shape[-2:])
    distance = column[None, :] - row[:, None]
    kept = distance >= k if attribute(case, "upper") else distance <= k
    return [np.where(kept, x, np.zeros((), x.dtype))]


_CANCELS = "the reference's formula cancels, or its constants are of single precision"
_OLD = "the reference has no such version, or the newest one's meaning for it"
_SINGLE = "the reference computes its statistics in single precision, whatever the type"
_BODY = "the reference is wrong, or is the expansion of a function that cancels"

FORMULAS: dict[str, Formula] = {
    "Erf": Formula("the reference computes in single precision", _erf),
    "Gelu": Formula(_CANCELS, _gelu),
    "Swish": Formula(_CANCELS, _swish),
    "SwiGLU": Formula(_CANCELS, _swish),
    "Mish": Formula(_CANCELS, _mish),
    "Softsign": Formula("the reference gives no array for a number", _softsign),
    "HardSwish": Formula(_CANCELS, _hardswish),
    "Softmax": Formula(_OLD, _flattened),
    "LogSoftmax": Formula(_OLD, _flattened),
    "Hardmax": Formula(_OLD, _flattened),
    "BatchNormalization": Formula(_OLD, _batch),
    "LayerNormalization": Formula(_SINGLE, _layer),
    "RMSNormalization": Formula(_SINGLE, _layer),
    "InstanceNormalization": Formula(_SINGLE, _instance),
    "GroupNormalization": Formula(_SINGLE, _group),
    "MeanVarianceNormalization": Formula(_BODY, _mean_variance),
    "LpNormalization": Formula(_BODY, _lp),
    "LRN": Formula(_BODY, _lrn),
    "Mean": Formula("the reference adds in place, and cannot widen", _mean),
    "Dropout": Formula(_OLD, _dropout),
    "Scatter": Formula(_OLD, _scatter),
    "OneHot": Formula("the reference computes off + hot * (on - off)", _one_hot),
    "Pad": Formula("the reference does not cut", _pad),
    **dict.fromkeys(
        ("Add", "Sub", "Mul", "Div", "Pow", "And", "Or", "Xor", "Equal", "Greater", "Less"),
        Formula("neither knows opset 6, where an operand is aligned at an axis", _aligned),
    ),
    "Clip": Formula("the reference hands on a bound that is NaN", _clip),
    "PRelu": Formula("the reference multiplies 0 by an infinite slope", _prelu),
    "MatMulInteger": Formula("the oracles take no zero point a row", _matmul_integer),
    "QuantizeLinear": Formula("the reference converts to integers before it saturates", _quantize),
    "QLinearMatMul": Formula("the reference rounds behind the zero point", _qlinear),
    "ReduceLogSum": Formula(_OLD, _reduced),
    "ReduceLogSumExp": Formula(_OLD, _reduced),
    "Unique": Formula(_OLD, _unique),
    "Trilu": Formula("the reference overflows at the ends of int64", _trilu),
}
