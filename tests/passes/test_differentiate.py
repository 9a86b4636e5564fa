# SPDX-License-Identifier: Apache-2.0
"""Reverse mode on whole graphs: what is visited, what is added up, how cheap the backward is."""

from __future__ import annotations

import numpy as np
import pytest

from graphs import F32, F64, Weight, kind, ops, run
from lamella import _core
from lamella import functional as F
from lamella.errors import DTypeError, ShapeError, UnsupportedError
from lamella.ir.graph import Graph
from lamella.ir.types import DType
from lamella.ops.composites import reduce
from lamella.ops.elementwise import Binary, Chain, Instruction, unary
from lamella.passes import optimize
from lamella.passes.differentiate import differentiate
from lamella.passes.simplify import simplify
from lamella.runtime.tensor import Tensor
from lamella.runtime.trace import begin, scope


def graph_of(body, *types, wrt=None, keep=()) -> Graph:
    """Inputs of these types; outputs: the gradients of body's value, of all inputs by default."""
    with begin() as trace:
        inputs = [
            Tensor(trace.builder.input(type, f"x{number}"), trace)
            for number, type in enumerate(types)
        ]
        loss = body(*inputs)
        targets = inputs if wrt is None else wrt
        values = [target._value(trace) for target in targets]
        found = differentiate(trace.place, loss._value(trace), values)
        return trace.build([value for value in found if value is not None])


def test_uses_are_added_up(rng):
    x = rng.normal(size=(3, 4))
    graph = graph_of(lambda x: (x * x + x.exp() * x).sum(), kind(3, 4, dtype=F64))
    (dx,) = run(graph, [x])
    np.testing.assert_allclose(dx, 2 * x + np.exp(x) * (1 + x), rtol=1e-14)


def test_repeated_axes_are_summed(rng):
    a, b, c = rng.normal(size=(2, 3, 4)), rng.normal(size=(3, 1)), rng.normal(size=())
    types = [kind(*x.shape, dtype=F64) for x in (a, b, c)]
    graph = graph_of(lambda a, b, c: (a * b * c).sum(), *types)
    da, db, dc = run(graph, [a, b, c])
    np.testing.assert_allclose(da, np.broadcast_to(b * c, a.shape), rtol=1e-14)
    np.testing.assert_allclose(db, (a * c).sum((0, 2)).reshape(3, 1), rtol=1e-13)
    np.testing.assert_allclose(dc, (a * b).sum(), rtol=1e-13)
    # Axes that are no neighbours are summed one after the other, never permuted.
    assert not [op for op in ops(simplify(graph)) if op.startswith("permute")]


def test_parameters_shared_by_two_layers(rng):
    w = Weight(rng.normal(size=(5, 5)))
    x = rng.normal(size=(4, 5))
    graph = graph_of(lambda x: F.linear(F.linear(x, w), w).sum(), kind(4, 5, dtype=F64), wrt=[w])
    (dw,) = run(graph, [x])
    ones = np.ones((4, 5))
    want = ones.T @ (x @ w.array.T) + (ones @ w.array).T @ x
    np.testing.assert_allclose(dw, want, rtol=1e-13)


def test_what_does_not_matter_is_not_asked():
    """A fused op has no rule: beside the way it may stand, on the way it refuses."""
    with begin() as trace:
        x, z = (trace.builder.input(kind(3), name) for name in "xz")
        fused = trace.place(Chain((Instruction("exp", F32, (0,)),)), x)
        loss = reduce(trace.place, "sum", trace.place(Binary("mul"), fused, z))
        later = trace.place(unary("exp"), z)
        dz, none = differentiate(trace.place, loss, [z, later])
        assert dz.shape == (3,)
        assert none is None
        with pytest.raises(UnsupportedError, match="chain: a fused op has no gradient rule"):
            differentiate(trace.place, loss, [x])


def test_gradients_of_results_between():
    with begin() as trace:
        x = Tensor(trace.builder.input(kind(2, dtype=F64), "x"), trace)
        h = x.exp()
        loss = (h * h).sum()
        found = differentiate(trace.place, loss._value(trace), [h._value(trace)])
        graph = trace.build(found)
    np.testing.assert_allclose(run(graph, [np.array([0.0, 1.0])])[0], 2 * np.exp([0.0, 1.0]))


def test_the_number_itself(rng):
    with begin() as trace:
        x = Tensor(trace.builder.input(kind(dtype=F64), "x"), trace)
        value = x._value(trace)
        (dx,) = differentiate(trace.place, value, [value])
        assert float(dx.array) == 1.0
        assert differentiate(trace.place, value, []) == []


def test_masks_stop_gradients():
    with begin() as trace:
        x = Tensor(trace.builder.input(kind(3), "x"), trace)
        loss = (x > 0.0).float().sum()
        value = x._value(trace)
        assert differentiate(trace.place, loss._value(trace), [value]) == [None]


def test_deep_graphs_need_no_recursion():
    x = np.array([0.5, 1.0])

    def body(x):
        for _ in range(2000):
            x = x * 1.001 + 0.0
        return x.sum()

    graph = graph_of(body, kind(2, dtype=F64))
    (dx,) = run(graph, [x])
    np.testing.assert_allclose(dx, np.full(2, 1.001**2000), rtol=2001 * 2.0**-53)


def test_wide_graphs_are_visited_once():
    """2^60 paths, 60 nodes."""

    def body(x):
        for _ in range(60):
            x = x + x
        return x.sum()

    graph = graph_of(body, kind(2, dtype=F64))
    (dx,) = run(graph, [np.ones(2)])
    np.testing.assert_array_equal(dx, np.full(2, 2.0**60))


@pytest.mark.parametrize(
    ("type", "error"), [(kind(3), ShapeError), (kind(1), ShapeError), ("mask", DTypeError)]
)
def test_only_floating_numbers_are_differentiated(type, error):
    with begin() as trace:
        if type == "mask":
            x = Tensor(trace.builder.input(kind(), "x"), trace) > 0.0
        else:
            x = Tensor(trace.builder.input(type, "x"), trace)
        with pytest.raises(error, match=r"differentiate: only a number has gradients; got y="):
            differentiate(trace.place, x._value(trace), [])


def test_backward_nodes_belong_to_the_module_of_the_forward_node():
    w = Weight(np.ones((4, 4), np.float32))
    with begin() as trace:
        x = Tensor(trace.builder.input(kind(2, 4), "x"), trace)
        with scope("encoder"):
            h = F.relu(F.linear(x, w))
        loss = h.sum()
        (dw,) = differentiate(trace.place, loss._value(trace), [w._value(trace)])
        graph = trace.build([dw])
    paths = {str(node.op): node.path for node in graph.nodes}
    assert paths["matmul(x.mT)"] == "encoder"
    assert paths["where"] == "encoder"


@pytest.mark.parametrize("leading", [(32,), (4, 8), (2, 4, 4)])
def test_a_linear_layer_takes_two_products_and_one_sum(leading):
    w = Weight(np.ones((5, 7), np.float32), "weight")
    b = Weight(np.ones(5, np.float32), "bias")
    types = [kind(*leading, 7), kind(*leading, 5)]

    def body(x, c):
        return (F.linear(x, w, b) * c).sum()

    with begin() as trace:
        x, c = (Tensor(trace.builder.input(t, n), trace) for t, n in zip(types, "xc", strict=True))
        values = [value._value(trace) for value in (x, w, b)]
        found = differentiate(trace.place, body(x, c)._value(trace), values)
        graph = trace.build(found)
    work = [op for op in ops(simplify(graph)) if not op.startswith("reshape")]
    total = "sum(0)" if len(leading) == 1 else f"sum(0..{len(leading) - 1})"
    assert sorted(work) == sorted(["matmul", "matmul(x.mT)", total])


def test_relu_needs_the_result_alone():
    """The dense layer keeps its epilogue: nothing reads what the activation was given."""
    w, b = Weight(np.ones((5, 7), np.float32)), Weight(np.ones(5, np.float32))
    for name in ("relu", "tanh", "sigmoid", "leaky_relu", "hardtanh", "relu6"):
        graph = graph_of(
            lambda x, name=name: F.linear(x, w, b, name).sum(), kind(4, 7, dtype=F32), wrt=[w, b]
        )
        assert any(op.startswith("dense(w.mT, bias") for op in ops(optimize(graph, check=True)))
        fused = [op for op in ops(optimize(graph)) if op.startswith("dense")]
        assert name in fused[0]


def test_seed_costs_nothing():
    graph = simplify(graph_of(lambda x: x.exp().sum(), kind(300, 4)))
    assert ops(graph) == ["exp"]


@pytest.mark.parametrize("dim", [0, 1])
def test_pieces_side_by_side_are_joined(dim, rng):
    x = rng.normal(size=(6, 8))

    def body(x):
        a, b = x.chunk(2, dim)
        return (b.exp() * a).sum()

    graph = graph_of(body, kind(6, 8, dtype=F64))
    a, b = np.split(x, 2, dim)
    np.testing.assert_allclose(
        run(graph, [x])[0], np.concatenate([np.exp(b), np.exp(b) * a], dim), rtol=1e-14
    )
    names = ops(simplify(graph))
    assert f"concat({dim})" in names
    assert not [name for name in names if name.startswith("pad")]


@pytest.mark.parametrize(
    "pick",
    [
        lambda x: (x[:3], x[2:]),
        lambda x: (x[:3], x[1:4]),
        lambda x: (x[:2], x[3:]),
        lambda x: (x[:3], x[3:, 1:]),
        lambda x: (x[::2], x[1::2]),
        lambda x: (x[:3], x[:2:-1]),
        lambda x: (x[:3], x[:3], x[3:]),
        lambda x: (x[:6], x[:0]),
        lambda x: (x[:3], x[3:], x),
    ],
)
def test_pieces_that_overlap_or_leave_gaps_are_added(pick, rng):
    x = rng.normal(size=(6, 4))
    graph = graph_of(
        lambda x: sum(((k + 1.0) * p * p).sum() for k, p in enumerate(pick(x))),
        kind(6, 4, dtype=F64),
    )
    marks = np.arange(24).reshape(6, 4)
    want = np.zeros(24)
    for k, piece in enumerate(pick(marks)):
        np.add.at(want, piece.reshape(-1), 2 * (k + 1.0) * x.reshape(-1)[piece.reshape(-1)])
    np.testing.assert_allclose(run(graph, [x])[0], want.reshape(6, 4), rtol=1e-14)


def test_gradients_have_the_same_bits_at_any_number_of_threads(rng):
    table = Weight(rng.normal(size=(300, 64)).astype(np.float32), "table")
    w = Weight(rng.normal(size=(64, 64)).astype(np.float32))
    indices = rng.integers(0, 300, (4000,))

    def body(i):
        h = F.gelu(F.linear(F.embedding(i, table, 0), w))
        return F.layer_norm(h, (64,)).log_softmax(-1).square().mean()

    graph = graph_of(body, kind(4000, dtype=DType.int64), wrt=[table, w])
    before = _core.num_threads()
    results = []
    try:
        for count in (1, 2, 3):
            _core.set_num_threads(count)
            results.append([x.tobytes() for x in run(optimize(graph, check=True), [indices])])
    finally:
        _core.set_num_threads(before)
    assert results[0] == results[1] == results[2]
