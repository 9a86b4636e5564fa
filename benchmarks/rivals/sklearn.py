# SPDX-License-Identifier: Apache-2.0
"""scikit-learn's multi-layer perceptrons: training only, since that is what they are for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..tasks.fit import Fit
from ..tasks.training import WARM, Training


class ScikitLearn:
    """MLPClassifier and MLPRegressor, threads as the BLAS of its NumPy has them."""

    def __init__(self, threads: int) -> None:
        import sklearn
        import sklearn.neural_network as neural_network

        self.networks = neural_network
        self.version = sklearn.__version__  # threads: OPENBLAS_NUM_THREADS, set by the runner

    def training(self, task: Training, arrays: dict[str, np.ndarray]) -> Callable[[], Any] | None:
        """A step is `partial_fit` of one batch. Two classes as two outputs, as the others do it."""
        if task.actor_critic:
            return None
        x, classes = arrays["x"], task.sizes[-1]
        y = np.eye(classes, dtype=np.int64)[arrays["y"]]
        solver = {"solver": "adam"} if task.adam else {"solver": "sgd", "nesterovs_momentum": False}
        net = self.networks.MLPClassifier(
            task.sizes[1:-1],
            alpha=0.0,
            batch_size=task.batch,
            learning_rate_init=task.rate,
            shuffle=False,
            # Its Adam adds epsilon before the bias correction; this is what the others add after
            # it in the first steps.
            epsilon=5e-10,
            **solver,
        )
        # Labels as indicators: any number of outputs, with the activation set to softmax below.
        net.partial_fit(x, y, classes=np.arange(classes))
        net.out_activation_ = "softmax"
        for i in range(len(task.sizes) - 1):
            net.coefs_[i][...] = arrays[f"w0{i}"].T
            net.intercepts_[i][...] = arrays[f"b0{i}"]
        # The step that made the arrays counts for nothing.
        del net._optimizer
        net.t_ = 0

        def call() -> Any:
            net.partial_fit(x, y)
            return net.loss_

        for _ in range(WARM):
            call()
        return call

    def fit(self, task: Fit, arrays: dict[str, np.ndarray]) -> Callable[[], Any]:
        return task.call(getattr(self.networks, task.estimator), arrays)
