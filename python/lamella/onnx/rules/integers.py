# SPDX-License-Identifier: Apache-2.0
"""Bits of integers, and the linear quantisation of floats to them; on arrays."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from lamella import functional as F
from lamella.foreign.call import is_array
from lamella.foreign.rule import Rule
from lamella.foreign.words import axis_of, binary, broadcast, matmul
from lamella.ir.types import Array
from lamella.onnx import tensors
from lamella.onnx.rules.call import Call

__all__ = ["RULES"]

_BITS = {
    "and": (np.bitwise_and, F.bitwise_and),
    "or": (np.bitwise_or, F.bitwise_or),
    "xor": (np.bitwise_xor, F.bitwise_xor),
    "LEFT": (np.left_shift, F.bitwise_left_shift),
    "RIGHT": (np.right_shift, F.bitwise_right_shift),
}


def _bitwise(kind: str, call: Call, a: Any, b: Any) -> Any:
    broadcast(call, a, b)
    on_arrays, in_programs = _BITS[kind]
    return on_arrays(a, b) if is_array(a, b) else in_programs(a, b)


def _not(call: Call, x: Any) -> Any:
    return np.invert(x) if is_array(x) else F.bitwise_not(x)


def _shift(call: Call, a: Any, b: Any) -> Any:
    direction = call.text("direction")
    if direction not in ("LEFT", "RIGHT"):
        raise call.malformed(f"direction {direction!r}")
    return _bitwise(direction, call, a, b)


def _along(call: Call, x: Any, scale: Any) -> Array:
    """A scale or zero point, shaped to stand beside x."""
    if scale.ndim == 0 or scale.size == 1:
        return np.asarray(scale.reshape(()))
    axis = axis_of(call, call.integer("axis", 1), len(x.shape))
    block = call.integer("block_size", 0)
    if scale.ndim == 1 and not block:
        found = np.asarray(scale.reshape((-1,) + (1,) * (len(x.shape) - axis - 1)))
        broadcast(call, x, found)
        return found
    if block < 1:
        raise call.malformed("a block size is missing")
    blocks = -(-x.shape[axis] // block)
    if scale.shape != (*x.shape[:axis], blocks, *x.shape[axis + 1 :]):
        raise call.malformed("one scale a block")
    call.room((scale.size, block), scale.itemsize)
    repeated = np.repeat(scale, block, axis=axis)
    return np.asarray(np.take(repeated, np.arange(x.shape[axis]), axis=axis))


def _quantize(call: Call, x: Any, scale: Any, zero: Any = None) -> Any:
    dtype = np.dtype(np.uint8) if zero is None else zero.dtype
    if call.has("output_dtype") and call.integer("output_dtype"):
        dtype = tensors.dtype(call.integer("output_dtype"))
    if dtype.kind not in "iu":
        raise call.unsupported("a quantised type that is not computed with")
    y = np.rint(x / _along(call, x, scale))
    if zero is not None:
        y = y + _along(call, x, zero).astype(np.float32)
    limits = np.iinfo(dtype)
    return np.clip(y, limits.min, limits.max).astype(dtype)


def _dequantize(call: Call, x: Any, scale: Any, zero: Any = None) -> Any:
    wide = x.astype(np.float32)
    if zero is not None:
        wide = wide - _along(call, x, zero).astype(np.float32)
    return binary(call, "mul", wide, _along(call, x, scale).astype(np.float32))


def _dynamic(call: Call, x: Any) -> Any:
    low, high = x.min(initial=0), x.max(initial=0)
    scale = (high - low) / np.float32(255) or np.float32(1)
    zero = np.uint8(np.rint(np.clip(-low / scale, 0, 255)))
    y = np.clip(np.rint(x / scale) + zero, 0, 255).astype(np.uint8)
    return y, np.asarray(scale), np.asarray(zero)


def _qlinear_matmul(call: Call, *operands: Any) -> Any:
    if len(operands) != 8 or not is_array(*operands):
        raise call.malformed("eight operands")
    a, a_scale, a_zero, b, b_scale, b_zero, y_scale, y_zero = operands

    def real(x: Array, scale: Array, zero: Array, axis: int) -> Array:
        if scale.shape != zero.shape or scale.ndim > 1:
            raise call.unsupported("scales of several axes, or unlike their zero points")
        if scale.ndim == 1 and scale.size > 1:
            shape = (-1, 1) if axis == 0 else (1, -1)
            scale, zero = scale.reshape(shape), zero.reshape(shape)
        broadcast(call, x, scale)
        wide = x.astype(np.float64) - zero.astype(np.float64)
        return np.asarray(wide * scale.astype(np.float64))

    product = matmul(call, real(a, a_scale, a_zero, 0), real(b, b_scale, b_zero, 1))
    if y_scale.size != 1 or y_zero.size != 1:
        raise call.unsupported("results of several scales")
    y = np.rint(product / y_scale.astype(np.float64)) + y_zero.astype(np.float64)
    limits = np.iinfo(y_zero.dtype)
    return np.clip(y, limits.min, limits.max).astype(y_zero.dtype)


RULES: dict[tuple[str, int], Rule] = {
    ("BitwiseAnd", 18): Rule(partial(_bitwise, "and"), "I I"),
    ("BitwiseOr", 18): Rule(partial(_bitwise, "or"), "I I"),
    ("BitwiseXor", 18): Rule(partial(_bitwise, "xor"), "I I"),
    ("BitwiseNot", 18): Rule(_not, "i"),
    ("BitShift", 11): Rule(_shift, "I I"),
    ("QuantizeLinear", 10): Rule(_quantize, "n n i?", gives="2", arrays=True),
    ("DequantizeLinear", 10): Rule(_dequantize, "I f I?", gives="1", arrays=True),
    ("DynamicQuantizeLinear", 11): Rule(_dynamic, "f", gives="uint8 float32 uint8", arrays=True),
    ("QLinearMatMul", 10): Rule(_qlinear_matmul, "i f i i f i f i", gives="7", arrays=True),
}
