# SPDX-License-Identifier: Apache-2.0
"""What lamella's ops on integers and truth values are in ONNX; exporting.py has all others.

ONNX divides towards zero and says nothing of divisors that are 0; its sums keep the type of their
terms. Where no operator has a type, or means something else at the ends of its range, the op is
refused by name.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from lamella.errors import UnsupportedError, message
from lamella.ir.types import DType
from lamella.onnx import encoding
from lamella.ops.tables import TRUTH

if TYPE_CHECKING:
    from lamella.ir.graph import Node
    from lamella.onnx.exporting import Out
    from lamella.ops.elementwise import Binary, Compare, Unary
    from lamella.ops.logical import Bitwise
    from lamella.ops.reduce import Reduce

__all__ = ["binary", "bitwise", "compare", "reduce", "unary"]

_LOGICAL = {"logical_and": "And", "logical_or": "Or", "logical_xor": "Xor", "logical_not": "Not",
            "maximum": "Or", "minimum": "And"}  # fmt: skip
_BINARY = {"add": "Add", "sub": "Sub", "mul": "Mul", "maximum": "Max", "minimum": "Min",
           "clamp_min": "Max", "clamp_max": "Min"}  # fmt: skip
_BITS = {"bitwise_and": "BitwiseAnd", "bitwise_or": "BitwiseOr", "bitwise_xor": "BitwiseXor",
         "bitwise_not": "BitwiseNot"}  # fmt: skip
_REDUCE = {"sum": "ReduceSum", "prod": "ReduceProd", "max": "ReduceMax", "min": "ReduceMin",
           "any": "ReduceMax", "all": "ReduceMin"}  # fmt: skip


def _refusal(name: str, dtype: DType) -> UnsupportedError:
    return UnsupportedError(
        message("onnx.save", "no operator does this with this type", {name: dtype}, "",
                "Convert the operands with .long() or .float()")
    )  # fmt: skip


def unary(out: Out, op: Unary, inputs: list[str], node: Node) -> str:
    """abs, neg, sign, square, relu."""
    (x,), dtype = inputs, node.inputs[0].dtype
    if op.name == "square":
        return out.add("Mul", x, x)
    if op.name == "neg":
        # Neg takes no unsigned integers.
        return out.add("Sub", out.number(0, dtype), x)
    if op.name == "relu":
        return out.add("Max", x, out.number(0, dtype))
    return out.add({"abs": "Abs", "sign": "Sign"}[op.name], x)


def binary(out: Out, op: Binary, inputs: list[str], node: Node) -> str:
    """Arithmetic; quotients are rounded down and 0 where the divisor is."""
    (a, b), dtype = inputs, node.inputs[0].dtype
    if dtype is DType.bool:
        return out.add(_LOGICAL[TRUTH[op.name]], a, b)
    if op.name in _BINARY:
        return out.add(_BINARY[op.name], a, b)
    if op.name not in ("floor_divide", "remainder"):
        raise _refusal(op.name, dtype)
    zero, one = out.number(0, dtype), out.number(1, dtype)
    divisor = out.add("Where", out.add("Equal", b, zero), one, b)
    rest = out.add("Mod", a, divisor)
    if op.name == "remainder":
        # By one nothing is left over.
        return rest
    quotient = out.add("Div", out.add("Sub", a, rest), divisor)
    return out.add("Where", out.add("Equal", b, zero), zero, quotient)


def bitwise(out: Out, op: Bitwise, inputs: list[str], node: Node) -> str:
    """Functions of bits; shifts have no form, since those of ONNX end within the bits."""
    dtype = node.inputs[0].dtype
    if dtype is DType.bool:
        return out.add(_LOGICAL[TRUTH[op.name]], *inputs)
    if op.name not in _BITS:
        raise _refusal(op.name, dtype)
    return out.add(_BITS[op.name], *inputs)


def compare(out: Out, op: Compare, inputs: list[str], node: Node) -> str | None:
    """Comparisons of truth values, whose order ONNX does not know; None for those of integers."""
    if node.inputs[0].dtype is not DType.bool or op.name in ("eq", "ne"):
        return None
    a, b = inputs if op.name in ("lt", "le") else inputs[::-1]
    return out.add("And" if op.name in ("lt", "gt") else "Or", out.add("Not", a), b)


def reduce(out: Out, op: Reduce, inputs: list[str], node: Node) -> str:
    """Sums and products as int64, extremes, truth, positions."""
    (x,), dtype = inputs, node.inputs[0].dtype
    axes = list(range(op.first, op.last + 1))
    wanted = node.outputs[0].dtype

    def cast(name: str, dtype: DType) -> str:
        return out.add("Cast", name, to=encoding.ELEMENT_TYPES[dtype])

    if op.kind in _REDUCE:
        truth = op.kind in ("any", "all")
        if truth and dtype is not DType.bool:
            x, dtype = cast(x, DType.bool), DType.bool
        work = DType.int64 if op.kind in ("sum", "prod") else dtype
        work = DType.uint8 if work is DType.bool else work
        y = out.add(_REDUCE[op.kind], x if work is dtype else cast(x, work), out.integers(axes),
                    keepdims=int(op.keepdim))  # fmt: skip
        return y if work is wanted else cast(y, wanted)
    x = cast(x, DType.uint8) if dtype is DType.bool else x
    kind = {"argmax": "ArgMax", "argmin": "ArgMin"}[op.kind]
    if op.first == op.last:
        return out.add(kind, x, axis=op.first, keepdims=int(op.keepdim))
    shape = node.inputs[0].shape
    flat = (*shape[: op.first], math.prod(shape[op.first : op.last + 1]), *shape[op.last + 1 :])
    found = out.add(kind, out.add("Reshape", x, out.shape(flat)), axis=op.first, keepdims=0)
    return out.add("Reshape", found, out.shape(node.outputs[0].shape))
