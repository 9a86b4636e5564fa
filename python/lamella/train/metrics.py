# SPDX-License-Identifier: Apache-2.0
"""Metrics: what is measured beside the loss, batch by batch.

A metric is reset at the start of an epoch, updated with each batch and asked for its value at the
end. Those here keep counts and sums, in float64; a plain function of (y_true, y_pred) is called
once, with everything that was collected. y_pred is what the net gave: logits where the loss takes
logits. Definitions are scikit-learn's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import numpy as np

from lamella.errors import ShapeError, message
from lamella.ir.types import Array

__all__ = [
    "F1",
    "Accuracy",
    "Collected",
    "MeanAbsoluteError",
    "MeanSquaredError",
    "Metric",
    "Precision",
    "R2Score",
    "Recall",
    "TopKAccuracy",
    "resolve",
]

# The loss takes probabilities of the positive class; every other net is taken to give logits.
_PROBABILITIES = ("BCELoss", "binary_cross_entropy")
_BINARY = (*_PROBABILITIES, "BCEWithLogitsLoss", "binary_cross_entropy_with_logits")


class Metric:
    """Base class: a quantity that is summed up over batches. Subclasses name themselves.

    >>> import numpy as np
    >>> from lamella.train import Metric
    >>> class Largest(Metric):
    ...     name = "largest"
    ...     def reset(self):
    ...         self.state = {"largest": np.float64(0)}
    ...     def update(self, y_true, y_pred):
    ...         self.state["largest"] = max(self.state["largest"], np.abs(y_pred - y_true).max())
    ...     def result(self):
    ...         return float(self.state["largest"])
    >>> largest = Largest()
    >>> largest.update(np.zeros(3), np.array([1.0, -4.0, 2.0]))
    >>> largest.result()
    4.0
    """

    name: str = "metric"

    #: Everything that update changes, by name, arrays or numbers: what checkpoints hold.
    state: dict[str, Any]

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forgets all batches."""
        self.state = {}

    def update(self, y_true: Array, y_pred: Array) -> None:
        """Takes a batch into account; the arrays are only valid during the call."""
        raise NotImplementedError

    def result(self) -> float:
        """The value over all batches since reset."""
        raise NotImplementedError


class Collected(Metric):
    """A function of all y_true and y_pred of an epoch, which are kept until its end.

    Parameters: function (y_true, y_pred) -> float, such as one of sklearn.metrics; name.

    >>> import numpy as np
    >>> from lamella.train import Collected
    >>> bias = Collected(lambda y_true, y_pred: (y_pred - y_true).mean(), "bias")
    >>> for batch in (np.ones(2), np.zeros(2)):
    ...     bias.update(np.zeros(2), batch)
    >>> bias.result()
    0.5
    """

    def __init__(self, function: Callable[[Any, Any], Any], name: str | None = None) -> None:
        self.function = function
        self.name = name or str(getattr(function, "__name__", type(function).__name__))
        super().__init__()

    def reset(self) -> None:
        """Forgets all batches."""
        self.state = {"y_true": [], "y_pred": []}

    def update(self, y_true: Array, y_pred: Array) -> None:
        """Keeps a copy of the batch."""
        self.state["y_true"].append(np.array(y_true))
        self.state["y_pred"].append(np.array(y_pred))

    def result(self) -> float:
        """The function's value for everything kept; nan for nothing."""
        if not self.state["y_true"]:
            return float("nan")
        value = self.function(*(np.concatenate(self.state[n]) for n in ("y_true", "y_pred")))
        if not hasattr(value, "__float__"):
            got = {self.name: type(value).__name__}
            raise TypeError(message("fit", "a metric gives no number", got, "float"))
        return float(value)


class _Mean(Metric):
    """The mean over all elements of what `terms` gives."""

    def reset(self) -> None:
        """Forgets all batches."""
        self.state = {"sum": 0.0, "count": 0}

    def terms(self, y_true: Array, y_pred: Array) -> Array:
        """One term for each element or sample."""
        raise NotImplementedError

    def update(self, y_true: Array, y_pred: Array) -> None:
        """Adds the terms of a batch."""
        terms = self.terms(y_true, y_pred)
        self.state["sum"] += float(terms.sum(dtype=np.float64))
        self.state["count"] += terms.size

    def result(self) -> float:
        """The mean; nan for nothing."""
        count = self.state["count"]
        return self.state["sum"] / count if count else float("nan")


class _Classes:
    """How outputs become classes: the largest along axis 1, or a threshold if there is one column.

    binary: every column is a decision of its own; threshold: above it, an output means yes;
    ignore: the class of targets that are left out.
    """

    def __init__(self, threshold: float = 0.0, binary: bool = False, ignore: int = -100) -> None:
        self.threshold, self.binary, self.ignore = threshold, binary, ignore

    def __call__(self, y_true: Array, y_pred: Array) -> tuple[Array, Array]:
        single = y_pred.ndim == 1 or y_pred.shape[1] == 1
        if single or (self.binary and y_true.shape == y_pred.shape):
            true = y_true.reshape(-1)
            if true.dtype.kind == "f":
                true = true > 0.5
            chosen = y_pred.reshape(-1) > self.threshold
        else:
            true = y_true
            if y_true.ndim == y_pred.ndim:  # one-hot, or probabilities
                true = y_true.argmax(axis=1)
            chosen = y_pred.argmax(axis=1)
        _matching("accuracy", true, chosen)
        true, chosen = true.reshape(-1).astype(np.int64), chosen.reshape(-1).astype(np.int64)
        used = true != self.ignore
        return (true, chosen) if used.all() else (true[used], chosen[used])


def _matching(name: str, y_true: Array, y_pred: Array) -> None:
    if y_true.shape != y_pred.shape:
        raise ShapeError(
            message(
                name, "targets and outputs differ", {"y_true": y_true.shape, "y_pred": y_pred.shape}
            )
        )


class Accuracy(_Mean):
    """The fraction of samples whose class is right.

    y_pred (N, C, ...): the class is the largest along axis 1, y_true (N, ...) classes or
    (N, C, ...) probabilities. y_pred (N,) or (N, 1): the class is y_pred > threshold. Targets that
    equal `ignore` are left out.

    Parameters: threshold, 0 for logits, 0.5 for probabilities; binary, whether every column is a
    decision of its own; ignore.

    >>> import numpy as np
    >>> from lamella.train import Accuracy
    >>> accuracy = Accuracy()
    >>> accuracy.update(np.array([0, 1, 1]), np.array([[2.0, 1.0], [0.0, 3.0], [1.0, 0.0]]))
    >>> round(accuracy.result(), 3)
    0.667
    """

    name = "accuracy"

    def __init__(self, threshold: float = 0.0, binary: bool = False, ignore: int = -100) -> None:
        self.classes = _Classes(threshold, binary, ignore)
        super().__init__()

    def terms(self, y_true: Array, y_pred: Array) -> Array:
        """Whether each sample is right."""
        true, chosen = self.classes(y_true, y_pred)
        return np.equal(true, chosen)


class TopKAccuracy(_Mean):
    """The fraction of samples whose class is among the k largest outputs.

    y_pred (N, C), y_true (N,) classes or (N, C) probabilities. Parameters: k >= 1; ignore.

    >>> import numpy as np
    >>> from lamella.train import TopKAccuracy
    >>> top = TopKAccuracy(k=2)
    >>> top.update(np.array([0, 2]), np.array([[2.0, 3.0, 1.0], [3.0, 2.0, 1.0]]))
    >>> top.result()
    0.5
    """

    name = "top_k_accuracy"

    def __init__(self, k: int = 5, ignore: int = -100) -> None:
        self.k, self.ignore = k, ignore
        super().__init__()

    def terms(self, y_true: Array, y_pred: Array) -> Array:
        """Whether fewer than k outputs are larger than that of the right class."""
        true = y_true.argmax(axis=1) if y_true.ndim == y_pred.ndim else y_true
        _matching(self.name, true, y_pred[:, 0])
        used = true != self.ignore
        true, y_pred = true[used].astype(np.int64), y_pred[used]
        right = np.take_along_axis(y_pred, true[:, None], axis=1)
        larger = (y_pred > right).sum(axis=1)
        # Of equal outputs the first counts as the largest, as for argmax.
        before = np.arange(y_pred.shape[1]) < true[:, None]
        better: Array = larger + ((y_pred == right) & before).sum(axis=1)
        return better < self.k


class MeanAbsoluteError(_Mean):
    """mean |y_pred - y_true| over all elements.

    >>> import numpy as np
    >>> from lamella.train import MeanAbsoluteError
    >>> mae = MeanAbsoluteError()
    >>> mae.update(np.zeros(2), np.array([1.0, -2.0]))
    >>> mae.result()
    1.5
    """

    name = "mean_absolute_error"

    def terms(self, y_true: Array, y_pred: Array) -> Array:
        """The absolute errors."""
        return np.abs(_errors(self.name, y_true, y_pred))


class MeanSquaredError(_Mean):
    """mean (y_pred - y_true)^2 over all elements.

    >>> import numpy as np
    >>> from lamella.train import MeanSquaredError
    >>> mse = MeanSquaredError()
    >>> mse.update(np.zeros(2), np.array([1.0, -2.0]))
    >>> mse.result()
    2.5
    """

    name = "mean_squared_error"

    def terms(self, y_true: Array, y_pred: Array) -> Array:
        """The squared errors."""
        return np.square(_errors(self.name, y_true, y_pred))


def _errors(name: str, y_true: Array, y_pred: Array) -> Array:
    if y_pred.ndim == y_true.ndim + 1 and y_pred.shape[-1] == 1:
        y_pred = y_pred[..., 0]
    _matching(name, y_true, y_pred)
    return y_pred.astype(np.float64) - y_true


class R2Score(Metric):
    """1 - sum (y_true - y_pred)^2 / sum (y_true - mean)^2, the mean of it over the columns.

    A column of one value scores 1 if it is met exactly, else 0. nan for fewer than two samples.
    Source: the sums of squares of batches are merged as in Chan, Golub, LeVeque, 1983.

    >>> import numpy as np
    >>> from lamella.train import R2Score
    >>> r2 = R2Score()
    >>> r2.update(np.array([1.0, 2.0]), np.array([1.0, 2.0]))
    >>> r2.update(np.array([3.0, 4.0]), np.array([3.0, 3.0]))
    >>> r2.result()
    0.8
    """

    name = "r2_score"

    def reset(self) -> None:
        """Forgets all batches."""
        self.state = {
            "count": 0,
            "mean": np.zeros(1),
            "total": np.zeros(1),
            "residual": np.zeros(1),
        }

    def update(self, y_true: Array, y_pred: Array) -> None:
        """Merges the sums of a batch."""
        if not len(y_true):
            return
        residual = np.square(_errors(self.name, y_true, y_pred)).reshape(len(y_true), -1)
        true = y_true.reshape(len(y_true), -1).astype(np.float64)
        mean, before = true.mean(axis=0), self.state["count"]
        count = before + len(true)
        shift = mean - self.state["mean"]
        self.state = {
            "count": count,
            "mean": self.state["mean"] + shift * (len(true) / count),
            "total": self.state["total"]
            + np.square(true - mean).sum(axis=0)
            + np.square(shift) * (before * len(true) / count),
            "residual": self.state["residual"] + residual.sum(axis=0),
        }

    def result(self) -> float:
        """The score."""
        if self.state["count"] < 2:
            return float("nan")
        total, residual = self.state["total"], self.state["residual"]
        flat = np.where(residual == 0, 1.0, 0.0)
        scores = np.where(total > 0, 1.0 - residual / np.where(total > 0, total, 1.0), flat)
        return float(scores.mean())


class _Counts(Metric):
    """Counts by class: right ones, chosen ones, true ones."""

    def __init__(self, threshold: float = 0.0, binary: bool = False, ignore: int = -100) -> None:
        self.classes = _Classes(threshold, binary, ignore)
        super().__init__()

    def reset(self) -> None:
        """Forgets all batches."""
        self.state = {"counts": np.zeros((3, 0), np.int64), "single": False}

    def update(self, y_true: Array, y_pred: Array) -> None:
        """Counts a batch."""
        true, chosen = self.classes(y_true, y_pred)
        single = y_pred.ndim == 1 or y_pred.shape[1] == 1 or self.classes.binary
        size = 2 if single else y_pred.shape[1]
        counts = [np.bincount(v, minlength=size) for v in (true[true == chosen], chosen, true)]
        before = self.state["counts"]
        total = np.zeros((3, max(size, before.shape[1])), np.int64)
        total[:, : before.shape[1]] = before
        total[:, :size] += np.stack(counts)
        self.state = {"counts": total, "single": single}

    def scores(self, right: Array, chosen: Array, true: Array) -> Array:
        """The score of each class."""
        raise NotImplementedError

    def result(self) -> float:
        """The score of the positive class; of more classes the mean over those that occur."""
        right, chosen, true = self.state["counts"]
        scores = self.scores(right, chosen, true)
        if self.state["single"]:
            return float(scores[1])
        occurs = (chosen + true) > 0
        return float(scores[occurs].mean()) if occurs.any() else float("nan")


def _ratio(part: Array, whole: Array) -> Array:
    return np.where(whole > 0, part / np.maximum(whole, 1), 0.0)


class Precision(_Counts):
    """Right ones among those chosen, 0 if none is; the mean over classes if there are several.

    Parameters: as Accuracy's.

    >>> import numpy as np
    >>> from lamella.train import Precision
    >>> precision = Precision()
    >>> precision.update(np.array([1, 0, 1]), np.array([2.0, 1.0, -1.0]))
    >>> precision.result()
    0.5
    """

    name = "precision"

    def scores(self, right: Array, chosen: Array, true: Array) -> Array:
        """right / chosen."""
        return _ratio(right, chosen)


class Recall(_Counts):
    """Right ones among the true ones, 0 if there are none; the mean over classes if several.

    Parameters: as Accuracy's.

    >>> import numpy as np
    >>> from lamella.train import Recall
    >>> recall = Recall()
    >>> recall.update(np.array([1, 0, 1]), np.array([2.0, 1.0, 1.0]))
    >>> recall.result()
    1.0
    """

    name = "recall"

    def scores(self, right: Array, chosen: Array, true: Array) -> Array:
        """right / true."""
        return _ratio(right, true)


class F1(_Counts):
    """The harmonic mean of precision and recall; the mean over classes if there are several.

    Parameters: as Accuracy's.

    >>> import numpy as np
    >>> from lamella.train import F1
    >>> f1 = F1()
    >>> f1.update(np.array([1, 0, 1]), np.array([2.0, 1.0, -1.0]))
    >>> f1.result()
    0.5
    """

    name = "f1"

    def scores(self, right: Array, chosen: Array, true: Array) -> Array:
        """2 right / (chosen + true)."""
        return _ratio(2 * right, chosen + true)


_CLASSES: dict[str, type[Any]] = {
    "accuracy": Accuracy, "precision": Precision, "recall": Recall, "f1": F1,
}  # fmt: skip
_OTHERS: dict[str, type[Metric]] = {
    "top_k_accuracy": TopKAccuracy,
    "mean_absolute_error": MeanAbsoluteError,
    "mae": MeanAbsoluteError,
    "mean_squared_error": MeanSquaredError,
    "mse": MeanSquaredError,
    "r2_score": R2Score,
    "r2": R2Score,
}


def resolve(metrics: Any, loss: Any) -> list[Metric]:
    """Metrics from names, metrics and functions, fitted to what the loss says of the outputs.

    Of BCELoss and BCEWithLogitsLoss every column is a decision; BCELoss takes probabilities, whose
    threshold is 0.5. A loss's ignore_index is left out. A name is the history's column.

    >>> from lamella.train.metrics import resolve
    >>> [metric.name for metric in resolve(["accuracy", "mae"], None)]
    ['accuracy', 'mae']
    """
    given = [metrics] if isinstance(metrics, str) or callable(metrics) else metrics
    if isinstance(given, Metric):
        given = [given]
    if not isinstance(given, Iterable):
        raise TypeError(message("fit", "no list", {"metrics": given}, "names, metrics, functions"))
    options = loss.keywords if isinstance(loss, partial) else {}
    loss = loss.func if isinstance(loss, partial) else loss
    kind = getattr(loss, "__name__", type(loss).__name__)
    ignore = options.get("ignore_index", getattr(loss, "ignore_index", -100))
    found: list[Metric] = []
    for entry in given:
        if isinstance(entry, Metric):
            found.append(entry)
        elif isinstance(entry, str) and entry in _CLASSES:
            threshold = 0.5 if kind in _PROBABILITIES else 0.0
            found.append(_CLASSES[entry](threshold, kind in _BINARY, ignore))
        elif isinstance(entry, str) and entry in _OTHERS:
            top = entry == "top_k_accuracy"
            metric = TopKAccuracy(ignore=ignore) if top else _OTHERS[entry]()
            metric.name = entry
            found.append(metric)
        elif callable(entry) and not isinstance(entry, type):
            found.append(Collected(entry))
        else:
            known = ", ".join([*_CLASSES, *_OTHERS])
            raise ValueError(message("fit", "no metric", {"metrics": repr(entry)}, known))
    names = [metric.name for metric in found]
    if len(set(names)) != len(names) or {"loss", "val_loss", "lr", "seconds"} & set(names):
        raise ValueError(message("fit", "a name used twice", {"metrics": names}, "other names"))
    return found
