# SPDX-License-Identifier: Apache-2.0
"""Every broken invariant of a graph is caught and named."""

from __future__ import annotations

import numpy as np
import pytest

from graphs import F64, Weight, kind, traced
from lamella.ir.graph import Constant, Graph, Input, Node
from lamella.ir.verify import verify
from lamella.ops.elementwise import unary


def chain() -> Graph:
    return traced(lambda x: (x * 2 + 1).relu(), kind(3))


def test_good_graphs_pass() -> None:
    graph = chain()
    assert verify(graph) is graph


def test_order() -> None:
    graph = chain()
    broken = Graph(graph.inputs, graph.outputs, tuple(reversed(graph.nodes)))
    with pytest.raises(AssertionError, match="used before it is made"):
        verify(broken)


def test_missing_node() -> None:
    graph = chain()
    with pytest.raises(AssertionError, match="used before it is made"):
        verify(Graph(graph.inputs, graph.outputs, graph.nodes[:-1]))


def test_foreign_input() -> None:
    graph = chain()
    stranger = Input(kind(3), "stranger")
    with pytest.raises(AssertionError, match="input of another graph"):
        verify(Graph((stranger,), graph.outputs, graph.nodes))


def test_repeated_input() -> None:
    graph = chain()
    with pytest.raises(AssertionError, match="input is listed twice"):
        verify(Graph(graph.inputs * 2, graph.outputs, graph.nodes))


def test_repeated_node() -> None:
    graph = chain()
    nodes = (*graph.nodes[:1], *graph.nodes)
    with pytest.raises(AssertionError, match=r"node is listed twice.*mul"):
        verify(Graph(graph.inputs, graph.outputs, nodes))


def test_wrong_type() -> None:
    x = Input(kind(3), "x")
    node = Node(unary("relu"), (x,), (kind(4),), "layer")
    with pytest.raises(AssertionError, match=r"the op infers .*relu.*# layer"):
        verify(Graph((x,), node.outputs, (node,)))


def test_output_of_another_node() -> None:
    graph = chain()
    first, second = graph.nodes[:2]
    first.outputs[0].node = second
    with pytest.raises(AssertionError, match="does not point back"):
        verify(graph)


def test_writable_constant() -> None:
    constant = Constant(np.ones(3, np.float32))
    constant.array = np.ones(3, np.float32)
    node = Node(unary("relu"), (constant,), (kind(3),), "")
    with pytest.raises(AssertionError, match="constant can be written"):
        verify(Graph((), node.outputs, (node,)))


def test_update_of_another_type() -> None:
    x = Input(kind(3, dtype=F64), "x")
    with pytest.raises(AssertionError, match="update of weight"):
        verify(Graph((x,), (), (), ((Weight(np.zeros(3, np.float32)), x),)))
