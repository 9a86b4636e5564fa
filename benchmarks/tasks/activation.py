# SPDX-License-Identifier: Apache-2.0
"""Elementwise functions on arrays that fit the cache, and on arrays that do not."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from .work import Work


@dataclass(frozen=True)
class Activation:
    """y = f(x) on `size` float32 values, uniform in [-4, 4)."""

    function: str
    size: int
    family: str = "activation"

    @property
    def name(self) -> str:
        return f"{self.function} {_count(self.size)}"

    @property
    def work(self) -> Work:
        return Work(0.0, read=4.0 * self.size, written=4.0 * self.size)

    def data(self) -> dict[str, np.ndarray]:
        rng = np.random.default_rng(4)
        return {"x": rng.uniform(-4.0, 4.0, self.size).astype(np.float32)}

    def error(self, arrays: dict[str, np.ndarray], answer: np.ndarray) -> float:
        part = slice(0, 4096)
        exact = EXACT[self.function](arrays["x"][part].astype(np.float64))
        # 16 units of the larger of 1 and the result: it tells the same work from other work.
        return float(
            np.max(np.abs(answer[part] - exact) / (2.0**-19 * np.maximum(1.0, np.abs(exact))))
        )


def _count(size: int) -> str:
    for unit, word in ((1_000_000, "M"), (1000, "k")):
        if size >= unit:
            return f"{size // unit}{word}"
    return str(size)


_erfc = np.vectorize(math.erfc, otypes=[np.float64])
EXACT: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "relu": lambda x: np.maximum(x, 0.0),
    "exp": np.exp,
    "tanh": np.tanh,
    "sigmoid": lambda x: 1.0 / (1.0 + np.exp(-x)),
    "silu": lambda x: x / (1.0 + np.exp(-x)),
    "gelu": lambda x: 0.5 * x * _erfc(-x / math.sqrt(2.0)),
}

TASKS = [Activation(name, size) for size in (100, 10_000, 1_000_000, 8_000_000) for name in EXACT]
DEFAULT = [task for task in TASKS if task.size in (10_000, 1_000_000)]
