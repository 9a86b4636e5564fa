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
from ..tasks.training import CLIP, VALUE, WARM, Training


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
        activation = self._function(task.activation)
        arguments = (arrays[name] for name in "xwb")
        return self._ready(lambda x, w, b: activation(x @ w.T + b), *arguments)

    def matmul(self, task: MatMul, arrays: dict[str, np.ndarray]) -> Callable[[], Any]:
        a, b = arrays["a"], arrays["b"]
        if task.by_columns == "b":  # its own arrays are all row by row
            return self._ready(lambda a, b: a @ b.T, a, b.T)
        if task.by_columns == "a":
            return self._ready(lambda a, b: a.T @ b, a.T, b)
        return self._ready(lambda a, b: a @ b, a, b)

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

    def training(self, task: Training, arrays: dict[str, np.ndarray]) -> Callable[[], Any]:
        """The optimiser is written out: JAX has none of its own. State is donated, as one does."""
        jax, jnp = self.jax, self.jax.numpy
        is_weight = {name: name[1:2] in ("0", "1") for name in arrays}
        data = {n: jax.device_put(a) for n, a in arrays.items() if not is_weight[n]}
        weights = {n: jax.device_put(a) for n, a in arrays.items() if is_weight[n]}
        zeros = {n: jnp.zeros_like(w) for n, w in weights.items()}
        hidden = jnp.tanh if task.actor_critic else jax.nn.relu

        def forward(weights: Any, n: int) -> Any:
            h = data["x"]
            for i in range(len(task.sizes) - 1):
                h = h @ weights[f"w{n}{i}"].T + weights[f"b{n}{i}"]
                h = hidden(h) if i < len(task.sizes) - 2 else h
            return h

        def loss(weights: Any) -> Any:
            if not task.actor_critic:
                log = jax.nn.log_softmax(forward(weights, 0))
                return -jnp.take_along_axis(log, data["y"][:, None], 1).mean()
            mean, value = forward(weights, 0), forward(weights, 1)
            ratio = jnp.exp(-0.5 * ((data["action"] - mean) ** 2).sum(1) - data["old"])
            clipped = jnp.clip(ratio, 1.0 - CLIP, 1.0 + CLIP)
            policy = -jnp.minimum(ratio * data["gain"], clipped * data["gain"]).mean()
            return policy + VALUE * jnp.square(value - data["value"]).mean()

        def adam(g: Any, w: Any, m: Any, v: Any, t: Any) -> Any:
            m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
            scale = jnp.sqrt(v / (1.0 - 0.999**t)) + 1e-8
            return w - task.rate / (1.0 - 0.9**t) * m / scale, m, v

        def sgd(g: Any, w: Any, m: Any, v: Any, t: Any) -> Any:
            m = 0.9 * m + g
            return w - task.rate * m, m, v

        rule = adam if task.adam else sgd

        def step(weights: Any, first: Any, second: Any, t: Any) -> Any:
            value, gradients = jax.value_and_grad(loss)(weights)
            new = {n: rule(g, weights[n], first[n], second[n], t) for n, g in gradients.items()}
            parts = [{n: part[i] for n, part in new.items()} for i in range(3)]
            return value, (*parts, t + 1.0)

        compiled = jax.jit(step, donate_argnums=(0, 1, 2))
        state = [(weights, zeros, {n: jnp.copy(z) for n, z in zeros.items()}, jnp.float32(1.0))]

        def call() -> Any:
            value, state[0] = compiled(*state[0])
            return value.block_until_ready()

        for _ in range(WARM):
            call()
        return call
