# SPDX-License-Identifier: Apache-2.0
"""What Python makes of a size is a constant of a program for that size alone."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest

import lamella as lm
from comparators import same_values
from graphs import Functional
from lamella import functional as F
from lamella import nn, optim
from sizes.drawn import compare, draw, flat, outcome, picked, sizes
from sizes.forwards import FORWARDS
from sizes.nets import mlp, settled


def whole(*shape: int) -> np.ndarray:
    """Whole numbers, on which sums are exact in any order."""
    return (picked(17, *shape) - 8).astype(np.float32)


@pytest.mark.filterwarnings("ignore:(divide|invalid):RuntimeWarning")
@pytest.mark.parametrize("name", FORWARDS)
def test_what_numpy_computes(name):
    function = FORWARDS[name]
    net, answered = Functional(function), 0
    for size in sizes(40):
        x = whole(size, 3)
        try:
            want = flat(function(x))
        except (ValueError, IndexError, AssertionError, ZeroDivisionError) as error:
            with pytest.raises(type(error)):
                net(x)
            continue
        got = flat(net(x))
        assert len(got) == len(want)
        for one, other in zip(got, want, strict=True):
            same_values(one, np.asarray(other, np.float32, order="C"))
        answered += 1
    assert answered > 8


# Sizes of two inputs: equal at first, then not; one row, which broadcasts; none.
MEETINGS = (
    *((5, 5), (7, 7), (9, 9), (9, 1), (1, 9), (12, 12), (4, 5), (0, 1), (1, 1), (0, 0), (8, 8)),
    *((1, 30), (30, 30), (5, 4), (6, 6)),
)


def joined(x: Any, y: Any) -> Any:
    return (x + y) * x.shape[0] - y.shape[0]


def crossed(x: Any, y: Any) -> Any:
    return x @ y.T, (x * 2 if x.shape == y.shape else x - 1)


def branched(x: Any, y: Any) -> Any:
    return x[: y.shape[0]], y[: len(x)], x * (len(x) - len(y))


@pytest.mark.parametrize("function", [joined, crossed, branched])
def test_two_inputs_whose_sizes_part(function):
    net = Functional(function)
    for n, m in MEETINGS:
        x, y = whole(n, 3), whole(m, 3)
        try:
            want = flat(function(x, y))
        except ValueError:
            with pytest.raises(ValueError, match="broadcast"):
                net(x, y)
            continue
        for one, other in zip(flat(net(x, y)), want, strict=True):
            same_values(one, np.asarray(other, np.float32, order="C"))


def test_nested_inputs_of_sizes_of_their_own():
    class Both(nn.Module):
        def forward(self, pair, *, named):
            first, second = pair
            rows = {"first": first.sum(0) / (first.shape[0] or 1), "second": second * len(second)}
            return rows, named["scale"][:, None] * first

    net = Both()
    for n, m in zip(sizes(40, 1), sizes(40, 2), strict=True):
        first, second, scale = whole(n, 3), whole(m, 2), whole(n)
        rows, scaled = net([first, second], named={"scale": scale})
        same_values(rows["first"], (first.sum(0) / np.float32(n or 1)).astype(np.float32))
        same_values(rows["second"], second * np.float32(m))
        same_values(scaled, scale[:, None] * first)


@pytest.mark.filterwarnings("ignore:.*traced anew")
def test_a_size_that_forward_stores():
    class Storing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.last, self.seen = 0, {}

        def forward(self, x):
            self.last = x.shape[0]
            self.seen[x.shape[0]] = self.seen.get(x.shape[0], 0) + 1
            return x * self.last

    net = Storing()
    for size in sizes(40):
        same_values(net(whole(size, 3)), whole(size, 3) * np.float32(size))


@pytest.mark.filterwarnings("ignore:.*traced anew")
def test_a_size_that_another_module_reads():
    class Counted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rows = 0

        def forward(self, x):
            self.rows = len(x)
            return x

    class Reading(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.counted = Counted()

        def forward(self, x):
            return self.counted(x) + self.counted.rows

    net = Reading()
    for size in sizes(40):
        same_values(net(whole(size, 3)), whole(size, 3) + np.float32(size))


def test_attributes_changed_between_sizes():
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.factor, self.table = 1.0, np.ones(3, np.float32)

        def forward(self, x):
            return x * self.factor + self.table * x.shape[0]

    net = Scaled()
    for count, size in enumerate(sizes(40)):
        net.factor = float(count % 3)
        net.table[1] = count
        want = whole(size, 3) * np.float32(net.factor) + net.table * np.float32(size)
        same_values(net(whole(size, 3)), want)


def test_a_buffer_of_the_size():
    """A buffer keeps its shape: batches of another size than its own broadcast or are refused."""

    class Kept(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("rows", np.zeros((1, 3), np.float32))

        def forward(self, x):
            self.rows = self.rows + x.sum(0, keepdim=True)
            return x + self.rows

    net, total = Kept(), np.zeros((1, 3), np.float32)
    for size in sizes(40):
        total += whole(size, 3).sum(0, keepdims=True)
        same_values(net(whole(size, 3)), whole(size, 3) + total)


def test_what_is_known_of_the_type_of_a_size():
    """Sizes are ints to whoever asks, and work wherever Python wants one."""
    asked = []

    def function(x):
        n = x.shape[0]
        asked.append(
            (isinstance(n, int), n == len(x), [0] * n, range(n)[-1:], f"{n:03d}", {n: 1}[n])
        )
        return x.reshape(n, 3, *[1] * (n % 3))

    net = Functional(function)
    for size in sizes(20):
        assert net(whole(size, 3)).shape == (size, 3, *[1] * (size % 3))
    assert all(one[:2] == (True, True) for one in asked)


def test_parts_called_alone_at_other_sizes():
    inner = settled(nn.Sequential(nn.Linear(3, 4), nn.Tanh()))
    net = nn.Sequential(inner, nn.Linear(4, 2)).eval()
    for size, other in zip(sizes(40, 3), sizes(40, 4), strict=True):
        for module, n in ((net, size), (inner, other), (net, other)):
            fresh = copy.deepcopy(module)
            assert outcome(module, draw(n, 3)) == outcome(fresh, draw(n, 3))


def test_other_layouts_and_types_of_a_size():
    """What is not ready as it is goes in as a copy of its own size."""
    net = settled(nn.Sequential(nn.Linear(3, 5), nn.GELU(), nn.Linear(5, 2))).eval()
    forms = (
        np.asfortranarray,
        lambda x: np.repeat(x, 2, axis=0)[::2],
        lambda x: x.astype(">f4"),
        lambda x: x.astype(np.float64),
        lambda x: x.tolist() or x,
        lambda x: np.broadcast_to(x[:1], x.shape),
    )
    compare(net, [(form(draw(n, 3)),) for n in sizes(40) for form in forms])


def test_out():
    net = settled(nn.Sequential(nn.Linear(3, 5), nn.ReLU())).eval()
    for size in sizes(40):
        want, out = np.array(net(draw(size, 3))), np.full((size, 5), np.nan, np.float32)
        assert net(draw(size, 3), out=out) is out
        same_values(out, want)
        for wrong in ((size + 1, 5), (size, 4), (5, size + 7)):
            with pytest.raises(ValueError, match="out"):
                net(draw(size, 3), out=np.empty(wrong, np.float32))


def weighted(y: Any, t: Any) -> Any:
    """Small batches count more, and the mean is by hand."""
    n = y.shape[0]
    return ((y - t) ** 2).sum() / (n or 1) * (3.0 if n < 5 else 1 / n**0.5)


def sliced(y: Any, t: Any) -> Any:
    n = min(len(y), 6)
    return F.l1_loss(y[:n], t[:n]) + (y * 0.5).mean() / max(n, 1)


@pytest.mark.parametrize("loss", [weighted, sliced])
def test_losses_that_know_the_batch(loss):
    net = settled(mlp())
    step = lm.TrainStep(net, loss, optim.Adam(net.parameters()))
    for size in sizes(60):
        if not size:
            continue
        fresh = copy.deepcopy(step)
        batch = draw(size, 64), draw(size, 4)
        assert outcome(step, *batch, net=net) == outcome(fresh, *batch, net=fresh.net), size
