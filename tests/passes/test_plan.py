# SPDX-License-Identifier: Apache-2.0
"""The memory plan: no two live values overlap, memory is reused, outputs are computed in place."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphs import Weight, arrays_for, kind, run, traced
from lamella.functional import embedding
from lamella.ir.graph import Graph, GraphBuilder, Parameter, Value
from lamella.ir.types import TensorType
from lamella.ops.base import Op
from lamella.passes import optimize
from lamella.passes.plan import Plan, Region, plan
from lamella.runtime.emit import emit
from lamella.runtime.tensor import Tensor, cat
from lamella.runtime.trace import current


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
    """Pairs that share a range of the arena while both must hold.

    An op that overwrites reads its operand where it writes: there, and only there, the operand's
    last and the result's first position may be the same.
    """
    lives = lifetimes(graph)
    placed = [v for v in lives if memory.places[v].region is Region.ARENA]
    for number, a in enumerate(placed):
        for b in placed[:number]:
            first, second = sorted((a, b), key=lambda v: lives[v])
            start, end = lives[second][0], lives[first][1]
            if start > end or memory.places[a] != memory.places[b]:
                continue
            node = graph.nodes[start]
            if start > end - 1 and node.op.overwrites and second in node.outputs:
                continue
            yield a, b


def check(graph: Graph, memory: Plan) -> None:
    assert not list(overlaps(graph, memory))
    for value in lifetimes(graph):
        place = memory.places[value]
        if place.region is Region.ARENA:
            assert memory.ranges[place.number] == value.type.nbytes


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


@given(graphs(), st.booleans())
def test_live_buffers_never_overlap(graph: Graph, optimized: bool) -> None:
    graph = optimize(graph) if optimized else graph
    check(graph, plan(graph))


@given(graphs())
def test_optimized_programs_give_the_same_bits(graph: Graph) -> None:
    arrays = [np.linspace(-1, 1, 16, dtype=np.float32).reshape(v.shape) for v in graph.inputs]
    for before, after in zip(run(graph, arrays), run(optimize(graph), arrays), strict=True):
        assert before.tobytes() == after.tobytes()


def test_memory_is_reused() -> None:
    def body(x):
        for _ in range(20):
            x = (x @ x).T
        return x

    graph = traced(body, kind(16, 16))
    assert emit(graph).arena_bytes == 2 * 16 * 16 * 4


def test_elementwise_ops_write_over_what_dies() -> None:
    graph = traced(lambda x: (x.T.exp() + 1).T, kind(16, 16))
    memory = plan(graph)
    first, second, third, last = (node.outputs[0] for node in graph.nodes)
    assert memory.places[first] == memory.places[second] == memory.places[third]
    assert memory.places[last].region is Region.OUTPUT
    assert memory.ranges == (16 * 16 * 4,)


def test_inputs_and_parameters_are_never_written() -> None:
    w = Weight(np.ones((4, 4), np.float32))
    graph = traced(lambda x: ((x.exp() + w).tanh(), x + 1), kind(4, 4))
    memory = plan(graph)
    assert all(value not in memory.places for value in (*graph.inputs, *graph.parameters()))
    assert all(place.region is not Region.LEAF for place in memory.places.values())


def test_outputs_are_computed_in_place() -> None:
    graph = traced(lambda x: (x.exp().reshape(16), x.tanh()), kind(4, 4))
    memory = plan(graph)
    assert memory.ranges == ()
    assert memory.copies == ()
    assert [memory.places[value].number for value in graph.outputs] == [0, 1]


def test_what_cannot_be_computed_in_place_is_copied() -> None:
    w = Weight(np.ones(3, np.float32))

    def body(x):
        y = x.exp()
        return x, x.reshape(3, 1), y, y, y.reshape(3, 1), w, np.zeros(2, np.float32)

    graph = traced(body, kind(3))
    memory = plan(graph)
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
    memory = plan(graph)
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
        emit(graph)


@st.composite
def updating(draw: st.DrawFn) -> tuple[Graph, list[Weight]]:
    """Updates that read, share and overtake each other's storage in every way."""
    weights = [Weight(np.linspace(i, i + 1, 4, dtype=np.float32), f"w{i}") for i in range(3)]
    steps = draw(
        st.lists(
            st.tuples(st.integers(0, 5), st.integers(0, 9), st.integers(0, 9)),
            min_size=1,
            max_size=8,
        )
    )
    targets = draw(st.lists(st.integers(0, 20), min_size=1, max_size=3))
    wanted = draw(st.lists(st.integers(0, 20), max_size=2))

    # Drawn here: who watches what a trace takes of Python may run its body twice.
    copied = [draw(st.booleans()) for _ in weights]

    def body(x: Tensor) -> list[Tensor]:
        made = [x, *(w + 0.0 if one else w for w, one in zip(weights, copied, strict=True))]
        for action, first, second in steps:
            a, b = made[first % len(made)], made[second % len(made)]
            if action < 3:
                made.append(a + b)
            elif action == 3:
                made.append(a.reshape(2, 2).T.reshape(4))
            elif action == 4:
                made.append(a.reshape(2, 2).reshape(4))
            else:
                made.append(a.tanh())
        for weight, index in zip(weights, targets, strict=False):
            current().update(weight, made[index % len(made)])
        return [made[index % len(made)] for index in wanted]

    return traced(body, kind(4)), weights


@given(updating(), st.booleans())
def test_updates_see_the_old_values_and_outputs_too(
    case: tuple[Graph, list[Weight]], optimized: bool
) -> None:
    graph, _ = case
    graph = optimize(graph) if optimized else graph
    x = np.linspace(-1, 1, 4, dtype=np.float32)
    plain = Graph(graph.inputs, graph.roots(), graph.nodes)
    expected = run(plain, [x])
    got = run(graph, [x])
    for array, value in zip(got, expected, strict=False):
        assert array.tobytes() == value.tobytes()
    for (source, _), value in zip(graph.updates, expected[len(got) :], strict=True):
        assert source.array.tobytes() == value.tobytes()
        assert source.version[0] == 1


def stored(graph: Graph) -> list[str]:
    """Names of the sources whose update is computed where they lie."""
    places = plan(graph).places
    found = []
    for source, value in graph.updates:
        place = places.get(value)
        if place is not None and place.leaf is not None:
            assert isinstance(place.leaf, Parameter)
            if place.leaf.source is source:
                found.append(source.name)
    return found


def a_step(body) -> tuple[Graph, Weight, Weight]:
    """An optimised graph in which `body(x, a, b)` gives the new a, the new b, and an output."""
    a, b = (Weight(np.ones(4, np.float32), name) for name in "ab")

    def whole(x):
        first, second, output = body(x, a, b)
        current().update(a, first)
        current().update(b, second)
        return output

    return optimize(traced(whole, kind(4))), a, b


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (lambda x, a, b: (a + x, b * 2, x), ["a", "b"]),
        # The old a is read after its update in the graph's order: the update waits.
        (lambda x, a, b: (a + x, b * 2, (a.reshape(2, 2).T @ x.reshape(2, 2))), ["a", "b"]),
        # The new b is made of the new a, which lies where a was.
        (lambda x, a, b: ((new := a + x), b - new, x), ["a", "b"]),
        # Each wants the other's old value: one of them has to be copied.
        (lambda x, a, b: (a + b, b - a, x), ["a"]),
        # The old or the new value is an output.
        (lambda x, a, b: (a + x, b * 2, a), ["b"]),
        (lambda x, a, b: ((new := a + x), b * 2, new), ["b"]),
        # The old value is what another one becomes.
        (lambda x, a, b: (a + x, a, x), []),
        # No operand of its node is the parameter itself, or the op reads more than its element.
        (lambda x, a, b: (x + 1, (b.reshape(2, 2) @ x.reshape(2, 2)).reshape(4), x), []),
        # What is made of the new a reads more than its element, but cannot fail.
        (
            lambda x, a, b: (
                (new := a + x),
                b * (new.reshape(2, 2) @ new.reshape(2, 2)).reshape(4),
                new.softmax(0),
            ),
            ["a", "b"],
        ),
        # Entries are put where a and b lie, the indices are judged before.
        (
            lambda x, a, b: (
                (new := a.index_copy(0, np.array([1]), x[:1])),
                (other := b.index_copy(0, np.array([2]), x[:1])),
                new @ other,
            ),
            ["a", "b"],
        ),
        # What is made of the new a could fail.
        (
            lambda x, a, b: (
                (new := a + x),
                embedding(np.zeros(4, np.int64), new.reshape(4, 1)).reshape(4) + b,
                x,
            ),
            ["b"],
        ),
    ],
)
def test_where_updates_are_computed(body, expected) -> None:
    graph, a, b = a_step(body)
    assert stored(graph) == expected
    x = np.arange(4, dtype=np.float32)
    values = run(Graph(graph.inputs, graph.roots(), graph.nodes), [x])
    run(graph, [x])
    assert np.array_equal(a.array, values[-2])
    assert np.array_equal(b.array, values[-1])


def test_writers_run_last() -> None:
    graph, *_ = a_step(lambda x, a, b: (a + x, b * 2, (x.reshape(2, 2) @ a.reshape(2, 2))))
    memory = plan(graph)
    assert set(memory.nodes) == set(graph.nodes)
    assert memory.nodes[-2:] == memory.late
    assert {str(node.op) for node in memory.late} == {"add", "mul"}
    assert emit(graph).steps[-2:] == ["elementwise", "elementwise"]


class Momentum(Op):
    """(p, g, v) -> (p', v', what nobody may want): an op as optimisers have them."""

    optional_outputs = True

    def infer(self, inputs: list[TensorType], /) -> tuple[TensorType, ...]:
        return (inputs[0],) * 3

    def overwrites_operand(self, output: int, /) -> int | None:
        return (0, 2, None)[output]


def test_ops_with_several_outputs_say_what_each_may_overwrite() -> None:
    p, v = (Weight(np.ones(4, np.float32), name) for name in "pv")
    builder = GraphBuilder()
    x = builder.input(kind(4), "x")
    made = builder.apply(Momentum(), (builder.parameter(p), x, builder.parameter(v)))
    graph = builder.build([], [(p, made[0]), (v, made[1])])
    assert stored(graph) == ["p", "v"]
    memory = plan(graph)
    assert memory.places[made[2]].region is Region.NOWHERE
    assert memory.ranges == ()
    swapped = builder.build([], [(p, made[1]), (v, made[0])])
    assert stored(swapped) == []
    wanted = builder.build([made[2]], [(p, made[0])])
    places = plan(wanted).places
    assert places[made[2]].region is Region.OUTPUT
    assert places[made[1]].region is Region.ARENA or places[made[1]].region is Region.NOWHERE


def test_several_outputs_never_share_one_operand() -> None:
    class Twice(Op):
        overwrites = True

        def infer(self, inputs: list[TensorType], /) -> tuple[TensorType, ...]:
            return (inputs[0], inputs[0])

    builder = GraphBuilder()
    x = builder.input(kind(4), "x")
    (y,) = builder.apply(optimize(traced(lambda x: x.exp(), kind(4))).nodes[0].op, (x,))
    first, second = builder.apply(Twice(), (y,))
    (third,) = builder.apply(first.node.op, (second,))[:1]
    memory = plan(
        builder.build(
            [], [(Weight(np.ones(4, np.float32)), first), (Weight(np.ones(4, np.float32)), third)]
        ),
    )
    assert memory.places[first] == memory.places[y] != memory.places[second]


def test_updated_weights_are_no_constants() -> None:
    """They would be packed anew, alone, before every run."""
    w = Weight(np.ones((32, 32), np.float32), "w")

    def body(x):
        current().update(w, w * 0.5)
        return x @ w

    x = np.ones((2, 32), np.float32)
    program = emit(optimize(traced(body, x)))
    assert [program.run([x])[0][0, 0] for _ in range(3)] == [32, 16, 8]
