# SPDX-License-Identifier: Apache-2.0
"""What quantisation and products of bytes are in ONNX: export rules, part of exporting.py.

Opset 20 quantises float32 alone, by one scale or one an entry of an axis; the rest is refused.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lamella.errors import UnsupportedError, message
from lamella.ir.graph import Node
from lamella.ir.types import DType, same_shape
from lamella.ops.integer import IntegerMatMul
from lamella.ops.quantize import Dequantize, DynamicQuantize, Quantize

if TYPE_CHECKING:
    from lamella.onnx.exporting import Out

__all__ = ["dequantize", "dynamic_quantize", "matmul_integer", "quantize"]


def _axis(op: Quantize | Dequantize, dtype: DType) -> dict[str, int]:
    if op.block or dtype is not DType.float32:
        raise UnsupportedError(
            message(
                "onnx.save",
                "no operator of this opset quantises so",
                {"op": op, "dtype": dtype},
                "float32, by one scale or one an entry of an axis",
            )
        )
    return {} if op.axis is None else {"axis": op.axis}


def _number(out: Out, name: str, shape: tuple[int, ...]) -> str:
    """A scale of one element without axes."""
    return out.add("Reshape", name, out.integers([])) if len(shape) == 1 else name


def quantize(out: Out, op: Quantize, inputs: list[str], node: Node) -> str:
    """QuantizeLinear, with a zero point, which says the type."""
    attributes = _axis(op, node.inputs[0].dtype)
    x, scale, *zero = inputs
    shape = node.inputs[1].shape
    if not zero:
        zero = [out.constant(np.zeros(tuple(map(int, shape)), op.dtype.numpy))]
    if op.axis is None:
        scale = _number(out, scale, shape)
        zero = [_number(out, zero[0], node.inputs[2].shape if len(inputs) > 2 else shape)]
    return out.add("QuantizeLinear", x, scale, *zero, **attributes)


def dequantize(out: Out, op: Dequantize, inputs: list[str], node: Node) -> str:
    """DequantizeLinear."""
    attributes = _axis(op, node.inputs[1].dtype)
    x, *given = inputs
    if op.axis is None:
        given = [
            _number(out, name, value.shape)
            for name, value in zip(given, node.inputs[1:], strict=True)
        ]
    return out.add("DequantizeLinear", x, *given, **attributes)


def dynamic_quantize(out: Out, op: DynamicQuantize, inputs: list[str], node: Node) -> list[str]:
    """DynamicQuantizeLinear."""
    names = [out.name(stem) for stem in ("quantized", "scale", "zero_point")]
    out.node("DynamicQuantizeLinear", inputs, names)
    return names


def matmul_integer(out: Out, op: IntegerMatMul, inputs: list[str], node: Node) -> str:
    """MatMulInteger; what stands behind it is not fused before it is written."""
    assert not op.scale
    names = []
    for i, flag in enumerate((op.transpose_a, op.transpose_b)):
        rank = len(node.inputs[i].shape)
        if flag and rank > 1:
            order = (*range(rank - 2), rank - 1, rank - 2)
            names.append(out.add("Transpose", inputs[i], perm=order))
        else:
            names.append(inputs[i])
    given = dict(zip(op.extras(), range(2, len(inputs)), strict=True))
    zeros = ["", ""]
    if "x_zero" in given:
        at = given["x_zero"]
        zeros[0], shape = inputs[at], node.inputs[at].shape
        if len(shape) > 1 and same_shape(shape, node.inputs[0].shape[:-1]):
            # ONNX has it beside x, as a column of each matrix.
            target = out.integers([*(int(extent) for extent in shape), 1])
            zeros[0] = out.add("Reshape", zeros[0], target)
    if "w_zero" in given:
        zeros[1] = inputs[given["w_zero"]]
    while zeros and not zeros[-1]:
        zeros.pop()
    return out.add("MatMulInteger", *names, *zeros)
