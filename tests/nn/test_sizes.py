# SPDX-License-Identifier: Apache-2.0
"""From the third size on a call needs no compilation, and is what it would be with one."""

from __future__ import annotations

import threading

import numpy as np
import pytest

import lamella as lm
from comparators import same_bits
from lamella import functional as F
from lamella import nn
from lamella.errors import DTypeError, ShapeError
from lamella.runtime import programs
from lamella.runtime.function import function
from lamella.runtime.tensor import Operand

RNG = np.random.default_rng(7)


def draw(*shape):
    return RNG.standard_normal(shape, np.float32)


class Net(nn.Module):
    """y = tanh(x w + b) * scale, and how often its forward ran."""

    def __init__(self):
        super().__init__()
        self.fc, self.scales, self.runs = nn.Linear(3, 4), [2.0], []

    def forward(self, x):
        self.runs.append(1)
        return F.tanh(self.fc(x)) * self.scales[0]


def fresh(net, x):
    """What a net answers that has seen no other size."""
    twin = Net()
    twin.load_state_dict(net.state_dict())
    twin.scales[:] = net.scales
    return twin(x)


def test_forward_runs_for_the_first_two_sizes():
    net = Net()
    for size in (5, 9, 7, 3, 50, 5, 9, 7, 100, 2):
        x = draw(size, 3)
        same_bits(net(x).copy(), fresh(net, x))
    assert len(net.runs) == 2
    for size in (0, 1, 0, 1):
        x = draw(size, 3)
        same_bits(net(x).copy(), fresh(net, x))
    assert len(net.runs) == 4


def test_each_size_has_its_own_out():
    net = Net()
    for size in (5, 9):
        net(draw(size, 3))
    for size in (7, 3):
        x, out = draw(size, 3), np.empty((size, 4), np.float32)
        for target in (out, np.empty((size, 8), np.float32)[:, ::2]):
            assert net(x, out=target) is target
            same_bits(np.ascontiguousarray(target), fresh(net, x))
        with pytest.raises(ShapeError, match=rf"out=\(9, 4\); expected \({size}, 4\)"):
            net(x, out=np.empty((9, 4), np.float32))
        with pytest.raises(DTypeError, match="out has another dtype"):
            net(x, out=np.empty((size, 4)))
    assert len(net.runs) == 2


def test_wrong_sizes_are_refused_as_ever():
    net = Net()
    for size in (5, 9, 7):
        net(draw(size, 3))
    with pytest.raises(ShapeError, match="inner sizes differ"):
        net(draw(8, 4))
    assert net(draw(8, 3)).shape == (8, 4)


def test_what_changes_is_seen_at_every_size():
    net = Net()
    for size in (5, 9, 7):
        net(draw(size, 3))
    for change in (
        lambda: net.scales.__setitem__(0, 3.0),
        lambda: setattr(net.fc.weight, "data", net.fc.weight.data * 2),
        lambda: setattr(net.fc, "bias", nn.Parameter(draw(4))),
        lambda: net.scales.__setitem__(0, 2.0),
        lambda: net.eval(),
        lambda: net.scales.__setitem__(0, -1.0),
    ):
        change()
        for size in (7, 5, 11, 1, 6):
            x = draw(size, 3)
            same_bits(net(x).copy(), fresh(net, x))


def test_python_values_that_go_back_and_forth():
    net = Net()
    for scale in (2.0, 3.0):
        net.scales[0] = scale
        for size in (5, 9, 7):
            net(draw(size, 3))
    runs = len(net.runs)
    for scale in (2.0, 3.0, 2.0, 3.0):
        net.scales[0] = scale
        for size in (4, 8, 7):
            x = draw(size, 3)
            same_bits(net(x).copy(), fresh(net, x))
    assert len(net.runs) == runs


def test_a_graph_of_the_size_where_one_is_needed():
    net = Net()
    for size in (5, 9, 7):
        net(draw(size, 3))
    compiled, _ = net._compiled.find(net, draw(7, 3))
    assert compiled.is_sized
    compiled, _ = net._compiled.exact(net, draw(7, 3))
    assert not compiled.is_sized
    assert compiled.graph.inputs[0].shape == (7, 3)
    assert lm.profile(net, draw(6, 3), seconds=0.01).rows
    assert "Net" in repr(lm.summary(net, (6, 3)))


def step_of(net):
    return lm.TrainStep(net, nn.MSELoss(), lm.optim.Adam(net.parameters(), lr=0.01), seed=1)


def test_training_at_any_size():
    nets = [nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 2)) for _ in range(2)]
    nets[1].load_state_dict(nets[0].state_dict())
    step, single = map(step_of, nets)
    for size in (8, 5, 7, 3, 6, 1, 7, 5):
        x, y = draw(size, 3), draw(size, 2)
        loss = float(step(x, y))
        # A step that knows no other size.
        single._parts.clear()
        single._choose()
        assert loss == float(single(x, y))
        for p, q in zip(nets[0].parameters(), nets[1].parameters(), strict=True):
            same_bits(p.numpy(), q.numpy())


def test_a_step_of_a_made_size_tells_of_itself():
    net = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 2))
    step = step_of(net)
    for size in (8, 5, 7):
        step(draw(size, 3), draw(size, 2))
    x, y = draw(6, 3), draw(6, 2)
    assert step.memory(x, y).batch == x.nbytes + y.nbytes
    assert lm.profile(step, x, y, seconds=0.01).rows
    assert "sizes" in str(lm.explain(step, x, y))


def test_functions():
    traces = []

    @function
    def scaled(x: Operand, w: Operand, power):
        traces.append(1)
        return (x @ w) ** power

    w = draw(3, 4)
    for size in (5, 9, 7, 3, 20, 7):
        x = draw(size, 3)
        same_bits(scaled(x, w, 2), np.asarray((F.linear(x, w.T.copy())) ** 2))
        same_bits(scaled(x, w=w, power=2), scaled(x, w, 2))
    assert len(traces) == 2


def test_explain_says_what_is_free():
    net = Net()
    net(draw(5, 3))
    assert "sizes" not in str(lm.explain(net, draw(5, 3)))
    net(draw(9, 3))
    found = str(lm.explain(net, draw(9, 3)))
    assert "input 0 = (n, 3)  (any n; a new size needs no compilation)" in found


def test_explain_says_why_not():
    class Counted(nn.Module):
        def forward(self, x):
            return x * float(x.shape[0])

    net = Counted()
    for size in (5, 9):
        assert net(draw(size, 3)).shape == (size, 3)
    found = str(lm.explain(net, draw(9, 3)))
    assert "each size is compiled by itself: " in found
    assert "test_sizes.py, line" in found


def test_two_threads_bring_new_sizes_at_once():
    net = Net()
    for size in (5, 9):
        net(draw(size, 3))
    xs = {size: draw(size, 3) for size in range(2, 60)}
    wants = {size: fresh(net, x).copy() for size, x in xs.items()}
    wrong = []

    def work(order):
        for size in order:
            if net(xs[size]).tobytes() != wants[size].tobytes():
                wrong.append(size)
            if F.tanh(xs[size]).shape != (size, 3):
                wrong.append(size)

    orders = [sorted(xs), sorted(xs, reverse=True), sorted(xs, key=lambda n: n * 7 % 31)]
    workers = [threading.Thread(target=work, args=(order,)) for order in orders]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert wrong == []
    assert len(net.runs) == 2


@pytest.mark.filterwarnings("ignore:.*compiled again")
def test_budgets():
    net = Net()
    before = programs.limit()
    try:
        for limit in (0, 3000, 20_000, 1 << 20):
            lm.set_cache_bytes(limit)
            for size in (5, 9, 7, 3, 9, 8, 5, 2):
                x = draw(size, 3)
                same_bits(net(x).copy(), fresh(net, x))
                assert programs.held()[1] <= limit
    finally:
        lm.set_cache_bytes(before)
