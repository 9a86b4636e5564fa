# SPDX-License-Identifier: Apache-2.0
"""Simplify: constants computed, duplicates merged, no-ops and dead nodes removed.

One walk in order into a new builder, which merges equal nodes and, at the end, leaves dead ones
out. A rule looks at one node with its new inputs and names the value that replaces it, or another
op to place instead. Rules keep every bit: x + 0 stays, because -0 + 0 is +0.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from lamella.ir.extent import Extent
from lamella.ir.graph import (
    Constant,
    Factor,
    Graph,
    GraphBuilder,
    Node,
    Parameter,
    Result,
    Value,
    made_of,
)
from lamella.ir.types import DType, TensorType, same_shape
from lamella.ops.base import Op
from lamella.ops.detach import Detach
from lamella.ops.elementwise import Binary, Cast, Compare, Unary, Where, unary
from lamella.ops.matmul import MatMul
from lamella.ops.shape import Concat, Expand, Permute, Reshape, Slice

__all__ = ["simplify"]

# Results up to this many bytes are computed ahead; larger ones would swell the program.
FOLDED_BYTES = 1 << 20

# What a rule gives: nothing, the value that stands for the node, or another op and its inputs.
Rewrite = Value | tuple[Op, tuple[Value, ...]] | None


def simplify(graph: Graph) -> Graph:
    """An equal graph with less to do."""
    builder = GraphBuilder()
    builder.adopt(graph)
    new: dict[Value, Value] = {}
    for node in graph.nodes:
        inputs = tuple([new.get(value, value) for value in node.inputs])
        types = tuple([value.type for value in node.outputs])
        placed = _place(builder, node.op, inputs, types, node.path)
        new.update(zip(node.outputs, placed, strict=True))
    return builder.build(
        [new.get(value, value) for value in graph.outputs],
        [(source, new.get(value, value)) for source, value in graph.updates],
    )


def _place(
    builder: GraphBuilder,
    op: Op,
    inputs: tuple[Value, ...],
    types: tuple[TensorType, ...] | None,
    path: str,
) -> Sequence[Value]:
    """Places `op` after applying the rules until none applies."""
    while True:
        rule = _RULES.get(type(op))
        rewrite = None if rule is None else rule(op, inputs)
        if rewrite is None:
            break
        if isinstance(rewrite, Value):
            return (rewrite,)
        op, inputs = rewrite
    folded = _fold(builder, op, inputs, types)
    return folded or builder.add(op, inputs, types, path)


def _fold(
    builder: GraphBuilder,
    op: Op,
    inputs: tuple[Value, ...],
    types: tuple[TensorType, ...] | None,
) -> Sequence[Value]:
    """The outputs as constants when all inputs are and the result is small; else nothing."""
    for value in inputs:
        if type(value) is not Constant:
            return ()
    # An Expand is read through (`_skip_expand`), its elements one by one would not be.
    if op.effects or not inputs or type(op) is Expand:
        return ()
    types = types or op.infer([value.type for value in inputs])
    if any(isinstance(value, Constant) and value.extent for value in inputs):
        return _fold_extent(op, inputs, types[0])
    if sum(type.nbytes for type in types) > FOLDED_BYTES:
        return ()
    try:
        results = op.reference([value.array for value in inputs if isinstance(value, Constant)])
    except IndexError:
        # A bad index is the program's to report.
        return ()
    with np.errstate(all="ignore"):
        return [
            builder.constant(np.array(result, dtype=type.dtype.numpy, order="C"))
            for result, type in zip(results, types, strict=True)
        ]


# Whole numbers up to this one are exact in a dtype.
_EXACT = {DType.float32: 2**24, DType.float64: 2**53}


def _fold_extent(op: Op, inputs: tuple[Value, ...], type: TensorType) -> Sequence[Value]:
    """A constant that is made of an extent again; computed otherwise it is not kept."""
    (x, made), *others = [
        (value, value.extent)
        for value in inputs
        if isinstance(value, Constant) and value.extent is not None
    ]
    kind, number = made
    rank = len(type.shape)
    if isinstance(op, Reshape | Permute):
        return (made_of(made, type.dtype, rank, x.factors),)
    if isinstance(op, Cast) and type.dtype.is_floating and kind == "value" and not x.factors:
        # Of a whole number, which is rounded once.
        return (made_of(made, type.dtype, rank),)
    if isinstance(op, Binary | Unary) and type.size == 1 and type.dtype.is_floating:
        ones = not others and all(value is x or _is(value, 1.0) for value in inputs)
        if ones and (op.name == "mul" or (op.name == "div" and x is inputs[0])):
            return (made_of(made, type.dtype, rank, x.factors),)
        turned = op.name == "reciprocal" or (op.name == "div" and ones)
        if turned and kind == "value" and not x.factors and number <= _EXACT[type.dtype]:
            return (made_of(("reciprocal", number), type.dtype, rank),)
        factor = _factor(op, inputs, x)
        if factor is not None:
            return (made_of(made, type.dtype, rank, (*x.factors, factor)),)
    assert isinstance(number, Extent)
    number.extents.reason(f"a number computed of an extent: {op}")
    return ()


def _factor(op: Binary | Unary, inputs: tuple[Value, ...], x: Constant) -> Factor | None:
    """What a constant is multiplied by or divided; None where something else is done with it."""
    if op.name == "neg":
        return "times", -1.0
    (other,) = [value for value in inputs if value is not x] or [x]
    if not isinstance(other, Constant) or other.factors:
        return None
    if op.name == "mul" and other.extent is not None:
        return other.extent
    if other.extent is None and (op.name == "mul" or (op.name == "div" and inputs[0] is x)):
        return "times" if op.name == "mul" else "over", float(other.array.reshape(())[()])
    return None


def _producer(value: Value, kind: type[Op]) -> Node | None:
    """The node that made `value`, if its op is of this kind."""
    if type(value) is Result and type(value.node.op) is kind:
        return value.node
    return None


def _is(value: Value, wanted: float) -> bool:
    """Whether a floating constant of one element is this number, including the sign of zero.

    Of one that is made of an extent at every size for which the trace holds.
    """
    if type(value) is not Constant or value.array.size != 1 or not value.dtype.is_floating:
        return False
    if value.extent is not None:
        # A product is computed with, whatever it is.
        if value.factors:
            return False
        # 1 / n is 1 where n is; 0 is +0, and no reciprocal.
        kind, extent = value.extent
        whole = int(wanted) if wanted == 1.0 or kind == "value" else None
        return whole is not None and not np.signbit(wanted) and bool(extent == whole)
    number = float(value.array.reshape(())[()])
    return number == wanted and bool(np.signbit(number) == np.signbit(wanted))


def _binary(op: Op, inputs: tuple[Value, ...]) -> Rewrite:
    assert isinstance(op, Binary)
    expanded = _skip_expand(op, inputs)
    if expanded is not None:
        return expanded
    x, y = inputs
    name = op.name
    if type(y) is Constant and len(y.shape) <= len(x.shape):
        if name in ("mul", "div", "pow") and _is(y, 1.0):
            return x
        if (name == "add" and _is(y, -0.0)) or (name == "sub" and _is(y, 0.0)):
            return x
    if type(x) is Constant and len(x.shape) <= len(y.shape):
        if (name == "mul" and _is(x, 1.0)) or (name == "add" and _is(x, -0.0)):
            return y
        if name == "div" and _is(x, 1.0):
            return Unary("reciprocal"), (y,)
    return None


def _skip_expand(op: Op, inputs: tuple[Value, ...]) -> Rewrite:
    """Reads an expanded operand as it was where broadcasting gives the same shape anyway."""
    for position, value in enumerate(inputs):
        node = _producer(value, Expand)
        if node is None:
            continue
        direct = (*inputs[:position], node.inputs[0], *inputs[position + 1 :])
        before = op.infer([value.type for value in inputs])
        if op.infer([value.type for value in direct]) == before:
            return op, direct
    return None


def _unary(op: Op, inputs: tuple[Value, ...]) -> Rewrite:
    assert isinstance(op, Unary)
    node = _producer(inputs[0], Unary)
    if node is None:
        return None
    assert isinstance(node.op, Unary)
    inner = node.op.name
    if op.name == "neg" and inner == "neg":
        return node.inputs[0]
    if op.name == "abs" and inner in ("neg", "abs"):
        return unary("abs"), node.inputs
    return None


def _cast(op: Op, inputs: tuple[Value, ...]) -> Rewrite:
    assert isinstance(op, Cast)
    (x,) = inputs
    if x.dtype is op.dtype:
        return x
    node = _producer(x, Cast)
    # Only a widening followed by its narrowing loses nothing.
    if node is not None and node.inputs[0].dtype is op.dtype and op.dtype.is_floating:
        if x.dtype.is_floating and x.dtype.itemsize > op.dtype.itemsize:
            return node.inputs[0]
    return None


def _reshape(op: Op, inputs: tuple[Value, ...]) -> Rewrite:
    assert isinstance(op, Reshape)
    (x,) = inputs
    if same_shape(x.shape, op.shape):
        return x
    node = _producer(x, Expand)
    if node is not None and node.inputs[0].type.size == 1:
        if len(node.inputs[0].shape) <= len(op.shape):
            return Expand(op.shape), node.inputs
    node = _producer(x, Reshape)
    return None if node is None else (op, node.inputs)


def _permute(op: Op, inputs: tuple[Value, ...]) -> Rewrite:
    assert isinstance(op, Permute)
    (x,) = inputs
    order = op.order
    if order == tuple(range(len(order))):
        return x
    node = _producer(x, Permute)
    if node is not None:
        assert isinstance(node.op, Permute)
        inner = node.op.order
        return Permute(tuple(inner[axis] for axis in order)), node.inputs
    moved = [axis for axis in order if x.shape[axis] != 1]
    if moved == sorted(moved):
        # Only axes of extent one change places.
        return Reshape(tuple(x.shape[axis] for axis in order)), inputs
    return None


def _expand(op: Op, inputs: tuple[Value, ...]) -> Rewrite:
    assert isinstance(op, Expand)
    (x,) = inputs
    if same_shape(x.shape, op.shape):
        return x
    node = _producer(x, Expand)
    if node is not None:
        return op, node.inputs
    if x.type.size == TensorType(op.shape, x.dtype).size:
        return Reshape(op.shape), inputs
    return None


def _slice(op: Op, inputs: tuple[Value, ...]) -> Rewrite:
    assert isinstance(op, Slice)
    (x,) = inputs
    if op.sizes == x.shape and all(
        step == 1 or size <= 1 for step, size in zip(op.steps, op.sizes, strict=True)
    ):
        return x
    return None


def _concat(op: Op, inputs: tuple[Value, ...]) -> Rewrite:
    assert isinstance(op, Concat)
    if len(inputs) == 1:
        return inputs[0]
    kept = tuple(value for value in inputs if value.shape[op.axis] != 0)
    return (op, kept) if kept and len(kept) < len(inputs) else None


def _matmul(op: Op, inputs: tuple[Value, ...]) -> Rewrite:
    """A Permute of the last two axes becomes the product's own transposition.

    A weight that is stored as bfloat16 is read so: the product widens it to the same bits.
    """
    assert isinstance(op, MatMul)
    flags = [op.transpose_a, op.transpose_b]
    operands = list(inputs)
    for position, value in enumerate(inputs):
        node = _producer(value, Permute)
        rank = len(value.shape)
        if node is None or rank < 2:
            continue
        assert isinstance(node.op, Permute)
        if node.op.order == (*range(rank - 2), rank - 1, rank - 2):
            operands[position] = node.inputs[0]
            flags[position] = not flags[position]
    node = _producer(operands[1], Cast)
    if node is not None and operands[1].dtype is DType.float32:
        if node.inputs[0].dtype is DType.bfloat16 and isinstance(node.inputs[0], Parameter):
            operands[1] = node.inputs[0]
    if operands == list(inputs):
        return None
    return MatMul(*flags), tuple(operands)


def _detach(op: Op, inputs: tuple[Value, ...]) -> Rewrite:
    return inputs[0]


_RULES: dict[type[Op], Callable[[Op, tuple[Value, ...]], Rewrite]] = {
    Binary: _binary,
    Compare: _skip_expand,
    Where: _skip_expand,
    Unary: _unary,
    Cast: _cast,
    Reshape: _reshape,
    Permute: _permute,
    Expand: _expand,
    Slice: _slice,
    Concat: _concat,
    Detach: _detach,
    MatMul: _matmul,
}
