# SPDX-License-Identifier: Apache-2.0
"""What sends a step through Python: changes of its own net, loss, optimiser and sums."""

from __future__ import annotations

import numpy as np
import pytest

import lamella as lm
from lamella import nn, optim

X = np.float32([[1.0, -2.0, 3.0], [0.5, 4.0, -1.0]])


class Squared(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.factor = 1.0

    def forward(self, output, target):
        return ((output - target) ** 2).mean() * self.factor


def steps():
    nets, losses = (nn.Linear(3, 2), nn.Linear(3, 2)), (Squared(), Squared())
    for net in nets:
        nn.init.ones_(net.weight)
        nn.init.ones_(net.bias)
    optimizers = [optim.SGD(net.parameters(), lr=0.0) for net in nets]
    made = [lm.TrainStep(*parts) for parts in zip(nets, losses, optimizers, strict=True)]
    return nets, losses, optimizers, made


STEPS = {
    "net": lambda net, loss, optimizer: setattr(net, "bias", None),
    "frozen": lambda net, loss, optimizer: net.bias.requires_grad_(False),
    "loss": lambda net, loss, optimizer: setattr(loss, "factor", 2.0),
    "plan": lambda net, loss, optimizer: optimizer.param_groups[0].update(momentum=0.5),
    "state": lambda net, loss, optimizer: optimizer.load_state_dict(optimizer.state_dict()),
    "group": lambda net, loss, optimizer: optimizer.add_param_group(
        {"params": [nn.Parameter([1.0])]}
    ),
    "type": lambda net, loss, optimizer: net.double(),
}


@pytest.mark.parametrize("change", STEPS)
def test_steps_follow_net_loss_and_optimizer(change, monkeypatch):
    nets, losses, optimizers, made = steps()
    y = np.zeros((2, 2), np.float32)
    for step in made:
        for _ in range(3):
            step(X, y)
    calls = []
    kind = type(made[0]._quick)
    dispatch = kind._dispatch
    monkeypatch.setattr(
        kind, "_dispatch", lambda part, *a, **k: (calls.append(part), dispatch(part, *a, **k))[1]
    )
    for step in made:
        step(X, y)
    assert calls == []
    STEPS[change](nets[0], losses[0], optimizers[0])
    made[1](X, y)
    assert calls == []
    got = [np.array(made[0](X, y)) for _ in range(3)]
    assert calls[0] is made[0]._quick
    want = losses[0](nets[0](X), y)
    for one in got:
        np.testing.assert_allclose(one, want, rtol=1e-6)
    # The net's own calls have nothing to do with the step's.
    del calls[:]
    nets[0](X)
    made[0](X, y)
    assert calls == []


def test_sums_that_come_to_be_are_seen_by_the_step_that_spends_them():
    """One kind of batch uses a branch that no batch before has: its sum is part of the update."""

    class Branched(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Parameter([1.0]), nn.Parameter([1.0])

        def forward(self, x, more=None):
            y = x * self.a
            return y if more is None else y + more * self.b

    net = Branched()
    step = lm.TrainStep(net, nn.MSELoss(), optim.SGD(net.parameters(), lr=0.1), accumulate=2)
    x = np.ones((4, 1), np.float32)
    y = np.zeros((4, 1), np.float32)
    for _ in range(4):
        step(x, y)
    assert net.b.numpy() == 1
    step((x, x), y)  # held
    step(x, y)  # spends both
    assert net.b.numpy() < 1
