# SPDX-License-Identifier: Apache-2.0
"""Fold: which nodes leave the graph, which stay, and that every bit stays with them."""

from __future__ import annotations

import numpy as np
import pytest

from graphs import Weight, assert_same_bits, kind, traced
from lamella.functional import embedding, matmul, softmax
from lamella.ir.extent import Extents
from lamella.ir.graph import GraphBuilder
from lamella.ir.show import show
from lamella.ir.types import TensorType
from lamella.ir.verify import verify
from lamella.ops.elementwise import Binary, Unary
from lamella.ops.random import Dropout
from lamella.ops.shape import Expand
from lamella.passes import finish, prepare
from lamella.runtime.tensor import apply, cat

X = kind(5, 4)


def weights(*shapes, dtype=np.float32, seed=0):
    rng = np.random.default_rng(seed)
    return [
        Weight(rng.normal(size=shape).astype(dtype), f"w{number}")
        for number, shape in enumerate(shapes)
    ]


def folded(body, *inputs):
    """The graph before and after, verified."""
    graph = traced(body, *inputs)
    return graph, finish(prepare(graph, check=True), check=True)


W, M, ROW, SQUARE = weights((4, 6), (4, 6), (4,), (4, 4))
IDS = np.array([3, 0, 0], np.int64)

# body, what is left, what is folded
CASES = {
    "a mask on a weight": (lambda x: x @ (W * M), ["matmul"], [["mul"]]),
    "a chain": (lambda x: x * (ROW.exp() + 1.0).sqrt(), ["mul"], [["chain"]]),
    "two of them": (lambda x: x * ROW.exp() + ROW.tanh(), ["chain"], [["exp"], ["tanh"]]),
    "a product of weights": (lambda x: x @ (SQUARE @ W), ["matmul"], [["matmul"]]),
    "a softmax": (lambda x: x @ softmax(SQUARE, 1), ["matmul"], [["softmax"]]),
    "rows of a table": (
        lambda x: x[:3] + embedding(IDS, SQUARE),
        ["slice", "add"],
        [["gather"]],
    ),
    "a permutation": (lambda x: x + W[:, :5].T, ["add"], [["slice", "permute"]]),
    "joined": (lambda x: x @ cat([W, M], 1), ["matmul"], [["concat"]]),
    "a view of what is folded": (
        lambda x: x @ (W * M).reshape(6, 4).T,
        ["reshape", "matmul"],
        [["mul"]],
    ),
    "a view alone": (lambda x: x @ W.reshape(4, 6), ["matmul"], []),
    "a transposed weight": (lambda x: x @ SQUARE.T, ["matmul"], []),
    "an expanded one": (lambda x: x @ apply(Expand((3, 4, 6)), W), ["expand", "matmul"], []),
    "what is expanded": (
        lambda x: x @ apply(Expand((3, 4, 6)), W * M),
        ["expand", "matmul"],
        [["mul"]],
    ),
    "inputs": (lambda x: (x * ROW) @ W, ["mul", "matmul"], []),
    "a draw": (lambda x: x * apply(Dropout(0.5, 0), ROW), ["dropout", "mul"], []),
    "an output": (lambda x: (x, ROW.exp()), [], [["exp"]]),
}


def names(graph):
    return [str(node.op).partition("(")[0].partition("[")[0] for node in graph.nodes]


@pytest.mark.parametrize("name", CASES)
def test_what_is_folded(name, rng):
    body, left, made = CASES[name]
    before, after = folded(body, X)
    assert names(after) == left
    assert [names(leaf.graph) for leaf in after.folded()] == made
    if name != "a draw":
        assert_same_bits(before, after, rng)


def test_what_is_updated_is_not_folded():
    moving, fixed = weights((4,), (4,))
    builder = GraphBuilder()
    x = builder.input(X, "x")
    (scale,) = builder.apply(Unary("exp"), [builder.parameter(moving)])
    (other,) = builder.apply(Unary("exp"), [builder.parameter(fixed)])
    (y,) = builder.apply(Binary("mul"), [x, scale])
    (y,) = builder.apply(Binary("mul"), [y, other])
    (next_one,) = builder.apply(Unary("tanh"), [builder.parameter(moving)])
    simplified = prepare(builder.build([y], [(moving, next_one)]), check=True)
    assert [
        str(node.op)
        for node, one in zip(simplified.graph.nodes, simplified.foldable, strict=True)
        if one
    ] == ["exp"]
    (leaf,) = finish(simplified, check=True).folded()
    assert [one.source for one in leaf.graph.parameters()] == [fixed]


def test_what_nobody_counts_is_not_folded():
    (mask,) = weights((4,))
    mask.version = None
    _, after = folded(lambda x: x * (mask.exp() * ROW), X)
    assert not after.folded()


def test_a_function_of_weights_alone_keeps_nothing():
    _, after = folded(lambda: (W * M).exp())
    assert not after.folded()
    assert len(after.nodes) == 1


def test_what_may_fail_is_not_folded():
    """The table may be any; indices that are weights or out of range are the run's to report."""
    table = weights((4, 3))[0]
    ids = Weight(np.array([1, 2], np.int64), "ids")
    bad = np.array([1, 4], np.int64)
    assert not folded(lambda x: x[:2, :3] + embedding(ids, table), X)[1].folded()
    assert not folded(lambda x: x[:2, :3] + embedding(bad, table), X)[1].folded()
    assert folded(lambda x: x[:2, :3] + embedding(bad - 1, table), X)[1].folded()


def test_what_would_take_more_memory_than_it_is_worth_is_not_folded():
    column, line = weights((4096, 1), (1, 4096))
    x = TensorType((1, 1), X.dtype)
    assert not folded(lambda x: x + column * line, x)[1].folded()
    # What it is made of still is.
    _, after = folded(lambda x: x + column.exp() * line.exp(), x)
    assert [leaf.type.size for leaf in after.folded()] == [4096, 4096]
    few = weights((64, 1), (1, 64))
    assert folded(lambda x: x + few[0] * few[1], x)[1].folded()


def test_what_depends_on_a_size_is_not_folded():
    table = weights((9, 4))[0]

    def body(x):
        n = x.shape[0]
        return x + table[:n].exp() + ROW.exp() / n

    from lamella.runtime.session import trace

    free, _ = trace(body, [X], free=[[(0, 0)]])
    assert isinstance(free.extents, Extents)
    after = finish(prepare(free, check=True), check=True)
    assert [leaf.shape for leaf in after.folded()] == [(4,)]
    fixed = prepare(traced(body, X), check=True)
    assert sum(fixed.foldable) > sum(prepare(free).foldable)
    # The same as the other one folds: that is how two sizes are compared.
    like = fixed.like(prepare(free))
    assert like.foldable == prepare(free).foldable
    assert like.like(prepare(free)) is like


def test_the_listing_shows_it():
    text = show(folded(lambda x: x @ (W * M), X)[1])
    assert "parameter w0 : float32 (4, 6)" in text
    assert "folded %folded0 : float32 (4, 6)\n  %0 = mul <- w0, w1 : float32 (4, 6)" in text
    assert "<- input0, %folded0" in text
    verify(folded(lambda x: x @ matmul(SQUARE, W), X)[1])
