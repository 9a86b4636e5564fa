# SPDX-License-Identifier: Apache-2.0
"""Compiled functions: nesting, signatures, weights, updates, threads, compile time."""

from __future__ import annotations

import pickle
import threading

import numpy as np
import pytest

from graphs import F64, Weight, kind, ops, traced
from lamella import _core
from lamella.errors import DTypeError, ShapeError
from lamella.ir.types import DType, TensorType
from lamella.runtime.session import Compiled, compile, compile_call, trace
from lamella.runtime.signature import LEAF
from lamella.runtime.tensor import apply
from lamella.runtime.trace import current

X = np.arange(6, dtype=np.float32).reshape(2, 3)


def test_examples_become_inputs_in_order():
    graph, structure = trace(
        lambda x, pair, *, y: x + pair[0] * pair[1] - y["z"],
        [X, (X, 2)],
        {"y": {"z": kind(3)}},
        ["x", "first"],
    )
    assert [value.name for value in graph.inputs] == ["x", "first", "input2"]
    assert structure == LEAF
    assert ops(graph) == ["mul", "add", "sub"]


def test_nested_arguments_and_results():
    def body(batch, scale):
        low, high = batch["range"]
        return {"y": [batch["x"] * scale, None], "z": (low, high + 1), "c": 3.0}

    batch = {"x": X, "range": (X[0], X[1])}
    session = compile(body, batch, 2.0)
    got = session(batch, 2.0)
    assert list(got) == ["y", "z", "c"]
    assert np.array_equal(got["y"][0], X * 2)
    assert got["y"][1] is None
    assert np.array_equal(got["z"][0], X[0])
    assert not np.shares_memory(got["z"][0], X)
    assert got["c"] == 3.0


def test_structure_and_constants_are_those_of_the_examples():
    session = compile(lambda x, k: x * k, X, 2.0)
    with pytest.raises(TypeError, match="another structure than the examples"):
        session(X)
    with pytest.raises(TypeError, match="another structure than the examples"):
        session((X,), 2.0)
    with pytest.raises(TypeError, match="a constant argument has changed"):
        session(X, 3.0)


def test_arrays_are_those_of_the_examples():
    session = compile(lambda x: x * 2, X)
    with pytest.raises(ShapeError, match=r"compiled for another shape; got argument 0=\(1, 3\)"):
        session(X[:1])
    with pytest.raises(DTypeError, match="element types differ; got argument 0=int64"):
        session(X.astype(int))
    for other in (X.astype(np.float64), X.astype(np.float16), X.astype(">f4"), X.T.copy().T):
        got = session(other)
        assert got.dtype == np.float32
        assert np.array_equal(got, X * 2)


def test_types_instead_of_arrays():
    session = compile(lambda x: x.sum(-1), TensorType((4, 2), DType.float64))
    assert session(np.ones((4, 2))).tolist() == [2.0] * 4


def test_nothing_in_and_nothing_out():
    assert compile(lambda: np.ones(3, np.float32))().tolist() == [1, 1, 1]
    assert compile(lambda x: None, X)(X) is None
    assert compile(lambda x: (), X)(X) == ()


def test_show_graph_program():
    session = compile(lambda x: (x * 2 + 1).tanh(), X)
    assert (
        session.show().splitlines()[1]
        == "%0 = chain(mul add tanh) <- input0, 2, 1 : float32 (2, 3)"
    )
    assert len(session.graph.nodes) == 1
    assert session.program.steps == ["elementwise"]
    assert session.program.isa == _core.isa()


def test_out():
    session = compile(lambda x: (x * 2, x + 1), X)
    outs = (np.empty_like(X), np.empty((2, 6), np.float32)[:, ::2])
    assert session(X, out=outs) is outs
    assert np.array_equal(outs[0], X * 2)
    assert np.array_equal(outs[1], X + 1)
    x = X.copy()
    session(x, out=(x, outs[0]))
    assert np.array_equal(x, X * 2)
    assert np.array_equal(outs[0], X + 1)


def test_weights_are_read_where_they_lie():
    w = Weight(np.eye(3, dtype=np.float32))
    session = compile(lambda x: x @ w, X)
    assert np.array_equal(session(X), X)
    w.array[:] *= 3
    w.version += 1
    _core.touch_parameters()
    assert np.array_equal(session(X), X * 3)


def test_updates_are_written_back():
    mean = Weight(np.zeros(3, np.float32), "mean")

    def body(x):
        now = current()
        value = apply_mean(x)
        now.update(mean, mean * 0.5 + value * 0.5)
        return x - value

    def apply_mean(x):
        return x.mean(0)

    compiled = compile_call(body, [X])
    assert compiled.graph.updates
    expected = np.zeros(3, np.float32)
    for turn in range(3):
        got = compiled.run([X])
        expected = expected * 0.5 + X.mean(0) * 0.5
        assert np.array_equal(got, X - X.mean(0))
        assert np.allclose(mean.array, expected, rtol=1e-6)
        assert mean.version[0] == turn + 1


def test_an_update_reaches_the_packed_weight():
    w = Weight(np.eye(3, dtype=np.float32), "w")

    def body(x):
        y = x @ w
        current().update(w, w * 2)
        return y

    compiled = compile_call(body, [X])
    for turn in range(4):
        assert np.array_equal(compiled.run([X]), X * 2**turn)


def test_updates_see_the_values_before_the_run():
    a, b = Weight(np.float32([1, 2]), "a"), Weight(np.float32([3, 4]), "b")

    def body():
        current().update(a, apply_copy(b))
        current().update(b, apply_copy(a))
        return ()

    def apply_copy(weight):
        return weight * 1

    compiled = compile_call(body, [])
    compiled.run([])
    assert a.array.tolist() == [3, 4]
    assert b.array.tolist() == [1, 2]


def test_sessions_are_not_pickled():
    with pytest.raises(TypeError, match="session: a compiled program cannot be pickled"):
        pickle.dumps(compile(lambda x: x, X))


def test_returns_are_told_to_the_core():
    def returns(body):
        return Compiled(*trace(body, [X])).returns

    assert returns(lambda x: x) is None
    assert returns(lambda x: (x, x)) == "tuple"
    assert returns(lambda x: [x, x])([1, 2]) == [1, 2]
    assert returns(lambda x: (x, [x]))([1, 2]) == (1, [2])


def test_threads_share_a_session():
    session = compile(lambda x: ((x * 2).sum(1, True) + x).tanh(), kind(64, 64))
    inputs = [np.full((64, 64), value, np.float32) for value in range(8)]
    expected = [session(x).tobytes() for x in inputs]
    wrong = []

    def work(x, bits):
        wrong.extend(1 for _ in range(50) if session(x).tobytes() != bits)

    workers = [
        threading.Thread(target=work, args=pair) for pair in zip(inputs, expected, strict=True)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not wrong


def test_huge_products_are_refused():
    side = kind(2**33, 1)
    with pytest.raises(ShapeError, match="larger than any memory"):
        traced(lambda x: x @ x.T, side)
    with pytest.raises((ShapeError, MemoryError)):
        compile(lambda x: (x.T.exp() @ x).sum(), kind(1, 2**62, dtype=F64))
    with pytest.raises((ShapeError, MemoryError, OverflowError)):
        compile(lambda x: (x.exp().T + x.tanh().T).T.sum(), kind(2**40, 2**20))


def test_dropout_of_another_run_is_another(rng):
    from lamella.ops.random import Dropout

    x = np.ones(1000, np.float32)
    session = compile(lambda t: apply(Dropout(0.5, 0), t), x)
    first, second = session(x), session(x)
    assert set(np.unique(first)) == {0.0, 2.0}
    assert not np.array_equal(first, second)
