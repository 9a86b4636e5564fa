# SPDX-License-Identifier: Apache-2.0
"""Small trees that note which of their calls are not answered natively, and what they must give."""

from __future__ import annotations

import copy
import threading

import numpy as np

from comparators import same_bits
from lamella import nn

X = np.float32([[1.0, -2.0, 3.0], [0.5, 4.0, -1.0]])
CAME: list[nn.Module] = []


class Seen(nn.Module):
    """Notes the calls that were not answered natively."""

    def _dispatch(self, *inputs, **named):
        CAME.append(self)
        return super()._dispatch(*inputs, **named)


class Leaf(nn.Module):
    """y = scale * weight * x + offset, by attributes of every kind."""

    def __init__(self) -> None:
        super().__init__()
        self.scale, self.label = 1.0, "leaf"
        self.weight = nn.Parameter(np.ones(3, np.float32))
        self.register_buffer("offset", np.zeros(3, np.float32))
        self.register_parameter("extra", None)
        self.register_buffer("shift", None)
        self.inner = nn.Identity()

    def forward(self, x):
        y = (x if self.inner is None else self.inner(x)) * self.weight * self.scale + self.offset
        for term in (self.extra, self.shift):
            y = y if term is None else y + term
        return y + 100 if hasattr(self, "flag") else y + 10 * self.training


class Tree(Seen):
    """Two floors, one leaf of which is met twice."""

    def __init__(self, leaf: nn.Module) -> None:
        super().__init__()
        self.blocks = nn.ModuleList([nn.Sequential(leaf), nn.ModuleDict({"a": leaf})])

    def forward(self, x):
        return self.blocks[1]["a"](self.blocks[0](x))


class Reaching(Seen):
    """Reads a module that is none of its children."""

    def __init__(self, leaf: nn.Module) -> None:
        super().__init__()
        self.others = [{"leaf": leaf}]

    def forward(self, x):
        return self.others[0]["leaf"](x)


class Root(Leaf, Seen):
    pass


class Other(Root):
    def forward(self, x):
        return super().forward(x) - 1000


def fresh(net, x=X):
    """What forward means now: of a copy that has never been called."""
    return np.array(copy.deepcopy(net)(x))


def check(nets):
    """Every net gives what a fresh copy of it gives, again and again."""
    for net in nets:
        want = fresh(net)
        for _ in range(3):
            same_bits(np.array(net(X)), want)


def came(net, x=X) -> bool:
    """Whether a call goes through Python."""
    CAME.clear()
    net(x)
    return any(one is net for one in CAME)


def settled(*nets) -> None:
    for net in nets:
        net(X)
        net(X)
        assert not came(net)


def in_thread(work):
    failed = []

    def run():
        try:
            work()
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(60)
    assert not failed, failed


def gate(work):
    """Something that forward steps on, but that looking at forward's code does not lead into."""
    while True:
        work()
        yield
