# SPDX-License-Identifier: Apache-2.0
"""Samples of weight 0: they count as samples that are not there, whole batches of them included.

scikit-learn's own fit gives NaN there (its issue 16298), so that its fit without these samples is
the oracle.
"""

from __future__ import annotations

import warnings

import numpy as np
import pytest

import lamella as lm
from comparators import same_bits

pytest.importorskip("sklearn", "1.6")
from sklearn import neural_network as theirs
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split

KINDS = ["MLPClassifier", "MLPRegressor"]
RANDOM = np.random.default_rng(0)
X = RANDOM.standard_normal((90, 5))
Y = {"MLPClassifier": X[:, 0] + X[:, 1] > 0, "MLPRegressor": X[:, 0] - X[:, 1]}
WEIGHT = RANDOM.uniform(0.5, 2.0, 90)
WEIGHT[30:60] = 0.0
KEPT = WEIGHT > 0


def fit(model, *data):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return model.fit(*data)


@pytest.mark.parametrize("solver", ["sgd", "adam"])
@pytest.mark.parametrize("kind", KINDS)
def test_batches_of_weight_0_are_left_out(kind: str, solver: str) -> None:
    options = {
        "shuffle": False, "batch_size": 15, "alpha": 0.01, "solver": solver, "max_iter": 8,
        "random_state": 0, "hidden_layer_sizes": (8,),
    }  # fmt: skip
    y = Y[kind]
    whole = fit(getattr(lm.sklearn, kind)(**options), X, y, WEIGHT)
    ours = fit(getattr(lm.sklearn, kind)(**options), X[KEPT], y[KEPT], WEIGHT[KEPT])
    other = fit(getattr(theirs, kind)(**options), X[KEPT], y[KEPT], WEIGHT[KEPT])
    assert whole.loss_curve_ == ours.loss_curve_
    for mine, found in zip(whole.coefs_, ours.coefs_, strict=True):
        same_bits(np.array(mine, order="C"), np.array(found, order="C"))
    # The penalty is taken from an epoch's beginning and end, not batch by batch.
    np.testing.assert_allclose(whole.loss_curve_, other.loss_curve_, rtol=1e-4)
    if solver == "sgd":
        for mine, found in zip(whole.coefs_, other.coefs_, strict=True):
            np.testing.assert_allclose(mine, found, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("size", [1, 7, 90])
@pytest.mark.parametrize("kind", KINDS)
def test_any_batch_size_and_order(kind: str, size: int) -> None:
    model = getattr(lm.sklearn, kind)(max_iter=3, batch_size=size, random_state=0)
    fit(model, X, Y[kind], WEIGHT)
    assert np.isfinite(model.loss_curve_).all()
    assert all(np.isfinite(one).all() for one in model.coefs_)
    classes = {"classes": [False, True]} if kind == "MLPClassifier" else {}
    before = model.coefs_[0]
    model.partial_fit(X, Y[kind], sample_weight=WEIGHT, **classes)
    assert np.isfinite(model.coefs_[0]).all()
    assert (model.coefs_[0] != before).any()


def test_a_class_of_weight_0() -> None:
    y = np.repeat([0, 1, 2], 30)
    model = lm.sklearn.MLPClassifier(
        batch_size=10, shuffle=False, max_iter=4, class_weight={1: 0.0}, random_state=0
    )
    assert np.isfinite(fit(model, X, y).loss_curve_).all()


@pytest.mark.parametrize("kind", KINDS)
def test_no_weight_at_all_is_an_error(kind: str) -> None:
    with pytest.raises(ValueError, match=r"(?i)weight"):
        fit(getattr(lm.sklearn, kind)(), X, Y[kind], np.zeros(90))
    if kind == "MLPClassifier":
        with pytest.raises(ValueError, match=r"(?i)weight"):
            fit(lm.sklearn.MLPClassifier(class_weight={False: 0.0, True: 0.0}), X, Y[kind])


@pytest.mark.parametrize("part", ["samples of training", "samples set aside"])
def test_both_parts_of_early_stopping_need_some_weight(part: str) -> None:
    model = lm.sklearn.MLPRegressor(hidden_layer_sizes=(), early_stopping=True, random_state=0)
    # Drawing the weights comes before the split: as many numbers as the net has.
    state = np.random.RandomState(0)
    state.uniform(size=5 + 1)
    rows = train_test_split(np.arange(90), random_state=state, test_size=0.1)
    weight = np.zeros(90)
    weight[rows[part == "samples of training"]] = 1.0
    with pytest.raises(ValueError, match=rf"every weight is 0.*{part}"):
        fit(model, X, Y["MLPRegressor"], weight)
