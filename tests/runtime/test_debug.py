# SPDX-License-Identifier: Apache-2.0
"""A debug session names the node at fault."""

from __future__ import annotations

import numpy as np
import pytest

from graphs import Weight
from lamella.ops.elementwise import Binary, unary
from lamella.ops.matmul import Dense
from lamella.ops.random import Dropout
from lamella.ops.reduce import Reduce
from lamella.ops.shape import Slice
from lamella.ops.softmax import Softmax
from lamella.runtime.debug import Checker
from lamella.runtime.session import compile
from lamella.runtime.tensor import apply, cat
from lamella.runtime.trace import scope

W1 = Weight(np.random.default_rng(1).normal(size=(16, 8)).astype(np.float32), "fc1.weight")
B1 = Weight(np.random.default_rng(2).normal(size=16).astype(np.float32), "fc1.bias")
W2 = Weight(np.random.default_rng(3).normal(size=(4, 16)).astype(np.float32), "fc2.weight")


def net(x):
    with scope("encoder"):
        with scope("fc1"):
            h = (x @ W1.T + B1).relu()
        with scope("norm"):
            h = (h - h.mean(-1, True)) / (h.std(-1, keepdim=True) + 1e-3)
    with scope("head"):
        y = cat([h, h.exp()], 1)[:, ::2]
        return (y @ W2.T).softmax(), y.argmax(1), y.amax(0)


@pytest.fixture
def x(rng):
    return rng.normal(size=(5, 8)).astype(np.float32)


def test_good_networks_pass(x, isa):
    plain, checked = compile(net, x), compile(net, x, debug=True)
    for expected, got in zip(plain(x), checked(x), strict=True):
        assert expected.tobytes() == got.tobytes()


@pytest.mark.parametrize("scale", [1e-30, 1e-3, 1.0, 1e3, 1e30])
def test_bounds_hold_at_every_scale(scale, rng):
    def body(a, b):
        y = (a @ b.T + 0.5).tanh() * a.sum(1, True) - b.sum() / 3
        z = (a * 2 + a) - a * 3
        return y.log_softmax(), (y - y.amax()).exp(), z.var(1), z.logsumexp(0), y.square().mean()

    a = (scale * rng.normal(size=(6, 300))).astype(np.float32)
    b = rng.normal(size=(7, 300)).astype(np.float32)
    compile(body, a, b, debug=True)(a, b)


@pytest.mark.parametrize(
    ("op", "path", "line"),
    [
        (Dense, "encoder.fc1", "= dense(w.mT, bias, relu) <- input0, fc1.weight, fc1.bias : "),
        (Reduce, "encoder.norm", "= mean(1) <- %0 : float32 (5,)"),
        (Softmax, "head", "= softmax <- "),
        (Slice, "head", "= slice[0:+5, 0:+16:2] <- "),
    ],
)
def test_a_broken_op_is_named(x, monkeypatch, op, path, line):
    session = compile(net, x, debug=True)
    right = op.reference

    def wrong(self, arrays, /):
        (result,) = right(self, arrays)
        result = np.array(result)
        result.flat[-1] = result.flat[-1] * (1 + 1e-4) + 1e-4
        return (result,)

    monkeypatch.setattr(op, "reference", wrong)
    with pytest.raises(ArithmeticError) as caught:
        session(x)
    text = str(caught.value)
    assert text.startswith("debug: result and reference differ, first at (")
    assert line in text
    assert text.endswith(f"(at {path})")


def test_a_broken_integer_result_is_named(x, monkeypatch):
    session = compile(lambda t: t.argmax(1), x, debug=True)
    right = Reduce.reference
    monkeypatch.setattr(Reduce, "reference", lambda self, a, /: (right(self, a)[0] + 1,))
    with pytest.raises(ArithmeticError, match=r"= argmax\(1\) <- input0"):
        session(x)


def test_new_nan_is_named(x):
    def body(t):
        with scope("risky"):
            return (t.sum(1) - 1e9).log().exp()

    session = compile(body, x, debug=True)
    with pytest.raises(FloatingPointError, match=r"NaN from operands that have none.*\(at risky\)"):
        session(x)


def test_nan_that_came_in_goes_through(x):
    x[1, 2] = np.nan
    first, _, _ = compile(net, x, debug=True)(x)
    assert np.isnan(first[1]).all()
    assert not np.isnan(first[0]).any()


def test_overflow_is_no_fault():
    def body(t):
        return (t * 1e38).exp(), t * 1e38 * 10, (t * 1e30) @ (t * 1e30)

    t = np.float32([1, 2, 3])
    first, second, third = compile(body, t, debug=True)(t)
    assert np.isposinf(first).all()
    assert np.isposinf(second[2])
    assert np.isposinf(third)


def test_programs_are_compared_with_their_nodes(x, monkeypatch):
    session = compile(net, x, debug=True)
    run = Checker.run

    def other(self, inputs):
        first, *rest = run(self, inputs)
        return (np.nextafter(first, 2), *rest)

    monkeypatch.setattr(Checker, "run", other)
    with pytest.raises(ArithmeticError, match="output 0 differs from its nodes run one by one"):
        session(x)


def test_random_nodes_are_not_compared(x):
    def body(t):
        return apply(unary("relu"), apply(Dropout(0.5, 0), t)), apply(Binary("add"), t, t)

    compile(body, x, debug=True)(x)


def test_double_precision(rng):
    a = rng.normal(size=(6, 40))

    def body(t):
        return (t @ t.T).tanh().softmax(), t.exp().sum(), t.float().double() - t

    compile(body, a, debug=True)(a)
