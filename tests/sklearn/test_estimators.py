# SPDX-License-Identifier: Apache-2.0
"""MLPClassifier and MLPRegressor: scikit-learn's own checks, and against scikit-learn's estimators.

Both draw the same numbers from a random_state, so whole trainings can be compared.
"""

from __future__ import annotations

import pickle
import subprocess
import sys
import warnings

import numpy as np
import pytest

import lamella as lm
from lamella.errors import UnsupportedError

pytest.importorskip("sklearn", "1.6")
from sklearn import neural_network as theirs
from sklearn.base import clone
from sklearn.datasets import load_diabetes, load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from lamella.sklearn import MLPClassifier, MLPRegressor, from_sklearn, network, to_sklearn

OURS = {"MLPClassifier": MLPClassifier, "MLPRegressor": MLPRegressor}
DIGITS = load_digits(return_X_y=True)
DIGITS = DIGITS[0] / 16, DIGITS[1]
DIABETES = load_diabetes(return_X_y=True)
DIABETES = StandardScaler().fit_transform(DIABETES[0]), DIABETES[1] / 100


@parametrize_with_checks([MLPClassifier(max_iter=100), MLPRegressor(max_iter=100)])
@pytest.mark.filterwarnings("ignore")
def test_scikit_learns_checks(estimator, check):
    check(estimator)


def quietly(model, *data):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return model.fit(*data)


def pair(name: str, *data, **options):
    """A fit of ours and of scikit-learn's."""
    options = {"random_state": 0, "max_iter": 8, **options}
    return quietly(OURS[name](**options), *data), quietly(getattr(theirs, name)(**options), *data)


def same_training(ours, other, rtol: float, weights: float | None = None) -> None:
    """The same course: loss by loss, and every attribute that is a count or a name.

    rtol: Adam's eps is scaled differently by torch (whose formula lamella has), which shows where
    gradients are near eps; and an epoch's penalty is taken from its beginning and end, not batch by
    batch. weights: a bound of its own for the weights; with sgd only roundings differ.
    """
    np.testing.assert_allclose(ours.loss_curve_, other.loss_curve_, rtol=rtol)
    for name in ("n_iter_", "t_", "n_layers_", "n_outputs_", "out_activation_", "n_features_in_"):
        assert getattr(ours, name) == getattr(other, name), name
    assert ours.loss_ == ours.loss_curve_[-1]
    if other.best_loss_ is not None:
        np.testing.assert_allclose(ours.best_loss_, other.best_loss_, rtol=rtol)
    for mine, found in zip(ours.coefs_ + ours.intercepts_, other.coefs_ + other.intercepts_,
                           strict=True):  # fmt: skip
        assert mine.shape == found.shape
        assert mine.dtype == found.dtype
        if weights is not None:
            np.testing.assert_allclose(mine, found, rtol=weights, atol=weights)


SETTINGS = {
    "adam": {},
    "penalty": {"alpha": 2.0},
    "in order": {"shuffle": False, "batch_size": 150},
    "sgd": {"solver": "sgd", "learning_rate_init": 0.05},
    "no momentum": {"solver": "sgd", "learning_rate_init": 0.05, "momentum": 0.0},
    "classical momentum": {
        "solver": "sgd", "learning_rate_init": 0.02, "nesterovs_momentum": False
    },
    "invscaling": {"solver": "sgd", "learning_rate": "invscaling", "learning_rate_init": 0.1},
    "adaptive": {
        "solver": "sgd", "learning_rate": "adaptive", "learning_rate_init": 0.05, "tol": 0.05,
        "n_iter_no_change": 1, "max_iter": 30,
    },
    "logistic": {"activation": "logistic"},
    "tanh": {"activation": "tanh", "hidden_layer_sizes": (30, 20)},
    "linear": {"activation": "identity", "hidden_layer_sizes": 12},
    "no layer": {"hidden_layer_sizes": ()},
}  # fmt: skip


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("name", SETTINGS)
def test_trainings_are_scikit_learns(name, dtype):
    options = SETTINGS[name]
    exact = options.get("solver") == "sgd" and dtype == np.float64
    for kind, (X, y) in (("MLPClassifier", DIGITS), ("MLPRegressor", DIABETES)):
        ours, other = pair(kind, X[:500].astype(dtype), y[:500], **options)
        same_training(ours, other, 1e-5 if exact else 1e-3, 1e-11 if exact else None)


@pytest.mark.parametrize(
    ("kind", "options"),
    [("MLPClassifier", {}), ("MLPRegressor", {}), ("MLPRegressor", {"loss": "poisson"})],
)
def test_weights_of_samples_and_several_outputs(kind, options):
    X, y = DIABETES
    weight = np.random.default_rng(0).uniform(0.1, 3.0, len(y))
    several = np.stack([y, y[::-1] * 2, y**2], 1)
    if kind == "MLPClassifier":
        several, y = (several > np.median(several, 0)).astype(int), y > 1.4
    for targets in (y, several):
        ours, other = pair(kind, X, targets, weight, alpha=0.5, solver="sgd", **options)
        same_training(ours, other, 1e-4, 1e-11)
        np.testing.assert_allclose(ours.predict(X), other.predict(X), rtol=1e-7)


def test_one_epoch_from_given_weights():
    X, y = DIGITS
    for solver in ("sgd", "adam"):
        options = {"solver": solver, "warm_start": True, "max_iter": 1, "shuffle": False}
        ours, other = pair("MLPClassifier", X, y, **options)
        ours.coefs_, ours.intercepts_ = other.coefs_, other.intercepts_
        quietly(ours, X, y)
        quietly(other, X, y)
        assert len(ours.loss_curve_) == 2
        np.testing.assert_allclose(ours.loss_curve_[1], other.loss_curve_[1], rtol=1e-5)


@pytest.mark.parametrize("kind", OURS)
def test_lbfgs(kind):
    X, y = DIGITS if kind == "MLPClassifier" else DIABETES
    ours, other = pair(kind, X[:400], y[:400], solver="lbfgs", activation="tanh", max_iter=10)
    assert ours.n_iter_ == other.n_iter_ == 10
    assert abs(ours.loss_ - other.loss_) <= 1e-6 * other.loss_
    assert not hasattr(ours, "partial_fit")


@pytest.mark.parametrize("kind", OURS)
def test_scores_within_noise(kind):
    """Mean over five seeds; the bound is three standard errors of scikit-learn's five scores."""
    X, y = DIGITS if kind == "MLPClassifier" else DIABETES
    scores = np.empty((2, 5))
    for seed in range(5):
        parts = train_test_split(X.astype(np.float32), y, random_state=seed)
        both = pair(kind, parts[0], parts[2], max_iter=30, random_state=seed,
                    learning_rate_init=0.01, hidden_layer_sizes=(32,))  # fmt: skip
        scores[:, seed] = [model.score(parts[1], parts[3]) for model in both]
    noise = 3 * scores[1].std(ddof=1) / np.sqrt(5)
    assert abs(scores[0].mean() - scores[1].mean()) < noise
    assert scores[0].mean() > (0.94 if kind == "MLPClassifier" else 0.3)


@pytest.mark.parametrize("kind", OURS)
def test_early_stopping(kind):
    X, y = DIGITS if kind == "MLPClassifier" else DIABETES
    ours, other = pair(kind, X, y, early_stopping=True, max_iter=60, n_iter_no_change=3, tol=0.01,
                       solver="sgd", learning_rate_init=0.02)  # fmt: skip
    same_training(ours, other, 1e-5, 1e-11)
    assert ours.n_iter_ < 60
    np.testing.assert_allclose(ours.validation_scores_, other.validation_scores_, rtol=1e-9)
    assert ours.best_validation_score_ == max(ours.validation_scores_)
    with pytest.raises(ValueError, match="early_stopping"):
        OURS[kind](early_stopping=True).partial_fit(X, y, **(
            {"classes": range(10)} if kind == "MLPClassifier" else {}))  # fmt: skip
    with pytest.raises(ValueError, match="validation set is too small"):
        OURS[kind](early_stopping=True, validation_fraction=0.01).fit(X[:50], y[:50] * 0 + 1)


def test_partial_fit_goes_on():
    X, y = DIGITS
    ours = MLPClassifier(random_state=0, solver="sgd", learning_rate_init=0.05)
    other = theirs.MLPClassifier(**{k: v for k, v in ours.get_params().items()
                                    if k in theirs.MLPClassifier().get_params()})  # fmt: skip
    with pytest.raises(ValueError, match="classes"):
        ours.partial_fit(X, y)
    for start, stop in ((0, 300), (300, 420), (420, 1000)):
        ours.partial_fit(X[start:stop], y[start:stop], classes=range(10))
        other.partial_fit(X[start:stop], y[start:stop], classes=range(10))
        ours = pickle.loads(pickle.dumps(ours))
    same_training(ours, other, 1e-5, 1e-11)
    with pytest.raises(ValueError, match="classes not in"):
        ours.partial_fit(X, y + 5)
    with pytest.raises(ValueError, match="other classes"):
        ours.partial_fit(X, y, classes=range(4))


def test_classes():
    X, y = DIGITS
    names = np.array(["zero", "one", "two"])[y[y < 3]]
    ours, other = pair("MLPClassifier", X[y < 3], names, max_iter=20)
    assert list(ours.classes_) == ["one", "two", "zero"]
    assert (ours.predict(X[y < 3]) == other.predict(X[y < 3])).all()
    both = np.stack([y > 4, y % 2 == 0], 1).astype(int)
    ours, other = pair("MLPClassifier", X, both, solver="sgd", learning_rate_init=0.05)
    assert ours.out_activation_ == "logistic"
    assert (ours.predict(X) == other.predict(X)).all()
    np.testing.assert_allclose(ours.predict_proba(X), other.predict_proba(X), atol=1e-9)
    with pytest.raises(ValueError, match="warm_start"):
        quietly(quietly(MLPClassifier(warm_start=True, max_iter=1), X, y), X[y < 3], y[y < 3])


def test_class_weight():
    X, y = DIGITS
    labels = np.where(y == 3, "three", "other")
    options = {"random_state": 0, "max_iter": 3}
    weights = {"three": 9.0, "other": 1.0}
    ours = quietly(MLPClassifier(class_weight=weights, **options), X, labels)
    other = quietly(
        theirs.MLPClassifier(**options), X, labels, np.where(labels == "three", 9.0, 1.0)
    )
    same_training(ours, other, 1e-3)
    plain = quietly(MLPClassifier(**options), X, labels)
    balanced = quietly(MLPClassifier(class_weight="balanced", **options), X, labels)
    assert (balanced.predict(X) == "three").sum() > (plain.predict(X) == "three").sum()


@pytest.mark.parametrize(
    "options",
    [
        {"dropout": 0.2},
        {"layer_norm": True},
        {"solver": "adamw", "alpha": 0.01},
        {"solver": "rmsprop"},
        {"solver": "adagrad", "learning_rate_init": 0.05},
        {"activation": "gelu"},
        {"activation": "prelu", "layer_norm": True, "dropout": 0.1},
        {"activation": "silu", "solver": "lbfgs", "layer_norm": True},
    ],
    ids=str,
)
def test_what_scikit_learn_has_not(options):
    X, y = DIGITS
    options = {"max_iter": 15, "random_state": 0, "learning_rate_init": 0.005, **options}
    model = quietly(MLPClassifier(**options), X, y)
    assert model.score(X, y) > 0.95
    again = quietly(MLPClassifier(**options), X, y)
    assert (model.predict_proba(X) == again.predict_proba(X)).all()
    copy = pickle.loads(pickle.dumps(model))
    assert (model.predict_proba(X) == copy.predict_proba(X)).all()


def test_dropout_is_for_training_only():
    X, y = DIGITS
    with_it, without = (
        quietly(MLPClassifier(dropout=p, random_state=0, max_iter=5), X, y) for p in (0.5, 0.0)
    )
    assert with_it.loss_ > without.loss_ * 1.1
    assert (with_it.predict_proba(X) == with_it.predict_proba(X)).all()


def test_both_ways():
    X, y = DIGITS
    fitted = quietly(MLPClassifier(random_state=0, max_iter=5, activation="tanh"), X, y)
    back = to_sklearn(fitted)
    assert type(back) is theirs.MLPClassifier
    assert (back.predict(X) == fitted.predict(X)).all()
    np.testing.assert_allclose(back.predict_proba(X), fitted.predict_proba(X), rtol=1e-12)
    quietly(back.set_params(warm_start=True), X, y)
    for model in (fitted, quietly(MLPRegressor(layer_norm=True, max_iter=3), X, y)):
        net = from_sklearn(model, dtype="float64")
        np.testing.assert_allclose(net.predict(X), model.predict(X), rtol=1e-12)
    with pytest.raises(UnsupportedError, match="layer_norm"):
        to_sklearn(model)
    with pytest.raises(UnsupportedError, match="fitted"):
        to_sklearn(MLPClassifier())
    with pytest.raises(UnsupportedError, match="fitted"):
        from_sklearn(MLPClassifier())


def test_coefs_are_the_nets():
    X, y = DIABETES
    model = quietly(MLPRegressor(hidden_layer_sizes=(5,), max_iter=2), X, y)
    assert [coef.shape for coef in model.coefs_] == [(10, 5), (5, 1)]
    with pytest.raises(ValueError, match="read-only"):
        model.coefs_[0][0, 0] = 1.0
    model.coefs_ = [coef * 0 for coef in model.coefs_]
    assert (model.predict(X) == model.intercepts_[1]).all()
    with pytest.raises(AttributeError, match="before fit"):
        _ = MLPRegressor().coefs_


def test_nets_go_from_one_estimator_to_the_next():
    """The next fit of the same layers takes over a net; nothing of the one before is left in it."""
    X, y = DIGITS
    options = {"hidden_layer_sizes": (11,), "random_state": 0, "max_iter": 3}
    for solver in ("adam", "sgd", "adagrad"):
        first = quietly(MLPClassifier(solver=solver, dropout=0.2, **options), X, y)
        coefs, proba, net = first.coefs_, first.predict_proba(X), first._network.net
        kept = [coef.copy() for coef in coefs]
        alive = quietly(MLPClassifier(solver=solver, dropout=0.2, **options), X, y)
        assert alive._network.net is not net
        del first
        other = {**options, "alpha": 1.0, "learning_rate_init": 0.1, "random_state": 1}
        between = quietly(MLPClassifier(solver=solver, dropout=0.2, **other), X, y)
        assert between._network.net is net
        assert all((a == b).all() for a, b in zip(coefs, kept, strict=True))
        between = quietly(between.set_params(**options, alpha=1e-4, learning_rate_init=1e-3), X, y)
        for model in (alive, between):
            assert (model.predict_proba(X) == proba).all()


def test_nets_that_are_not_handed_on(monkeypatch):
    X, y = DIGITS
    for options in ({"layer_norm": True}, {"activation": "prelu"}, {}):
        if not options:
            monkeypatch.setattr(network, "_LARGEST", 800)
        model = quietly(MLPClassifier((13,), max_iter=1, **options), X, y)
        layout = model._network.layout
        del model
        assert layout not in network._idle


def test_warm_starts_of_another_kind():
    X, y = DIGITS
    model = quietly(MLPClassifier(solver="lbfgs", warm_start=True, max_iter=5), X, y)
    before = model.loss_
    for options in ({"solver": "adam"}, {"early_stopping": True}, {"early_stopping": False}):
        quietly(model.set_params(**options), X, y)
        assert len(model.loss_curve_) == 5
        assert model.loss_ < before


def test_pipelines_searches_and_processes():
    X, y = DIGITS
    model = make_pipeline(
        StandardScaler(), MLPClassifier((16,), max_iter=30, learning_rate_init=0.02, random_state=0)
    )
    search = GridSearchCV(model, {"mlpclassifier__alpha": [1e-4, 1.0]}, cv=2, n_jobs=2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        search.fit(X[:400], y[:400])
    assert search.best_score_ > 0.6
    copy = pickle.loads(pickle.dumps(search.best_estimator_))
    assert (copy.predict(X) == search.predict(X)).all()
    fresh = clone(search.best_estimator_)
    assert not hasattr(fresh[-1], "coefs_")


def test_sparse_samples():
    sparse = pytest.importorskip("scipy.sparse")
    X, y = DIGITS
    dense, other = (
        quietly(MLPClassifier(random_state=0, max_iter=2), form(X), y)
        for form in (np.asarray, sparse.csr_matrix)
    )
    assert (dense.predict_proba(X) == other.predict_proba(sparse.csc_matrix(X))).all()


def test_interrupts_keep_the_last_step(monkeypatch):
    X, y = DIGITS
    model = MLPClassifier(random_state=0)
    improved, epochs = MLPClassifier._improved, []

    def interrupting(self, held):
        epochs.append(1)
        if len(epochs) == 3:
            raise KeyboardInterrupt
        return improved(self, held)

    monkeypatch.setattr(MLPClassifier, "_improved", interrupting)
    with pytest.warns(UserWarning, match="interrupted"):
        model.fit(X, y)
    assert len(model.loss_curve_) == 3
    want = quietly(theirs.MLPClassifier(random_state=0, max_iter=3), X, y)
    np.testing.assert_allclose(model.predict_proba(X), want.predict_proba(X), atol=1e-3)


def test_warnings_and_words(capsys):
    X, y = DIABETES
    with pytest.warns(ConvergenceWarning, match="Maximum iterations"):
        MLPRegressor(max_iter=1).fit(X, y)
    with pytest.warns(ConvergenceWarning, match="lbfgs failed"):
        MLPRegressor(max_iter=1, solver="lbfgs").fit(X, y)
    with pytest.warns(UserWarning, match="clipped"):
        MLPRegressor(batch_size=1000, tol=100.0, n_iter_no_change=1).fit(X, y)
    MLPRegressor(verbose=True, tol=100.0, n_iter_no_change=1).fit(X, y)
    shown = capsys.readouterr().out
    assert "Iteration 1, loss = " in shown
    assert "did not improve more than tol=100.000000 for 1 consecutive epochs. Stopping." in shown
    with pytest.raises(ValueError, match="non-finite"):
        quietly(MLPRegressor(solver="sgd", learning_rate_init=1e9), X, y)


BAD = {
    "hidden_layer_sizes": [(3, 0), -1, "many", (2.5,)],
    "activation": ["threshold", None],
    "solver": ["newton", 3],
    "alpha": [-1.0, np.nan, "a"],
    "batch_size": [0, 2.5, "all"],
    "learning_rate": ["fast"],
    "learning_rate_init": [0.0, -1.0],
    "power_t": [-0.5],
    "max_iter": [0, 1.5],
    "shuffle": ["yes"],
    "tol": [-1e-3],
    "verbose": [-1, "loud"],
    "momentum": [1.1, -0.1],
    "nesterovs_momentum": [1],
    "early_stopping": [None],
    "validation_fraction": [1.0, -0.1],
    "beta_1": [1.0],
    "beta_2": [-1.0],
    "epsilon": [0.0],
    "n_iter_no_change": [0, 2.5],
    "max_fun": [0],
    "dropout": [1.0, -0.1],
    "layer_norm": ["yes"],
}


@pytest.mark.parametrize("name", BAD)
@pytest.mark.parametrize("kind", OURS)
def test_bad_parameters(kind, name):
    X, y = np.ones((4, 2)), np.arange(4)
    for value in BAD[name]:
        with pytest.raises(ValueError, match=name):
            OURS[kind](**{name: value}).fit(X, y)


def test_more_bad_parameters():
    X, y = np.ones((4, 2)), np.arange(4)
    with pytest.raises(ValueError, match="loss"):
        MLPRegressor("absolute").fit(X, y)
    with pytest.raises(ValueError, match="negative counts"):
        MLPRegressor("poisson").fit(X, -y)
    with pytest.raises(ValueError, match="class_weight"):
        MLPClassifier(class_weight="fair").fit(X, y)
    with pytest.raises(ValueError, match="class_weight"):
        MLPClassifier(class_weight="balanced").partial_fit(X, y, classes=range(4))
    with pytest.raises(ValueError, match="dropout"):
        MLPClassifier(dropout=0.5, solver="lbfgs").fit(X, y)


def test_negative_weights_are_refused():
    """scikit-learn's networks would train away from such samples."""
    X, y = np.ones((4, 2)), np.arange(4)
    for kind in OURS.values():
        with pytest.raises(ValueError, match="sample_weight"):
            kind(max_iter=1).fit(X, y, [1, 1, -1, 1])
    with pytest.raises(ValueError, match="sample_weight"):
        MLPClassifier(max_iter=1, class_weight={0: -1.0}).fit(X, y)


def test_the_door_imports_scikit_learn_only_when_named():
    code = (
        "import sys, lamella.sklearn as door\n"
        "assert 'sklearn' not in sys.modules and 'scipy' not in sys.modules\n"
        "assert 'MLPClassifier' in dir(door)\n"
        "door.MLPClassifier\n"
        "assert 'sklearn' in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    assert lm.sklearn.MLPClassifier is MLPClassifier
    with pytest.raises(AttributeError, match="nothing"):
        _ = lm.sklearn.nothing
