# SPDX-License-Identifier: Apache-2.0
"""The builder: equal nodes are one, effects stay, dead nodes go, leaves are shared."""

from __future__ import annotations

import numpy as np
import pytest

from graphs import Weight, kind
from lamella.errors import ShapeError
from lamella.ir.graph import Constant, GraphBuilder
from lamella.ops.elementwise import Binary, unary
from lamella.ops.random import Dropout


def test_equal_nodes_are_one() -> None:
    builder = GraphBuilder()
    x = builder.input(kind(3), "x")
    first = builder.apply(unary("relu"), [x])
    assert builder.apply(unary("relu"), [x]) == first
    assert builder.apply(unary("tanh"), [x]) != first
    assert len(builder.build(first).nodes) == 1


def test_zero_and_negative_zero_stay_apart() -> None:
    builder = GraphBuilder()
    x = builder.input(kind(3), "x")
    one = builder.apply(unary("hardtanh", 0.0, 1.0), [x])
    other = builder.apply(unary("hardtanh", -0.0, 1.0), [x])
    assert one != other
    a, b = builder.constant(np.float32(0.0)), builder.constant(np.float32(-0.0))
    assert a is not b


def test_effects_are_never_merged() -> None:
    builder = GraphBuilder()
    x = builder.input(kind(3), "x")
    first = builder.apply(Dropout(0.5, 0), [x])
    assert builder.apply(Dropout(0.5, 0), [x]) != first


def test_constants_are_shared_by_content_and_read_only() -> None:
    builder = GraphBuilder()
    a = builder.constant(np.arange(3.0))
    assert builder.constant(np.arange(3.0)) is a
    assert builder.constant(np.arange(3, dtype=np.int64)) is not a
    assert not a.array.flags.writeable
    assert Constant(np.asfortranarray(np.ones((2, 3)))).array.flags.c_contiguous
    assert Constant(np.float32(2.0) * np.ones(())).type.shape == ()


def test_parameters_are_one_leaf_per_source() -> None:
    builder = GraphBuilder()
    weight, twin = Weight(np.ones(2)), Weight(np.ones(2))
    leaf = builder.parameter(weight)
    assert builder.parameter(weight) is leaf
    assert builder.parameter(twin) is not leaf
    x = builder.input(kind(2, dtype=leaf.dtype), "x")
    total = builder.apply(Binary("add"), [x, leaf])
    graph = builder.build([*total, builder.parameter(twin)])
    assert [value.source for value in graph.parameters()] == [weight, twin]


def test_dead_nodes_are_left_out() -> None:
    builder = GraphBuilder()
    x = builder.input(kind(3), "x")
    y = builder.apply(unary("relu"), [x])
    builder.apply(unary("tanh"), y)
    graph = builder.build(y)
    assert [node.op for node in graph.nodes] == [unary("relu")]
    assert graph.inputs == (x,)


def test_updates_keep_their_nodes_alive() -> None:
    builder = GraphBuilder()
    x = builder.input(kind(3), "x")
    state = Weight(np.zeros(3, np.float32))
    (y,) = builder.apply(unary("relu"), [x])
    graph = builder.build([x], [(state, y)])
    assert len(graph.nodes) == 1
    assert graph.roots() == (x, y)


def test_consumers_name_each_reader_once() -> None:
    builder = GraphBuilder()
    x = builder.input(kind(3), "x")
    (y,) = builder.apply(Binary("mul"), [x, x])
    graph = builder.build([y])
    assert graph.consumers() == {x: [y.node]}


def test_shapes_are_judged_when_placed() -> None:
    builder = GraphBuilder()
    x, y = builder.input(kind(3), "x"), builder.input(kind(4), "y")
    with pytest.raises(ShapeError, match=r"add: shapes do not broadcast; got x=\(3,\), y=\(4,\)"):
        builder.apply(Binary("add"), [x, y])
