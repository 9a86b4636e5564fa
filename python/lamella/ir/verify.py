# SPDX-License-Identifier: Apache-2.0
"""The invariants of a graph; broken ones raise AssertionError with the line of the listing.

Run after every pass in tests and in debug mode.
"""

from __future__ import annotations

from lamella.ir.graph import Constant, Folded, Graph, Input, Node, Parameter, Result, Value
from lamella.ir.show import show_node
from lamella.ir.types import DType, TensorType

__all__ = ["verify"]


def verify(graph: Graph) -> Graph:
    """Gives the graph back if it keeps all rules."""
    inputs = set(graph.inputs)
    assert len(inputs) == len(graph.inputs), "an input is listed twice"
    seen: set[Value] = set()
    for node in graph.nodes:
        for value in node.inputs:
            _verify_value(value, inputs, seen, node)
        types = node.op.infer([value.type for value in node.inputs])
        found = tuple(value.type for value in node.outputs)
        assert types == found, f"types are {found}, the op infers {types}: {show_node(node)}"
        for index, value in enumerate(node.outputs):
            assert (value.node, value.index) == (node, index), (
                f"an output does not point back: {show_node(node)}"
            )
            assert value not in seen, f"a node is listed twice: {show_node(node)}"
            seen.add(value)
    for value in graph.roots():
        _verify_value(value, inputs, seen, None)
    for source, value in graph.updates:
        expected = TensorType(source.memory.shape, DType.stored(source.memory.dtype))
        assert value.type == expected, f"update of {source.name}: {value.type} into {expected}"
    return graph


def _verify_value(value: Value, inputs: set[Input], seen: set[Value], reader: Node | None) -> None:
    where = "a root" if reader is None else show_node(reader)
    if isinstance(value, Result):
        assert value in seen, f"a value is used before it is made: {where}"
    elif isinstance(value, Input):
        assert value in inputs, f"an input of another graph: {where}"
    elif isinstance(value, Constant):
        assert not value.array.flags.writeable, f"a constant can be written: {where}"
        assert value.array.flags.c_contiguous, f"a constant is not contiguous: {where}"
    elif isinstance(value, Folded):
        inner = value.graph
        assert not inner.inputs, f"a folded value has inputs: {where}"
        assert not inner.updates, f"a folded value updates: {where}"
        assert inner.parameters(), f"a folded value is made of constants alone: {where}"
        assert not any(node.op.effects for node in inner.nodes), f"it differs each time: {where}"
        verify(inner)
    else:
        assert isinstance(value, Parameter), f"unknown kind of value {value!r}: {where}"
