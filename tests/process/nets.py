# SPDX-License-Identifier: Apache-2.0
"""A user's model at module level, where pickle and spawned processes find it."""

from __future__ import annotations

import numpy as np

import lamella.functional as F
from lamella import nn


class Policy(nn.Module):
    """Skip connection, shared layer, buffer, two outputs."""

    def __init__(self, width: int = 24) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(width, width), nn.Tanh(), nn.LayerNorm(width))
        self.action = nn.Linear(width, 3)
        self.value = nn.Linear(width, 1)
        self.register_buffer("offset", np.arange(width, dtype=np.float32))

    def forward(self, x):
        x = x + self.body(x - self.offset)
        x = x + self.body(x)
        return {"action": F.softmax(self.action(x), -1), "value": self.value(x)}


def policy(width: int = 24) -> Policy:
    """The model with parameters that depend on nothing but their shapes."""
    net, rng = Policy(width), np.random.default_rng(80)
    state = net.state_dict()
    drawn = {
        name: rng.normal(size=value.shape).astype(value.dtype) for name, value in state.items()
    }
    net.load_state_dict(drawn)
    return net.eval()


def observations(count: int, width: int = 24) -> np.ndarray:
    return np.random.default_rng(81).normal(size=(count, width)).astype(np.float32)


def digest(net: nn.Module, x: np.ndarray) -> str:
    """The outputs as text, all bits."""
    result = net(x)
    return result["action"].tobytes().hex() + result["value"].tobytes().hex()


def answer(net: nn.Module, x: np.ndarray, sender: object) -> None:
    """What a child process does: computes and sends the digest."""
    sender.send(digest(net, x))
    sender.close()
