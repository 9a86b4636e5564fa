# SPDX-License-Identifier: Apache-2.0
"""Products of two plain arrays that the library has not seen before."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class MatMul:
    """(m, k) times (k, n)."""

    m: int
    k: int
    n: int
    family: str = "matmul"

    @property
    def name(self) -> str:
        return f"matmul {self.m}x{self.k}x{self.n}"

    @property
    def work(self) -> tuple[float, float, float]:
        operands = 4.0 * (self.m * self.k + self.k * self.n)
        return 2.0 * self.m * self.k * self.n, operands, operands + 4.0 * self.m * self.n

    def data(self) -> dict[str, np.ndarray]:
        rng = np.random.default_rng(3)
        return {
            "a": rng.standard_normal((self.m, self.k)).astype(np.float32),
            "b": rng.standard_normal((self.k, self.n)).astype(np.float32),
        }

    def error(self, arrays: dict[str, np.ndarray], answer: np.ndarray) -> float:
        a, b = arrays["a"].astype(np.float64), arrays["b"].astype(np.float64)
        scale = np.abs(a) @ np.abs(b)
        return float(np.max(np.abs(answer - a @ b) / (2.0**-24 * max(self.k, 1) * scale)))


TASKS = [MatMul(32, 32, 32), MatMul(128, 128, 128), MatMul(512, 512, 512)]
