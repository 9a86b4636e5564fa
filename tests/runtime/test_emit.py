# SPDX-License-Identifier: Apache-2.0
"""Programs read weights where they lie, keep their memory apart, and hold what they need."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest

from graphs import Weight, kind, traced
from lamella import _core
from lamella.passes import optimize
from lamella.runtime.emit import emit
from lamella.runtime.tensor import cat

X = np.arange(12, dtype=np.float32).reshape(3, 4)


def test_views_cost_no_step():
    graph = traced(lambda x: x.reshape(12).exp().reshape(2, 6).tanh(), X)
    assert emit(graph).steps == ["elementwise", "elementwise"]


def test_a_weight_under_another_shape_is_still_packed():
    w = Weight(np.arange(12, dtype=np.float32), "w")
    program = emit(optimize(traced(lambda x: x @ w.reshape(4, 3), X)))
    (got,) = program.run([X])
    assert np.array_equal(got, X @ w.array.reshape(4, 3))
    assert program.arena_bytes == 0


def test_constants_are_kept_alive():
    def make():
        table = np.arange(4, dtype=np.float32)
        return emit(traced(lambda x: x + table, X)), X + table

    program, expected = make()
    gc.collect()
    assert np.array_equal(program.run([X])[0], expected)


def test_programs_do_not_hold_graphs():
    graph = traced(lambda x: x.exp(), X)
    program = emit(graph)
    node = weakref.ref(graph.nodes[0].op) if hasattr(graph.nodes[0].op, "__weakref__") else None
    del graph
    gc.collect()
    assert node is None or node() is None
    assert program.run([X])[0].shape == X.shape


def test_unused_inputs_are_still_inputs():
    program = emit(traced(lambda x, y: y * 2, X, kind(2)))
    (got,) = program.run([X, np.ones(2, np.float32)])
    assert got.tolist() == [2, 2]


@pytest.mark.parametrize("rows", [0, 1, 5])
def test_empty_arrays(rows):
    def body(x):
        y = cat([x, x * 2], 0).T
        return y @ y.T, y.sum(1), y[:, :0].sum(1), x.expand(2, rows, 4), x[::-1]

    x = np.ones((rows, 4), np.float32)
    graph = traced(body, x)
    y = np.concatenate([x, x * 2]).T
    for got, expected in zip(
        emit(graph).run([x]),
        (y @ y.T, y.sum(1), np.zeros(4), np.broadcast_to(x, (2, rows, 4)), x[::-1]),
        strict=True,
    ):
        assert np.array_equal(got, expected)


def test_instruction_sets(isa):
    program = emit(traced(lambda x: (x @ x.T).softmax(), X))
    assert program.isa == isa == _core.isa()
    assert np.allclose(program.run([X])[0].sum(1), 1)
