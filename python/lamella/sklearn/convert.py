# SPDX-License-Identifier: Apache-2.0
"""from_sklearn: a fitted MLPClassifier or MLPRegressor as a network with the same predictions.

coefs_[i] lies as (in, out) and becomes the transposed weight of a Linear; hidden and output
activations map one to one. The network is an nn.Sequential: call it for the bare output layer,
or use predict and predict_proba as on the estimator.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from lamella import nn
from lamella.errors import DTypeError, ShapeError, UnsupportedError, message
from lamella.ir.types import Array, DType
from lamella.sklearn.names import ACTIVATIONS

__all__ = ["FittedClassifier", "FittedRegressor", "from_sklearn"]


class _Fitted(nn.Sequential):
    """The layers of a fitted estimator; features and dtype are those of its first layer."""

    n_features_in_: int

    def _outputs(self, X: Any) -> Array:
        """The output layer for samples X, (n_samples, n_outputs)."""
        if hasattr(X, "toarray"):
            X = X.toarray()
        array = np.asarray(X)
        if array.dtype.kind not in "fiub":
            raise DTypeError(
                message(type(self).__name__, "not numbers", {"X": array.dtype}, "a numeric array")
            )
        if array.ndim != 2 or array.shape[1] != self.n_features_in_:
            raise ShapeError(
                message(
                    type(self).__name__,
                    "samples do not fit",
                    {"X": array.shape},
                    f"(n_samples, {self.n_features_in_})",
                )
            )
        outputs: Array = self(np.asarray(array, self.get_parameter("0.weight").data.dtype))
        return outputs


class FittedClassifier(_Fitted):
    """A fitted MLPClassifier as a network; made by from_sklearn.

    Calling it gives the output layer: one probability a class, or a single column, that of
    classes_[1], for two classes.

    Attributes: classes_, the labels; n_features_in_; multilabel, whether predict gives indicators.

    >>> import lamella as lm
    >>> issubclass(lm.sklearn.FittedClassifier, lm.nn.Sequential)
    True
    """

    classes_: Array
    multilabel: bool

    def predict(self, X: Any) -> Array:
        """The labels of samples X, as MLPClassifier.predict.

        Parameters: X, (n_samples, n_features_in_), numbers, not checked for NaN; sparse matrices
        are made dense. Returns: labels, (n_samples,), or indicators 0 and 1, (n_samples,
        n_labels). Raises: ShapeError, DTypeError.
        """
        outputs = self._outputs(X)
        if self.multilabel:
            return (outputs > 0.5).astype(np.int64)
        if outputs.shape[1] == 1:
            return np.asarray(self.classes_[(outputs[:, 0] > 0.5).astype(np.intp)])
        return np.asarray(self.classes_[outputs.argmax(axis=1)])

    def predict_proba(self, X: Any) -> Array:
        """The probabilities of the classes, as MLPClassifier.predict_proba.

        Parameters: X, as predict's. Returns: (n_samples, n_classes), columns in the order of
        classes_. Raises: ShapeError, DTypeError.
        """
        outputs = self._outputs(X)
        if outputs.shape[1] == 1:
            return np.concatenate([1 - outputs, outputs], axis=1)
        return outputs

    def predict_log_proba(self, X: Any) -> Array:
        """The logarithms of predict_proba."""
        with np.errstate(divide="ignore"):
            return np.log(self.predict_proba(X))


class FittedRegressor(_Fitted):
    """A fitted MLPRegressor as a network; made by from_sklearn. Calling it gives the output layer.

    >>> import lamella as lm
    >>> issubclass(lm.sklearn.FittedRegressor, lm.nn.Sequential)
    True
    """

    def predict(self, X: Any) -> Array:
        """The targets of samples X, as MLPRegressor.predict.

        Parameters: X, (n_samples, n_features_in_), numbers, not checked for NaN; sparse matrices
        are made dense. Returns: (n_samples,), or (n_samples, n_outputs) for several targets.
        Raises: ShapeError, DTypeError.
        """
        outputs = self._outputs(X)
        return outputs[:, 0] if outputs.shape[1] == 1 else outputs


def from_sklearn(estimator: Any, dtype: Any = None) -> FittedClassifier | FittedRegressor:
    """A fitted MLPClassifier or MLPRegressor as a network that gives the same predictions.

    Parameters: estimator, scikit-learn's or lamella.sklearn's, fitted, binary, multiclass,
    multilabel or regression (squared error or Poisson); dtype, by default that of its weights;
    "float32" is faster, but rounds features: 1.7e9 seconds since 1970 to multiples of 128.
    Returns: an nn.Sequential with predict, and for classifiers predict_proba; it shares nothing
    with the estimator. Raises: UnsupportedError for other objects, unfitted estimators and unknown
    activations; DTypeError. Source: scikit-learn, sklearn.neural_network.

    >>> import numpy as np, lamella as lm
    >>> from sklearn.neural_network import MLPRegressor
    >>> X, y = np.arange(8.0).reshape(4, 2), np.arange(4.0)
    >>> fitted = MLPRegressor(hidden_layer_sizes=(3,), solver="lbfgs", tol=1.0).fit(X, y)
    >>> net = lm.sklearn.from_sklearn(fitted)
    >>> bool(np.allclose(net.predict(X), fitted.predict(X)))
    True
    """
    from sklearn.base import is_classifier
    from sklearn.neural_network import MLPClassifier, MLPRegressor

    from lamella.sklearn.estimator import Estimator

    kinds = (MLPClassifier, MLPRegressor, Estimator)
    if not isinstance(estimator, kinds) or not hasattr(estimator, "coefs_"):
        raise UnsupportedError(
            message(
                "from_sklearn",
                "nothing to convert",
                {"estimator": type(estimator).__name__},
                "a fitted MLPClassifier or MLPRegressor",
            )
        )
    element = DType.of(_own_dtype(estimator) if dtype is None else dtype)
    if not element.is_floating:
        raise DTypeError(
            message("from_sklearn", "not a floating type", {"dtype": element}, "float32 or float64")
        )
    if isinstance(estimator, Estimator):
        layers = estimator.copied_layers(element)
    else:
        layers = _layers(estimator, element)
    if not is_classifier(estimator):
        regressor = FittedRegressor(*layers)
        regressor.n_features_in_ = int(estimator.n_features_in_)
        return regressor
    classifier = FittedClassifier(*layers)
    classifier.n_features_in_ = int(estimator.n_features_in_)
    classifier.classes_ = np.array(estimator.classes_)
    # The output layer is logistic for two classes and for several labels at once.
    classifier.multilabel = (
        estimator.out_activation_ == "logistic" and estimator._label_binarizer.y_type_ != "binary"
    )
    return classifier


def _own_dtype(estimator: Any) -> type[np.floating[Any]]:
    """float32 where no weight has more digits, as scikit-learn trains on float32; else float64."""
    found = np.result_type(*estimator.coefs_, *estimator.intercepts_)
    return np.float32 if np.can_cast(found, np.float32) else np.float64


def _layers(estimator: Any, dtype: DType) -> list[nn.Module]:
    layers: list[nn.Module] = []
    last = len(estimator.coefs_) - 1
    for i, (coef, intercept) in enumerate(
        zip(estimator.coefs_, estimator.intercepts_, strict=True)
    ):
        inputs, outputs = coef.shape
        linear = nn.Linear(inputs, outputs, dtype=dtype)
        linear.weight.data = coef.T
        linear.bias.data = intercept
        layers.append(linear)
        name = estimator.activation if i < last else estimator.out_activation_
        if name not in ACTIVATIONS:
            raise UnsupportedError(
                message(
                    "from_sklearn",
                    "unknown activation",
                    {"activation": name},
                    ", ".join(ACTIVATIONS),
                )
            )
        if ACTIVATIONS[name] is not None:
            layers.append(ACTIVATIONS[name]())
    return layers
