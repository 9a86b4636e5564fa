# SPDX-License-Identifier: Apache-2.0
"""lamella: modules for networks, functional calls for plain arrays."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from ..tasks.activation import Activation
from ..tasks.dense import Dense
from ..tasks.fit import Fit
from ..tasks.matmul import MatMul
from ..tasks.model import OnnxModel, sequential
from ..tasks.network import Network
from ..tasks.rows import Rows
from ..tasks.training import CLIP, VALUE, WARM, Training


class Lamella:
    """NumPy arrays in and out, nothing bound beforehand."""

    def __init__(self, threads: int) -> None:
        import lamella as lm

        lm.set_num_threads(threads)
        self.lm = lm
        self.version = lm.__version__

    def network(self, task: Network, arrays: dict[str, np.ndarray]) -> Callable[[], Any]:
        hidden = [task.activation] * (len(task.sizes) - 2)
        net, x = sequential(task.sizes, [*hidden, task.output], arrays), arrays["x"]
        return partial(net, x)

    def model(self, task: OnnxModel, arrays: dict[str, np.ndarray]) -> Callable[[], Any]:
        return partial(task.model(), *arrays.values())

    def dense(self, task: Dense, arrays: dict[str, np.ndarray]) -> Callable[[], Any]:
        weights = {"w0": arrays["w"], "b0": arrays["b"]}
        net = sequential((task.inputs, task.outputs), [task.activation], weights)
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

    def training(self, task: Training, arrays: dict[str, np.ndarray]) -> Callable[[], Any]:
        lm, nn, functional = self.lm, self.lm.nn, self.lm.functional
        hidden = "tanh" if task.actor_critic else "relu"
        nets = []
        for n, sizes in enumerate(task.nets):
            own = {name[0] + name[2:]: a for name, a in arrays.items() if name[1:2] == str(n)}
            names = [hidden] * (len(sizes) - 2) + ["identity"]
            nets.append(sequential(sizes, names, own).train())

        class ActorCritic(nn.Module):  # type: ignore[name-defined, misc]
            def __init__(self) -> None:
                super().__init__()
                self.actor, self.critic = nets

            def forward(self, x: Any) -> Any:
                return self.actor(x), self.critic(x)

        def objective(output: Any, target: Any) -> Any:
            (mean, value), (action, old, gain, wanted) = output, target
            ratio = functional.exp(-0.5 * ((action - mean) ** 2).sum(1) - old)
            clipped = functional.clamp(ratio, 1.0 - CLIP, 1.0 + CLIP)
            policy = -functional.minimum(ratio * gain, clipped * gain).mean()
            return policy + VALUE * functional.mse_loss(value, wanted)

        net = ActorCritic() if task.actor_critic else nets[0]
        loss = objective if task.actor_critic else nn.CrossEntropyLoss()
        given = ("action", "old", "gain", "value")
        y = tuple(arrays[name] for name in given) if task.actor_critic else arrays["y"]
        if task.adam:
            optimizer = lm.optim.Adam(net.parameters(), lr=task.rate)
        else:
            optimizer = lm.optim.SGD(net.parameters(), lr=task.rate, momentum=0.9)
        call = partial(lm.TrainStep(net, loss, optimizer), arrays["x"], y)
        for _ in range(WARM):
            call()
        return call

    def fit(self, task: Fit, arrays: dict[str, np.ndarray]) -> Callable[[], Any]:
        return task.call(getattr(self.lm.sklearn, task.estimator), arrays)
