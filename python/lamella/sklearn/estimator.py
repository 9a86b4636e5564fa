# SPDX-License-Identifier: Apache-2.0
"""What MLPClassifier and MLPRegressor share: building the net, training it, a fit's attributes.

Random numbers are drawn as scikit-learn's estimators draw them: the same random_state begins with
the same weights and has the same batches. The net is the only place where the weights lie.
Semantics: scikit-learn 1.9, sklearn.neural_network.
"""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.utils import check_random_state
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from lamella import nn
from lamella.errors import message
from lamella.ir.types import Array
from lamella.sklearn.network import Layout, Network, take
from lamella.sklearn.objective import Samples
from lamella.sklearn.parameters import hidden_sizes, judge
from lamella.train.step import TrainStep

__all__ = ["Estimator"]


class Estimator(BaseEstimator):  # type: ignore[misc]
    """The base of both estimators.

    Subclasses say what y is (`_targets`), which loss and output activation follow from it
    (`_loss`), and how a prediction is scored for early stopping (`_validation_score`).
    """

    _network: Network
    _step: TrainStep

    def _keep(self, parameters: dict[str, Any]) -> None:
        """Keeps a constructor's arguments under their names, as scikit-learn asks, unjudged."""
        kept = {k: v for k, v in parameters.items() if k not in ("self", "__class__")}
        self.__dict__.update(kept)

    # Subclasses

    def _targets(self, y: Any, incremental: bool) -> Array:
        """y as numbers: indices (n,) for several classes, else (n, n_outputs_)."""
        raise NotImplementedError

    def _loss(self) -> tuple[str, str]:
        """The name of the objective's loss, and out_activation_."""
        raise NotImplementedError

    def _columns(self, target: Array) -> int:
        """n_outputs_."""
        raise NotImplementedError

    def _weights_of_samples(self, y: Any, sample_weight: Any) -> Any:
        """Weights that include those of the classes."""
        return sample_weight

    def _validation_score(self, outputs: Array, samples: Samples) -> float:
        """The score of predictions for the samples set aside."""
        raise NotImplementedError

    def _stratified(self, target: Array) -> Array | None:
        """What the samples set aside are stratified by."""
        return None

    # The net

    @property
    def _linears(self) -> list[nn.Linear]:
        if "_network" not in self.__dict__:
            raise AttributeError(f"{type(self).__name__} has no coefs_ before fit")
        return self._network.linears

    @property
    def coefs_(self) -> list[Array]:
        """The weights of each layer, (inputs, outputs): read-only; assign a list to change them."""
        return [_snapshot(layer.weight.data.T) for layer in self._linears]

    @coefs_.setter
    def coefs_(self, values: list[Any]) -> None:
        for layer, value in zip(self._linears, values, strict=True):
            layer.weight.data = np.asarray(value).T

    @property
    def intercepts_(self) -> list[Array]:
        """The intercepts of each layer, (outputs,): read-only; assign a list to change them."""
        return [_snapshot(layer.bias.data) for layer in self._linears]

    @intercepts_.setter
    def intercepts_(self, values: list[Any]) -> None:
        for layer, value in zip(self._linears, values, strict=True):
            layer.bias.data = np.asarray(value)

    def copied_layers(self, dtype: Any) -> list[nn.Module]:
        """Copies of the layers that predict, in another dtype."""
        return [copy.deepcopy(layer).to(dtype) for layer in self._network.net]

    def _build(self, sizes: list[int], dtype: Any, random: np.random.RandomState) -> None:
        """A net with new weights; forgets the fit before."""
        self.n_iter_, self.t_ = 0, 0
        self.n_outputs_, self.n_layers_ = sizes[-1], len(sizes)
        _, self.out_activation_ = self._loss()
        for name in ("_network", "_step"):
            self.__dict__.pop(name, None)
        layout = Layout(tuple(sizes), self.activation, self.out_activation_, np.dtype(dtype).name,
                        float(self.dropout), bool(self.layer_norm))  # fmt: skip
        self._network = take(layout)
        self._network.draw(random)
        if self.solver != "lbfgs":
            self._begin_curves()

    def _begin_curves(self) -> None:
        """The course of a training by epochs, empty."""
        early = self.early_stopping
        self.loss_curve_: list[float] = []
        self._without_improvement = 0
        self.validation_scores_: list[float] | None = [] if early else None
        self.best_validation_score_: float | None = -np.inf if early else None
        self.best_loss_: float | None = None if early else np.inf

    def _outputs(self, X: Any) -> Array:
        """The net's output for samples X, (n_samples, n_outputs_)."""
        check_is_fitted(self)
        dtype = self._linears[0].weight.data.dtype
        X = validate_data(self, X, accept_sparse=["csr", "csc"], dtype=dtype, reset=False)
        outputs: Array = self._network.net(_dense(X))
        return outputs

    # Training

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Any:
        """Trains on samples X and targets y, from the beginning unless warm_start.

        Parameters: X, (n_samples, n_features), float32 is trained in float32, all else in float64;
        sparse matrices are made dense; y, (n_samples,) or (n_samples, n_outputs); sample_weight,
        (n_samples,), >= 0, where 0 leaves a sample out. Returns: self. Raises: ValueError for
        parameters or data that do not fit, and for weights that became infinite or NaN. Warns:
        ConvergenceWarning when max_iter is reached; UserWarning after Ctrl-C, which ends training
        at the last finished step.
        """
        return self._fit(X, y, sample_weight, incremental=False)

    def _fit(self, X: Any, y: Any, sample_weight: Any, *, incremental: bool) -> Any:
        name = type(self).__name__
        judge(name, self.get_params(deep=False))
        if incremental and self.early_stopping:
            raise ValueError(
                message(
                    name, "partial_fit has no epochs to stop", {"early_stopping": True}, "False"
                )
            )
        first = "_network" not in self.__dict__ or not (self.warm_start or incremental)
        X, y = validate_data(
            self, X, y, accept_sparse=["csr", "csc"], multi_output=True,
            y_numeric=not hasattr(self, "predict_proba"), dtype=(np.float64, np.float32),
            reset=first,
        )  # fmt: skip
        target = self._targets(y, incremental)
        weight = self._weights_of_samples(y, sample_weight)
        if weight is not None:
            weight = _check_sample_weight(weight, X, dtype=X.dtype, ensure_non_negative=True)
            _check_mass(name, "samples", weight)
        x = _dense(X)
        if target.dtype.kind == "f":
            target = target.astype(x.dtype, copy=False)
        random = check_random_state(self.random_state)
        if first:
            hidden = hidden_sizes(name, self.hidden_layer_sizes)
            self._build([x.shape[1], *hidden, self._columns(target)], x.dtype, random)
        dtype = self._linears[0].weight.data.dtype
        if x.dtype != dtype:
            x = x.astype(dtype)
            target = target.astype(dtype) if target.dtype.kind == "f" else target
            weight = None if weight is None else weight.astype(dtype)
        self._prepare(random, incremental)
        samples = Samples(x, target, weight)
        if self.solver == "lbfgs":
            self._fit_lbfgs(samples)
        else:
            self._fit_stochastic(samples, random, incremental)
        if not all(np.isfinite(one.data).all() for one in self._network.trained.parameters()):
            raise ValueError(
                message(
                    name,
                    "Solver produced non-finite parameter weights. The input data may contain "
                    "large values and need to be preprocessed",
                )
            )
        return self

    def _prepare(self, random: np.random.RandomState, incremental: bool) -> None:
        """The step of training; partial_fit goes on with the one before."""
        fresh = not incremental or "_step" not in self.__dict__
        alpha = float(self.alpha) if self.solver == "lbfgs" else 0.0
        loss, _ = self._loss()
        self._step = self._network.step(self.solver, loss, self, alpha=alpha, fresh=fresh)
        if fresh:
            self._learning_rate = float(self.learning_rate_init)
            if self.dropout:
                self._step.random_state = int(random.randint(2**31 - 1)), 0

    def _fit_lbfgs(self, samples: Samples) -> None:
        from scipy.optimize import minimize

        parameters = dict(self._network.trained.named_parameters())
        steps = 0

        def unpack(packed: Array) -> None:
            sizes = [one.data.size for one in parameters.values()]
            parts = np.split(packed, np.cumsum(sizes)[:-1])
            for one, part in zip(parameters.values(), parts, strict=True):
                one.data = part.reshape(one.shape)

        def objective(packed: Array) -> tuple[float, Array]:
            unpack(packed)
            loss, found = self._step.gradients(samples.x, samples.target)
            gradient = np.concatenate([found[name].ravel() for name in parameters])
            return float(loss), gradient.astype(np.float64)

        def report(intermediate_result: Any) -> None:
            nonlocal steps
            steps += 1
            print(f"Iteration {steps}, loss = {intermediate_result.fun:.8f}")

        start = np.concatenate([one.data.ravel() for one in parameters.values()])
        result = minimize(
            objective,
            start.astype(np.float64),
            method="L-BFGS-B",
            jac=True,
            callback=report if self.verbose else None,
            options={"maxfun": self.max_fun, "maxiter": self.max_iter, "gtol": self.tol},
        )
        unpack(result.x)
        self.n_iter_ = min(int(result.nit), self.max_iter)
        self.loss_ = float(result.fun)
        if result.status != 0:
            warnings.warn(
                f"lbfgs failed to converge after {result.nit} iteration(s) (status="
                f"{result.status}): {result.message}. Increase max_iter or scale the data.",
                ConvergenceWarning,
                stacklevel=4,
            )

    def _fit_stochastic(
        self, samples: Samples, random: np.random.RandomState, incremental: bool
    ) -> None:
        held: Samples | None = None
        scores = getattr(self, "validation_scores_", ())
        if scores == () or (scores is not None) != bool(self.early_stopping):
            # A warm start from a fit that had no such course.
            self._begin_curves()
        if self.early_stopping:
            train, test = train_test_split(
                np.arange(len(samples)),
                random_state=random,
                test_size=self.validation_fraction,
                stratify=self._stratified(samples.y),
            )
            if len(test) < 2:
                raise ValueError(
                    message(
                        type(self).__name__,
                        "The validation set is too small",
                        {"samples": len(samples), "validation_fraction": self.validation_fraction},
                        "at least 2 samples of validation",
                    )
                )
            samples, held = samples.take(train), samples.take(test)
            for part, chosen in (("samples of training", samples), ("samples set aside", held)):
                _check_mass(type(self).__name__, part, chosen.weight)
        best: Mapping[str, Any] = self._network.trained.state_dict() if held is not None else {}
        run = self._epoch_of(samples, random, incremental)
        try:
            self.n_iter_ = 0
            while self.n_iter_ < self.max_iter:
                self.loss_ = run()
                self.n_iter_ += 1
                self.t_ += len(samples)
                self.loss_curve_.append(self.loss_)
                if self.verbose:
                    print(f"Iteration {self.n_iter_}, loss = {self.loss_:.8f}")
                if self._improved(held):
                    best = self._network.trained.state_dict()
                if self.solver == "sgd" and self.learning_rate == "invscaling":
                    self._set_rate(float(self.learning_rate_init) / (self.t_ + 1) ** self.power_t)
                if self._without_improvement > self.n_iter_no_change:
                    if self._stops():
                        break
                    self._without_improvement = 0
                if incremental:
                    break
                if self.n_iter_ == self.max_iter:
                    warnings.warn(
                        f"Stochastic Optimizer: Maximum iterations ({self.max_iter}) reached and "
                        "the optimization hasn't converged yet.",
                        ConvergenceWarning,
                        stacklevel=4,
                    )
        except KeyboardInterrupt:
            warnings.warn("Training interrupted by user.", stacklevel=4)
        if held is not None:
            self._network.trained.load_state_dict(best)

    def _epoch_of(
        self, samples: Samples, random: np.random.RandomState, incremental: bool
    ) -> Callable[[], float]:
        """A function that runs an epoch and returns the mean loss."""
        n = len(samples)
        if self.batch_size != "auto" and self.batch_size > n:
            warnings.warn(
                "Got `batch_size` less than 1 or larger than sample size. It is going to be "
                "clipped",
                stacklevel=5,
            )
        size = min(200 if self.batch_size == "auto" else int(self.batch_size), n)
        bounds = [*range(0, n, size), n]
        counts = np.diff(bounds)
        x, target, step = samples.x, samples.target, self._step
        columns = self.n_outputs_ if self._loss()[0] == "squared_error" else 1
        alpha = 0.0 if self.solver == "adamw" else float(self.alpha)
        decaying = step.optimizer.param_groups[0]
        order = np.arange(n)
        # Views of where the weights lie: steps change them in place.
        weights = [layer.weight.data.ravel() for layer in self._linears]

        def squares() -> float:
            return sum(float(np.square(w).sum()) for w in weights) if alpha else 0.0

        def masses() -> Array:
            if samples.weight is None:
                return counts
            return np.add.reduceat(samples.weight[order], bounds[:-1], dtype=np.float64)

        penalty = squares()

        def epoch() -> float:
            nonlocal order, penalty
            if self.shuffle:
                order = order[random.permutation(n)]
            # Chunks of data come in all sizes: partial_fit compiles for sizes of batches only.
            chunk = samples.take(order) if incremental else None
            total, shrink, met = 0.0, 0.0, 0
            for (a, b), mass in zip(pairwise(bounds), masses(), strict=True):
                if not mass:
                    # Samples of weight 0 are left out, and here are no others.
                    continue
                if alpha:
                    decay = alpha / float(mass)
                    shrink += (b - a) * decay
                    if decaying["weight_decay"] != decay:
                        decaying["weight_decay"] = decay
                if chunk is None:
                    loss = step.rows(x, target, order[a:b])
                else:
                    part = chunk.take(slice(a, b))
                    loss = step(part.x, part.target)
                total += (b - a) * float(loss)
                met += b - a
            mean = total / met / columns
            if alpha:
                before, penalty = penalty, squares()
                mean += shrink / met / 2 * (before + penalty) / 2
            return mean

        return epoch

    def _improved(self, held: Samples | None) -> bool:
        """Counts epochs without improvement; whether this one has the best score so far."""
        if held is None:
            loss, least = self.loss_curve_[-1], self.best_loss_
            assert least is not None
            worse = loss > least - self.tol
            self.best_loss_ = min(loss, least)
            self._without_improvement = self._without_improvement + 1 if worse else 0
            return False
        outputs: Array = self._network.net(held.x)
        score = self._validation_score(outputs, held) if np.isfinite(outputs).all() else math.nan
        assert self.validation_scores_ is not None
        assert self.best_validation_score_ is not None
        self.validation_scores_.append(score)
        if self.verbose:
            print(f"Validation score: {score:f}")
        worse = score < self.best_validation_score_ + self.tol
        self._without_improvement = self._without_improvement + 1 if worse else 0
        if not score > self.best_validation_score_:
            return False
        self.best_validation_score_ = score
        return True

    def _stops(self) -> bool:
        """Whether training ends without improvement; an adaptive rate falls first."""
        what = "Validation score" if self.early_stopping else "Training loss"
        words = (
            f"{what} did not improve more than tol={self.tol:f} for {self.n_iter_no_change} "
            "consecutive epochs."
        )
        falls = self.solver == "sgd" and self.learning_rate == "adaptive"
        if falls and self._learning_rate > 1e-6:
            self._set_rate(self._learning_rate / 5.0)
            words += f" Setting learning rate to {self._learning_rate:f}"
        else:
            falls, words = False, words + " Stopping."
        if self.verbose:
            print(words)
        return not falls

    def _set_rate(self, rate: float) -> None:
        """Another learning rate for sgd.

        scikit-learn's velocity contains the rate of its time, torch's momentum does not: scaling
        the momentum by the old rate over the new makes them the same again.
        """
        for group in self._step.optimizer.param_groups:
            group["lr"] = rate
        for state in self._step.optimizer.state.values():
            for buffer in state.values():
                buffer.data = buffer.data * (self._learning_rate / rate)
        self._learning_rate = rate

    def _partial_is_possible(self) -> bool:
        """partial_fit needs a solver that goes batch by batch."""
        if self.solver == "lbfgs":
            raise AttributeError(
                "partial_fit is only available for stochastic optimizers, not lbfgs"
            )
        return True

    def __sklearn_tags__(self) -> Any:
        """What scikit-learn may assume."""
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags


def _check_mass(name: str, what: str, weight: Array | None) -> None:
    """ValueError where every sample has weight 0: their mean loss would be 0 / 0."""
    if weight is not None and not weight.any():
        raise ValueError(
            message(
                name,
                "every weight is 0",
                {what: len(weight)},
                "a sample_weight > 0 among them",
                "class_weight counts as well" if what == "samples" else "",
            )
        )


def _dense(X: Any) -> Array:
    """A contiguous array, of an array or a sparse matrix."""
    return np.ascontiguousarray(X.toarray() if hasattr(X, "toarray") else X)


def _snapshot(array: Array) -> Array:
    """A read-only copy: nets go from one estimator to the next, what was read stays."""
    copied = np.array(array)
    copied.flags.writeable = False
    return copied
