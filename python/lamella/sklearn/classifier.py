# SPDX-License-Identifier: Apache-2.0
"""MLPClassifier: scikit-learn's estimator of that name, trained by lamella.

Two classes and several labels at once have logistic outputs, more classes a softmax.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.metrics import accuracy_score
from sklearn.preprocessing import LabelBinarizer
from sklearn.utils import column_or_1d
from sklearn.utils.class_weight import compute_sample_weight
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import type_of_target, unique_labels

from lamella.errors import message
from lamella.ir.types import Array
from lamella.sklearn.estimator import Estimator
from lamella.sklearn.objective import Samples

__all__ = ["MLPClassifier"]


class MLPClassifier(ClassifierMixin, Estimator):  # type: ignore[misc]
    """A classifier with scikit-learn's interface: dense layers that minimise the log-loss.

    Every parameter, default and attribute of sklearn.neural_network.MLPClassifier (1.9) means what
    it means there, and the same random_state begins with the same weights and has the same batches.

    Parameters: hidden_layer_sizes, a number or sequence of numbers >= 1; activation, "identity",
    "logistic", "tanh", "relu", or any activation of lamella.nn in small letters ("gelu", "silu");
    solver, "adam", "sgd", "lbfgs", "adamw" (alpha is its weight decay, apart from the loss),
    "rmsprop" (beta_2 is its smoothing) or "adagrad"; alpha >= 0, of the penalty
    alpha / 2 |W|^2 / batch size; batch_size, "auto" for 200 at most; learning_rate, "constant",
    "invscaling" or "adaptive", for sgd; learning_rate_init > 0; power_t, of invscaling; max_iter,
    epochs at most; shuffle; random_state; tol and n_iter_no_change, when to stop; verbose;
    warm_start; momentum and nesterovs_momentum, of sgd; early_stopping and validation_fraction;
    beta_1, beta_2, epsilon, of adam; max_fun, of lbfgs. Beyond scikit-learn's: dropout, 0 <= p < 1,
    after each hidden activation; layer_norm, before each; class_weight, None, "balanced" or
    {label: weight}, a factor of the samples' weights.
    Attributes: classes_, coefs_, intercepts_, n_iter_, n_layers_, n_outputs_, out_activation_,
    loss_, best_loss_, loss_curve_, validation_scores_, best_validation_score_, t_, n_features_in_,
    feature_names_in_.
    Raises: ValueError, in fit, for parameters out of range.
    Source: scikit-learn, sklearn.neural_network.MLPClassifier. Needs scikit-learn 1.6 or later.

    >>> import numpy as np, lamella as lm
    >>> X = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    >>> y = np.array(["even", "odd", "odd", "even"])
    >>> model = lm.sklearn.MLPClassifier((16,), activation="tanh", solver="lbfgs", random_state=0)
    >>> model.fit(X, y).score(X, y)
    1.0
    """

    classes_: Array

    def __init__(
        self,
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
        class_weight: Any = None,
    ) -> None:
        self._keep(locals())

    def predict(self, X: Any) -> Array:
        """The labels of samples X.

        Parameters: X, (n_samples, n_features); sparse matrices are made dense. Returns: labels,
        (n_samples,), or indicators 0 and 1, (n_samples, n_labels).
        """
        return self._labels(self._outputs(X))

    def predict_proba(self, X: Any) -> Array:
        """The probabilities of the classes, (n_samples, n_classes), in the order of classes_."""
        outputs = self._outputs(X)
        if outputs.shape[1] == 1:
            return np.concatenate([1 - outputs, outputs], axis=1)
        return outputs

    def predict_log_proba(self, X: Any) -> Array:
        """The logarithms of predict_proba."""
        with np.errstate(divide="ignore"):
            return np.log(self.predict_proba(X))

    @available_if(lambda self: self._partial_is_possible())  # type: ignore[untyped-decorator]
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None, classes: Any = None) -> Any:
        """One epoch over X and y that continues the training before.

        Parameters: as fit's; classes, all labels that will ever come, needed in the first call.
        Returns: self. Raises: ValueError; AttributeError where the solver is lbfgs.
        """
        if isinstance(self.class_weight, str):
            raise ValueError(
                message(
                    "MLPClassifier",
                    "partial_fit does not see how often classes occur",
                    {"class_weight": repr(self.class_weight)},
                    "a dictionary of labels",
                )
            )
        if "_network" not in self.__dict__:
            if classes is None:
                raise ValueError(
                    "classes must be passed on the first call to partial_fit: every label to come"
                )
            multilabel = type_of_target(y).startswith("multilabel")
            self._binarize(y if multilabel else classes)
        elif classes is not None and not np.array_equal(self.classes_, unique_labels(classes)):
            raise ValueError(
                message(
                    "MLPClassifier",
                    "other classes than before",
                    {"classes": classes},
                    str(self.classes_),
                )
            )
        return self._fit(X, y, sample_weight, incremental=True)

    def _binarize(self, y: Any) -> None:
        self._label_binarizer = LabelBinarizer().fit(y)
        self.classes_ = self._label_binarizer.classes_

    def _targets(self, y: Any, incremental: bool) -> Array:
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        if not incremental and not (self.warm_start and "_network" in self.__dict__):
            self._binarize(y)
        else:
            found = unique_labels(y)
            strange = np.setdiff1d(found, self.classes_)
            missing = self.warm_start and len(found) != len(self.classes_)
            if len(strange) or missing:
                raise ValueError(
                    message(
                        "MLPClassifier",
                        "warm_start needs the classes of the fit before"
                        if self.warm_start
                        else "`y` has classes not in `self.classes_`",
                        {"y": found},
                        str(self.classes_),
                    )
                )
        if self._label_binarizer.y_type_ == "multiclass":
            return np.asarray(np.searchsorted(self.classes_, y), np.int64)
        columns: Array = self._label_binarizer.transform(y)
        return np.asarray(columns, np.float64)

    def _columns(self, target: Array) -> int:
        return len(self.classes_) if target.ndim == 1 else target.shape[1]

    def _loss(self) -> tuple[str, str]:
        if self._label_binarizer.y_type_ == "multiclass":
            return "multiclass", "softmax"
        return "binary", "logistic"

    def _weights_of_samples(self, y: Any, sample_weight: Any) -> Any:
        if self.class_weight is None:
            return sample_weight
        weights = compute_sample_weight(self.class_weight, y)
        return weights if sample_weight is None else weights * np.asarray(sample_weight)

    def _labels(self, outputs: Array) -> Array:
        if self._label_binarizer.y_type_ == "multiclass":
            return np.asarray(self.classes_[outputs.argmax(1)])
        columns = outputs[:, 0] if outputs.shape[1] == 1 else outputs
        labels: Array = self._label_binarizer.inverse_transform(columns)
        return labels

    def _validation_score(self, outputs: Array, samples: Samples) -> float:
        if samples.y.ndim == 1:
            right = self.classes_[samples.y]
        else:
            right = self._label_binarizer.inverse_transform(samples.y)
        return float(accuracy_score(right, self._labels(outputs), sample_weight=samples.weight))

    def _stratified(self, target: Array) -> Array | None:
        return target if self.n_outputs_ == 1 else None

    def __sklearn_tags__(self) -> Any:
        """What scikit-learn may assume."""
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags
