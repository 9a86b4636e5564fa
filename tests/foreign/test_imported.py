# SPDX-License-Identifier: Apache-2.0
"""What foreign/ gives to any door: networks that are called, trained, copied, and faults told."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest

import lamella as lm
from foreign.toy import FLOAT, INT, make, step
from lamella.errors import ShapeError, UnsupportedError
from lamella.foreign.refusals import ExternalData, Refusals

WEIGHTS = {"block.0.bias": np.array([0.5, -1.0, 2.0], np.float32)}
DENSE = (
    step("add", ("x", "block.0.bias"), ("s",)),
    step("tanh", ("s",), ("y",)),
)


def test_a_plan_is_a_network() -> None:
    net = make(*DENSE, learnt=WEIGHTS, x=(FLOAT, ("n", 3)))
    x = np.linspace(-1, 1, 12, dtype=np.float32).reshape(4, 3)
    want = np.tanh(x.astype(np.float64) + WEIGHTS["block.0.bias"])
    np.testing.assert_allclose(net(x), want, rtol=1e-6)
    np.testing.assert_array_equal(net(x=x), net(x))
    assert list(net.state_dict()) == ["block.0.bias"]
    assert net.stored("block.0.bias").shape == (3,)
    assert str(net.inputs[0]) == "x: float32 (n, 3)"
    with pytest.raises(ShapeError, match="another shape than the model declares"):
        net(x[:, :2])


def test_it_trains() -> None:
    net = make(*DENSE, learnt=WEIGHTS, x=(FLOAT, ("n", 3)))
    x = np.linspace(-1, 1, 12, dtype=np.float32).reshape(4, 3)
    y = np.full((4, 3), 0.25, np.float32)
    step = lm.TrainStep(net, lm.nn.MSELoss(), lm.optim.SGD(net.parameters(), lr=0.5))
    losses = [float(step(x, y)) for _ in range(20)]
    assert losses[-1] < 0.7 * losses[0]


def test_shapes_that_values_decide() -> None:
    """The same rules where the elements of an input decide a shape."""
    net = make(*DENSE, step("head", ("y", "n"), ("z",)), learnt=WEIGHTS,
               x=(FLOAT, ("n", 3)), n=(INT, ()))  # fmt: skip
    x = np.linspace(-1, 1, 12, dtype=np.float32).reshape(4, 3)
    want = np.tanh(x.astype(np.float64) + WEIGHTS["block.0.bias"])
    for rows in (2, 3, 2, 0, 4):
        np.testing.assert_allclose(net(x, np.int64(rows)), want[:rows], rtol=1e-6)


def test_copies_are_looked_up_again() -> None:
    net = make(*DENSE, learnt=WEIGHTS, x=(FLOAT, ("n", 3)))
    x = np.ones((2, 3), np.float32)
    for twin in (pickle.loads(pickle.dumps(net)), copy.deepcopy(net)):
        np.testing.assert_array_equal(twin(x), net(x))


def test_a_fault_names_its_node() -> None:
    net = make(step("tanh", ("x",), ("s",)), step("faulty", ("s",), ("y",)), x=(FLOAT, (2,)))
    with pytest.raises(lm.FormatError, match=r"faulty: never right"):
        net(np.ones(2, np.float32))


def test_refusals_are_told_at_once() -> None:
    refusals = Refusals("toy.load")
    refusals.judge("")
    for node in ("first", "second"):
        refusals.node("Fold-3", node, "y")
    refusals.other("a knot")
    with pytest.raises(UnsupportedError, match=r"Fold-3 at 'first' \(2 nodes\) \| a knot"):
        refusals.judge("")
    refusals.external("weights.bin", 12)
    with pytest.raises(ExternalData, match=r"bytes=12.*Ask for it") as caught:
        refusals.judge("Ask for it")
    assert str(caught.value.advised("Beg")).endswith("Beg")
