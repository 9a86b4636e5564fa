# SPDX-License-Identifier: Apache-2.0
"""Integers in the place of floats: quantisation, its inverse, and products of bytes.

A quantised array is a plain array of uint8 or int8; its scale and zero point are numbers or arrays
beside it: x = (q - zero_point) * scale. `out=` is written to and returned.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from lamella.errors import DTypeError, message
from lamella.ir.types import DType, normalize_axis
from lamella.ops.integer import IntegerMatMul
from lamella.ops.quantize import BYTES, Dequantize, DynamicQuantize, Quantize
from lamella.runtime.function import function
from lamella.runtime.promotion import is_number
from lamella.runtime.tensor import Operand, apply, apply_all

__all__ = [
    "dequantize",
    "matmul_integer",
    "quantize_dynamic",
    "quantize_per_channel",
    "quantize_per_tensor",
]


def _integers(op: str, dtype: Any) -> DType:
    """uint8 or int8, by any of their names; torch's quint8 and qint8 too."""
    name = str(dtype).removeprefix("torch.")
    found = {"quint8": DType.uint8, "qint8": DType.int8}.get(name)
    found = DType.of(dtype) if found is None else found
    if found not in BYTES:
        raise DTypeError(message(op, "no such integers", {"dtype": dtype}, "uint8 or int8"))
    return found


def _zero(op: str, zero: Any, dtype: DType) -> Any:
    """A zero point as an operand: a number has to fit, an array keeps its type."""
    if not is_number(zero):
        return zero
    limits = np.iinfo(dtype.numpy)
    if zero != int(zero) or not limits.min <= zero <= limits.max:
        raise DTypeError(
            message(
                op,
                f"the zero point is no {dtype}",
                {"zero_point": zero},
                f"a whole number from {limits.min} to {limits.max}",
            )
        )
    return np.asarray(int(zero), dtype.numpy)


@function(scalars=("scale",))
def quantize_per_tensor(
    input: Operand, scale: Operand, zero_point: Operand | int = 0, dtype: Any = "uint8"
) -> Operand:
    """Quantises by one scale: y = saturate(round(input / scale) + zero_point).

    Halves are rounded to even. NaN becomes the least integer; so does what is divided by a scale
    that is NaN, while a scale of 0 gives the ends of the range, as infinities do.

    Parameters: input, any shape, floating; scale, a number; zero_point, an int of the range of
    dtype, or an array of one element of that type; dtype, "uint8" or "int8".
    Returns: an array of the shape of input and of dtype. Raises: ShapeError; DTypeError for another
    dtype and for a zero point that it does not hold.
    Source: torch.quantize_per_tensor, which multiplies by 1 / scale; ONNX, QuantizeLinear, divides.

    >>> import numpy as np
    >>> from lamella import functional as F
    >>> F.quantize_per_tensor(np.array([-1.0, 0.0, 0.26, 9.0], np.float32), 0.1, 10)
    array([  0,  10,  13, 100], dtype=uint8)
    """
    integers = _integers("quantize_per_tensor", dtype)
    zero = _zero("quantize_per_tensor", zero_point, integers)
    return apply(Quantize(dtype=integers), input, scale, zero)


@function
def quantize_per_channel(
    input: Operand,
    scales: Operand,
    zero_points: Operand | None = None,
    axis: int = 0,
    dtype: Any = "int8",
) -> Operand:
    """Quantises each entry of an axis by its own scale, as quantize_per_tensor does.

    Parameters: input, (..., C, ...), floating; scales, (C,); zero_points, (C,) of dtype, or None
    for zeros; axis, that of C; dtype, "uint8" or "int8".
    Returns: an array of the shape of input and of dtype. Raises: ShapeError, DTypeError.
    Source: torch.quantize_per_channel; ONNX, QuantizeLinear.

    >>> import numpy as np
    >>> from lamella import functional as F
    >>> F.quantize_per_channel(np.array([[1.0, -2.0], [3.0, 4.0]], np.float32),
    ...                        np.array([0.5, 2.0], np.float32))
    array([[ 2, -4],
           [ 2,  2]], dtype=int8)
    """
    integers = _integers("quantize_per_channel", dtype)
    position = normalize_axis("quantize_per_channel", axis, input.ndim, "axis")
    extras = () if zero_points is None else (zero_points,)
    return apply(Quantize(position, dtype=integers), input, scales, *extras)


@function
def quantize_dynamic(input: Operand) -> tuple[Operand, Operand, Operand]:
    """Quantises to uint8 by the range of the values: the array, its scale and zero point.

    scale = (max(input, 0) - min(input, 0)) / 255, or 1 where that is 0;
    zero_point = round(-min(input, 0) / scale); then quantize_per_tensor. Where input has a NaN,
    scale is NaN and the integers are 0.

    Parameters: input, any shape, floating, rounded to float32. Returns: uint8 of its shape, float32
    and uint8 without axes. Raises: DTypeError. Source: ONNX, DynamicQuantizeLinear.

    >>> import numpy as np
    >>> from lamella import functional as F
    >>> y, scale, zero_point = F.quantize_dynamic(np.array([-1.0, 0.0, 1.55], np.float32))
    >>> y, float(scale).__round__(4), int(zero_point)
    (array([  0, 100, 255], dtype=uint8), 0.01, 100)
    """
    return apply_all(DynamicQuantize(), input.float())  # type: ignore[return-value]


@function(scalars=("scale",))
def dequantize(
    input: Operand, scale: Operand, zero_point: Operand | None = None, axis: int | None = None
) -> Operand:
    """Numbers from quantised ones: y = (input - zero_point) * scale.

    Parameters: input, any shape, uint8, int8 or int32; scale, a number, or with axis (C,);
    zero_point, of the shape of scale and the type of input, or None for 0; axis, that of C, or None
    for one scale. Returns: an array of the shape of input and the type of scale (float32 for a
    number). Raises: ShapeError, DTypeError.
    Source: ONNX, DequantizeLinear; torch.dequantize, whose tensors hold their scale.

    >>> import numpy as np
    >>> from lamella import functional as F
    >>> F.dequantize(np.array([0, 10, 13], np.uint8), 0.5, np.uint8(10))
    array([-5. ,  0. ,  1.5], dtype=float32)
    """
    if axis is not None:
        axis = normalize_axis("dequantize", axis, input.ndim, "axis")
    extras = () if zero_point is None else (zero_point,)
    return apply(Dequantize(axis), input, scale, *extras)


@function
def matmul_integer(
    input: Operand,
    other: Operand,
    input_zero_point: Operand | None = None,
    other_zero_point: Operand | None = None,
) -> Operand:
    """Matrix product of bytes, exact: y = (input - input_zero_point) @ (other - other_zero_point).

    Sums are those of int32, which wrap where they overflow, as NumPy's.

    Parameters: input, (..., M, D), and other, (..., D, N), uint8 or int8 each, with leading axes
    that broadcast; input_zero_point, one element, or one a row, (..., M) or (..., M, 1);
    other_zero_point, one element or (N,); None for 0. Each zero point has the type of what it
    belongs to.
    Returns: (..., M, N) of int32. Raises: ShapeError, DTypeError.
    Source: ONNX, MatMulInteger; torch._int_mm.

    >>> import numpy as np
    >>> from lamella import functional as F
    >>> x, w = np.array([[200, 100]], np.uint8), np.array([[-128], [127]], np.int8)
    >>> F.matmul_integer(x, w, np.uint8(100))
    array([[-12800]], dtype=int32)
    """
    given = [one for one in (input_zero_point, other_zero_point) if one is not None]
    op = IntegerMatMul(x_zero=input_zero_point is not None, w_zero=other_zero_point is not None)
    return apply(op, input, other, *given)
