# SPDX-License-Identifier: Apache-2.0
"""One dense layer with weights that stay: y = f(x W^T + b)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .activation import EXACT as ACTIVATIONS
from .work import Work


@dataclass(frozen=True)
class Dense:
    """A layer of `inputs` to `outputs` features on a batch of `m` rows."""

    m: int
    inputs: int
    outputs: int
    activation: str = "relu"
    family: str = "dense"

    @property
    def name(self) -> str:
        suffix = "" if self.activation == "relu" else f" {self.activation}"
        return f"dense {self.inputs}-{self.outputs}{suffix}, batch {self.m}"

    @property
    def work(self) -> Work:
        weights = self.inputs * self.outputs
        read = 4.0 * (weights + self.m * self.inputs)
        return Work(2.0 * self.m * weights, read, 4.0 * self.m * self.outputs)

    def data(self) -> dict[str, np.ndarray]:
        rng = np.random.default_rng(2)
        scale = 1.0 / np.sqrt(self.inputs)
        return {
            "x": rng.standard_normal((self.m, self.inputs)).astype(np.float32),
            "w": rng.uniform(-scale, scale, (self.outputs, self.inputs)).astype(np.float32),
            "b": rng.uniform(-scale, scale, self.outputs).astype(np.float32),
        }

    def error(self, arrays: dict[str, np.ndarray], answer: np.ndarray) -> float:
        x, w, b = (arrays[k].astype(np.float64) for k in "xwb")
        scale = np.abs(x) @ np.abs(w).T + np.abs(b)
        exact = ACTIVATIONS[self.activation](x @ w.T + b)
        return float(np.max(np.abs(answer - exact) / (2.0**-24 * self.inputs * scale)))


TASKS = [
    Dense(32, 512, 512, "gelu"),
    *(
        Dense(m, inputs, outputs)
        for inputs, outputs in ((512, 512), (784, 512), (1024, 1024))
        for m in (1, 2, 4, 8, 16, 32, 64, 256)
    ),
]
DEFAULT = [Dense(m, 512, 512) for m in (1, 8, 64, 256)]
