# SPDX-License-Identifier: Apache-2.0
"""Whole training runs from fixed seeds, and the digest of everything they leave behind.

Run as a program it prints, as JSON, the digests of all runs at each number of threads given as an
argument: {run: {threads: digest}}.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable

import numpy as np

import lamella as lm
from lamella import nn, optim

STEPS, BATCH = 100, 150


def drawn(net: nn.Module) -> nn.Module:
    """The net with parameters that depend on nothing but their shapes."""
    rng = np.random.default_rng(95)
    for parameter in net.parameters():
        scale = parameter.shape[-1] ** -0.5
        parameter.data = rng.uniform(-scale, scale, parameter.shape) + (len(parameter.shape) == 1)
    return net


def dropout() -> lm.TrainStep:
    net = drawn(
        nn.Sequential(
            nn.Linear(40, 200), nn.ReLU(), nn.Dropout(0.3),
            nn.Linear(200, 130), nn.GELU(), nn.Dropout(0.2), nn.Linear(130, 10),
        )
    )  # fmt: skip
    return lm.TrainStep(net, nn.CrossEntropyLoss(), optim.Adam(net.parameters(), lr=0.01), seed=1)


def normalised() -> lm.TrainStep:
    net = drawn(
        nn.Sequential(
            nn.LayerNorm(40), nn.Linear(40, 70), nn.BatchNorm1d(70), nn.SiLU(), nn.Dropout(0.1),
            nn.Linear(70, 64), nn.RMSNorm(64), nn.Tanh(), nn.Linear(64, 10), nn.Softplus(),
        )
    )  # fmt: skip
    optimizer = optim.AdamW(net.parameters(), lr=0.003, weight_decay=0.1, amsgrad=True)
    loss = nn.CrossEntropyLoss(label_smoothing=0.1)
    return lm.TrainStep(net, loss, optimizer, clip_norm=0.5, accumulate=2, seed=2)


def embedded() -> lm.TrainStep:
    """Few rows, each looked up many times in a batch."""
    net = drawn(
        nn.Sequential(
            nn.Embedding(9, 12), nn.Flatten(), nn.Linear(480, 60), nn.PReLU(), nn.Linear(60, 10)
        )
    )
    optimizer = optim.SGD(net.parameters(), lr=0.02, momentum=0.9, nesterov=True)
    return lm.TrainStep(net, nn.MSELoss(), optimizer, clip_value=0.1, seed=3)


RUNS: dict[str, Callable[[], lm.TrainStep]] = {
    "dropout": dropout,
    "normalised": normalised,
    "embedded": embedded,
}


def train(name: str, steps: int = STEPS) -> str:
    """SHA-256 of the losses, parameters, statistics and the optimiser's state."""
    step, rng = RUNS[name](), np.random.default_rng(96)
    found = hashlib.sha256()
    for _ in range(steps):
        x = rng.normal(size=(BATCH, 40)).astype(np.float32)
        if name == "embedded":
            y = x[:, :10].copy()
            x = np.abs(x * 3).astype(np.int64) % 9
        else:
            y = x[:, :10].argmax(1)
        loss = step(x, y)
        assert np.isfinite(loss)
        found.update(loss.tobytes())
    for value in step.net.state_dict().values():
        found.update(np.ascontiguousarray(value).tobytes())
    for state in step.optimizer.state_dict()["state"].values():
        for key in sorted(state):
            found.update(np.asarray(state[key], np.float32).tobytes())
    return found.hexdigest()


def main(counts: list[str]) -> None:
    digests: dict[str, dict[str, str]] = {name: {} for name in RUNS}
    for count in counts:
        lm.set_num_threads(int(count))
        for name in RUNS:
            digests[name][count] = train(name)
    print(json.dumps(digests))


if __name__ == "__main__":
    main(sys.argv[1:])
