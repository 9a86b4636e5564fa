# SPDX-License-Identifier: Apache-2.0
"""PyTorch in inference mode on tensors that are ready: eager, and through torch.compile with frozen
weights."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np

from ..tasks.activation import Activation
from ..tasks.dense import Dense
from ..tasks.matmul import MatMul
from ..tasks.network import Network
from ..tasks.rows import Rows


class Torch:
    """Eager PyTorch."""

    def __init__(self, threads: int) -> None:
        import torch

        torch.set_num_threads(threads)
        self.torch = torch
        self.version = torch.__version__

    def _ready(self, function: Any, *tensors: Any) -> Callable[[], Any]:
        torch = self.torch

        def call() -> Any:
            with torch.inference_mode():
                return function(*tensors)

        return call

    def _function(self, name: str) -> Any:
        functional = self.torch.nn.functional
        names = {"silu": functional.silu, "gelu": functional.gelu, "identity": lambda x: x}
        return names.get(name) or getattr(self.torch, name)

    def _layers(self, sizes: tuple[int, ...], names: list[str], arrays: Any) -> Any:
        nn = self.torch.nn
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
            with self.torch.no_grad():
                linear.weight.copy_(self.torch.from_numpy(arrays[f"w{i}"]))
                linear.bias.copy_(self.torch.from_numpy(arrays[f"b{i}"]))
            layers.append(linear)
            if names[i] != "identity":
                layers.append(modules[names[i]]())
        return nn.Sequential(*layers).eval()

    def network(self, task: Network, arrays: dict[str, np.ndarray]) -> Callable[[], Any]:
        names = [task.activation] * (len(task.sizes) - 2) + [task.output]
        net = self._layers(task.sizes, names, arrays)
        return self._ready(net, self.torch.from_numpy(arrays["x"]))

    def dense(self, task: Dense, arrays: dict[str, np.ndarray]) -> Callable[[], Any]:
        weights = {"w0": arrays["w"], "b0": arrays["b"]}
        net = self._layers((task.inputs, task.outputs), ["relu"], weights)
        return self._ready(net, self.torch.from_numpy(arrays["x"]))

    def matmul(self, task: MatMul, arrays: dict[str, np.ndarray]) -> Callable[[], Any]:
        a, b = (self.torch.from_numpy(arrays[name]) for name in "ab")
        return self._ready(self.torch.matmul, a, b)

    def activation(self, task: Activation, arrays: dict[str, np.ndarray]) -> Callable[[], Any]:
        return self._ready(self._function(task.function), self.torch.from_numpy(arrays["x"]))

    def rows(self, task: Rows, arrays: dict[str, np.ndarray]) -> Callable[[], Any]:
        torch, shape = self.torch, (task.cols,)
        functional = torch.nn.functional
        x, w, b = (torch.from_numpy(arrays[name]) for name in "xwb")
        functions: dict[str, Callable[..., Any]] = {
            "softmax": lambda x, w, b: torch.softmax(x, 1),
            "layer_norm": lambda x, w, b: functional.layer_norm(x, shape, w, b),
            "rms_norm": lambda x, w, b: functional.rms_norm(x, shape, w, 1e-5),
            "sum rows": lambda x, w, b: torch.sum(x, 1),
            "sum columns": lambda x, w, b: torch.sum(x, 0),
            "argmax": lambda x, w, b: torch.argmax(x, 1),
        }
        return self._ready(functions[task.function], x, w, b)


class TorchCompiled(Torch):
    """The same through torch.compile."""

    def __init__(self, threads: int) -> None:
        super().__init__(threads)
        import torch._inductor.config as config

        config.freezing = True

    def _ready(self, function: Any, *tensors: Any) -> Callable[[], Any]:
        # Each task is compiled for its own shape, as if it were the first in its process: after a
        # second shape the compiler would go over to symbolic sizes, after eight give up.
        self.torch.compiler.reset()
        return super()._ready(self.torch.compile(function, dynamic=False), *tensors)
