# SPDX-License-Identifier: Apache-2.0
"""Linear quantisation and products of bytes: in programs as in files, and on known arrays.

uint8 and int8 are computed with in programs; other widths (int16, uint16) on arrays. What a dynamic
quantiser writes behind a product (Cast, Mul, Add) becomes its epilogue by fusion.
"""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from lamella.foreign.call import is_array
from lamella.foreign.rule import Rule
from lamella.foreign.words import (
    axis_of,
    binary,
    cast,
    dtype_of,
    expand,
    matmul,
    reshape,
)
from lamella.ir.types import Array, DType
from lamella.onnx import tensors
from lamella.onnx.rules.call import Call
from lamella.ops.integer import IntegerMatMul
from lamella.ops.quantize import Dequantize, DynamicQuantize, Quantize
from lamella.runtime.tensor import apply, apply_all

__all__ = ["RULES"]

_BYTES = (np.dtype(np.uint8), np.dtype(np.int8))


def _bytes(call: Call, dtype: np.dtype[Any]) -> DType:
    """The type of bytes; other integers are for arrays."""
    if dtype not in _BYTES:
        raise call.unsupported(f"integers of {dtype} are quantised to on arrays only")
    return DType.of(dtype)


def _placing(call: Call, x: Any, scale: Any) -> tuple[int | None, int]:
    """The axis along which scales differ, None for one scale, and how many entries share one."""
    if all(extent == 1 for extent in scale.shape):
        return None, 0
    axis = axis_of(call, call.integer("axis", 1), len(x.shape))
    block = call.integer("block_size", 0)
    if len(scale.shape) == 1 and not block:
        if scale.shape[0] != x.shape[axis]:
            raise call.malformed("one scale an entry of the axis")
        return axis, 0
    if block < 1:
        raise call.malformed("a block size is missing")
    blocks = -(-x.shape[axis] // block)
    if tuple(scale.shape) != (*x.shape[:axis], blocks, *x.shape[axis + 1 :]):
        raise call.malformed("one scale a block")
    return axis, block


def _along(call: Call, x: Any, scale: Any) -> Array:
    """A known scale or zero point, shaped to stand beside x."""
    axis, block = _placing(call, x, scale)
    if axis is None:
        return np.asarray(scale.reshape(()))
    if not block:
        return np.asarray(scale.reshape((-1,) + (1,) * (len(x.shape) - axis - 1)))
    call.room((scale.size, block), scale.itemsize)
    repeated = np.repeat(scale, block, axis=axis)
    return np.asarray(np.take(repeated, np.arange(x.shape[axis]), axis=axis))


def _single(x: Any, axis: int | None) -> Any:
    """A scale that serves all as a number without axes."""
    return reshape(x, ()) if axis is None and x.shape else x


def _judge_pair(call: Call, scale: Any, zero: Any) -> None:
    """One zero point for each scale, in its shape; single ones in any."""
    if zero is None or prod(scale.shape) == prod(zero.shape) == 1:
        return
    if tuple(zero.shape) != tuple(scale.shape):
        raise call.malformed("scale and zero point have different shapes")


def _quantize(call: Call, x: Any, scale: Any, zero: Any = None) -> Any:
    dtype = np.dtype(np.uint8) if zero is None else dtype_of(zero)
    if call.has("output_dtype") and call.integer("output_dtype"):
        dtype = tensors.dtype(call.integer("output_dtype"))
        if zero is not None and dtype != dtype_of(zero):
            raise call.malformed("the zero point has another type than the output")
    if dtype.kind not in "iu":
        raise call.unsupported("a quantised type that is not computed with")
    _judge_pair(call, scale, zero)
    if is_array(x, scale, *(() if zero is None else (zero,))):
        y = np.rint(x / _along(call, x, scale))
        if zero is not None:
            y = y + _along(call, x, zero).astype(np.float32)
        limits = np.iinfo(dtype)
        # What is no number becomes the least integer.
        y = np.where(np.isnan(y), limits.min, y)
        return np.clip(y, limits.min, limits.max).astype(dtype)
    integers = _bytes(call, dtype)
    axis, block = _placing(call, x, scale)
    x, scale = (y if dtype_of(y).kind == "f" else cast(y, np.dtype(np.float32)) for y in (x, scale))
    given = [_single(one, axis) for one in (scale, zero) if one is not None]
    return apply(Quantize(axis, block, integers), x, *given)


def _dequantize(call: Call, x: Any, scale: Any, zero: Any = None) -> Any:
    _judge_pair(call, scale, zero)
    axis, block = _placing(call, x, scale)
    if is_array(x, *(() if zero is None else (zero,))) and (is_array(scale) or not block):
        wide = x.astype(np.float32)
        if zero is not None:
            wide = wide - _along(call, x, zero).astype(np.float32)
        if is_array(scale):
            return binary(call, "mul", wide, _along(call, x, scale).astype(np.float32))
        beside = () if axis is None else (x.shape[axis],) + (1,) * (x.ndim - axis - 1)
        return binary(call, "mul", wide, reshape(scale, beside))
    if dtype_of(x) != np.int32:
        _bytes(call, dtype_of(x))
    given = [_single(one, axis) for one in (scale, zero) if one is not None]
    return apply(Dequantize(axis, block), x, *given)


def _dynamic(call: Call, x: Any) -> Any:
    if not is_array(x):
        return apply_all(DynamicQuantize(), x)
    return DynamicQuantize().reference((x.astype(np.float32, copy=False),))


def _zero(zero: Any, shape: tuple[int, ...] | None) -> Any:
    """A zero point as a product takes it; None where it is known to be 0 everywhere.

    shape: of what it belongs to, without its summed axis.
    """
    if zero is None or (is_array(zero) and not zero.any()):
        return None
    if all(extent == 1 for extent in zero.shape):
        return reshape(zero, ())
    return zero if shape is None else reshape(zero, shape)


def _matmul_integer(call: Call, a: Any, b: Any, a_zero: Any = None, b_zero: Any = None) -> Any:
    operands = [x for x in (a, b, a_zero, b_zero) if x is not None]
    if is_array(*operands):
        left, right = (x.astype(np.int32) for x in (a, b))
        if a_zero is not None:
            zero = a_zero.astype(np.int32)
            zero = zero.reshape(-1, 1) if zero.ndim == 1 and zero.size > 1 else zero
            left = binary(call, "sub", left, zero)
        if b_zero is not None:
            right = binary(call, "sub", right, b_zero.astype(np.int32))
        return matmul(call, left, right)
    for x in (a, b):
        _bytes(call, dtype_of(x))
    # One a row: (M,), which all matrices of a batch share, or (..., M, 1).
    a_zero, rows = _zero(a_zero, None), tuple(a.shape[:-1])
    if a_zero is not None and len(a_zero.shape) == 1 and len(rows) > 1:
        a_zero = expand(call, a_zero, rows)
    flat = b_zero is not None and len(b.shape) > 1 and prod(b_zero.shape) == b.shape[-1]
    b_zero = _zero(b_zero, tuple(b.shape[-1:]) if flat else None)
    op = IntegerMatMul(x_zero=a_zero is not None, w_zero=b_zero is not None)
    return apply(op, a, b, *(x for x in (a_zero, b_zero) if x is not None))


def _scale(x: Any, rows: bool) -> Any:
    """A scale as float64, to stand beside the product: one number, or one a row or column."""
    x = cast(x, np.dtype(np.float64))
    if all(extent == 1 for extent in x.shape):
        return reshape(x, ())
    return reshape(x, (*x.shape, 1)) if rows and len(x.shape) == 1 else x


def _qlinear_matmul(call: Call, *operands: Any) -> Any:
    a, a_scale, a_zero, b, b_scale, b_zero, y_scale, y_zero = operands
    for scale, zero in ((a_scale, a_zero), (b_scale, b_zero)):
        if tuple(scale.shape) != tuple(zero.shape):
            raise call.unsupported("scales unlike their zero points")
    if prod(y_scale.shape) != 1 or prod(y_zero.shape) != 1:
        raise call.unsupported("results of several scales")
    sums = _matmul_integer(call, a, b, a_zero, b_zero)
    # In double, so that halves are those of the quotient and not of its roundings.
    y = cast(sums, np.dtype(np.float64))
    y = binary(call, "mul", y, _scale(a_scale, True))
    y = binary(call, "mul", y, _scale(b_scale, False))
    given = [_scale(y_scale, False), reshape(y_zero, ())]
    if is_array(y, *given):
        (y,) = Quantize(dtype=_bytes(call, y_zero.dtype)).reference((y, *given))
        return y
    return apply(Quantize(dtype=_bytes(call, dtype_of(y_zero))), y, *given)


RULES: dict[tuple[str, int], Rule] = {
    ("QuantizeLinear", 10): Rule(_quantize, "n n i?", gives="2"),
    ("DequantizeLinear", 10): Rule(_dequantize, "I f I?", gives="1"),
    ("DynamicQuantizeLinear", 11): Rule(_dynamic, "f", gives="uint8 float32 uint8"),
    ("MatMulInteger", 10): Rule(_matmul_integer, "I i I? i?", gives="int32"),
    ("QLinearMatMul", 10): Rule(_qlinear_matmul, "i f i i f i f i", gives="7"),
}
