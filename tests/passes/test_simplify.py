# SPDX-License-Identifier: Apache-2.0
"""Simplify: what is left of small graphs, and that every bit stays."""

from __future__ import annotations

import operator

import numpy as np
import pytest

from graphs import F64, Weight, assert_same_bits, kind, ops, run, traced
from lamella.ir.graph import Constant, GraphBuilder
from lamella.ir.types import DType
from lamella.ir.verify import verify
from lamella.ops.elementwise import Cast, unary
from lamella.ops.random import Dropout
from lamella.ops.shape import Concat, Expand, Permute, Reshape, Slice
from lamella.passes.simplify import FOLDED_BYTES, simplify
from lamella.runtime.tensor import apply, cat, where


def simplified(body, *inputs):
    graph = traced(body, *inputs)
    return verify(simplify(verify(graph)))


X = kind(4, 3)

# body, inputs, what is left
REWRITES = [
    ("x * 1", lambda x: x * 1, [X], []),
    ("1 * x", lambda x: 1 * x, [X], []),
    ("x / 1", lambda x: x / 1, [X], []),
    ("x ** 1", lambda x: x**1, [X], []),
    ("x - 0", lambda x: x - 0.0, [X], []),
    ("x + -0", lambda x: x + -0.0, [X], []),
    ("-0 + x", lambda x: -0.0 + x, [X], []),
    ("x + 0 stays", lambda x: x + 0.0, [X], ["add"]),
    ("x - -0 stays", lambda x: x - (-0.0), [X], ["sub"]),
    ("x * 0 stays", lambda x: x * 0.0, [X], ["mul"]),
    ("x ** 2", lambda x: x**2, [X], ["square"]),
    ("1 / x", lambda x: 1 / x, [X], ["reciprocal"]),
    ("-(-x)", lambda x: operator.neg(-x), [X], []),
    ("abs of neg", lambda x: abs(-x), [X], ["abs"]),
    ("a one that broadcasts stays", lambda x: x * np.ones((5, 4, 3), np.float32), [X], ["mul"]),
    ("a wider one stays", lambda x: x * np.ones((1, 1, 1), np.float32), [X], ["mul"]),
    ("reshape twice", lambda x: x.reshape(12).reshape(2, 6), [X], ["reshape(2, 6)"]),
    ("reshape there and back", lambda x: x.reshape(12).reshape(4, 3), [X], []),
    ("permute there and back", lambda x: x.T.T, [X], []),
    (
        "permute twice",
        lambda x: x.permute(1, 2, 0).permute(1, 2, 0),
        [kind(2, 3, 4)],
        ["permute(2, 0, 1)"],
    ),
    ("permute of ones", lambda x: x.permute(1, 2, 0), [kind(1, 3, 4)], ["reshape(3, 4, 1)"]),
    ("expand to itself", lambda x: apply(Expand((4, 3)), x), [X], []),
    (
        "expand twice",
        lambda x: x.expand(5, 1, 3).expand(5, 4, 3),
        [kind(1, 3)],
        ["expand(5, 4, 3)"],
    ),
    (
        "a number, expanded and reshaped",
        lambda x, y: y * x.expand(1, 4).reshape(4, 1),
        [kind(1), X],
        ["mul"],
    ),
    (
        "several numbers, expanded and reshaped",
        lambda x: x.expand(2, 4).reshape(8, 1),
        [kind(2, 1)],
        ["expand(2, 4)", "reshape(8, 1)"],
    ),
    ("expand by ones", lambda x: x.expand(1, 1, 4, 3), [X], ["reshape(1, 1, 4, 3)"]),
    ("expand before add", lambda x, y: x + y.expand(4, 3), [X, kind(3)], ["add"]),
    (
        "expand of both stays",
        lambda x, y: x.expand(4, 3) + y.expand(4, 3),
        [kind(3), kind(3)],
        ["expand(4, 3)", "add"],
    ),
    ("cast to itself", lambda x: x.float(), [X], []),
    ("widen and narrow", lambda x: x.double().float(), [X], []),
    (
        "narrow and widen stays",
        lambda x: x.float().double(),
        [kind(4, dtype=F64)],
        ["cast(float32)", "cast(float64)"],
    ),
    ("slice of everything", lambda x: apply(Slice((0, 0), (4, 3), (1, 1)), x), [X], []),
    ("cat of one", lambda x: cat([x]), [X], []),
    ("cat of nothing", lambda x, y: cat([x, y]), [X, kind(0, 3)], []),
    ("x @ w.T", lambda x, w: x @ w.T, [X, kind(5, 3)], ["matmul(w.mT)"]),
    ("x.T @ w", lambda x, w: x.T @ w, [X, kind(4, 5)], ["matmul(x.mT)"]),
    ("w.mT.mT", lambda x, w: x @ w.mT.mT, [X, kind(3, 5)], ["matmul"]),
    ("batched", lambda x, w: x @ w.mT, [kind(2, 4, 3), kind(2, 5, 3)], ["matmul(w.mT)"]),
    ("duplicates", lambda x: x.exp() * x.exp(), [X], ["exp", "mul"]),
    (
        "duplicates after rewriting",
        lambda x: (x * 1).exp() + x.exp(),
        [X],
        ["exp", "add"],
    ),
    ("where", lambda x: where(x > 0, x, x.expand(4, 3)), [X], ["gt", "where"]),
]


@pytest.mark.parametrize(
    ("body", "inputs", "left"), [case[1:] for case in REWRITES], ids=[case[0] for case in REWRITES]
)
def test_rewrite(body, inputs, left, rng):
    before = traced(body, *inputs)
    after = verify(simplify(before))
    assert ops(after) == left
    assert after.inputs == before.inputs
    assert [value.type for value in after.outputs] == [value.type for value in before.outputs]
    assert_same_bits(before, after, rng)


def test_signed_zeros_survive():
    for body in (lambda x: x + 0.0, lambda x: x - 0.0, lambda x: x + -0.0, lambda x: x * 1):
        before = traced(body, kind(2))
        zeros = [np.array([0.0, -0.0], np.float32)]
        (expected,), (got,) = run(before, zeros), run(simplify(before), zeros)
        assert expected.tobytes() == got.tobytes()


def test_constants_are_computed():
    table = np.arange(6, dtype=np.float32).reshape(2, 3)

    def body(x):
        return x + apply(unary("exp"), table).sum(0)

    after = simplified(body, kind(4, 3))
    assert ops(after) == ["add"]
    constant = after.nodes[0].inputs[1]
    assert isinstance(constant, Constant)
    assert np.allclose(constant.array, np.exp(table).sum(0), rtol=1e-6)
    assert constant.dtype is DType.float32


def test_large_constants_are_left_to_the_program():
    large = np.zeros((FOLDED_BYTES // 4 + 1,), np.float32)
    after = simplified(lambda x: x + apply(unary("exp"), large), kind(1))
    assert ops(after) == ["exp", "add"]


def test_parameters_are_not_constants():
    w = Weight(np.ones(3, np.float32))
    after = simplified(lambda x: x + apply(unary("exp"), w), kind(3))
    assert ops(after) == ["exp", "add"]


def test_bad_index_is_left_to_the_program():
    from lamella.ops.gather import Gather

    after = simplified(
        lambda x: x + apply(Gather(0), np.zeros((2, 3), np.float32), np.array([[7]])), kind(3)
    )
    assert ops(after) == ["gather(0)", "add"]


def test_draws_are_not_merged():
    after = simplified(lambda x: apply(Dropout(0.5, 0), x) + apply(Dropout(0.5, 1), x), kind(3))
    assert len(after.nodes) == 3


def test_dead_nodes_go():
    def body(x):
        x.exp().sum()
        return x.relu()

    assert ops(simplified(body, kind(3))) == ["relu"]


def test_outputs_may_be_inputs():
    after = simplified(lambda x: (x * 1, x.reshape(3)), kind(3))
    assert after.outputs == (after.inputs[0],) * 2


def test_updates_are_rewritten():
    state = Weight(np.zeros(3, np.float32), "state")
    builder = GraphBuilder()
    x = builder.input(kind(3), "x")
    (y,) = builder.apply(Cast(DType.float32), [x])
    after = simplify(builder.build([], [(state, y)]))
    assert after.updates == ((state, x),)


def test_rules_cover_ops_with_attributes():
    # A rule never meets an op of another kind: the table is keyed by it.
    after = simplified(
        lambda x: apply(Concat(0), apply(Permute((1, 0)), x), apply(Reshape((3, 4)), x)), X
    )
    assert ops(after) == ["permute(1, 0)", "reshape(3, 4)", "concat(0)"]
