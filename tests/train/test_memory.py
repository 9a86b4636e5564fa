# SPDX-License-Identifier: Apache-2.0
"""The memory of a step: what its program needs beside what the summary estimated."""

from __future__ import annotations

import tracemalloc
from itertools import pairwise

import numpy as np
import pytest

import lamella as lm
from lamella import nn, optim

SIZES = [((784, 512, 512, 10), 64), ((784, 128, 10), 1024), ((20, 64, 64, 2), 32), ((64,) * 9, 16)]
OPTIMIZERS = {
    "SGD": lambda p: optim.SGD(p, lr=0.1),
    "momentum": lambda p: optim.SGD(p, lr=0.1, momentum=0.9),
    "Adam": lambda p: optim.Adam(p),
}


def perceptron(sizes, activation):
    layers = [part for a, b in pairwise(sizes) for part in (nn.Linear(a, b), activation())]
    return nn.Sequential(*layers[:-1])


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("activation", [nn.ReLU, nn.GELU, nn.Tanh])
@pytest.mark.parametrize(("sizes", "batch"), SIZES)
def test_the_peak_is_what_the_summary_says(sizes, batch, activation, optimizer):
    net = perceptron(sizes, activation)
    rule = OPTIMIZERS[optimizer](net.parameters())
    x, y = np.zeros((batch, sizes[0]), np.float32), np.zeros(batch, np.int64)
    estimate = net.summary(x.shape, training=True, optimizer=rule)
    found = lm.TrainStep(net, nn.CrossEntropyLoss(), rule).memory(x, y)
    assert found.parameters == estimate.param_bytes
    assert found.state == estimate.state_bytes
    assert found.batch == x.nbytes + y.nbytes
    # A sixth for what the sum leaves out: the loss, alignment, scratch of smaller products.
    assert found.peak <= 1.2 * estimate.training_bytes
    # Gradients are kept until all are known, and what backward reads until then: no plan has less.
    assert found.peak >= estimate.training_bytes - estimate.flow_bytes


def test_numbers_of_a_layer_by_hand():
    net = nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3))
    net[0].weight.requires_grad = False
    rule = optim.Adam([p for p in net.parameters() if p.requires_grad])
    found = net.summary((4, 6), training=True, optimizer=rule)
    trained = 4 * (5 + 15 + 3)
    assert found.gradient_bytes == trained
    assert found.state_bytes == 2 * trained
    # tanh's output: its slope and the next layer's gradient are made of it.
    assert found.saved_bytes == 4 * 4 * 5
    assert found.flow_bytes == 4 * 4 * 5 + 4 * 4 * 6
    total = found.param_bytes + 3 * trained + 4 * 4 * 6 + found.saved_bytes + found.flow_bytes
    assert found.training_bytes == total == found.as_dict()["training_bytes"]
    assert "saved activations 80 B" in str(found)


def test_without_training_there_is_none():
    net = nn.Linear(3, 2)
    assert net.summary((1, 3)).training_bytes == 0
    assert "training" not in str(net.summary((1, 3)))
    frozen = nn.Linear(3, 2).requires_grad_(False).summary((1, 3), training=True)
    assert frozen.saved_bytes == frozen.gradient_bytes == frozen.flow_bytes == 0


def test_asking_changes_nothing():
    net = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Dropout(0.5), nn.Linear(3, 2))
    rule = optim.Adam(net.parameters())
    step = lm.TrainStep(net, nn.CrossEntropyLoss(), rule, seed=1)
    x, y = np.ones((5, 4), np.float32), np.zeros(5, np.int64)
    before = {name: value.tobytes() for name, value in net.state_dict().items()}
    state = step.random_state
    net.summary(x.shape, training=True, optimizer=rule)
    first = step.memory(x, y)
    assert step.random_state == state
    assert {name: value.tobytes() for name, value in net.state_dict().items()} == before
    step(x, y)
    assert step.memory(x, y) == first


def test_state_is_made_in_its_place():
    net = nn.Linear(1024, 1024)
    rule = optim.Adam(net.parameters())
    step = lm.TrainStep(net, nn.MSELoss(), rule)
    x = np.zeros((2, 1024), np.float32)
    tracemalloc.start()
    try:
        step.memory(x, x)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    # Half a parameter is room for what compiling holds.
    assert peak <= rule.state_bytes + net.weight.array.nbytes // 2


def test_whatever_a_call_takes():
    """Other byte orders, lists, tuples of inputs, as the call converts them; halves as they lie."""
    net = nn.Bilinear(3, 2, 4)
    step = lm.TrainStep(net, nn.MSELoss(), optim.SGD(net.parameters(), lr=0.1))
    left, right, y = np.ones((5, 3)), np.ones((5, 2)), np.ones((5, 4))
    want = step.memory((np.float32(left), np.float32(right)), np.float32(y))
    assert want.batch == 4 * 5 * (3 + 2 + 4)
    for kind in ("f2", ">f4"):
        given = (left.astype(kind), right.astype(kind)), y.astype(kind)
        assert np.isfinite(step(*given))
        found = step.memory(*given)
        if kind == "f2":
            # Read where they lie, and made floats within the program: three arrays of whole lines.
            assert found.batch == want.batch // 2
            assert want.arena < found.arena <= want.arena + 64 + 64 + 128
        else:
            assert found == want
    assert step.memory((left.tolist(), right.tolist()), y.tolist()) == want


def test_sums_of_held_gradients_count():
    net = nn.Linear(4, 3)
    step = lm.TrainStep(net, nn.MSELoss(), optim.SGD(net.parameters(), lr=0.1), accumulate=2)
    x, y = np.ones((5, 4), np.float32), np.zeros((5, 3), np.float32)
    step(x, y)
    assert step.memory(x, y).state == 4 * (12 + 3)
