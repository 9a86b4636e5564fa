# SPDX-License-Identifier: Apache-2.0
"""from_sklearn against the estimators themselves: every activation, output and label type."""

from __future__ import annotations

import copy
import pickle
import warnings

import numpy as np
import pytest

import lamella as lm
from comparators import same_bits
from lamella import nn
from lamella.errors import DTypeError, ShapeError, UnsupportedError

pytest.importorskip("sklearn")
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier, MLPRegressor

rng = np.random.default_rng(7)
X = rng.normal(size=(60, 5))
SCORES = X @ rng.normal(size=(5, 4)) + 0.3 * rng.normal(size=(60, 4))
TARGETS = {
    "binary": np.where(SCORES[:, 0] > 0, "yes", "no"),
    "multiclass": np.array([10, 20, 30, 40])[SCORES.argmax(1)],
    "multilabel": (SCORES[:, :3] > 0).astype(int),
}


def fit(estimator, y):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return estimator.fit(X, y)


def classifier(labels: str, activation: str = "relu", sizes=(7, 6)) -> MLPClassifier:
    model = MLPClassifier(hidden_layer_sizes=sizes, activation=activation, max_iter=30,
                          learning_rate_init=0.05, random_state=0)  # fmt: skip
    return fit(model, TARGETS[labels])


def close(got: np.ndarray, want: np.ndarray) -> None:
    """Three layers of ten terms each: some tens of roundings of the result's own size."""
    unit = np.finfo(got.dtype).eps / 2
    scale = np.abs(want) + np.abs(want).max()
    assert (np.abs(got - want) <= 300 * unit * scale).all(), np.abs(got - want).max()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("activation", ["identity", "logistic", "tanh", "relu"])
@pytest.mark.parametrize("labels", TARGETS)
def test_classifiers(labels, activation, dtype):
    fitted = classifier(labels, activation)
    net = lm.sklearn.from_sklearn(fitted, dtype=dtype)
    want = fitted.predict_proba(X)
    got = net.predict_proba(X)
    assert got.dtype == dtype
    assert got.shape == want.shape
    close(got, want)
    # Labels agree wherever float32 can tell the classes apart.
    ranked = np.sort(want, axis=1)
    clear = np.abs(want - 0.5).min(1) if labels == "multilabel" else ranked[:, -1] - ranked[:, -2]
    clear = clear > 1e-4
    assert clear.sum() > 50
    labels_of_ours = net.predict(X)
    assert labels_of_ours.dtype == fitted.predict(X).dtype
    assert (labels_of_ours[clear] == fitted.predict(X)[clear]).all()
    with np.errstate(divide="ignore"):
        ours, theirs = net.predict_log_proba(X), fitted.predict_log_proba(X)
    close(np.exp(ours[clear]), np.exp(theirs[clear]))
    same_bits(np.array(net.classes_), fitted.classes_)


@pytest.mark.parametrize("outputs", [1, 3])
@pytest.mark.parametrize("sizes", [(), (8,), (6, 5, 4)])
def test_regressors(sizes, outputs):
    y = SCORES[:, 0] if outputs == 1 else SCORES[:, :outputs]
    fitted = fit(MLPRegressor(hidden_layer_sizes=sizes, max_iter=30, random_state=0), y)
    for dtype in (np.float32, np.float64):
        net = lm.sklearn.from_sklearn(fitted, dtype=dtype)
        got = net.predict(X)
        assert got.shape == fitted.predict(X).shape
        close(got, fitted.predict(X))


def test_poisson_regression():
    y = np.exp(SCORES[:, 0]).round()
    fitted = fit(
        MLPRegressor(hidden_layer_sizes=(6,), loss="poisson", max_iter=30, random_state=0), y
    )
    close(lm.sklearn.from_sklearn(fitted, np.float64).predict(X), fitted.predict(X))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_element_type_is_the_estimators(dtype):
    y = SCORES[:, 0]
    fitted = MLPRegressor(hidden_layer_sizes=(8,), max_iter=30, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        fitted.fit(X.astype(dtype), y.astype(dtype))
    assert fitted.coefs_[0].dtype == dtype
    assert lm.sklearn.from_sklearn(fitted).predict(X).dtype == dtype
    ours = lm.sklearn.MLPRegressor(solver="lbfgs", tol=1.0).fit(X.astype(dtype), y)
    assert lm.sklearn.from_sklearn(ours).predict(X).dtype == dtype
    # Weights set by hand, in no type that nets have.
    for given, want in ((np.float16, np.float32), (np.longdouble, np.float64)):
        fitted.coefs_ = [coef.astype(given) for coef in fitted.coefs_]
        fitted.intercepts_ = [intercept.astype(given) for intercept in fitted.intercepts_]
        assert lm.sklearn.from_sklearn(fitted).predict(X).dtype == want


def test_features_that_float32_does_not_resolve():
    """Seconds since 1970: float32 knows multiples of 128 of them."""
    scale, mean = 3600.0, 1.7e9
    seconds = X.copy()
    seconds[:, 0] = mean + scale * X[:, 0]
    fitted = fit(MLPRegressor(hidden_layer_sizes=(8,), max_iter=200, random_state=0), X[:, 0])
    fitted.coefs_[0][0] /= scale
    fitted.intercepts_[0] -= mean * fitted.coefs_[0][0]
    want = fitted.predict(seconds)
    np.testing.assert_allclose(lm.sklearn.from_sklearn(fitted).predict(seconds), want, rtol=1e-8)
    rounded = lm.sklearn.from_sklearn(fitted, "float32").predict(seconds)
    assert np.abs(rounded - want).max() > 1e-3


def test_the_net_is_an_ordinary_net():
    fitted = classifier("multiclass")
    net = lm.sklearn.from_sklearn(fitted)
    assert isinstance(net, nn.Sequential)
    assert [type(layer).__name__ for layer in net] == [
        "Linear", "ReLU", "Linear", "ReLU", "Linear", "Softmax"]  # fmt: skip
    same_bits(net(X).copy(), net.predict_proba(X))
    logits = net[:-1](X)
    assert logits.shape == (60, 4)
    for twin in (pickle.loads(pickle.dumps(net)), copy.deepcopy(net)):
        same_bits(twin.predict_proba(X), net.predict_proba(X))
        assert (twin.predict(X) == net.predict(X)).all()
    assert lm.sklearn.from_sklearn(classifier("binary"))(X).shape == (60, 1)


def test_nothing_is_shared_with_the_estimator():
    fitted = classifier("binary")
    net = lm.sklearn.from_sklearn(fitted)
    before = net.predict_proba(X).copy()
    for coef in fitted.coefs_:
        coef *= 0
    same_bits(net.predict_proba(X), before)


def test_inputs_as_scikit_learn_takes_them():
    net = lm.sklearn.from_sklearn(classifier("binary"), dtype="float32")
    want = net.predict_proba(X)
    from scipy.sparse import csr_matrix

    for form in (X.tolist(), np.asfortranarray(X), csr_matrix(X), X.astype(np.float32)):
        same_bits(net.predict_proba(form), want)
    assert net.predict_proba(np.ones((2, 5), int)).shape == (2, 2)
    assert net.predict(X[:0]).shape == (0,)
    for bad in (X[0], X[:, :4], X[None]):
        with pytest.raises(ShapeError, match=r"\(n_samples, 5\)"):
            net.predict(bad)
    with pytest.raises(DTypeError, match="not numbers"):
        net.predict(X.astype(str))


@pytest.mark.parametrize(
    "other", [MLPClassifier(), MLPRegressor(), LogisticRegression(), None, nn.ReLU()]
)
def test_what_cannot_be_converted(other):
    with pytest.raises(UnsupportedError, match="a fitted MLPClassifier or MLPRegressor"):
        lm.sklearn.from_sklearn(other)


def test_dtypes_are_judged():
    with pytest.raises(DTypeError, match="float32 or float64"):
        lm.sklearn.from_sklearn(classifier("binary"), dtype=np.int64)
