# SPDX-License-Identifier: Apache-2.0
"""to_sklearn: a fitted estimator of lamella as scikit-learn's own, for where lamella is not.

The way back of from_sklearn, which takes estimators of lamella as well.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from lamella.errors import UnsupportedError, message
from lamella.sklearn.estimator import Estimator

__all__ = ["to_sklearn"]

_SHARED = (
    "n_iter_", "n_layers_", "n_outputs_", "out_activation_", "loss_", "best_loss_", "loss_curve_",
    "validation_scores_", "best_validation_score_", "t_", "classes_", "n_features_in_",
    "feature_names_in_", "_label_binarizer",
)  # fmt: skip


def to_sklearn(estimator: Any) -> Any:
    """A fitted MLPClassifier or MLPRegressor of scikit-learn with the same parameters and weights.

    Parameters: estimator, fitted, of lamella.sklearn, with an activation of scikit-learn's and
    without layer_norm; dropout and class_weight, which only training knows, are dropped, and
    solvers that scikit-learn lacks become "adam".
    Returns: the estimator, which shares no weights. Raises: UnsupportedError.
    Source: scikit-learn, sklearn.neural_network.

    >>> import numpy as np, lamella as lm
    >>> X, y = np.arange(8.0).reshape(4, 2), np.arange(4.0)
    >>> model = lm.sklearn.MLPRegressor(hidden_layer_sizes=3, solver="lbfgs", tol=1.0).fit(X, y)
    >>> bool(np.allclose(lm.sklearn.to_sklearn(model).predict(X), model.predict(X)))
    True
    """
    from sklearn import neural_network

    if not isinstance(estimator, Estimator) or not hasattr(estimator, "coefs_"):
        raise UnsupportedError(
            message(
                "to_sklearn",
                "nothing to convert",
                {"estimator": type(estimator).__name__},
                "a fitted MLPClassifier or MLPRegressor of lamella.sklearn",
            )
        )
    known = ("identity", "logistic", "tanh", "relu")
    if estimator.layer_norm or estimator.activation not in known:
        raise UnsupportedError(
            message(
                "to_sklearn",
                "scikit-learn has no such layers",
                {"activation": estimator.activation, "layer_norm": estimator.layer_norm},
                f"one of {known}, layer_norm=False",
            )
        )
    kind = getattr(neural_network, type(estimator).__name__)
    names = kind().get_params()
    parameters = {k: v for k, v in estimator.get_params().items() if k in names}
    if parameters["solver"] not in ("adam", "sgd", "lbfgs"):
        parameters["solver"] = "adam"
    found = kind(**parameters)
    for name in _SHARED:
        if hasattr(estimator, name):
            setattr(found, name, getattr(estimator, name))
    found.coefs_ = [np.ascontiguousarray(coef) for coef in map(np.array, estimator.coefs_)]
    found.intercepts_ = [np.array(intercept) for intercept in estimator.intercepts_]
    return found
