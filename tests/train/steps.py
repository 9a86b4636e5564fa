# SPDX-License-Identifier: Apache-2.0
"""Nets, data and comparisons for the tests of training steps.

Everything is drawn from fixed seeds, in float64; `mlp` and its `state` may be had in float32.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from comparators import same_bits
from lamella import functional as F
from lamella import nn, optim

N, IN, HIDDEN, OUT = 12, 5, 7, 3
RNG = np.random.default_rng(70)
X, Y = RNG.normal(size=(N, IN)), RNG.normal(size=(N, OUT))
LABELS = RNG.integers(0, OUT, N)
WEIGHT = RNG.uniform(0.2, 2.0, N)


def mlp(dtype: str = "float64", seed: int = 71) -> nn.Sequential:
    net = nn.Sequential(nn.Linear(IN, HIDDEN), nn.Tanh(), nn.Linear(HIDDEN, OUT))
    rng = np.random.default_rng(seed)
    net.load_state_dict({k: rng.normal(size=v.shape) / 2 for k, v in net.state_dict().items()})
    return net.double() if dtype == "float64" else net


def state(net: nn.Module) -> dict[str, np.ndarray]:
    return {name: np.array(value) for name, value in net.state_dict().items()}


def same_state(got: dict[str, np.ndarray], want: dict[str, np.ndarray]) -> None:
    assert got.keys() == want.keys()
    for name, value in want.items():
        same_bits(got[name], value)


def close(got: Any, want: Any, rounding: float = 1e-12) -> None:
    """Sums of some dozens of terms of size one, each rounded a few times."""
    assert np.abs(np.asarray(got, np.float64) - want).max() <= rounding * (1 + np.abs(want).max())


def sgd(net: nn.Module, lr: float = 0.1, **options: Any) -> optim.SGD:
    return optim.SGD(net.parameters(), lr=lr, **options)


class Two(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(IN, OUT), nn.Linear(OUT, OUT)

    def forward(self, a, b):
        return {"sum": self.first(a) + self.second(b), "part": self.second(b)}


def two_loss(output, target):
    total = F.mse_loss(output["sum"], target["sum"])
    return total + (output["part"] - target["part"]).abs().mean()
