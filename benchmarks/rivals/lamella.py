# SPDX-License-Identifier: Apache-2.0
"""lamella: modules for networks, functional calls for plain arrays."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np

from ..tasks.activation import Activation
from ..tasks.dense import Dense
from ..tasks.matmul import MatMul
from ..tasks.network import Network
from ..tasks.rows import Rows


class Lamella:
    """NumPy arrays in and out, nothing bound beforehand."""

    def __init__(self, threads: int) -> None:
        import lamella as lm

        lm.set_num_threads(threads)
        self.lm = lm
        self.version = lm.__version__

    def _sequential(self, sizes: tuple[int, ...], names: list[str], arrays: Any) -> Any:
        nn = self.lm.nn
        modules = {
            "relu": nn.ReLU,
            "tanh": nn.Tanh,
            "sigmoid": nn.Sigmoid,
            "silu": nn.SiLU,
            "gelu": nn.GELU,
        }
        layers: list[Any] = []
        for i, (fan_in, fan_out) in enumerate(pairwise(sizes)):
            linear = nn.Linear(fan_in, fan_out)
            linear.weight.data, linear.bias.data = arrays[f"w{i}"], arrays[f"b{i}"]
            layers.append(linear)
            if names[i] != "identity":
                layers.append(modules[names[i]]())
        return nn.Sequential(*layers).eval()

    def network(self, task: Network, arrays: dict[str, np.ndarray]) -> Callable[[], Any]:
        hidden = [task.activation] * (len(task.sizes) - 2)
        net, x = self._sequential(task.sizes, [*hidden, task.output], arrays), arrays["x"]
        return partial(net, x)

    def dense(self, task: Dense, arrays: dict[str, np.ndarray]) -> Callable[[], Any]:
        weights = {"w0": arrays["w"], "b0": arrays["b"]}
        net = self._sequential((task.inputs, task.outputs), ["relu"], weights)
        x = arrays["x"]
        return partial(net, x)

    def matmul(self, task: MatMul, arrays: dict[str, np.ndarray]) -> Callable[[], Any]:
        matmul, a, b = self.lm.functional.matmul, arrays["a"], arrays["b"]
        return partial(matmul, a, b)

    def activation(self, task: Activation, arrays: dict[str, np.ndarray]) -> Callable[[], Any]:
        function, x = getattr(self.lm.functional, task.function), arrays["x"]
        return partial(function, x)

    def rows(self, task: Rows, arrays: dict[str, np.ndarray]) -> Callable[[], Any]:
        functional, x = self.lm.functional, arrays["x"]
        w, b, shape, y = arrays["w"], arrays["b"], (task.cols,), np.empty_like(x)
        calls: dict[str, Callable[[], Any]] = {
            "softmax": partial(functional.softmax, x, dim=-1, out=y),
            "layer_norm": partial(functional.layer_norm, x, shape, w, b, out=y),
            "rms_norm": partial(functional.rms_norm, x, shape, w, 1e-5, out=y),
            "sum rows": partial(functional.sum, x, 1),
            "sum columns": partial(functional.sum, x, 0),
            "argmax": partial(functional.argmax, x, 1),
        }
        return calls[task.function]
