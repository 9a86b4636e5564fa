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

from lamella.ir.extent import Extent
from lamella.ir.graph import Node, Value
from lamella.ir.types import Array, DType
from lamella.onnx import encoding, forms, quantised, whole
from lamella.onnx.entries import ENTRIES
from lamella.ops.base import Op
from lamella.ops.detach import Detach
from lamella.ops.elementwise import Binary, Cast, Compare, Unary, Where
from lamella.ops.integer import IntegerMatMul
from lamella.ops.logical import Bitwise, Logical
from lamella.ops.loss import ClampedLog, CrossEntropy
from lamella.ops.matmul import MatMul
from lamella.ops.norm import LayerNorm, RmsNorm
from lamella.ops.quantize import Dequantize, DynamicQuantize, Quantize
from lamella.ops.random import Draw
from lamella.ops.reduce import Reduce
from lamella.ops.shape import Concat, Expand, Pad, Permute, Reshape, Slice
from lamella.ops.slopes import SELU_ALPHA, SELU_SCALE
from lamella.ops.softmax import Softmax

__all__ = ["EXPORT", "Out"]


class Out:
    """The graph under construction: encoded nodes, initialisers, and names already taken.

    used: the values that some node reads, or that are outputs; path: of the module whose nodes are
    being written, which become part of their names.
    """

    def __init__(self, taken: set[str], used: set[Value]) -> None:
        self.used = used
        self.path = ""
        self.nodes: list[bytes] = []
        self.initializers: list[bytes] = []
        self._taken = taken
        self._titles: set[str] = set()
        self._constants: dict[Any, str] = {}

    def name(self, stem: str) -> str:
        """`stem`, or with a number behind it where it is taken."""
        return _free(stem, self._taken)

    def node(
        self, op_type: str, inputs: Sequence[str], outputs: Sequence[str], **attributes: Any
    ) -> None:
        """A node: `encoder.fc1/Gemm`, as it belongs to that module."""
        title = f"{self.path}/{op_type}" if self.path else outputs[0]
        title = _free(title, self._titles)
        self.nodes.append(encoding.node(op_type, title, inputs, outputs, attributes))

    def add(self, op_type: str, *inputs: str, **attributes: Any) -> str:
        """A node with one output, whose name comes back."""
        name = self.name(op_type)
        self.node(op_type, inputs, [name], **attributes)
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

    def shape(self, extents: Sequence[int]) -> str:
        """The target of a Reshape: ONNX finds one extent itself, where it is free."""
        free = [axis for axis, extent in enumerate(extents) if type(extent) is Extent]
        if len(free) == 1 and 0 not in extents:
            extents = [-1 if axis in free else extent for axis, extent in enumerate(extents)]
        return self.integers(extents)


def _free(stem: str, taken: set[str]) -> str:
    found, number = stem, 0
    while found in taken:
        number += 1
        found = f"{stem}_{number}"
    taken.add(found)
    return found


Rule: TypeAlias = Callable[[Out, Any, list[str], Node], str | list[str]]

_DIRECT = {
    "abs": "Abs", "neg": "Neg", "sign": "Sign", "sqrt": "Sqrt", "reciprocal": "Reciprocal",
    "exp": "Exp", "log": "Log", "erf": "Erf", "sin": "Sin", "cos": "Cos", "tan": "Tan",
    "asin": "Asin", "acos": "Acos", "atan": "Atan", "sinh": "Sinh", "cosh": "Cosh",
    "asinh": "Asinh", "acosh": "Acosh", "atanh": "Atanh", "floor": "Floor", "ceil": "Ceil",
    "round": "Round", "tanh": "Tanh", "sigmoid": "Sigmoid", "relu": "Relu", "softsign": "Softsign",
    "mish": "Mish", "hardswish": "HardSwish", "gelu": "Gelu",
}  # fmt: skip
_FORMS = {
    "expm1": forms.expm1, "log1p": forms.log1p, "erfc": forms.erfc, "tanhshrink": forms.tanhshrink,
}  # fmt: skip


def _attributable(dtype: DType, *values: float) -> bool:
    """Whether attributes, which are float32, hold these numbers as a net of this type has them."""
    return dtype is DType.float32 or all(float(np.float32(value)) == value for value in values)


def _unary(out: Out, op: Unary, inputs: list[str], node: Node) -> str:
    (x,) = inputs
    dtype = node.inputs[0].dtype
    if not dtype.is_floating:
        return whole.unary(out, op, inputs, node)
    name, params = op.name, op.params

    def number(value: float) -> str:
        return out.number(value, dtype)

    if name in _DIRECT:
        return out.add(_DIRECT[name], x)
    if name in _FORMS:
        return _FORMS[name](out, x, dtype)
    if name in _BENT:
        return _bent(out, name, x, params, dtype)
    if name == "gelu_tanh":
        return out.add("Gelu", x, approximate="tanh")
    if name == "hardsigmoid":
        # HardSigmoid's x / 6 + 1/2 would cancel near -3.
        shifted = out.add("Clip", out.add("Add", x, number(3.0)), number(0.0), number(6.0))
        return out.add("Div", shifted, number(6.0))
    if name in ("hardtanh", "clamp", "relu6"):
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
    if name == "silu":
        return out.add("Mul", x, out.add("Sigmoid", x))
    if name == "softplus":
        return _softplus(out, x, params[0], params[1], dtype)
    if name == "softshrink":
        size = float(params[0])
        if _attributable(dtype, size):
            return out.add("Shrink", x, lambd=size, bias=size)
        return out.add("Sub", x, out.add("Clip", x, number(-size), number(size)))
    if name == "hardshrink":
        size = float(params[0])
        if _attributable(dtype, size):
            return out.add("Shrink", x, lambd=size, bias=0.0)
        inside = out.add("LessOrEqual", out.add("Abs", x), number(size))
        return out.add("Where", inside, number(0.0), x)
    if name == "threshold":
        below = out.add("LessOrEqual", x, number(params[0]))
        return out.add("Where", below, number(params[1]), x)
    if name == "logsigmoid":
        return out.add("Neg", out.add("Softplus", out.add("Neg", x)))
    raise KeyError(name)


_BENT = {"leaky_relu": "LeakyRelu", "elu": "Elu", "celu": "Celu", "selu": "Selu"}


def _bent(out: Out, name: str, x: str, params: tuple[float, ...], dtype: DType) -> str:
    """x where positive and something smaller elsewhere, whose number an attribute may not hold."""
    alpha = params[0] if params else SELU_ALPHA
    if _attributable(dtype, alpha):
        return out.add(_BENT[name], x, **{"alpha": float(alpha)} if params else {})

    def number(value: float) -> str:
        return out.number(value, dtype)

    if name == "leaky_relu":
        return out.add("PRelu", x, number(alpha))
    inner = out.add("Div", x, number(alpha)) if name == "celu" else x
    scale = SELU_SCALE if name == "selu" else 1.0
    below = out.add("Mul", out.add("Elu", inner), number(scale * alpha))
    above = x if scale == 1.0 else out.add("Mul", x, number(scale))
    return out.add("Where", out.add("Greater", x, number(0.0)), above, below)


# From here on softplus is x itself to the last place, so that a threshold beyond changes nothing.
_SOFTPLUS_END = {DType.float32: 18.0, DType.float64: 37.0}


def _softplus(out: Out, x: str, beta: float, threshold: float, dtype: DType) -> str:
    scaled = x if beta == 1 else out.add("Mul", x, out.number(beta, dtype))
    y = out.add("Softplus", scaled)
    if beta != 1:
        y = out.add("Div", y, out.number(beta, dtype))
    if threshold >= _SOFTPLUS_END[dtype]:
        return y
    return out.add("Where", out.add("Greater", scaled, out.number(threshold, dtype)), x, y)


_BINARY = {"add": "Add", "sub": "Sub", "mul": "Mul", "div": "Div", "pow": "Pow",
           "maximum": "Max", "minimum": "Min", "clamp_min": "Max", "clamp_max": "Min"}  # fmt: skip


def _binary(out: Out, op: Binary, inputs: list[str], node: Node) -> str:
    a, b = inputs
    if not node.inputs[0].dtype.is_floating:
        return whole.binary(out, op, inputs, node)
    if op.name in _BINARY:
        return out.add(_BINARY[op.name], a, b)
    if op.name in ("remainder", "floor_divide"):
        form = forms.remainder if op.name == "remainder" else forms.floor_divide
        return form(out, a, b, node.inputs[0].dtype)
    raise KeyError(op.name)


_COMPARE = {"eq": "Equal", "lt": "Less", "le": "LessOrEqual", "gt": "Greater",
            "ge": "GreaterOrEqual"}  # fmt: skip
_LOGICAL = {"logical_and": "And", "logical_or": "Or", "logical_xor": "Xor", "logical_not": "Not"}


def _compare(out: Out, op: Compare, inputs: list[str], node: Node) -> str:
    found = whole.compare(out, op, inputs, node)
    if found is not None:
        return found
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
    return out.add("Reshape", *inputs, out.shape(op.shape), allowzero=int(0 in op.shape))


def _permute(out: Out, op: Permute, inputs: list[str], node: Node) -> str:
    return out.add("Transpose", *inputs, perm=op.order)


def _expand(out: Out, op: Expand, inputs: list[str], node: Node) -> str:
    # ONNX keeps an extent of x where 1 is asked for.
    x = node.inputs[0].shape
    own = (*[1] * (len(op.shape) - len(x)), *x)
    kept = [type(n) is Extent and type(m) is Extent and n == m
            for n, m in zip(op.shape, own, strict=True)]  # fmt: skip
    shape = [1 if keep else n for n, keep in zip(op.shape, kept, strict=True)]
    return out.add("Expand", *inputs, out.integers(shape))


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
    if not node.inputs[0].dtype.is_floating:
        return whole.reduce(out, op, inputs, node)
    axes = list(range(op.first, op.last + 1))
    keep = int(op.keepdim)
    if op.kind in _REDUCE:
        return out.add(_REDUCE[op.kind], x, out.integers(axes), keepdims=keep)
    dtype = node.inputs[0].dtype
    size = op.extents(node.inputs[0].shape)[1]
    if op.kind == "norm":
        if size == 0:
            return out.add("ReduceL2", x, out.integers(axes), keepdims=keep)
        return forms.length(out, x, axes, op.keepdim, dtype)
    if op.kind in ("var", "std"):
        mean = out.add("ReduceMean", x, out.integers(axes), keepdims=1)
        deviation = out.add("Sub", x, mean)
        if op.kind == "std" and size > 0:
            divisor = max(0.0, size - op.correction)
            return forms.length(out, deviation, axes, op.keepdim, dtype, divisor)
        squares = out.add("Mul", deviation, deviation)
        total = out.add("ReduceSum", squares, out.integers(axes), keepdims=keep)
        y = out.add("Div", total, out.number(max(0.0, size - op.correction), dtype))
        return y if op.kind == "var" else out.add("Sqrt", y)
    kind = {"argmax": "ArgMax", "argmin": "ArgMin"}[op.kind]
    if op.first == op.last:
        return out.add(kind, x, axis=op.first, keepdims=keep)
    shape = node.inputs[0].shape
    flat = (*shape[: op.first], math.prod(shape[op.first : op.last + 1]), *shape[op.last + 1 :])
    found = out.add(kind, out.add("Reshape", x, out.shape(flat)), axis=op.first, keepdims=0)
    return out.add("Reshape", found, out.shape(node.outputs[0].shape))


def _layer_norm(out: Out, op: LayerNorm, inputs: list[str], node: Node) -> str:
    names = list(inputs)
    x = node.inputs[0]
    if not _attributable(x.dtype, op.epsilon):
        axes = out.integers(list(range(-op.axes, 0)))
        deviation = out.add("Sub", names[0], out.add("ReduceMean", names[0], axes, keepdims=1))
        power = out.add("ReduceMean", out.add("Mul", deviation, deviation), axes, keepdims=1)
        root = out.add("Sqrt", out.add("Add", power, out.number(op.epsilon, x.dtype)))
        y = out.add("Div", deviation, root)
        y = out.add("Mul", y, names[1]) if op.weight else y
        return out.add("Add", y, names[-1]) if op.bias else y
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
    log = forms.log1p(out, out.add("Neg", x), dtype) if op.complement else out.add("Log", x)
    return out.add("Clip", log, out.number(-100.0, dtype))


def _detach(out: Out, op: Detach, inputs: list[str], node: Node) -> str:
    return out.add("Identity", *inputs)


def _draw(out: Out, op: Draw, inputs: list[str], node: Node) -> str:
    # ONNX wants the shape as an attribute: a free extent is the one of the example.
    shape = [int(extent) for extent in op.shape]
    name = {"uniform": "RandomUniform", "normal": "RandomNormal"}[op.kind]
    return out.add(name, shape=shape, dtype=encoding.ELEMENT_TYPES[op.dtype])


EXPORT: dict[type[Op], Rule] = {
    Unary: _unary,
    Binary: _binary,
    Compare: _compare,
    Logical: _logical,
    Bitwise: whole.bitwise,
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
    CrossEntropy: _cross_entropy,
    ClampedLog: _clamped_log,
    Detach: _detach,
    Draw: _draw,
    **ENTRIES,
    Quantize: quantised.quantize,
    Dequantize: quantised.dequantize,
    DynamicQuantize: quantised.dynamic_quantize,
    IntegerMatMul: quantised.matmul_integer,
}
