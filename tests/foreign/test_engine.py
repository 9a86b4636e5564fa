# SPDX-License-Identifier: Apache-2.0
"""Whether a plan is one program is decided from what flows through it, before anything runs."""

from __future__ import annotations

import numpy as np
import pytest

import lamella as lm
from foreign.toy import BOOL, FLOAT, INT, make, step
from lamella.errors import UnsupportedError
from lamella.foreign.engine import Segment, decide, engine
from lamella.nn import compiled
from lamella.runtime.session import trace

X = np.linspace(-2, 2, 24, dtype=np.float32).reshape(8, 3)


def where(net, **elements) -> list[str]:
    return [one.where for one in decide(net._plan, elements)]


def test_known_values_are_worked_out_where_they_are_read() -> None:
    """What shapes alone decide is known: it cuts nothing."""
    net = make(step("rows", ("x",), ("n",)), step("add", ("n", "n"), ("m",)),
               step("tanh", ("x",), ("y",)), step("head", ("y", "n"), ("z",)),
               x=(FLOAT, None))  # fmt: skip
    assert where(net, x=FLOAT) == ["known", "known", "program", "program"]
    found = engine(net._plan, {"x": FLOAT})
    assert found.is_program
    assert found.steps == (Segment((0, 2, 3), ("x",), (), ("z",)),)


def test_elements_that_decide_shapes_cut_the_plan() -> None:
    net = make(step("tanh", ("x",), ("y",)), step("last", ("k",), ("n",)),
               step("head", ("y", "n"), ("z",)), step("tanh", ("z",), ("w",)),
               x=(FLOAT, None), k=(INT, None))  # fmt: skip
    found = engine(net._plan, {"x": FLOAT, "k": INT})
    assert not found.is_program
    assert "has to know 'n'" in found.why
    first, second = found.steps
    assert first == Segment((0, 1), ("x", "k"), (), ("y", "n"))
    assert second == Segment((2, 3), ("y",), ("n",), ("w",))
    for k in ([3, 1], [5, 8], [3, 2]):
        want = np.tanh(np.tanh(X[: k[-1]].astype(np.float64)))
        np.testing.assert_allclose(net(X, np.array(k)), want, rtol=1e-6)


def test_nodes_on_arrays_stand_between_programs() -> None:
    net = make(step("tanh", ("x",), ("y",)), step("kept", ("y", "mask"), ("some",)),
               step("rows", ("some",), ("n",)), step("tanh", ("some",), ("z",)),
               step("head", ("x", "n"), ("h",)), step("add", ("z", "h"), ("w",)),
               x=(FLOAT, None), mask=(BOOL, None))  # fmt: skip
    found = engine(net._plan, {"x": FLOAT, "mask": BOOL})
    assert [type(one).__name__ for one in found.steps] == ["Segment", "int", "Segment"]
    for seed in range(6):
        mask = np.random.default_rng(seed).random(8) < 0.5
        some = np.tanh(X.astype(np.float64))[mask]
        want = np.tanh(some) + X[: len(some)]
        np.testing.assert_allclose(net(X, mask), want, rtol=2e-6, atol=1e-6)


def test_stages_are_programs_of_any_size() -> None:
    """After a few sizes a new one compiles nothing."""
    net = make(step("kept", ("x", "mask"), ("some",)), step("tanh", ("some",), ("z",)),
               x=(FLOAT, None), mask=(BOOL, None))  # fmt: skip
    for rows in (5, 6, 7, 4):
        net(X, np.arange(8) < rows)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compiled, "compile_call", None)
        for rows in (2, 3, 8):
            np.testing.assert_allclose(net(X, np.arange(8) < rows), np.tanh(X[:rows]), rtol=1e-6)
    told = str(lm.explain(net, X, np.arange(8) < 5))
    assert "(n, 3)" in told
    assert "a new size needs no compilation" in told
    assert "kept runs on arrays only" in told
    assert "program of 1 nodes" in told


def test_one_program_is_explained_as_ever() -> None:
    net = make(step("tanh", ("x",), ("y",)), x=(FLOAT, None))
    for rows in (2, 3, 4):
        net(X[:rows])
    assert "(n, 3)" in str(lm.explain(net, X[:4]))


def test_stages_are_no_part_of_a_program() -> None:
    net = make(step("head", ("x", "n"), ("z",)), x=(FLOAT, None), n=(INT, None))
    with pytest.raises(UnsupportedError, match=r"runs in stages.*has to know 'n'"):
        trace(net, (X, np.array(3)))


def test_stages_follow_parameters() -> None:
    """What is assigned to a parameter is what the next call computes with."""
    bias = {"bias": np.array([1.0, 2.0, 3.0], np.float32)}
    net = make(step("kept", ("x", "mask"), ("some",)), step("add", ("some", "bias"), ("z",)),
               learnt=bias, x=(FLOAT, None), mask=(BOOL, None))  # fmt: skip
    mask = np.arange(8) < 4
    np.testing.assert_array_equal(net(X, mask), X[:4] + bias["bias"])
    net.stored("bias").data = np.zeros(3, np.float32)
    np.testing.assert_array_equal(net(X, mask), X[:4])
    assert net.double()(X.astype(np.float64), mask).dtype == np.float64
