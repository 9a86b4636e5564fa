# SPDX-License-Identifier: Apache-2.0
"""Plain NumPy as a careful user writes it: float32 throughout, weights contiguous for the product,
temporaries reused with `out=` where that helps."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from ..tasks.activation import Activation
from ..tasks.dense import Dense
from ..tasks.matmul import MatMul
from ..tasks.network import Network
from ..tasks.rows import Rows


def _sigmoid(x: Any) -> Any:
    y = np.negative(x)
    np.exp(y, out=y)
    y += np.float32(1.0)
    return np.reciprocal(y, out=y)


ACTIVATIONS: dict[str, Callable[[Any], Any]] = {
    "identity": lambda x: x,
    "relu": lambda x: np.maximum(x, np.float32(0.0)),
    "exp": np.exp,
    "tanh": np.tanh,
    "sigmoid": _sigmoid,
    "silu": lambda x: x * _sigmoid(x),
}


class NumPy:
    """NumPy with the BLAS of its wheel."""

    def __init__(self, threads: int) -> None:
        self.version = np.__version__  # threads: OPENBLAS_NUM_THREADS, set by the runner

    def network(self, task: Network, arrays: dict[str, np.ndarray]) -> Callable[[], Any] | None:
        if task.activation not in ACTIVATIONS:
            return None  # exact gelu: NumPy has no erf
        layers = len(task.sizes) - 1
        steps = [
            (
                np.ascontiguousarray(arrays[f"w{i}"].T),
                arrays[f"b{i}"],
                ACTIVATIONS[task.activation if i < layers - 1 else task.output],
            )
            for i in range(layers)
        ]
        x = arrays["x"]

        def call() -> Any:
            h = x
            for w, b, f in steps:
                h = h @ w
                h += b
                h = f(h)
            return h

        return call

    def dense(self, task: Dense, arrays: dict[str, np.ndarray]) -> Callable[[], Any] | None:
        if task.activation != "relu":
            return None
        x, w, b = arrays["x"], np.ascontiguousarray(arrays["w"].T), arrays["b"]

        def call() -> Any:
            y = x @ w
            y += b
            return np.maximum(y, np.float32(0.0), out=y)

        return call

    def matmul(self, task: MatMul, arrays: dict[str, np.ndarray]) -> Callable[[], Any]:
        a, b = arrays["a"], arrays["b"]
        return partial(np.matmul, a, b)

    def activation(
        self, task: Activation, arrays: dict[str, np.ndarray]
    ) -> Callable[[], Any] | None:
        if task.function not in ACTIVATIONS:
            return None  # exact gelu: NumPy has no erf
        return partial(ACTIVATIONS[task.function], arrays["x"])

    def rows(self, task: Rows, arrays: dict[str, np.ndarray]) -> Callable[[], Any]:
        x, w, b = (arrays[name] for name in "xwb")
        y, squares = np.empty_like(x), np.empty_like(x)

        def softmax() -> Any:
            np.subtract(x, x.max(1, keepdims=True), out=y)
            np.exp(y, out=y)
            return np.multiply(y, 1.0 / y.sum(1, keepdims=True), out=y)

        def scaled(values: Any) -> Any:
            variance = np.square(values, out=squares).mean(1, keepdims=True)
            np.multiply(values, 1.0 / np.sqrt(variance + np.float32(1e-5)), out=y)
            return np.multiply(y, w, out=y)

        def layer_norm() -> Any:
            np.subtract(x, x.mean(1, keepdims=True), out=y)
            return np.add(scaled(y), b, out=y)

        calls: dict[str, Callable[[], Any]] = {
            "softmax": softmax,
            "layer_norm": layer_norm,
            "rms_norm": partial(scaled, x),
            "sum rows": partial(np.sum, x, 1),
            "sum columns": partial(np.sum, x, 0),
            "argmax": partial(np.argmax, x, 1),
        }
        return calls[task.function]
