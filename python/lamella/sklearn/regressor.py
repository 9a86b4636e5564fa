# SPDX-License-Identifier: Apache-2.0
"""MLPRegressor: scikit-learn's estimator of that name, trained by lamella.

Squared errors with a linear output, or a Poisson deviance with an exponential one.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import RegressorMixin
from sklearn.metrics import r2_score
from sklearn.utils import column_or_1d
from sklearn.utils.metaestimators import available_if

from lamella.errors import message
from lamella.ir.types import Array
from lamella.sklearn.estimator import Estimator
from lamella.sklearn.objective import Samples

__all__ = ["MLPRegressor"]


class MLPRegressor(RegressorMixin, Estimator):  # type: ignore[misc]
    """A regressor with scikit-learn's interface: dense layers that minimise squared errors.

    Every parameter, default and attribute of sklearn.neural_network.MLPRegressor (1.9) means what
    it means there, and the same random_state begins with the same weights and has the same batches.

    Parameters: loss, "squared_error", half the squared error, or "poisson", half the deviance, for
    y >= 0 and with an exponential output; all others as MLPClassifier's, but class_weight.
    Attributes: as MLPClassifier's, but classes_. Raises: ValueError, in fit, for parameters out of
    range. With several outputs lbfgs minimises the sum of their errors, as the other solvers do.
    Source: scikit-learn, sklearn.neural_network.MLPRegressor. Needs scikit-learn 1.6 or later.

    >>> import numpy as np, lamella as lm
    >>> X = np.linspace(-1.0, 1.0, 20)[:, None]
    >>> model = lm.sklearn.MLPRegressor(hidden_layer_sizes=8, solver="lbfgs", random_state=0)
    >>> model.fit(X, np.abs(X[:, 0])).score(X, np.abs(X[:, 0])) > 0.99
    True
    """

    def __init__(
        self,
        loss: str = "squared_error",
        hidden_layer_sizes: Any = (100,),
        activation: str = "relu",
        *,
        solver: str = "adam",
        alpha: float = 0.0001,
        batch_size: Any = "auto",
        learning_rate: str = "constant",
        learning_rate_init: float = 0.001,
        power_t: float = 0.5,
        max_iter: int = 200,
        shuffle: bool = True,
        random_state: Any = None,
        tol: float = 1e-4,
        verbose: Any = False,
        warm_start: bool = False,
        momentum: float = 0.9,
        nesterovs_momentum: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        n_iter_no_change: float = 10,
        max_fun: int = 15000,
        dropout: float = 0.0,
        layer_norm: bool = False,
    ) -> None:
        self._keep(locals())

    def predict(self, X: Any) -> Array:
        """The targets of samples X.

        Parameters: X, (n_samples, n_features); sparse matrices are made dense. Returns:
        (n_samples,), or (n_samples, n_outputs) for several targets.
        """
        outputs = self._outputs(X)
        return outputs[:, 0] if outputs.shape[1] == 1 else outputs

    @available_if(lambda self: self._partial_is_possible())  # type: ignore[untyped-decorator]
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> Any:
        """One epoch over X and y that continues the training before.

        Parameters: as fit's. Returns: self. Raises: ValueError; AttributeError where the solver is
        lbfgs.
        """
        return self._fit(X, y, sample_weight, incremental=True)

    def _targets(self, y: Any, incremental: bool) -> Array:
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        targets: Array = y.reshape(len(y), -1).astype(np.float64, copy=False)
        if self.loss == "poisson" and (targets < 0).any():
            raise ValueError(
                message("MLPRegressor", "negative counts", {"y": targets.min()}, "y >= 0")
            )
        if "_network" in self.__dict__ and (incremental or self.warm_start):
            if targets.shape[1] != self.n_outputs_:
                raise ValueError(
                    message(
                        "MLPRegressor",
                        "another number of targets than before",
                        {"y": targets.shape},
                        f"(n_samples, {self.n_outputs_})",
                    )
                )
        return targets

    def _columns(self, target: Array) -> int:
        return int(target.shape[1])

    def _loss(self) -> tuple[str, str]:
        return self.loss, "exp" if self.loss == "poisson" else "identity"

    def _validation_score(self, outputs: Array, samples: Samples) -> float:
        return float(r2_score(samples.y, outputs, sample_weight=samples.weight))
