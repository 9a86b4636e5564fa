# SPDX-License-Identifier: Apache-2.0
"""Metrics agree with scikit-learn's, however the samples are cut into batches."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from lamella.errors import ShapeError
from lamella.train.metrics import Accuracy, Collected, Metric, TopKAccuracy, resolve


class BCELoss:
    """Stands for the losses whose names say what the outputs are."""


class BCEWithLogitsLoss:
    """As above."""


class CrossEntropyLoss:
    """As above."""

    ignore_index = 3


def over(metric: Metric, y_true: np.ndarray, y_pred: np.ndarray, cuts: int) -> float:
    metric.reset()
    for true, pred in zip(np.array_split(y_true, cuts), np.array_split(y_pred, cuts), strict=True):
        metric.update(true, pred)
    return metric.result()


def wanted(name: str) -> Callable[..., float]:
    metrics = pytest.importorskip("sklearn.metrics")
    return {
        "accuracy": metrics.accuracy_score,
        "precision": lambda t, p, **k: metrics.precision_score(t, p, zero_division=0, **k),
        "recall": lambda t, p, **k: metrics.recall_score(t, p, zero_division=0, **k),
        "f1": lambda t, p, **k: metrics.f1_score(t, p, zero_division=0, **k),
        "mae": metrics.mean_absolute_error,
        "mse": metrics.mean_squared_error,
        "r2": metrics.r2_score,
    }[name]


@pytest.mark.parametrize("cuts", [1, 7, 100])
@pytest.mark.parametrize("name", ["accuracy", "precision", "recall", "f1"])
@pytest.mark.parametrize("form", ["classes", "one-hot", "logits", "column", "probabilities"])
def test_of_classes(name: str, form: str, cuts: int, rng: np.random.Generator) -> None:
    many: dict[str, Any] = {} if name == "accuracy" else {"average": "macro"}
    loss: Any = CrossEntropyLoss
    if form in ("classes", "one-hot"):
        y_pred = rng.standard_normal((100, 3)).astype(np.float32)
        true = rng.integers(0, 3, 100)
        want = wanted(name)(true, y_pred.argmax(axis=1), **many)
        y_true = np.eye(3, dtype=np.float32)[true] if form == "one-hot" else true
    else:
        y_pred = rng.standard_normal(100).astype(np.float32)
        true = rng.integers(0, 2, 100)
        want = wanted(name)(true, y_pred > 0)
        y_true, loss = true.astype(np.float32), BCEWithLogitsLoss
        if form == "column":
            y_pred, y_true = y_pred[:, None], y_true[:, None]
        elif form == "probabilities":
            y_pred, loss = 1 / (1 + np.exp(-y_pred)), BCELoss
    (metric,) = resolve(name, loss())
    # Both divide the same counts; the mean over classes may round differently.
    assert over(metric, y_true, y_pred, cuts) == pytest.approx(want, rel=1e-15)


@pytest.mark.parametrize("cuts", [1, 7, 100])
@pytest.mark.parametrize("columns", [0, 1, 4])
@pytest.mark.parametrize("name", ["mae", "mse", "r2"])
def test_of_values(name: str, columns: int, cuts: int, rng: np.random.Generator) -> None:
    shape = (100, columns) if columns else (100,)
    y_true = (1e3 + rng.standard_normal(shape)).astype(np.float32)
    y_pred = (y_true + rng.standard_normal(shape)).astype(np.float32)
    want = wanted(name)(y_true.astype(np.float64), y_pred.astype(np.float64))
    (metric,) = resolve([name], None)
    assert metric.name == name
    # Sums of 400 terms in another order: gamma_400; the squares about the mean lose another 1e3^2.
    assert over(metric, y_true, y_pred, cuts) == pytest.approx(want, rel=400 * 2.0**-53 * 1e6)
    if columns == 0:
        assert over(metric, y_true, y_pred[:, None], cuts) == over(metric, y_true, y_pred, cuts)


def test_r2_of_constant_columns() -> None:
    (metric,) = resolve("r2", None)
    same = np.ones((4, 1))
    assert over(metric, same, same, 2) == 1.0
    assert over(metric, same, same + 1, 2) == 0.0
    assert np.isnan(over(metric, same[:1], same[:1], 1))


@pytest.mark.parametrize("k", [1, 2, 4])
def test_top_k(k: int, rng: np.random.Generator) -> None:
    y_pred, y_true = rng.standard_normal((50, 5)), rng.integers(0, 5, 50)
    best = np.argsort(-y_pred, axis=1)[:, :k]
    want = (best == y_true[:, None]).any(axis=1).mean()
    assert over(TopKAccuracy(k), y_true, y_pred, 3) == want
    assert over(TopKAccuracy(k), np.eye(5)[y_true], y_pred, 3) == want


def test_equal_outputs_are_not_all_right() -> None:
    assert over(TopKAccuracy(2), np.array([0, 1, 2]), np.zeros((3, 3)), 1) == 2 / 3
    assert over(TopKAccuracy(1), np.array([0, 1, 2]), np.zeros((3, 3)), 1) == 1 / 3


def test_ignored_targets_are_left_out() -> None:
    y_true, y_pred = np.array([0, 3, 1, 3]), np.eye(4)[[0, 3, 0, 0]]
    (metric,) = resolve("accuracy", CrossEntropyLoss())
    assert over(metric, y_true, y_pred, 2) == 0.5
    (metric,) = resolve("accuracy", None)
    assert over(metric, y_true, y_pred, 2) == 0.5


def test_what_stands_on_the_threshold_says_no() -> None:
    yes = np.ones(4, np.int64)
    on = np.float32([-1.0, 0.0, 0.5, 1.0])
    assert over(Accuracy(), yes, on, 1) == 0.5
    assert over(Accuracy(threshold=0.5), yes, on, 1) == 0.25


def test_every_column_of_a_binary_loss_is_a_decision() -> None:
    y_true, y_pred = np.array([[0, 1], [1, 1.0]]), np.array([[-1, 2], [3, -4.0]])
    assert over(resolve("accuracy", BCEWithLogitsLoss())[0], y_true, y_pred, 1) == 0.75
    assert over(resolve("precision", BCEWithLogitsLoss())[0], y_true, y_pred, 1) == 1.0


def test_pixels_have_classes() -> None:
    y_pred = np.zeros((2, 3, 4, 5))
    y_pred[:, 1] = 1.0
    y_true = np.ones((2, 4, 5), np.int64)
    y_true[0] = 2
    assert over(Accuracy(), y_true, y_pred, 2) == 0.5


def test_a_function_gets_everything_at_once() -> None:
    calls = []

    def spread(y_true: np.ndarray, y_pred: np.ndarray) -> float:
        calls.append(len(y_true))
        return float(np.ptp(y_pred - y_true))

    (metric,) = resolve(spread, None)
    assert isinstance(metric, Collected)
    assert metric.name == "spread"
    buffer = np.zeros(2)
    for value in (1.0, 3.0):
        buffer[:] = value
        metric.update(np.zeros(2), buffer)
    assert metric.result() == 2.0
    assert calls == [4]
    metric.reset()
    assert np.isnan(metric.result())


@pytest.mark.parametrize(
    "metrics", [["none"], [3], [Accuracy], ["mae", "mae"], [Collected(max, "loss")]]
)
def test_wrong_metrics(metrics: Any) -> None:
    with pytest.raises(ValueError, match="fit"):
        resolve(metrics, None)
    with pytest.raises(TypeError, match="fit"):
        resolve(7, None)


def test_a_function_that_gives_no_number() -> None:
    metric = Collected(lambda y_true, y_pred: "good", "quality")
    metric.update(np.zeros(2), np.zeros(2))
    with pytest.raises(TypeError, match="fit: a metric gives no number; got quality=str"):
        metric.result()


@pytest.mark.parametrize("name", ["accuracy", "mae", "r2", "top_k_accuracy", "f1"])
def test_shapes_that_do_not_fit(name: str) -> None:
    with pytest.raises(ShapeError, match="differ"):
        resolve(name, None)[0].update(np.zeros((3, 2, 2)), np.zeros((3, 2)))
