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
from ..tasks.rows import Rows


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

    def rows(self, task: Rows, arrays: dict[str, np.ndarray]) -> Callable[[], Any]:
        jnp, nn, lax = self.jax.numpy, self.jax.nn, self.jax.lax

        def layer_norm(x: Any, w: Any, b: Any) -> Any:
            deviation = x - x.mean(1, keepdims=True)
            variance = jnp.square(deviation).mean(1, keepdims=True)
            return deviation * lax.rsqrt(variance + 1e-5) * w + b

        functions = {
            "softmax": lambda x, w, b: nn.softmax(x, 1),
            "layer_norm": layer_norm,
            "rms_norm": lambda x, w, b: (
                x * lax.rsqrt(jnp.square(x).mean(1, keepdims=True) + 1e-5) * w
            ),
            "sum rows": lambda x, w, b: x.sum(1),
            "sum columns": lambda x, w, b: x.sum(0),
            "argmax": lambda x, w, b: x.argmax(1),
        }
        return self._ready(functions[task.function], *(arrays[name] for name in "xwb"))
