# SPDX-License-Identifier: Apache-2.0
"""Steps of training: forward, loss, backward and update on one batch that is ready.

The answer is the loss of the step after the first ones (WARM), so that a wrong gradient or a wrong
update shows. The second half of a batch repeats the inputs of the first with other targets: the
loss has a floor above zero, and no gradient becomes subnormal however long one trains.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from .work import Work

# Steps that a rival has done when its call is handed over.
WARM = 4

# Clipping range and weight of the value loss: Schulman et al., "Proximal policy optimization
# algorithms", 2017. The standard deviation of the policy is one.
CLIP, VALUE = 0.2, 0.5


@dataclass(frozen=True)
class Training:
    """A step of an MLP (relu, softmax cross-entropy), or of an actor and a critic (tanh, PPO).

    sizes: of the net, or of the actor; a critic has the same with one output. adam: Adam with its
    usual numbers, else SGD with momentum 0.9.
    """

    name: str
    sizes: tuple[int, ...]
    batch: int
    adam: bool
    rate: float = 1e-3
    actor_critic: bool = False
    family: str = "training"

    @property
    def nets(self) -> tuple[tuple[int, ...], ...]:
        """The sizes of each net."""
        return (self.sizes, (*self.sizes[:-1], 1)) if self.actor_critic else (self.sizes,)

    @property
    def work(self) -> Work:
        products = sum(a * b for sizes in self.nets for a, b in pairwise(sizes))
        # No layer below wants the gradient of the input.
        unused = sum(sizes[0] * sizes[1] for sizes in self.nets)
        # The weights and the state of the optimiser; gradients might never leave a cache.
        updated = 4.0 * products * (3 if self.adam else 2)
        read = 4.0 * self.batch * self.sizes[0]
        return Work(2.0 * self.batch * (3 * products - unused), read, updated=updated)

    def data(self) -> dict[str, np.ndarray]:
        rng = np.random.default_rng(1)
        half = self.batch // 2
        x = np.tile(rng.standard_normal((half, self.sizes[0])), (2, 1))
        arrays = {"x": x.astype(np.float32)}
        outputs = self.sizes[-1]
        if self.actor_critic:
            for name, shape in (("action", (outputs,)), ("old", ()), ("gain", ()), ("value", (1,))):
                arrays[name] = rng.standard_normal((self.batch, *shape)).astype(np.float32)
            arrays["old"] -= np.float32(0.5 * (arrays["action"] ** 2).sum(1))
        else:
            first = rng.integers(0, outputs, half)
            arrays["y"] = np.concatenate([first, (first + 1) % outputs]).astype(np.int64)
        for n, sizes in enumerate(self.nets):
            for i, (fan_in, fan_out) in enumerate(pairwise(sizes)):
                scale = 1.0 / np.sqrt(fan_in)
                w = rng.uniform(-scale, scale, (fan_out, fan_in))
                arrays[f"w{n}{i}"] = w.astype(np.float32)
                arrays[f"b{n}{i}"] = rng.uniform(-scale, scale, fan_out).astype(np.float32)
        return arrays

    def error(self, arrays: dict[str, np.ndarray], answer: np.ndarray) -> float:
        expected = _Reference(self, arrays).losses(WARM + 1)[-1]
        return float(np.max(np.abs(answer - expected)) / (1e-5 * abs(expected)))


class _Reference:
    """The same in float64, by hand."""

    def __init__(self, task: Training, arrays: dict[str, np.ndarray]) -> None:
        self.task = task
        wide = {name: a.astype(np.float64) for name, a in arrays.items() if a.dtype.kind == "f"}
        self.arrays = {**arrays, **wide}
        self.state = {name: [np.zeros_like(a), np.zeros_like(a)] for name, a in wide.items()}
        self.done = 0

    def losses(self, steps: int) -> list[float]:
        """The losses of the next steps."""
        return [self._step() for _ in range(steps)]

    def _step(self) -> float:
        hidden = [self._forward(n) for n in range(len(self.task.nets))]
        loss, slopes = (self._ppo if self.task.actor_critic else self._cross_entropy)(hidden)
        for n, slope in enumerate(slopes):
            self._backward(n, hidden[n], slope)
        return loss

    def _forward(self, n: int) -> list[np.ndarray]:
        """The input of every layer, and the output."""
        values = [self.arrays["x"]]
        layers = len(self.task.sizes) - 1
        for i in range(layers):
            z = values[-1] @ self.arrays[f"w{n}{i}"].T + self.arrays[f"b{n}{i}"]
            if i < layers - 1:
                z = np.tanh(z) if self.task.actor_critic else np.maximum(z, 0.0)
            values.append(z)
        return values

    def _cross_entropy(self, hidden: list[list[np.ndarray]]) -> tuple[float, list[np.ndarray]]:
        z = hidden[0][-1]
        z = z - z.max(1, keepdims=True)
        p = np.exp(z) / np.exp(z).sum(1, keepdims=True)
        rows = np.arange(len(p))
        loss = -np.log(p[rows, self.arrays["y"]]).mean()
        p[rows, self.arrays["y"]] -= 1.0
        return float(loss), [p / len(p)]

    def _ppo(self, hidden: list[list[np.ndarray]]) -> tuple[float, list[np.ndarray]]:
        mean, value = hidden[0][-1], hidden[1][-1]
        distance, gain = self.arrays["action"] - mean, self.arrays["gain"]
        ratio = np.exp(-0.5 * (distance**2).sum(1) - self.arrays["old"])
        clipped = np.clip(ratio, 1.0 - CLIP, 1.0 + CLIP)
        free = ratio * gain <= clipped * gain
        error = value - self.arrays["value"]
        loss = -np.minimum(ratio * gain, clipped * gain).mean() + VALUE * (error**2).mean()
        slope = -np.where(free, ratio * gain, 0.0)[:, None] * distance / len(gain)
        return float(loss), [slope, 2.0 * VALUE * error / error.size]

    def _backward(self, n: int, hidden: list[np.ndarray], slope: np.ndarray) -> None:
        gradients = {}
        for i in reversed(range(len(hidden) - 1)):
            gradients[f"w{n}{i}"] = slope.T @ hidden[i]
            gradients[f"b{n}{i}"] = slope.sum(0)
            slope = slope @ self.arrays[f"w{n}{i}"]
            slope *= 1.0 - hidden[i] ** 2 if self.task.actor_critic else hidden[i] > 0
        self.done += n == 0
        for name, gradient in gradients.items():
            first, second = self.state[name]
            if not self.task.adam:
                first[...] = 0.9 * first + gradient
                self.arrays[name] = self.arrays[name] - self.task.rate * first
                continue
            first[...] = 0.9 * first + 0.1 * gradient
            second[...] = 0.999 * second + 0.001 * gradient**2
            scale = np.sqrt(second / (1.0 - 0.999**self.done)) + 1e-8
            move = self.task.rate / (1.0 - 0.9**self.done) * first / scale
            self.arrays[name] = self.arrays[name] - move


DEFAULT = [
    Training("train 20-64-64-2, Adam, batch 32", (20, 64, 64, 2), 32, True),
    Training("train 784-256-128-10, SGD, batch 128", (784, 256, 128, 10), 128, False, 1e-2),
]
TASKS = [
    *DEFAULT,
    Training(
        "train actor and critic 16-64-64-4, Adam, batch 64",
        (16, 64, 64, 4),
        64,
        True,
        3e-4,
        actor_critic=True,
    ),
    Training("train 784-1024-1024-10, Adam, batch 256", (784, 1024, 1024, 10), 256, True),
]
