# SPDX-License-Identifier: Apache-2.0
"""Sizes that a net has not seen are answered without Python, and give the bits of a fresh net."""

from __future__ import annotations

import copy
import random
import threading

import numpy as np
import pytest

import lamella as lm
from comparators import same_bits
from lamella import nn, optim
from nn.leaves import CAME, Seen


class Net(Seen):
    def __init__(self) -> None:
        super().__init__()
        self.scale = 1.0
        self.layers = nn.Sequential(nn.Linear(6, 9), nn.Tanh(), nn.LayerNorm(9), nn.Linear(9, 4))

    def forward(self, x, mask=None):
        y = self.layers(x) * self.scale
        return y if mask is None else (y * mask[:, None], y.mean())


def draw(*shape: int) -> np.ndarray:
    return np.random.default_rng(shape).normal(size=shape).astype(np.float32)


def quiet(net, *given, **named):
    """A call that does not come through Python."""
    CAME.clear()
    result = net(*given, **named)
    assert CAME == []
    return result


def settled() -> Net:
    net = Net().eval()
    for n in (5, 6, 7):
        net(draw(n, 6))
    return net


def fresh(net, *given):
    return copy.deepcopy(net)(*given)


def test_sizes_in_any_order():
    net = settled()
    sizes = [*range(2, 60), 300]
    random.Random(2).shuffle(sizes)
    for n in sizes:
        x = draw(n, 6)
        same_bits(quiet(net, x).copy(), fresh(net, x))
    for n in (0, 1):
        same_bits(net(draw(n, 6)).copy(), fresh(net, draw(n, 6)))
        quiet(net, draw(n, 6))


def test_more_than_one_argument():
    net = Net().eval()
    for n in (5, 6, 7):
        net(draw(n, 6), mask=draw(n))
    for n in (2, 8, 40):
        got = quiet(net, draw(n, 6), mask=draw(n))
        for one, other in zip(got, fresh(net, draw(n, 6), draw(n)), strict=True):
            same_bits(np.array(one), other)
    with pytest.raises(lm.errors.ShapeError):
        net(draw(8, 6), mask=draw(9))


@pytest.mark.parametrize("n", [0, 1])
def test_arrays_of_other_extents_are_refused_whichever_is_the_smaller(n):
    """An extent below two belongs to no text, beside one that does neither."""
    for few in (5, 6, 7, 8):
        lm.functional.mse_loss(draw(few, 6), draw(few, 6))
    for few in (5, 30):
        for x, y in ((draw(n, 6), draw(few, 6)), (draw(few, 6), draw(n, 6))):
            with pytest.raises(lm.ShapeError, match="shapes differ"):
                lm.functional.mse_loss(x, y)


def test_parameters_and_attributes_are_those_of_the_moment():
    net = settled()
    x = draw(12, 6)
    for change, comes in (
        (lambda: nn.init.ones_(net.layers[0].weight), False),
        (lambda: net.load_state_dict({k: a * 2 for k, a in net.state_dict().items()}), False),
        (lambda: net.train().eval(), False),
        (lambda: setattr(net, "scale", 3.0), True),
        (lambda: setattr(net.layers, "1", nn.ReLU()), True),
        (lambda: net.double(), True),
    ):
        change()
        CAME.clear()
        same_bits(np.array(net(x)), fresh(net, x))
        assert any(one is net for one in CAME) == comes
        for n in (5, 6, 7, 9, 12):
            same_bits(np.array(net(draw(n, 6))), fresh(net, draw(n, 6)))


def test_a_few_bytes_for_all_sizes():
    net = settled()
    try:
        for limit in (0, 50_000):
            lm.set_cache_bytes(limit)
            for n in [*range(2, 30), 3, 29, 5]:
                same_bits(np.array(net(draw(n, 6))), fresh(net, draw(n, 6)))
                assert lm.config()["programs"]["bytes"] <= limit
    finally:
        lm.set_cache_bytes(256 << 20)


def test_training_on_any_size():
    net = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 2))
    twin = copy.deepcopy(net)
    step, other = (
        lm.TrainStep(one, nn.MSELoss(), optim.Adam(one.parameters())) for one in (net, twin)
    )
    for n in (8, 8, 5, 6, 7, 2, 30, 8, 1, 5):
        loss = step(draw(n, 6), draw(n, 2)).copy()
        lm.clear_cache()
        same_bits(loss, other(draw(n, 6), draw(n, 2)).copy())
    for name, array in net.state_dict().items():
        same_bits(array, twin.state_dict()[name])


def test_threads_train_and_predict_at_new_sizes():
    net = settled()
    want = {n: fresh(net, draw(n, 6)).tobytes() for n in range(2, 80)}
    failed, start = [], threading.Barrier(6)

    def work(number):
        start.wait(60)
        for n in random.Random(number).sample(range(2, 80), 78):
            if net(draw(n, 6)).tobytes() != want[n]:
                failed.append(n)
            if number == 0:
                net.train().eval()

    members = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for member in members:
        member.start()
    for member in members:
        member.join()
    assert failed == []
