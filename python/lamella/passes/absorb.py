# SPDX-License-Identifier: Apache-2.0
"""Absorb: a batch norm by known statistics becomes part of the dense layer in front of it.

    ((x W + b) - mean) * scale + shift  =  x (W * scale) + ((b - mean) * scale + shift)

The new weight and bias depend on parameters alone and are folded. This is the one pass that changes
roundings: by no more than those of the product itself, and alike at every batch size. A norm in
front of a layer stays: what x - mean is computed for would be lost in the sums.
"""

from __future__ import annotations

from typing import NamedTuple

from lamella.ir.graph import Graph, GraphBuilder, Node, Result, Value
from lamella.ops.elementwise import Binary, Unary
from lamella.ops.matmul import MatMul
from lamella.ops.shape import Reshape
from lamella.passes.fold import Known

__all__ = ["absorb"]


class _Norm(NamedTuple):
    """What stands behind a product: the nodes, the last one included, and their operands."""

    nodes: tuple[Node, ...]
    bias: Value | None
    mean: Value
    scale: Value
    shift: Value | None


def absorb(graph: Graph) -> Graph:
    """A graph with fewer norms that gives nearly the same."""
    products = [node for node in graph.nodes if type(node.op) is MatMul]
    if not products:
        return graph
    known, consumers, roots = Known(graph), graph.consumers(), set(graph.roots())
    norms: dict[Node, tuple[Node, _Norm]] = {}
    for product in products:
        norm = _norm(product, known, consumers, roots)
        if norm is not None:
            norms[norm.nodes[-1]] = product, norm
    if not norms:
        return graph
    gone = {node for product, norm in norms.values() for node in (product, *norm.nodes[:-1])}
    builder = GraphBuilder()
    builder.adopt(graph)
    new: dict[Value, Value] = {}
    for node in graph.nodes:
        if node in gone:
            continue
        if node in norms:
            new[node.outputs[0]] = _absorbed(builder, new, *norms[node])
            continue
        inputs = tuple([new.get(value, value) for value in node.inputs])
        types = tuple([value.type for value in node.outputs])
        new.update(zip(node.outputs, builder.add(node.op, inputs, types, node.path), strict=True))
    return builder.build(
        [new.get(value, value) for value in graph.outputs],
        [(source, new.get(value, value)) for source, value in graph.updates],
    )


def _norm(
    product: Node, known: Known, consumers: dict[Value, list[Node]], roots: set[Value]
) -> _Norm | None:
    """The norm that is all that becomes of a product with a known weight.

    One that is stored narrow stays so: with a norm in it, it would be of float32.
    """
    weight, columns = product.inputs[1], product.outputs[0].shape[-1:]
    if len(weight.shape) != 2 or weight not in known or weight.dtype.is_storage:
        return None
    nodes: list[Node] = []

    def next_operand(name: str) -> Value | None:
        """The vector of the columns that the next node combines with the last value, if it does."""
        value = (nodes[-1] if nodes else product).outputs[0]
        readers = consumers.get(value, [])
        if len(readers) != 1 or value in roots or readers[0].op != Binary(name):
            return None
        (reader,) = readers
        x, y = reader.inputs
        other = x if y is value and name != "sub" else y
        if other is value or len(other.shape) != 1 or other.shape != columns or other not in known:
            return None
        nodes.append(reader)
        return other

    bias = next_operand("add")
    mean = next_operand("sub")
    scale = None if mean is None else next_operand("mul")
    if mean is None or scale is None or not _is_reciprocal_spread(scale):
        return None
    shift = next_operand("add")
    return _Norm(tuple(nodes), bias, mean, scale, shift)


def _is_reciprocal_spread(scale: Value) -> bool:
    """Whether it is 1 / sqrt(var + eps), by itself or times a weight."""
    if type(scale) is not Result:
        return False
    parts = scale.node.inputs if scale.node.op == Binary("mul") else (scale,)
    return any(_is_reciprocal_root(one) for one in parts)


def _is_reciprocal_root(value: Value) -> bool:
    """As one function, or as the two that ONNX has for it."""
    if type(value) is not Result:
        return False
    op = value.node.op
    if op == Unary("reciprocal"):
        (root,) = value.node.inputs
        return type(root) is Result and bool(root.node.op == Unary("sqrt"))
    return bool(op == Unary("rsqrt"))


def _absorbed(builder: GraphBuilder, new: dict[Value, Value], product: Node, norm: _Norm) -> Value:
    path = " + ".join(dict.fromkeys(one.path for one in (product, *norm.nodes) if one.path))

    def place(op: object, *inputs: Value) -> Value:
        (value,) = builder.apply(op, [new.get(one, one) for one in inputs], path)  # type: ignore[arg-type]
        return value

    assert isinstance(product.op, MatMul)
    x, weight = product.inputs
    mean, scale = norm.mean, norm.scale
    rows = place(Reshape((scale.shape[0], 1)), scale) if product.op.transpose_b else scale
    bias = place(Unary("neg"), mean) if norm.bias is None else place(Binary("sub"), norm.bias, mean)
    bias = place(Binary("mul"), bias, scale)
    if norm.shift is not None:
        bias = place(Binary("add"), bias, norm.shift)
    y = place(product.op, x, place(Binary("mul"), weight, rows))
    return place(Binary("add"), y, bias)
