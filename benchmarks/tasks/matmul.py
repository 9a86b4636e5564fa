# SPDX-License-Identifier: Apache-2.0
"""Products of two plain arrays that the library has not seen before."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .work import Work


@dataclass(frozen=True)
class MatMul:
    """(m, k) times (k, n), row by row or, as `x @ w.T` and `x.T @ y` have it, one by columns."""

    m: int
    k: int
    n: int
    by_columns: str = ""  # a or b
    family: str = "matmul"

    @property
    def name(self) -> str:
        suffix = f", {self.by_columns}.T" if self.by_columns else ""
        return f"matmul {self.m}x{self.k}x{self.n}{suffix}"

    @property
    def work(self) -> Work:
        operands = 4.0 * (self.m * self.k + self.k * self.n)
        return Work(2.0 * self.m * self.k * self.n, operands, 4.0 * self.m * self.n)

    def data(self) -> dict[str, np.ndarray]:
        rng = np.random.default_rng(3)
        a = rng.standard_normal((self.m, self.k)).astype(np.float32)
        b = rng.standard_normal((self.k, self.n)).astype(np.float32)
        arrays = {"a": a, "b": b}
        if self.by_columns:
            arrays[self.by_columns] = np.ascontiguousarray(arrays[self.by_columns].T).T
        return arrays

    def error(self, arrays: dict[str, np.ndarray], answer: np.ndarray) -> float:
        a, b = arrays["a"].astype(np.float64), arrays["b"].astype(np.float64)
        scale = np.abs(a) @ np.abs(b)
        # Errors of random data grow like the root of k, and four times that is not met by chance:
        # Higham and Mary, "A new approach to probabilistic rounding error analysis", 2019. The
        # guaranteed bound, k, would let a product of shortened factors pass.
        tolerated = 2.0**-24 * min(self.k, 4.0 * self.k**0.5) * scale
        return float(np.max(np.abs(answer - a @ b) / tolerated))


TASKS = [
    *(MatMul(size, size, size) for size in (16, 32, 64, 100, 128, 512, 1024, 2048)),
    MatMul(3, 7, 5),
    MatMul(33, 65, 127),
    MatMul(1, 4096, 4096),
    MatMul(4, 4096, 4096),
    MatMul(8, 2048, 512),
    MatMul(1, 2048, 2048, by_columns="b"),
    MatMul(16, 2048, 2048, by_columns="b"),
    MatMul(512, 1000, 1, by_columns="a"),
    MatMul(784, 4096, 10, by_columns="a"),
    MatMul(64, 65536, 64),
    MatMul(4096, 16, 64),
    MatMul(50000, 8, 8),
]
DEFAULT = [MatMul(size, size, size) for size in (32, 128, 512)]
