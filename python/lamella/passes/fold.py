# SPDX-License-Identifier: Apache-2.0
"""Fold: what depends on parameters and constants alone becomes a leaf, computed once per version.

A mask on a weight, a folded norm, a transposed or widened weight: the nodes move into a graph of
their own, and a Folded leaf stands where their result is read. Views and expanded values are not
kept: what they show is. Nothing is folded where a program learns or has no inputs, nor what is made
of a source that it updates or whose changes nobody counts, nor what is far larger than its sources.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lamella.ir.graph import (
    Constant,
    Folded,
    Graph,
    GraphBuilder,
    Node,
    Parameter,
    Result,
    Value,
    formulas,
)
from lamella.ops.base import Op
from lamella.ops.shape import Expand
from lamella.passes.fuse import fuse

__all__ = ["Known", "fold"]

# What a folded value may take: so many times its sources (truth values may become float64), or so
# many bytes.
_GROWTH, _SMALL_BYTES = 8, 1 << 20


class Known:
    """The values of a graph that depend on parameters and constants alone and may be kept."""

    __slots__ = ("_made_of", "_updated", "foldable")

    def __init__(self, graph: Graph) -> None:
        self._updated = {id(source) for source, _ in graph.updates}
        # Where a program learns, whatever is known now is so for one call. Without inputs, as in a
        # function of a parameter, all of it would be kept, its result too.
        once = not graph.inputs or any(node.op.learns for node in graph.nodes)
        # What each of them is made of: bytes by source.
        self._made_of: dict[Value, dict[int, int]] = {}
        # For each node.
        self.foldable = tuple([not once and self._add(graph, node) for node in graph.nodes])

    def __contains__(self, value: Value) -> bool:
        return self._sources(value) is not None

    def _sources(self, value: Value) -> dict[int, int] | None:
        if isinstance(value, Parameter):
            counted = value.source.version is not None and id(value.source) not in self._updated
            return {id(value.source): value.type.nbytes} if counted else None
        if isinstance(value, Constant):
            return {} if value.extent is None else None
        return self._made_of.get(value)

    def _add(self, graph: Graph, node: Node) -> bool:
        if node.op.effects or not node.inputs:
            return False
        read: dict[int, int] = {}
        # Most nodes end at their first operand.
        for value in node.inputs:
            sources = self._sources(value)
            if sources is None:
                return False
            read.update(sources)
        if not _may_keep(graph, node, read):
            return False
        self._made_of.update(dict.fromkeys(node.outputs, read))
        return True


def _may_keep(graph: Graph, node: Node, read: dict[int, int]) -> bool:
    if graph.extents is not None:
        shapes = tuple(value.shape for value in node.outputs)
        if formulas(node.op) is not None or formulas(shapes) is not None:
            return False
    limit = max(_SMALL_BYTES, _GROWTH * sum(read.values()))
    if sum(value.type.nbytes for value in node.outputs) > limit:
        return False
    return not node.op.raises or _cannot_fail(node)


def _cannot_fail(node: Node) -> bool:
    """Whether an op that looks up by index finds what it looks for, whatever the parameters are."""
    operands = []
    for value in node.inputs:
        if isinstance(value, Constant):
            operands.append(value.array)
        elif value.dtype.is_floating:
            operands.append(np.broadcast_to(np.zeros((), value.dtype.numpy), value.shape))
        else:
            return False
    try:
        node.op.reference(operands)
    except IndexError:
        return False
    return True


def fold(graph: Graph, which: Sequence[bool], registers: int) -> Graph:
    """An equal graph in which marked nodes are leaves. which: `Known.foldable`, or fewer."""
    order = enumerate(zip(graph.nodes, which, strict=True))
    marked = {node: position for position, (node, one) in order if one}
    if not marked:
        return graph
    builder = GraphBuilder()
    builder.adopt(graph)
    new: dict[Value, Value] = {}

    def place(value: Value) -> Value:
        if value not in new and isinstance(value, Result):
            node = value.node
            if _is_shown(node.op):
                inputs = tuple(map(place, node.inputs))
                (new[value],) = builder.add(node.op, inputs, (value.type,), node.path)
            elif _reads_parameters(value, marked):
                new[value] = Folded(fuse(_alone(value, marked), registers))
            else:
                inputs = tuple(map(place, node.inputs))
                types = tuple(output.type for output in node.outputs)
                placed = builder.add(node.op, inputs, types, node.path)
                new.update(zip(node.outputs, placed, strict=True))
        return new.get(value, value)

    for node in graph.nodes:
        if node in marked:
            continue
        inputs = tuple(map(place, node.inputs))
        types = tuple(value.type for value in node.outputs)
        placed = builder.add(node.op, inputs, types, node.path)
        new.update(zip(node.outputs, placed, strict=True))
    return builder.build(
        [place(value) for value in graph.outputs],
        [(source, place(value)) for source, value in graph.updates],
    )


def _is_shown(op: Op) -> bool:
    """Whether an op shows its operand in another form, without which steps can read it."""
    return op.view or type(op) is Expand


def _members(value: Result, marked: dict[Node, int]) -> set[Node]:
    """The marked nodes that it is made of."""
    found: set[Node] = set()
    pending = [value.node]
    while pending:
        node = pending.pop()
        if node in marked and node not in found:
            found.add(node)
            pending += [one.node for one in node.inputs if isinstance(one, Result)]
    return found


def _alone(value: Result, marked: dict[Node, int]) -> Graph:
    """The graph that makes one value and has no inputs."""
    builder = GraphBuilder()
    new: dict[Value, Value] = {}
    for node in sorted(_members(value, marked), key=marked.__getitem__):
        inputs = tuple([new.get(one, one) for one in node.inputs])
        types = tuple(output.type for output in node.outputs)
        new.update(zip(node.outputs, builder.add(node.op, inputs, types, node.path), strict=True))
    return builder.build([new[value]])


def _reads_parameters(value: Result, marked: dict[Node, int]) -> bool:
    nodes = _members(value, marked)
    return any(isinstance(one, Parameter) for node in nodes for one in node.inputs)
