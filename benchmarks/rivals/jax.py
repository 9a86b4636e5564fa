# SPDX-License-Identifier: Apache-2.0
"""JAX under jit on device arrays that are ready, each call waited for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..tasks.activation import Activation
from ..tasks.dense import Dense
from ..tasks.matmul import MatMul
from ..tasks.network import Network


class Jax:
    """One jitted function per task; weights are arguments, as in training code."""

    def __init__(self, threads: int) -> None:
        import jax

        self.jax = jax
        self.version = jax.__version__  # threads: the runner's CPU affinity and XLA_FLAGS

    def _ready(self, function: Any, *arrays: Any) -> Callable[[], Any]:
        compiled, ready = self.jax.jit(function), [self.jax.device_put(a) for a in arrays]
        return lambda: compiled(*ready).block_until_ready()

    def _function(self, name: str) -> Any:
        jnp, nn = self.jax.numpy, self.jax.nn
        functions = {
            "identity": lambda x: x,
            "exp": jnp.exp,
            "tanh": jnp.tanh,
            "gelu": lambda x: nn.gelu(x, approximate=False),
        }
        return functions.get(name) or getattr(nn, name)

    def network(self, task: Network, arrays: dict[str, np.ndarray]) -> Callable[[], Any]:
        layers = len(task.sizes) - 1
        hidden, output = self._function(task.activation), self._function(task.output)

        def forward(x: Any, *weights: Any) -> Any:
            for i in range(layers):
                x = x @ weights[2 * i].T + weights[2 * i + 1]
                x = hidden(x) if i < layers - 1 else output(x)
            return x

        weights = [arrays[f"{kind}{i}"] for i in range(layers) for kind in "wb"]
        return self._ready(forward, arrays["x"], *weights)

    def dense(self, task: Dense, arrays: dict[str, np.ndarray]) -> Callable[[], Any]:
        relu = self.jax.nn.relu
        return self._ready(lambda x, w, b: relu(x @ w.T + b), arrays["x"], arrays["w"], arrays["b"])

    def matmul(self, task: MatMul, arrays: dict[str, np.ndarray]) -> Callable[[], Any]:
        return self._ready(lambda a, b: a @ b, arrays["a"], arrays["b"])

    def activation(self, task: Activation, arrays: dict[str, np.ndarray]) -> Callable[[], Any]:
        return self._ready(self._function(task.function), arrays["x"])
