# SPDX-License-Identifier: Apache-2.0
"""PyTorch on tensors that are ready, in inference mode unless it trains: eager, and through
torch.compile (with frozen weights)."""

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
from ..tasks.training import CLIP, VALUE, WARM, Training


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
        net = self._layers((task.inputs, task.outputs), [task.activation], weights)
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

    def training(self, task: Training, arrays: dict[str, np.ndarray]) -> Callable[[], Any]:
        torch, functional = self.torch, self.torch.nn.functional
        hidden = "tanh" if task.actor_critic else "relu"
        nets = []
        for n, sizes in enumerate(task.nets):
            own = {name[0] + name[2:]: a for name, a in arrays.items() if name[1:2] == str(n)}
            names = [hidden] * (len(sizes) - 2) + ["identity"]
            nets.append(self._layers(sizes, names, own).train())
        names = [name for name in arrays if name[1:2] not in ("0", "1")]
        data = {name: torch.from_numpy(arrays[name]) for name in names}
        weights = [parameter for net in nets for parameter in net.parameters()]
        if task.adam:
            optimizer: Any = torch.optim.Adam(weights, lr=task.rate, fused=True)
        else:
            optimizer = torch.optim.SGD(weights, lr=task.rate, momentum=0.9, fused=True)

        def loss() -> Any:
            if not task.actor_critic:
                return functional.cross_entropy(nets[0](data["x"]), data["y"])
            mean, value = nets[0](data["x"]), nets[1](data["x"])
            log = -0.5 * ((data["action"] - mean) ** 2).sum(1)
            ratio, gain = torch.exp(log - data["old"]), data["gain"]
            clipped = torch.clamp(ratio, 1.0 - CLIP, 1.0 + CLIP)
            policy = -torch.minimum(ratio * gain, clipped * gain).mean()
            return policy + VALUE * functional.mse_loss(value, data["value"])

        return self._training(loss, optimizer)

    def _training(self, loss: Callable[[], Any], optimizer: Any) -> Callable[[], Any]:
        def call() -> Any:
            optimizer.zero_grad()
            value = loss()
            value.backward()
            optimizer.step()
            return value.detach()

        for _ in range(WARM):
            call()
        return call


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

    def _training(self, loss: Callable[[], Any], optimizer: Any) -> Callable[[], Any]:
        # Loss and backward as one program each; the fused optimiser is one call already.
        self.torch.compiler.reset()
        return super()._training(self.torch.compile(loss, dynamic=False), optimizer)
