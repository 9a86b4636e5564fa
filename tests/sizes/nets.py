# SPDX-License-Identifier: Apache-2.0
"""Nets whose programs differ in nothing but sizes, and inputs of a size for each of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

import lamella.functional as F
from lamella import nn
from lamella.benchmarks.encoder import Encoder
from sizes.drawn import draw, pairs, sizes

WIDTH = 24


class Row(NamedTuple):
    """make, the net; inputs, its arguments at one call after the other."""

    make: Callable[[], nn.Module]
    inputs: Callable[[], list[tuple[Any, ...]]]


def settled(net: nn.Module) -> nn.Module:
    """The net with parameters and statistics that depend on nothing but names and shapes."""
    state = {}
    for name, value in net.state_dict().items():
        if value.dtype.kind == "f":
            drawn = draw(*value.shape, seed=len(name)) / np.sqrt(value.shape[-1])
            value = np.abs(drawn) + 0.5 if name.endswith("running_var") else drawn
        state[name] = value
    net.load_state_dict(state)
    return net


def mlp() -> nn.Module:
    layers = (nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 4))
    return nn.Sequential(*layers)


class Residual(nn.Module):
    """Skips, a shared layer, two heads joined, means over the batch and over the features."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.head, self.tail = (nn.Linear(WIDTH, n) for n in (WIDTH, 5, 18))
        self.scale = nn.Parameter(np.linspace(0.5, 1.5, WIDTH, dtype=np.float32))

    def forward(self, x: Any) -> Any:
        x = x + F.silu(self.inner(x)) * self.scale
        x = x + F.gelu(self.inner(x)) - x.mean(1, keepdim=True)
        return F.cat([self.head(x), self.tail(x - x.mean(0))], dim=1)


def normalised() -> nn.Module:
    layers = (nn.Linear(WIDTH, 20), nn.BatchNorm1d(20), nn.ReLU(), nn.LayerNorm(20))
    return nn.Sequential(*layers, nn.Linear(20, 7), nn.BatchNorm1d(7), nn.Softmax(-1))


class Embedded(nn.Module):
    """Tokens looked up, positions of a table beside them, an encoder, a mean over the tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens, self.places = nn.Embedding(11, WIDTH), nn.Embedding(400, WIDTH)
        self.encoder = Encoder(1, WIDTH, 3)

    def forward(self, tokens: Any) -> Any:
        x = self.tokens(tokens) + self.places.weight[: tokens.shape[-1]]
        return self.encoder(x).mean(-2)


def _rows(high: int, *rest: int) -> Callable[[], list[tuple[Any, ...]]]:
    return lambda: [(draw(n, *rest),) for n in sizes(high)]


NETS = {
    "mlp": Row(lambda: mlp().eval(), _rows(300, 64)),
    "residual": Row(lambda: Residual().eval(), _rows(60, WIDTH)),
    "batch norm, eval": Row(lambda: normalised().eval(), _rows(60, WIDTH)),
    "batch norm, training": Row(lambda: normalised().train(), _rows(60, WIDTH)),
    "encoder, length": Row(lambda: Encoder(2, WIDTH, 3).eval(), _rows(60, WIDTH)),
    "encoder, batch": Row(lambda: Encoder(1, WIDTH, 3).eval(), _rows(40, 7, WIDTH)),
    "encoder, both": Row(
        lambda: Encoder(1, WIDTH, 3).eval(), lambda: [(draw(n, t, WIDTH),) for n, t in pairs(33)]
    ),
    "embedded": Row(
        lambda: Embedded().eval(),
        lambda: [(np.abs(draw(n, t) * 4).astype(np.int64) % 11,) for n, t in pairs(33)],
    ),
    "double": Row(lambda: Encoder(1, WIDTH, 3).double().eval(), _rows(40, WIDTH)),
}
