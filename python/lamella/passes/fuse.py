# SPDX-License-Identifier: Apache-2.0
"""Fuse: epilogues into products, neighbouring elementwise ops into chains.

A value is fused away only when everything that reads it is in the same group and nobody outside
wants it. The group is placed where its last node was; its bits are those of the single ops, since
a kernel's result depends on the element alone. Fused operands keep their own shapes: broadcasting
is a stride of zero, never a copy.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from heapq import heappop, heappush

from lamella.ir.graph import Graph, GraphBuilder, Node, Result, Value
from lamella.ir.types import DType, same_shape
from lamella.ops.base import Op
from lamella.ops.elementwise import Binary, Cast, Chain, Elementwise, Instruction, Unary
from lamella.ops.integer import IntegerMatMul
from lamella.ops.matmul import Dense, MatMul

__all__ = ["fuse"]

# Operands and instructions of one chain that the C++ step always takes.
CHAIN_REGISTERS = 32


class _Groups:
    """Which nodes are fused into which later node, and what stands there instead."""

    __slots__ = ("consumers", "gone", "graph", "replaced", "roots")

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.consumers = graph.consumers()
        self.roots = set(graph.roots())
        # Nodes placed as part of a later one.
        self.gone: set[Node] = set()
        # Op, operands and path of what stands in the place of a group's last node.
        self.replaced: dict[Node, tuple[Op, tuple[Value, ...], str]] = {}

    def sole_consumer(self, value: Value) -> Node | None:
        """The one node that reads `value`, if nothing else wants it."""
        readers = self.consumers.get(value, ())
        return readers[0] if len(readers) == 1 and value not in self.roots else None

    def free(self, node: Node) -> bool:
        """True while the node is in no group."""
        return node not in self.gone and node not in self.replaced


def fuse(graph: Graph, registers: int = CHAIN_REGISTERS) -> Graph:
    """An equal graph with fewer, larger nodes; registers: the limit of one chain."""
    groups = _Groups(graph)
    for node in graph.nodes:
        if type(node.op) is MatMul:
            _grow_dense(node, groups)
        elif type(node.op) is IntegerMatMul:
            _grow_integer(node, groups)
    order = {node: position for position, node in enumerate(graph.nodes)}
    for node in reversed(graph.nodes):
        if isinstance(node.op, Elementwise) and groups.free(node):
            _grow_chain(node, groups, order, registers)
    if not groups.replaced:
        return graph
    return _rebuild(groups)


def _rebuild(groups: _Groups) -> Graph:
    graph = groups.graph
    builder = GraphBuilder()
    builder.adopt(graph)
    new: dict[Value, Value] = {}
    for node in graph.nodes:
        if node in groups.gone:
            continue
        op, inputs, path = groups.replaced.get(node, (node.op, node.inputs, node.path))
        mapped = tuple([new.get(value, value) for value in inputs])
        types = tuple([value.type for value in node.outputs])
        placed = builder.add(op, mapped, types, path)
        new.update(zip(node.outputs, placed, strict=True))
    return builder.build(
        [new.get(value, value) for value in graph.outputs],
        [(source, new.get(value, value)) for source, value in graph.updates],
    )


def _grow_dense(node: Node, groups: _Groups) -> None:
    """Takes bias, residual and activation, in this order, from the nodes behind a product."""
    op = node.op
    x, w = node.inputs
    if len(w.shape) != 2 or (op.transpose_a and len(x.shape) > 1):
        return
    bias: Value | None = None
    residual: Value | None = None
    activation: Unary | None = None
    tail = node
    taken: list[Node] = []
    while activation is None:
        value = tail.outputs[0]
        reader = groups.sole_consumer(value)
        if reader is None or not groups.free(reader):
            break
        if type(reader.op) is Unary:
            activation = reader.op
        elif reader.op == Binary("add") and reader.outputs[0].type == value.type:
            other = reader.inputs[1] if reader.inputs[0] is value else reader.inputs[0]
            if other is value:
                break
            if bias is None and residual is None and same_shape(other.shape, value.shape[-1:]):
                bias = other
            elif residual is None and same_shape(other.shape, value.shape):
                residual = other
            else:
                break
        else:
            break
        taken.append(tail)
        tail = reader
    if tail is node:
        return
    groups.gone.update(taken)
    extras = [value for value in (bias, residual) if value is not None]
    fused = Dense(op.transpose_b, bias is not None, residual is not None, activation)
    groups.replaced[tail] = (fused, (x, w, *extras), _paths((*taken, tail)))


def _partner(reader: Node, value: Value) -> Value | None:
    """The other operand of an op of two; None where both are `value`, or the result is larger."""
    other = reader.inputs[1] if reader.inputs[0] is value else reader.inputs[0]
    same = same_shape(reader.outputs[0].shape, value.shape)
    return other if other is not value and same else None


def _grow_integer(node: Node, groups: _Groups) -> None:
    """Takes what turns sums of bytes into floats: Cast, Mul, and Add and an activation behind them.

    The order of roundings stays: the sum, its product by the scale, the sum with the bias.
    """
    op = node.op
    if not isinstance(op, IntegerMatMul) or op.scale:
        return
    cast = groups.sole_consumer(node.outputs[0])
    if cast is None or cast.op != Cast(DType.float32):
        return
    value = cast.outputs[0]
    scaled = groups.sole_consumer(value)
    if scaled is None or scaled.op != Binary("mul") or not groups.free(scaled):
        return
    scale = _partner(scaled, value)
    types = [one.type for one in node.inputs]
    grown = replace(op, scale=True)
    if scale is None or not grown.takes("scale", scale.shape, types):
        return
    taken, tail, extras = [node, cast], scaled, [scale]
    reader = groups.sole_consumer(tail.outputs[0])
    if reader is not None and groups.free(reader) and reader.op == Binary("add"):
        bias = _partner(reader, tail.outputs[0])
        if bias is not None and grown.takes("bias", bias.shape, types):
            taken.append(tail)
            tail, grown = reader, replace(grown, bias=True)
            extras.append(bias)
            reader = groups.sole_consumer(tail.outputs[0])
    if reader is not None and groups.free(reader) and type(reader.op) is Unary:
        taken.append(tail)
        tail, grown = reader, replace(grown, activation=reader.op)
    groups.gone.update(taken)
    groups.replaced[tail] = (grown, (*node.inputs, *extras), _paths((*taken, tail)))


def _grow_chain(tail: Node, groups: _Groups, order: dict[Node, int], registers: int) -> None:
    """Takes elementwise producers into the group of `tail` while all their readers are inside.

    Latest first, so that a producer is looked at when all its readers have been decided on.
    """
    shape = tail.outputs[0].shape
    members = {tail}
    operands = set(tail.inputs)
    waiting: list[tuple[int, int]] = []
    nodes = groups.graph.nodes

    def enqueue(values: Sequence[Value]) -> None:
        for value in values:
            if type(value) is Result:
                position = order[value.node]
                heappush(waiting, (-position, position))

    enqueue(tail.inputs)
    while waiting:
        producer = nodes[heappop(waiting)[1]]
        if producer in members:
            continue
        value = producer.outputs[0]
        if (
            not isinstance(producer.op, Elementwise)
            or not groups.free(producer)
            or not same_shape(value.shape, shape)
            or value in groups.roots
            or not members.issuperset(groups.consumers[value])
        ):
            continue
        grown = (operands - {value}).union(producer.inputs)
        if len(grown) + len(members) + 1 > registers:
            continue
        members.add(producer)
        operands = grown
        enqueue(producer.inputs)
    if len(members) == 1:
        return
    ordered = sorted(members, key=order.__getitem__)
    groups.gone.update(ordered[:-1])
    groups.replaced[tail] = (*_chain(ordered), _paths(ordered))


def _paths(members: Sequence[Node]) -> str:
    """Where all of a group come from: `fc1 + act`, each place once and in order."""
    return " + ".join(dict.fromkeys(node.path for node in members if node.path))


def _chain(members: Sequence[Node]) -> tuple[Op, tuple[Value, ...]]:
    """The members' code one after the other, on registers: operands first, in order of use."""
    inside = {node.outputs[0] for node in members}
    operands = dict.fromkeys(
        value for node in members for value in node.inputs if value not in inside
    )
    register: dict[Value, int] = {value: number for number, value in enumerate(operands)}
    code: list[Instruction] = []
    for node in members:
        local = [register[value] for value in node.inputs]
        for instruction in node.op.code([value.type for value in node.inputs]):
            args = tuple(local[arg] for arg in instruction.args)
            local.append(len(operands) + len(code))
            code.append(instruction._replace(args=args))
        register[node.outputs[0]] = len(operands) + len(code) - 1
    return Chain(tuple(code)), tuple(operands)
