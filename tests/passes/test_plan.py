# SPDX-License-Identifier: Apache-2.0
"""The memory plan: no two live values overlap, memory is reused, outputs are computed in place."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphs import Weight, arrays_for, kind, run, traced
from lamella.ir.graph import Graph, Node, Value
from lamella.passes import optimize
from lamella.passes.plan import Plan, Region, plan
from lamella.runtime.tensor import Tensor, cat


def no_scratch(node: Node) -> int:
    return 0


def root_of(graph: Graph) -> dict[Value, Value]:
    root: dict[Value, Value] = {}
    for node in graph.nodes:
        for value in node.outputs:
            source = node.inputs[0] if node.op.view else value
            root[value] = root.get(source, source)
    return root


def lifetimes(graph: Graph) -> dict[Value, tuple[int, int]]:
    """For every result with memory of its own: first and last position at which it must hold."""
    root = root_of(graph)
    lives: dict[Value, tuple[int, int]] = {}
    for position, node in enumerate(graph.nodes):
        for value in (*node.inputs, *node.outputs):
            first = root.get(value, value)
            if first in root:
                lives[first] = (lives.get(first, (position, 0))[0], position)
    for value in graph.roots():
        first = root.get(value, value)
        if first in lives:
            lives[first] = (lives[first][0], len(graph.nodes))
    return lives


def overlaps(graph: Graph, memory: Plan) -> Iterator[tuple[Value, Value]]:
    """Pairs in the arena that share bytes while both must hold.

    An op that overwrites reads its operand where it writes: there, and only there, the operand's
    last and the result's first position may be the same.
    """
    lives = lifetimes(graph)
    placed = [v for v in lives if memory.places[v].region is Region.ARENA]
    for number, a in enumerate(placed):
        for b in placed[:number]:
            first, second = sorted((a, b), key=lambda v: lives[v])
            start, end = lives[second][0], lives[first][1]
            if start > end:
                continue
            node = graph.nodes[start]
            same = memory.places[a] == memory.places[b] and a.type.nbytes == b.type.nbytes
            if start == end and same and node.op.overwrites and second in node.outputs:
                continue
            low, high = sorted((a, b), key=lambda v: memory.places[v].number)
            if memory.places[low].number + low.type.nbytes > memory.places[high].number:
                if low.type.nbytes and high.type.nbytes:
                    yield a, b


def check(graph: Graph, memory: Plan) -> None:
    assert not list(overlaps(graph, memory))
    for value in lifetimes(graph):
        place = memory.places[value]
        if place.region is Region.ARENA:
            assert place.number % 64 == 0
            assert place.number + value.type.nbytes <= memory.arena_bytes


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    """Networks of every sharing pattern: chains, branches, views, several outputs."""
    steps = draw(
        st.lists(
            st.tuples(st.integers(0, 7), st.integers(0, 9), st.integers(0, 9)),
            min_size=1,
            max_size=14,
        )
    )
    wanted = draw(st.lists(st.integers(0, 30), min_size=1, max_size=4))

    def body(x: Tensor, y: Tensor) -> list[Tensor]:
        made = [x, y]
        for action, first, second in steps:
            a, b = made[first % len(made)], made[second % len(made)]
            if action == 0:
                made.append(a.exp())
            elif action == 1:
                made.append(a.reshape(16) if a.shape == (4, 4) else a.reshape(4, 4))
            elif action == 2:
                made.append(a.reshape(4, 4) @ b.reshape(4, 4))
            elif action == 3:
                made.append(a.reshape(16) + b.reshape(16))
            elif action == 4:
                made.append(a.reshape(4, 4).softmax())
            elif action == 5:
                made.append(cat([a.reshape(16), b.reshape(16)])[::2])
            elif action == 6:
                made.append(a.reshape(4, 4).T)
            else:
                made.append(a.reshape(4, 4).sum(1, True).expand(4, 4))
        return [made[index % len(made)] for index in wanted]

    return traced(body, kind(4, 4), kind(16))


@given(graphs(), st.integers(0, 3), st.booleans())
def test_live_buffers_never_overlap(graph: Graph, scratch: int, optimized: bool) -> None:
    graph = optimize(graph) if optimized else graph
    memory = plan(graph, lambda node: 100 * scratch)
    check(graph, memory)
    # Scratch is apart from everything that lives while its node runs.
    lives = lifetimes(graph)
    for node, offset in memory.scratch.items():
        position = graph.nodes.index(node)
        for value, (first, last) in lives.items():
            place = memory.places[value]
            if place.region is Region.ARENA and first <= position <= last:
                end = place.number + value.type.nbytes
                assert end <= offset or offset + 100 * scratch <= place.number


@given(graphs())
def test_optimized_programs_give_the_same_bits(graph: Graph) -> None:
    arrays = [np.linspace(-1, 1, 16, dtype=np.float32).reshape(v.shape) for v in graph.inputs]
    for before, after in zip(run(graph, arrays), run(optimize(graph), arrays), strict=True):
        assert before.tobytes() == after.tobytes()


@given(graphs())
def test_guard_bytes_surround_every_buffer(graph: Graph) -> None:
    memory = plan(graph, no_scratch, guard=64)
    ranges = sorted(memory.reserved)
    end = 0
    for offset, nbytes in ranges:
        assert offset >= end + 64
        end = offset + nbytes + 64
    assert end == memory.arena_bytes


def test_memory_is_reused() -> None:
    def body(x):
        for _ in range(20):
            x = (x @ x).T
        return x

    graph = traced(body, kind(16, 16))
    assert plan(graph, no_scratch).arena_bytes == 2 * 16 * 16 * 4


def test_elementwise_ops_write_over_what_dies() -> None:
    graph = traced(lambda x: (x.T.exp() + 1).T, kind(16, 16))
    memory = plan(graph, no_scratch)
    first, second, third, last = (node.outputs[0] for node in graph.nodes)
    assert memory.places[first] == memory.places[second] == memory.places[third]
    assert memory.places[last].region is Region.OUTPUT
    assert memory.arena_bytes == 16 * 16 * 4


def test_inputs_and_parameters_are_never_written() -> None:
    w = Weight(np.ones((4, 4), np.float32))
    graph = traced(lambda x: ((x.exp() + w).tanh(), x + 1), kind(4, 4))
    memory = plan(graph, no_scratch)
    assert all(value not in memory.places for value in (*graph.inputs, *graph.parameters()))
    assert all(place.region is not Region.LEAF for place in memory.places.values())


def test_outputs_are_computed_in_place() -> None:
    graph = traced(lambda x: (x.exp().reshape(16), x.tanh()), kind(4, 4))
    memory = plan(graph, no_scratch)
    assert memory.arena_bytes == 0
    assert memory.copies == ()
    assert [memory.places[value].number for value in graph.outputs] == [0, 1]


def test_what_cannot_be_computed_in_place_is_copied() -> None:
    w = Weight(np.ones(3, np.float32))

    def body(x):
        y = x.exp()
        return x, x.reshape(3, 1), y, y, y.reshape(3, 1), w, np.zeros(2, np.float32)

    graph = traced(body, kind(3))
    memory = plan(graph, no_scratch)
    assert [copy.output for copy in memory.copies] == [0, 1, 3, 4, 5, 6]
    (x,) = arrays_for(graph, np.random.default_rng(0))
    outputs = run(graph, [x])
    for output, expected in zip(outputs, [x, x.reshape(3, 1), *[outputs[2]] * 2], strict=False):
        assert np.array_equal(output, expected)
    assert np.array_equal(outputs[4], outputs[2].reshape(3, 1))
    assert np.array_equal(outputs[5], np.ones(3))
    assert np.array_equal(outputs[6], np.zeros(2))
    assert not any(np.shares_memory(output, x) for output in outputs)


def test_views_of_inputs_are_the_inputs() -> None:
    graph = traced(lambda x: x.reshape(16).exp(), kind(4, 4))
    memory = plan(graph, no_scratch)
    place = memory.places[graph.nodes[0].outputs[0]]
    assert place.region is Region.LEAF
    assert place.leaf is graph.inputs[0]


def test_empty_values_have_a_place() -> None:
    graph = traced(lambda x: (x.exp() @ x.T).sum(), kind(0, 3))
    (total,) = run(graph, [np.zeros((0, 3), np.float32)])
    assert total == 0.0


def test_arenas_beyond_memory_are_refused() -> None:
    graph = traced(lambda x: (x.T.exp() + x.T.tanh().T.T).T, kind(2**30, 2**30 - 1))
    with pytest.raises(MemoryError, match="arena is larger than any memory"):
        plan(graph, no_scratch)
