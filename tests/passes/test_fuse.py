# SPDX-License-Identifier: Apache-2.0
"""Fuse: which groups are made and which are not, and that every bit stays."""

from __future__ import annotations

import numpy as np
import pytest

from graphs import Weight, assert_same_bits, kind, ops, traced
from lamella.ir.types import DType, broadcast_strides
from lamella.ir.verify import verify
from lamella.ops.elementwise import Chain
from lamella.ops.integer import IntegerMatMul
from lamella.passes.fuse import fuse
from lamella.passes.simplify import simplify
from lamella.runtime.tensor import apply, where
from lamella.runtime.trace import scope

X, W, B, R = kind(5, 3), kind(4, 3), kind(4), kind(5, 4)

DENSE = [
    ("bias", lambda x, w, b, r: x @ w.T + b, ["dense(w.mT, bias)"]),
    ("bias first", lambda x, w, b, r: b + x @ w.T, ["dense(w.mT, bias)"]),
    ("activation", lambda x, w, b, r: (x @ w.T).tanh(), ["dense(w.mT, tanh)"]),
    ("residual", lambda x, w, b, r: r + x @ w.T, ["dense(w.mT, residual)"]),
    (
        "all three",
        lambda x, w, b, r: ((x @ w.T + b) + r).relu(),
        ["dense(w.mT, bias, residual, relu)"],
    ),
    (
        "numbers of the activation",
        lambda x, w, b, r: (x @ w.T + b).clamp(-1, 2),
        ["dense(w.mT, bias, clamp(min=-1, max=2))"],
    ),
    (
        "bias behind residual is no epilogue",
        lambda x, w, b, r: (x @ w.T + r) + b,
        ["dense(w.mT, residual)", "add"],
    ),
    (
        "one activation",
        lambda x, w, b, r: (x @ w.T).relu().exp(),
        ["dense(w.mT, relu)", "exp"],
    ),
    (
        "an activation ends the epilogue",
        lambda x, w, b, r: (x @ w.T).relu() + b,
        ["dense(w.mT, relu)", "add"],
    ),
    ("doubled", lambda x, w, b, r: (lambda y: y + y)(x @ w.T), ["matmul(w.mT)", "add"]),
    (
        "two readers",
        lambda x, w, b, r: (lambda y: (y + b) * y.exp())(x @ w.T),
        ["matmul(w.mT)", "chain(add exp mul)"],
    ),
    (
        "wanted outside",
        lambda x, w, b, r: (lambda y: (y, y + b))(x @ w.T),
        ["matmul(w.mT)", "add"],
    ),
    (
        "a sum that grows the product",
        lambda x, w, b, r: x @ w.T + r.reshape(1, 5, 4),
        ["matmul(w.mT)", "reshape(1, 5, 4)", "add"],
    ),
    (
        "two products in one sum",
        lambda x, w, b, r: (x @ w.T + b) + (x.exp() @ w.T + b),
        ["exp", "dense(w.mT, bias)", "dense(w.mT, bias, residual)"],
    ),
]


@pytest.mark.parametrize(
    ("body", "left"), [case[1:] for case in DENSE], ids=[case[0] for case in DENSE]
)
def test_dense(body, left, rng):
    before = simplify(traced(body, X, W, B, R))
    after = verify(fuse(before))
    assert sorted(ops(after)) == sorted(left)
    assert_same_bits(before, after, rng)


def test_vectors_and_batches(rng):
    for shape in [(3,), (2, 5, 3), (2, 1, 3), (0, 3)]:
        before = simplify(traced(lambda x, w, b: (x @ w.T + b).relu(), kind(*shape), W, B))
        after = verify(fuse(before))
        assert ops(after) == ["dense(w.mT, bias, relu)"]
        assert_same_bits(before, after, rng)


def test_a_batch_of_matrices_is_not_dense():
    before = simplify(traced(lambda x, w, b: x @ w + b, kind(2, 5, 3), kind(2, 3, 4), B))
    assert ops(fuse(before)) == ["matmul", "add"]


XI, WI = kind(5, 3, dtype=DType.uint8), kind(3, 4, dtype=DType.int8)


def product(x, w):
    return apply(IntegerMatMul(), x, w)


INTEGERS = [
    ("scale", lambda y, s, c, r, b: y.float() * s, ["matmul_integer(scale)"]),
    ("a column's", lambda y, s, c, r, b: c * y.float(), ["matmul_integer(scale)"]),
    ("a row's", lambda y, s, c, r, b: y.float() * r, ["matmul_integer(scale)"]),
    ("bias", lambda y, s, c, r, b: y.float() * c + b, ["matmul_integer(scale, bias)"]),
    (
        "all",
        lambda y, s, c, r, b: (b + y.float() * s).tanh(),
        ["matmul_integer(scale, bias, tanh)"],
    ),
    ("double", lambda y, s, c, r, b: y.double() * 2.0, ["matmul_integer", "chain(cast mul)"]),
    ("no scale", lambda y, s, c, r, b: y.float() + b, ["matmul_integer", "chain(cast add)"]),
    (
        "a scale of every element",
        lambda y, s, c, r, b: y.float() * (c + r),
        ["matmul_integer", "chain(cast add mul)"],
    ),
    (
        "squared",
        lambda y, s, c, r, b: (lambda f: f * f)(y.float()),
        ["matmul_integer", "chain(cast mul)"],
    ),
    ("wanted outside", lambda y, s, c, r, b: (y, y.float() * s), ["matmul_integer",
                                                                 "chain(cast mul)"]),
    (
        "two readers",
        lambda y, s, c, r, b: (lambda f: f * s + (f * c).exp())(y.float()),
        ["matmul_integer", "chain(cast mul mul exp add)"],
    ),
    (
        "a bias of rows is none",
        lambda y, s, c, r, b: y.float() * s + r,
        ["matmul_integer(scale)", "add"],
    ),
]  # fmt: skip


@pytest.mark.parametrize(
    ("body", "left"), [case[1:] for case in INTEGERS], ids=[case[0] for case in INTEGERS]
)
def test_integers(body, left, rng):
    def whole(x, w, *rest):
        return body(product(x, w), *rest)

    before = simplify(traced(whole, XI, WI, kind(), kind(4), kind(5, 1), kind(4)))
    after = verify(fuse(before))
    assert sorted(ops(after)) == sorted(left)
    assert_same_bits(before, after, rng)


Y = kind(6, 5)

CHAINS = [
    ("a line", lambda x, y: (x.exp() + 1).tanh() * 2, ["chain(exp add tanh mul)"]),
    ("a diamond", lambda x, y: (lambda e: e * (e + 1))(x.exp()), ["chain(exp add mul)"]),
    ("a tree", lambda x, y: (x.exp() + y.exp()) * (x - y), ["chain(exp exp add sub mul)"]),
    ("mixed types", lambda x, y: (x > y).float() * 2, ["chain(gt cast mul)"]),
    ("select", lambda x, y: where(x > 0, x.exp(), y), ["chain(gt exp select)"]),
    ("widened", lambda x, y: (x.double() + 1).float(), ["chain(cast add cast)"]),
    ("wanted outside", lambda x, y: (lambda e: (e, e + 1))(x.exp()), ["exp", "add"]),
    (
        "read by a reduction too",
        lambda x, y: (lambda e: e + e.sum())(x.exp() * 2),
        ["chain(exp mul)", "sum(0..1)", "add"],
    ),
    (
        "smaller than the chain",
        lambda x, y: x + y[0].exp(),
        ["slice[0:+1, 0:+5]", "reshape(5,)", "exp", "add"],
    ),
    (
        "two chains with one source",
        lambda x, y: (lambda e: ((e + 1).tanh(), (e + 2).tanh()))(x.exp()),
        ["exp", "chain(add tanh)", "chain(add tanh)"],
    ),
    (
        "around a reduction",
        lambda x, y: (x.exp() + x.exp().sum(1, True)).tanh(),
        ["exp", "sum(1)", "reshape(6, 1)", "chain(add tanh)"],
    ),
]


@pytest.mark.parametrize(
    ("body", "left"), [case[1:] for case in CHAINS], ids=[case[0] for case in CHAINS]
)
def test_chain(body, left, rng):
    before = simplify(traced(body, Y, Y))
    after = verify(fuse(before))
    assert ops(after) == left
    assert_same_bits(before, after, rng)


def test_broadcast_operands_stay_small(rng):
    before = simplify(
        traced(lambda x, row, column: (x * row + column).tanh(), Y, kind(5), kind(6, 1))
    )
    after = verify(fuse(before))
    (node,) = after.nodes
    assert isinstance(node.op, Chain)
    assert [value.shape for value in node.inputs] == [(6, 5), (5,), (6, 1)]
    assert broadcast_strides((6, 1), (6, 5)) == (1, 0)
    assert_same_bits(before, after, rng)


@pytest.mark.parametrize("registers", [3, 4, 7, 32])
def test_registers_are_respected(registers, rng):
    def body(x):
        for number in range(40):
            x = (x + number).tanh()
        return x

    before = simplify(traced(body, kind(7)))
    after = verify(fuse(before, registers))
    for node in after.nodes:
        if isinstance(node.op, Chain):
            assert len(node.inputs) + len(node.op.instructions) <= registers
    assert len(after.nodes) < len(before.nodes) if registers > 3 else True
    assert_same_bits(before, after, rng)


def test_long_trees_of_many_operands(rng):
    def body(*xs):
        total = xs[0].exp()
        for x in xs[1:]:
            total = total + x.exp()
        return total

    before = simplify(traced(body, *[kind(9)] * 40))
    after = verify(fuse(before))
    assert 2 < len(after.nodes) < 10
    assert_same_bits(before, after, rng)


def test_outputs_and_updates_are_kept(rng):
    state = Weight(np.zeros(3, np.float32), "state")
    from lamella.runtime.trace import current

    def body(x):
        y = x * 2
        current().update(state, y)
        return y + 1

    after = verify(fuse(simplify(traced(body, kind(3)))))
    assert ops(after) == ["mul", "add"]
    assert after.updates[0][1] is after.nodes[0].outputs[0]


def test_nothing_to_fuse_changes_nothing():
    graph = simplify(traced(lambda x: x.sum(), kind(3)))
    assert fuse(graph) is graph


def test_what_is_fused_keeps_the_places_of_all_its_parts():
    def body(x, w, b):
        with scope("fc"):
            product = x @ w.T
            shifted = product + b
        with scope("act"):
            active = shifted.relu()
        with scope("norm"):
            scaled = active * 2.0 - 1.0
        with scope("out"):
            return scaled.exp()

    graph = fuse(simplify(traced(body, X, W, B)))
    assert [node.path for node in graph.nodes] == ["fc + act", "norm + out"]


def test_a_place_is_named_once_and_no_place_not_at_all():
    def body(x):
        with scope("a"):
            y = x.exp()
        y = y + 1.0
        with scope("b"):
            y = y.tanh()
        with scope("a"):
            return y * y

    (node,) = fuse(simplify(traced(body, X))).nodes
    assert node.path == "a + b"
