# SPDX-License-Identifier: Apache-2.0
"""What each of lamella's ops is in ONNX: one export rule for each kind, on a growing graph.

A rule is `rule(out, op, inputs, node)`: inputs are the names of the operands, `node` tells their
types; it adds nodes and gives the name of the result, or a list of names where the op has several,
"" for those that nobody reads. The target is opset 20.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np

from lamella.ir.graph import Node, Value
from lamella.ir.types import Array, DType
from lamella.onnx import encoding
from lamella.ops.base import Op
from lamella.ops.elementwise import Binary, Cast, Compare, Logical, Unary, Where
from lamella.ops.gather import Embedding
from lamella.ops.loss import ClampedLog, CrossEntropy
from lamella.ops.matmul import MatMul
from lamella.ops.norm import LayerNorm, RmsNorm
from lamella.ops.reduce import Reduce
from lamella.ops.shape import Concat, Expand, Pad, Permute, Reshape, Slice
from lamella.ops.softmax import Softmax

__all__ = ["EXPORT", "Out"]


class Out:
    """The graph under construction: encoded nodes, initialisers, and names already taken.

    used: the values that some node reads, or that are outputs.
    """

    def __init__(self, taken: set[str], used: set[Value]) -> None:
        self.used = used
        self.nodes: list[bytes] = []
        self.initializers: list[bytes] = []
        self._taken = taken
        self._constants: dict[Any, str] = {}

    def name(self, stem: str) -> str:
        """`stem`, or with a number behind it where it is taken."""
        found, number = stem, 0
        while found in self._taken:
            number += 1
            found = f"{stem}_{number}"
        self._taken.add(found)
        return found

    def add(self, op_type: str, *inputs: str, **attributes: Any) -> str:
        """A node with one output, whose name comes back."""
        name = self.name(op_type)
        self.nodes.append(encoding.node(op_type, name, inputs, [name], attributes))
        return name

    def constant(self, array: Array) -> str:
        """An initialiser; equal small ones are one."""
        key = (array.dtype.str, array.shape, array.tobytes()) if array.nbytes <= 1024 else None
        if key is None or key not in self._constants:
            name = self.name("constant")
            self.initializers.append(encoding.tensor(name, array))
            if key is None:
                return name
            self._constants[key] = name
        return self._constants[key]

    def number(self, value: float, dtype: DType) -> str:
        """A 0-d constant."""
        return self.constant(np.array(value, dtype.numpy))

    def integers(self, values: Sequence[int]) -> str:
        """A constant list of int64."""
        return self.constant(np.array(values, np.int64))


Rule: TypeAlias = Callable[[Out, Any, list[str], Node], str | list[str]]

_DIRECT = {
    "abs": "Abs", "neg": "Neg", "sign": "Sign", "sqrt": "Sqrt", "reciprocal": "Reciprocal",
    "exp": "Exp", "log": "Log", "erf": "Erf", "sin": "Sin", "cos": "Cos", "floor": "Floor",
    "ceil": "Ceil", "round": "Round", "tanh": "Tanh", "sigmoid": "Sigmoid", "relu": "Relu",
    "softsign": "Softsign", "mish": "Mish", "hardswish": "HardSwish", "selu": "Selu",
    "gelu": "Gelu",
}  # fmt: skip
_ALPHA = {"leaky_relu": "LeakyRelu", "elu": "Elu", "celu": "Celu"}


def _unary(out: Out, op: Unary, inputs: list[str], node: Node) -> str:
    (x,) = inputs
    dtype = node.inputs[0].dtype
    name, params = op.name, op.params

    def number(value: float) -> str:
        return out.number(value, dtype)

    if name in _DIRECT:
        return out.add(_DIRECT[name], x)
    if name in _ALPHA:
        return out.add(_ALPHA[name], x, alpha=float(params[0]))
    if name == "gelu_tanh":
        return out.add("Gelu", x, approximate="tanh")
    if name == "hardsigmoid":
        return out.add("HardSigmoid", x, alpha=1 / 6, beta=0.5)
    if name in ("hardtanh", "relu6"):
        low, high = params or (0.0, 6.0)
        bounds = ["" if math.isinf(bound) else number(bound) for bound in (low, high)]
        return out.add("Clip", x, *(bounds if bounds[1] else bounds[:1]))
    if name == "square":
        return out.add("Mul", x, x)
    if name == "relu_squared":
        positive = out.add("Relu", x)
        return out.add("Mul", positive, positive)
    if name == "rsqrt":
        return out.add("Reciprocal", out.add("Sqrt", x))
    if name == "expm1":
        return out.add("Sub", out.add("Exp", x), number(1.0))
    if name == "log1p":
        return out.add("Log", out.add("Add", x, number(1.0)))
    if name == "erfc":
        return out.add("Sub", number(1.0), out.add("Erf", x))
    if name == "silu":
        return out.add("Mul", x, out.add("Sigmoid", x))
    if name == "softplus":
        beta = params[0]
        if beta == 1:
            return out.add("Softplus", x)
        scaled = out.add("Softplus", out.add("Mul", x, number(beta)))
        return out.add("Div", scaled, number(beta))
    if name == "tanhshrink":
        return out.add("Sub", x, out.add("Tanh", x))
    if name == "softshrink":
        return out.add("Shrink", x, lambd=float(params[0]), bias=float(params[0]))
    if name == "hardshrink":
        return out.add("Shrink", x, lambd=float(params[0]), bias=0.0)
    if name == "threshold":
        below = out.add("LessOrEqual", x, number(params[0]))
        return out.add("Where", below, number(params[1]), x)
    if name == "logsigmoid":
        return out.add("Neg", out.add("Softplus", out.add("Neg", x)))
    raise KeyError(name)


_BINARY = {"add": "Add", "sub": "Sub", "mul": "Mul", "div": "Div", "pow": "Pow",
           "maximum": "Max", "minimum": "Min"}  # fmt: skip


def _binary(out: Out, op: Binary, inputs: list[str], node: Node) -> str:
    a, b = inputs
    if op.name in _BINARY:
        return out.add(_BINARY[op.name], a, b)
    floor = out.add("Floor", out.add("Div", a, b))
    if op.name == "floor_divide":
        return floor
    if op.name == "remainder":
        return out.add("Sub", a, out.add("Mul", floor, b))
    raise KeyError(op.name)


_COMPARE = {"eq": "Equal", "lt": "Less", "le": "LessOrEqual", "gt": "Greater",
            "ge": "GreaterOrEqual"}  # fmt: skip
_LOGICAL = {"logical_and": "And", "logical_or": "Or", "logical_xor": "Xor", "logical_not": "Not"}


def _compare(out: Out, op: Compare, inputs: list[str], node: Node) -> str:
    if op.name == "ne":
        return out.add("Not", out.add("Equal", *inputs))
    return out.add(_COMPARE[op.name], *inputs)


def _logical(out: Out, op: Logical, inputs: list[str], node: Node) -> str:
    return out.add(_LOGICAL[op.name], *inputs)


def _where(out: Out, op: Where, inputs: list[str], node: Node) -> str:
    return out.add("Where", *inputs)


def _cast(out: Out, op: Cast, inputs: list[str], node: Node) -> str:
    return out.add("Cast", *inputs, to=encoding.ELEMENT_TYPES[op.dtype])


def _reshape(out: Out, op: Reshape, inputs: list[str], node: Node) -> str:
    return out.add("Reshape", *inputs, out.integers(op.shape), allowzero=int(0 in op.shape))


def _permute(out: Out, op: Permute, inputs: list[str], node: Node) -> str:
    return out.add("Transpose", *inputs, perm=op.order)


def _expand(out: Out, op: Expand, inputs: list[str], node: Node) -> str:
    return out.add("Expand", *inputs, out.integers(op.shape))


def _slice(out: Out, op: Slice, inputs: list[str], node: Node) -> str:
    shape = node.inputs[0].shape
    axes = [
        axis
        for axis, (size, step) in enumerate(zip(op.sizes, op.steps, strict=True))
        if size != shape[axis] or step != 1
    ]
    if not axes:
        return out.add("Identity", *inputs)
    ends = []
    for axis in axes:
        end = op.starts[axis] + op.sizes[axis] * op.steps[axis]
        # Past the front a negative end would count from the back.
        ends.append(end if end >= 0 else -shape[axis] - 1)
    chosen = [[values[axis] for axis in axes] for values in (op.starts, op.steps)]
    starts, steps = (out.integers(values) for values in chosen)
    return out.add("Slice", *inputs, starts, out.integers(ends), out.integers(axes), steps)


def _pad(out: Out, op: Pad, inputs: list[str], node: Node) -> str:
    value = out.number(op.value, node.inputs[0].dtype)
    return out.add("Pad", *inputs, out.integers((*op.before, *op.after)), value)


def _concat(out: Out, op: Concat, inputs: list[str], node: Node) -> str:
    return out.add("Concat", *inputs, axis=op.axis)


def _matmul(out: Out, op: MatMul, inputs: list[str], node: Node) -> str:
    ranks = [len(value.shape) for value in node.inputs]
    flags = [op.transpose_a and ranks[0] > 1, op.transpose_b and ranks[1] > 1]
    if ranks == [2, 2] and any(flags):
        return out.add("Gemm", *inputs, transA=int(flags[0]), transB=int(flags[1]))
    names = []
    for name, rank, flag in zip(inputs, ranks, flags, strict=True):
        if flag:
            order = (*range(rank - 2), rank - 1, rank - 2)
            name = out.add("Transpose", name, perm=order)
        names.append(name)
    return out.add("MatMul", *names)


def _softmax(out: Out, op: Softmax, inputs: list[str], node: Node) -> str:
    return out.add("LogSoftmax" if op.log else "Softmax", *inputs, axis=-1)


_REDUCE = {"sum": "ReduceSum", "mean": "ReduceMean", "prod": "ReduceProd", "max": "ReduceMax",
           "min": "ReduceMin", "logsumexp": "ReduceLogSumExp"}  # fmt: skip


def _reduce(out: Out, op: Reduce, inputs: list[str], node: Node) -> str:
    (x,) = inputs
    axes = list(range(op.first, op.last + 1))
    keep = int(op.keepdim)
    if op.kind in _REDUCE:
        return out.add(_REDUCE[op.kind], x, out.integers(axes), keepdims=keep)
    if op.kind == "var":
        size = op.extents(node.inputs[0].shape)[1]
        mean = out.add("ReduceMean", x, out.integers(axes), keepdims=1)
        deviation = out.add("Sub", x, mean)
        squares = out.add("Mul", deviation, deviation)
        total = out.add("ReduceSum", squares, out.integers(axes), keepdims=keep)
        divisor = max(0.0, size - op.correction)
        return out.add("Div", total, out.number(divisor, node.inputs[0].dtype))
    kind = {"argmax": "ArgMax", "argmin": "ArgMin"}[op.kind]
    if op.first == op.last:
        return out.add(kind, x, axis=op.first, keepdims=keep)
    shape = node.inputs[0].shape
    flat = (*shape[: op.first], -1, *shape[op.last + 1 :])
    found = out.add(kind, out.add("Reshape", x, out.integers(flat)), axis=op.first, keepdims=0)
    return out.add("Reshape", found, out.integers(node.outputs[0].shape))


def _layer_norm(out: Out, op: LayerNorm, inputs: list[str], node: Node) -> str:
    names = list(inputs)
    x = node.inputs[0]
    if not op.weight:
        names.insert(1, out.constant(np.ones(x.shape[-op.axes :], x.dtype.numpy)))
    return out.add("LayerNormalization", *names, axis=-op.axes, epsilon=op.epsilon)


def _rms_norm(out: Out, op: RmsNorm, inputs: list[str], node: Node) -> str:
    # RMSNormalization came with opset 23, which few runtimes know.
    x = inputs[0]
    axes = out.integers(list(range(-op.axes, 0)))
    power = out.add("ReduceMean", out.add("Mul", x, x), axes, keepdims=1)
    shifted = out.add("Add", power, out.number(op.epsilon, node.inputs[0].dtype))
    y = out.add("Div", x, out.add("Sqrt", shifted))
    return out.add("Mul", y, inputs[1]) if op.weight else y


def _embedding(out: Out, op: Embedding, inputs: list[str], node: Node) -> str:
    indices, weight = inputs
    return out.add("Gather", weight, indices, axis=0)


def _cross_entropy(out: Out, op: CrossEntropy, inputs: list[str], node: Node) -> list[str]:
    x, target, *weight = inputs
    classes, dtype = node.inputs[0].shape[1], node.inputs[0].dtype
    zero = out.number(0.0, dtype)
    ignored = out.add("Equal", target, out.constant(np.array(op.ignore_index, np.int64)))
    logs = x if op.log_probabilities else out.add("LogSoftmax", x, axis=-1)
    losses = out.add(
        "NegativeLogLikelihoodLoss", logs, target, *weight,
        ignore_index=op.ignore_index, reduction="none",
    )  # fmt: skip
    if op.label_smoothing:
        every = out.add("Mul", logs, weight[0]) if weight else logs
        total = out.add("ReduceSum", every, out.integers([1]), keepdims=0)
        spread = out.add("Mul", total, out.number(op.label_smoothing / classes, dtype))
        own = out.add("Mul", losses, out.number(1 - op.label_smoothing, dtype))
        losses = out.add("Sub", own, out.add("Where", ignored, zero, spread))
    weights = ""
    if node.outputs[2] in out.used:
        each = weight[0] if weight else out.constant(np.ones(classes, dtype.numpy))
        safe = out.add("Where", ignored, out.constant(np.array(0, np.int64)), target)
        weights = out.add("Where", ignored, zero, out.add("Gather", each, safe, axis=0))
    # The slopes are for gradients, which are not written.
    return [losses, "", weights]


def _clamped_log(out: Out, op: ClampedLog, inputs: list[str], node: Node) -> str:
    (x,) = inputs
    dtype = node.inputs[0].dtype
    if op.complement:
        x = out.add("Sub", out.number(1.0, dtype), x)
    return out.add("Clip", out.add("Log", x), out.number(-100.0, dtype))


EXPORT: dict[type[Op], Rule] = {
    Unary: _unary,
    Binary: _binary,
    Compare: _compare,
    Logical: _logical,
    Where: _where,
    Cast: _cast,
    Reshape: _reshape,
    Permute: _permute,
    Expand: _expand,
    Slice: _slice,
    Pad: _pad,
    Concat: _concat,
    MatMul: _matmul,
    Softmax: _softmax,
    Reduce: _reduce,
    LayerNorm: _layer_norm,
    RmsNorm: _rms_norm,
    Embedding: _embedding,
    CrossEntropy: _cross_entropy,
    ClampedLog: _clamped_log,
}
