# SPDX-License-Identifier: Apache-2.0
"""How often sizes are traced: a few times where one text makes them, else once for each."""

from __future__ import annotations

from typing import Any

import pytest

import lamella as lm
from graphs import Functional
from lamella import functional as F
from lamella import nn, onnx
from lamella.onnx.network import Model
from lamella.runtime.function import function
from lamella.runtime.tensor import Operand
from sizes.drawn import draw, sizes
from sizes.forwards import FORWARDS
from sizes.nets import NETS, WIDTH, Residual, settled
from sizes.test_bits import STEPS

# The first size, the second with free axes, and once more where another axis begins to vary.
FEW = 3


class Counting(nn.Module):
    """The inner module, and a list that grows whenever forward runs."""

    def __init__(self, inner: nn.Module, runs: list[int]) -> None:
        super().__init__()
        self.inner, self.runs = inner, runs

    def forward(self, *inputs: Any) -> Any:
        self.runs.append(1)
        return self.inner(*inputs)


@pytest.mark.parametrize("name", NETS)
def test_nets(name):
    runs: list[int] = []
    net = settled(NETS[name].make())
    counting = Counting(net, runs).train(net.training)
    for arguments in NETS[name].inputs():
        # A variance of two samples divides by one, which is another program.
        if min(arguments[0].shape) > 2:
            counting(*arguments)
    assert len(runs) <= FEW


@pytest.mark.parametrize("name", STEPS)
def test_training(name):
    make, batch = STEPS[name]
    runs: list[int] = []
    step = make().step
    step.net = Counting(step.net, runs).train()
    for size in sizes(60):
        if size > 1:
            step(*batch(size))
    # With `accumulate` the first call, those between and the last one are programs of their own.
    assert len(runs) <= FEW * step.accumulate


def test_files(monkeypatch):
    runs: list[int] = []
    model = onnx.load(onnx.encode(settled(Residual()).eval(), draw(3, WIDTH)))
    forward = Model.forward

    def counting(self: Model, *inputs: Any, **named: Any) -> Any:
        runs.append(1)
        return forward(self, *inputs, **named)

    monkeypatch.setattr(Model, "forward", counting)
    for size in sizes(60):
        if size > 1:
            model(draw(size, WIDTH))
    assert len(runs) <= FEW


def test_functions():
    runs: list[int] = []

    @function
    def counting(x: Operand, w: Operand) -> Operand:
        runs.append(1)
        return F.softmax(F.linear(x, w), -1)

    for n, m in zip(sizes(40, 5), sizes(40, 6), strict=True):
        if n > 1 and m > 1:
            counting(draw(n, 5), draw(m, 5))
    assert len(runs) <= FEW


# What follows from a size by whole numbers and comparisons that hold for many is one text for each
# way in which they come out; what leaves the whole numbers is a program for each size.
FREE = ("columns", "averaged", "in_pairs", "folded", "squared", "nested", "shifted")
FOR_EACH = ("looked_up", "by_numpy", "triangle", "unrolled")


@pytest.mark.parametrize("name", [*FREE, *FOR_EACH])
def test_forwards_that_know_their_size(name):
    runs: list[int] = []
    net = Counting(Functional(FORWARDS[name]), runs)
    chosen = [size for size in sizes(40) if size > 5 and size % 2 == 0]
    for size in chosen:
        net(draw(size, 3))
    if name in FREE:
        assert len(runs) <= FEW
    else:
        assert len(runs) >= len(set(chosen))


def test_a_reason_is_told():
    net = Functional(FORWARDS["looked_up"])
    for size in (2, 7, 17):
        net(draw(size, 3))
    assert "forwards.py" in str(lm.explain(net, draw(7, 3)))
