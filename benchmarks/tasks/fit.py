# SPDX-License-Identifier: Apache-2.0
"""Whole fits of scikit-learn's estimators, from arrays to a model that predicts: its digits.

The same in every library that has MLPClassifier and MLPRegressor. Some rows multiply two matrices
with NumPy after each epoch, as who looks at his training does: a library whose threads go on
spinning after an epoch slows that product down, and is slowed down by NumPy's.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from .work import Work

# Rows and columns of the product between two epochs.
PRODUCT = 500


@dataclass(frozen=True)
class Fit:
    """Adam at its usual rate, batches of 200, epochs passes over 1,347 images of 8 x 8.

    The answer is the score on the 450 others: accuracy, or R2 of the digit as a number. Its error
    is how far it lies below LEAST.
    """

    hidden: tuple[int, ...]
    estimator: str = "MLPClassifier"
    dtype: str = "float32"
    products: bool = False
    epochs: int = 30
    family: str = "fit"

    @property
    def sizes(self) -> tuple[int, ...]:
        """Features of every layer."""
        return (64, *self.hidden, 10 if self.estimator == "MLPClassifier" else 1)

    @property
    def name(self) -> str:
        net = "-".join(map(str, self.sizes))
        suffix = "" if self.dtype == "float32" else f", {self.dtype}"
        between = f", {PRODUCT}x{PRODUCT} between" if self.products else ""
        return f"fit digits {net}, {self.epochs} epochs{suffix}{between}"

    @property
    def work(self) -> Work:
        products = sum(a * b for a, b in pairwise(self.sizes))
        steps = self.epochs * 7
        unused = self.sizes[0] * self.sizes[1]
        operations = 2.0 * self.epochs * 1347 * (3 * products - unused)
        if self.products:
            operations += 2.0 * self.epochs * PRODUCT**3
        # A register holds half as many doubles as floats.
        wide = np.dtype(self.dtype).itemsize / 4.0
        # Weights and two states of Adam, gone through at every step.
        state = wide * 4.0 * products * 3
        return Work(wide * operations, updated=state * steps, span=state)

    def data(self) -> dict[str, np.ndarray]:
        from sklearn.datasets import load_digits
        from sklearn.model_selection import train_test_split

        x, y = load_digits(return_X_y=True)
        if self.estimator == "MLPRegressor":
            y = y.astype(self.dtype)
        parts = train_test_split((x / 16.0).astype(self.dtype), y, random_state=0)
        return dict(zip(("x", "x_test", "y", "y_test"), parts, strict=True))

    def error(self, arrays: dict[str, np.ndarray], answer: np.ndarray) -> float:
        return float(np.max(1.0 + (LEAST[self.estimator] - answer) / 0.01))

    def call(self, estimator: type, arrays: dict[str, np.ndarray]) -> Callable[[], Any]:
        """The fit by such an estimator of whatever library, to be timed."""
        if self.products:
            factor = np.full((PRODUCT, PRODUCT), 0.5, self.dtype)
            estimator = watched(estimator, lambda: factor @ factor)

        def call() -> Any:
            net = estimator(hidden_layer_sizes=self.hidden, max_iter=self.epochs, random_state=0)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # that thirty epochs do not converge
                net.fit(arrays["x"], arrays["y"])
            return net.score(arrays["x_test"], arrays["y_test"])

        return call


def watched(estimator: type, between: Callable[[], Any]) -> type:
    """A subclass that calls `between` after each epoch.

    The estimators have no callbacks, but all of them assign `loss_` once an epoch.
    """

    def read(self: Any) -> float:
        return float(self.__dict__["loss_"])

    def write(self: Any, value: float) -> None:
        self.__dict__["loss_"] = value
        between()

    return type(estimator.__name__, (estimator,), {"loss_": property(read, write)})


# What a fit has to reach. Over ten seeds 30 epochs give an accuracy of 0.929 to 0.947 with 64
# hidden features, 0.969 to 0.976 with 256 and 256, and R2 of 0.847 to 0.874.
LEAST = {"MLPClassifier": 0.92, "MLPRegressor": 0.83}

DEFAULT = [Fit((64,))]
TASKS = [
    *DEFAULT,
    *(
        Fit((256, 256), estimator, dtype, products)
        for estimator in ("MLPClassifier", "MLPRegressor")
        for dtype in ("float32", "float64")
        for products in (False, True)
    ),
]
