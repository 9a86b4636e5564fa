# SPDX-License-Identifier: Apache-2.0
"""Normalisations and reductions of the rows or columns of one matrix."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from .work import Work


@dataclass(frozen=True)
class Rows:
    """softmax, layer_norm or rms_norm of each row; sum of rows or columns; argmax of each row."""

    function: str
    rows: int
    cols: int
    family: str = "rows"

    @property
    def name(self) -> str:
        return f"{self.function} {self.rows}x{self.cols}"

    @property
    def work(self) -> Work:
        matrix = 4.0 * self.rows * self.cols
        return Work(0.0, matrix, matrix if self.function in SAME_SHAPE else 0.0)

    def data(self) -> dict[str, np.ndarray]:
        rng = np.random.default_rng(5)
        return {
            "x": rng.standard_normal((self.rows, self.cols), np.float32),
            "w": rng.uniform(0.5, 1.5, self.cols).astype(np.float32),
            "b": rng.uniform(-0.5, 0.5, self.cols).astype(np.float32),
        }

    def error(self, arrays: dict[str, np.ndarray], answer: np.ndarray) -> float:
        x, w, b = (arrays[k].astype(np.float64) for k in "xwb")
        exact = EXACT[self.function](x, w, b)
        if self.function == "argmax":
            return float(np.max(np.where(answer == exact, 0.0, np.inf)))
        # A row's sum is off by a few units of its terms' size, in whatever order it is taken.
        scale = np.abs(exact) if self.function == "softmax" else 1.0 + np.abs(exact)
        return float(np.max(np.abs(answer - exact) / (1e-4 * scale)))


def _softmax(x: np.ndarray, w: np.ndarray, b: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max(1, keepdims=True))
    return np.asarray(e / e.sum(1, keepdims=True))


def _layer_norm(x: np.ndarray, w: np.ndarray, b: np.ndarray) -> np.ndarray:
    spread = np.sqrt(x.var(1, keepdims=True) + 1e-5)
    return np.asarray((x - x.mean(1, keepdims=True)) / spread * w + b)


def _rms_norm(x: np.ndarray, w: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.asarray(x / np.sqrt(np.square(x).mean(1, keepdims=True) + 1e-5) * w)


EXACT: dict[str, Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]] = {
    "softmax": _softmax,
    "layer_norm": _layer_norm,
    "rms_norm": _rms_norm,
    "sum rows": lambda x, w, b: x.sum(1),
    "sum columns": lambda x, w, b: x.sum(0),
    "argmax": lambda x, w, b: x.argmax(1),
}
SAME_SHAPE = ("softmax", "layer_norm", "rms_norm")

TASKS = [
    Rows(function, *shape)
    for function in ("softmax", "layer_norm")
    for shape in ((64, 10), (1024, 1000), (128, 32000))
] + [Rows(function, 1024, 1000) for function in ("rms_norm", "sum rows", "sum columns", "argmax")]
DEFAULT = TASKS
