# SPDX-License-Identifier: Apache-2.0
"""Whole multi-layer perceptrons: what a user calls, from array to array."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from .work import Work


@dataclass(frozen=True)
class Network:
    """y = out(W_n f(... f(W_1 x + b_1)) + b_n), weights in torch's (out, in) layout.

    gain: how much larger the weights are than torch's, which let deep networks forget their input.
    """

    name: str
    sizes: tuple[int, ...]
    activation: str
    output: str
    batch: int
    gain: float = 1.0
    family: str = "network"

    @property
    def work(self) -> Work:
        products = sum(a * b for a, b in zip(self.sizes, self.sizes[1:], strict=False))
        read = 4.0 * (products + self.batch * self.sizes[0])
        return Work(2.0 * self.batch * products, read, 4.0 * self.batch * self.sizes[-1])

    def data(self) -> dict[str, np.ndarray]:
        rng = np.random.default_rng(1)
        arrays = {"x": rng.standard_normal((self.batch, self.sizes[0])).astype(np.float32)}
        for i, (fan_in, fan_out) in enumerate(zip(self.sizes, self.sizes[1:], strict=False)):
            scale = 1.0 / np.sqrt(fan_in)
            w = rng.uniform(-self.gain * scale, self.gain * scale, (fan_out, fan_in))
            arrays[f"w{i}"] = w.astype(np.float32)
            arrays[f"b{i}"] = rng.uniform(-scale, scale, fan_out).astype(np.float32)
        return arrays

    def error(self, arrays: dict[str, np.ndarray], answer: np.ndarray) -> float:
        h = arrays["x"].astype(np.float64)
        layers = len(self.sizes) - 1
        for i in range(layers):
            h = h @ arrays[f"w{i}"].astype(np.float64).T + arrays[f"b{i}"]
            h = ACTIVATIONS[self.activation if i < layers - 1 else self.output](h)
        return float(np.max(np.abs(h - answer)) / (1e-5 * max(1.0, np.max(np.abs(h)))))


_erfc = np.vectorize(math.erfc, otypes=[np.float64])
ACTIVATIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "identity": lambda x: x,
    "relu": lambda x: np.maximum(x, 0.0),
    "tanh": np.tanh,
    "sigmoid": lambda x: 1.0 / (1.0 + np.exp(-x)),
    "silu": lambda x: x / (1.0 + np.exp(-x)),
    "gelu": lambda x: 0.5 * x * _erfc(-x / math.sqrt(2.0)),
}

DEFAULT = [
    Network("neuron 8-1, batch 1", (8, 1), "identity", "sigmoid", 1),
    Network("policy MLP 64-64-64-4, batch 1", (64, 64, 64, 4), "tanh", "identity", 1),
    Network("MLP 784-128-10, batch 1", (784, 128, 10), "relu", "identity", 1),
    Network("MLP 784-128-10, batch 64", (784, 128, 10), "relu", "identity", 64),
]
TASKS = [
    *DEFAULT,
    Network("MLP 784-512-512-10, batch 1", (784, 512, 512, 10), "relu", "identity", 1),
    Network("MLP 784-512-512-10, batch 32", (784, 512, 512, 10), "relu", "identity", 32),
    # He's gain keeps the size of what passes through relu; torch's would leave the biases alone.
    Network("32 layers of 64, batch 16", (64,) * 33, "relu", "relu", 16, gain=6.0**0.5),
    Network(
        "tabular 100-256-256-256-1, batch 4096", (100, 256, 256, 256, 1), "silu", "identity", 4096
    ),
    Network("transformer MLP 768-3072-768, batch 128", (768, 3072, 768), "gelu", "identity", 128),
]
