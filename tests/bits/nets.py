# SPDX-License-Identifier: Apache-2.0
"""Functions of a batch that treat every row alike, covering every family of ops.

Each row of NETS is made by build(dtype) and maps (B, WIDTH) to (B, ...): row i of the result may
depend on row i of the input alone, and must do so with the same bits in every batch.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import numpy as np

import lamella.functional as F
from lamella import nn

WIDTH = 37

Net = Callable[[np.ndarray], np.ndarray]


def values(shape: tuple[int, ...], dtype: str, seed: int = 50) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def digest(array: np.ndarray) -> str:
    """SHA-256 of shape, dtype and bytes."""
    form = f"{array.shape} {array.dtype} ".encode()
    return hashlib.sha256(form + np.ascontiguousarray(array).tobytes()).hexdigest()


def module(net: nn.Module, dtype: str) -> nn.Module:
    """The net in eval mode with its floating parameters drawn from a fixed seed."""
    state = {}
    for index, (name, value) in enumerate(sorted(net.state_dict().items())):
        if value.dtype.kind == "f":
            drawn = values(value.shape, "float64", 60 + index) / 6
            if name.endswith("running_var"):
                drawn = np.abs(drawn) + 0.5
            value = drawn.astype(value.dtype)
        state[name] = value
    net.load_state_dict(state)
    if dtype == "float64":
        net.double()
    return net.eval()


class Residual(nn.Module):
    """x + f(x), a shared layer, two heads joined."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(WIDTH, WIDTH)
        self.head = nn.Linear(WIDTH, 5)
        self.tail = nn.Linear(WIDTH, 18)

    def forward(self, x):
        x = x + F.silu(self.inner(x))
        x = x + F.gelu(self.inner(x))
        return F.cat([self.head(x), self.tail(x)], dim=1)


def wide(dtype: str) -> Net:
    layers = (nn.Linear(WIDTH, 300), nn.ReLU(), nn.Linear(300, 64), nn.Tanh(), nn.Linear(64, 33))
    return module(nn.Sequential(*layers), dtype)


def narrow(dtype: str) -> Net:
    layers = (nn.Linear(WIDTH, 8), nn.ELU(), nn.Linear(8, 15), nn.Sigmoid())
    few = (nn.Linear(15, 4), nn.Tanh(), nn.Linear(4, 1))  # a few terms, half a panel
    return module(nn.Sequential(*layers, *few), dtype)


def normalised(dtype: str) -> Net:
    layers = (nn.LayerNorm(WIDTH), nn.Linear(WIDTH, 20), nn.BatchNorm1d(20), nn.Softplus())
    return module(nn.Sequential(*layers), dtype)


def by_root(dtype: str) -> Net:
    layers = (nn.RMSNorm(WIDTH), nn.Linear(WIDTH, 20), nn.RMSNorm(20), nn.Softmax(-1))
    return module(nn.Sequential(*layers), dtype)


def residual(dtype: str) -> Net:
    return module(Residual(), dtype)


def looked_up(dtype: str) -> Net:
    table = module(nn.Embedding(11, 9), dtype)
    return lambda x: table(np.floor(np.abs(np.ascontiguousarray(x)) * 3).astype(np.int64) % 11)


def elementwise(dtype: str) -> Net:
    scale = values((WIDTH,), dtype, 51)
    return lambda x: F.mul(F.where(F.gt(x, scale), F.mish(x), F.erf(x)), scale)


def softmaxed(dtype: str) -> Net:
    return lambda x: F.add(F.softmax(x, -1), F.log_softmax(x, -1))


def reduced(dtype: str) -> Net:
    def net(x: np.ndarray) -> np.ndarray:
        parts = [F.sum(x, dim=1), F.mean(x, dim=1), F.amax(x, dim=1), F.amin(x, dim=1)]
        parts += [F.prod(x, dim=1), F.var(x, dim=1), F.logsumexp(x, dim=1)]
        return F.stack(parts, dim=1)

    return net


def multiplied(dtype: str) -> Net:
    wide_factor, narrow_factor = values((WIDTH, 50), dtype, 52), values((WIDTH, 3), dtype, 53)
    return lambda x: F.cat([F.matmul(x, wide_factor), F.matmul(x, narrow_factor)], dim=1)


def moved(dtype: str) -> Net:
    def net(x: np.ndarray) -> np.ndarray:
        pairs = F.transpose(F.reshape(F.pad(x, (1, 2)), (x.shape[0], 8, 5)), 1, 2)
        return F.sum(F.flatten(pairs, 1), dim=1, keepdim=True)

    return net


def put(dtype: str) -> Net:
    """Entries picked, added where several meet, carried along and put in order, in each row."""
    into = np.arange(WIDTH) * 5 % 7

    def net(x: np.ndarray) -> np.ndarray:
        index = np.broadcast_to(into, x.shape)
        sums = F.scatter_add(F.narrow(x, 1, 0, 7), 1, index, x)
        rows = F.index_add(F.narrow(x, 1, 0, 7), 1, into, x)
        found = F.topk(F.gather(x, 1, index), 5)
        picked = F.cumsum(F.take_along_dim(x, found.indices, 1), 1)
        return F.cat([sums, rows, found.values, picked, F.sort(x, 1).values], dim=1)

    return net


NETS: dict[str, Callable[[str], Net]] = {
    "wide": wide,
    "narrow": narrow,
    "normalised": normalised,
    "by_root": by_root,
    "residual": residual,
    "looked_up": looked_up,
    "elementwise": elementwise,
    "softmaxed": softmaxed,
    "reduced": reduced,
    "multiplied": multiplied,
    "moved": moved,
    "put": put,
}
