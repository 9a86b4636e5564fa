# SPDX-License-Identifier: Apache-2.0
"""What the estimators train: the layers, what is minimised, and the optimiser.

scikit-learn's formulas on lamella's nets; nothing here needs scikit-learn.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from lamella import functional as F
from lamella import nn, optim
from lamella.ir.types import Array
from lamella.nn import activation as activations
from lamella.nn.parameter import Parameter
from lamella.sklearn.convert import ACTIVATIONS

__all__ = ["HIDDEN", "SOLVERS", "Objective", "Samples", "layers", "optimizer"]

# Names of hidden activations: scikit-learn's, and those of lamella.nn in small letters. Threshold
# is the one that has no default.
HIDDEN: dict[str, Any] = {
    **{name.lower(): getattr(nn, name) for name in activations.__all__ if name != "Threshold"},
    **{name: ACTIVATIONS[name] for name in ("identity", "logistic", "tanh", "relu")},
}

SOLVERS = ("adam", "sgd", "lbfgs", "adamw", "rmsprop", "adagrad")


class Objective:
    """The mean of the samples' losses and the penalty of the weights, as scikit-learn has them.

        sum of w_i loss_i / sum of w_i  +  alpha / 2 sum of W^2 / sum of w_i

    Parameters: loss, "multiclass" (labels as indices), "binary" (a column of 0 and 1 for each
    label), "squared_error" or "poisson"; alpha; weights, the W. Called with the output before its
    activation and the target, or (target, w). Losses of several columns are added up.
    """

    def __init__(self, loss: str, alpha: float, weights: Sequence[Parameter]) -> None:
        self.loss = loss
        self.alpha = float(alpha)
        self.weights = tuple(weights)

    def __call__(self, output: Any, target: Any) -> Any:
        """The objective, shape ()."""
        target, sample_weight = target if isinstance(target, tuple) else (target, None)
        if sample_weight is None:
            total: Any = output.shape[0]
            value = self._data(output, target, "mean")
        else:
            total = sample_weight.sum()
            value = (self._data(output, target, "none") * sample_weight).sum() / total
        if self.alpha:
            squares = sum((weight.square().sum() for weight in self.weights[1:]),
                          start=self.weights[0].square().sum())  # fmt: skip
            value = value + squares * (0.5 * self.alpha) / total
        return value

    def _data(self, output: Any, target: Any, reduction: str) -> Any:
        if self.loss == "multiclass":
            return F.cross_entropy(output, target, reduction=reduction)
        if self.loss == "binary":
            losses = F.binary_cross_entropy_with_logits(output, target, reduction="none")
        elif self.loss == "squared_error":
            losses = (output - target).square() * 0.5
        else:
            # Half the deviance; t log t is 0 for t = 0.
            constant = target * target.clamp(min=1e-30).log() - target
            losses = output.exp() - target * output + constant
        losses = losses.sum(1)
        return losses.mean() if reduction == "mean" else losses

    def penalty(self) -> float:
        """alpha / 2 sum of W^2, of the weights as they are now."""
        return 0.5 * self.alpha * sum(float(np.vdot(w.data, w.data)) for w in self.weights)


class Samples:
    """Samples, targets and perhaps weights, as training takes them.

    Parameters: x, (n, features); y, (n,) or (n, columns); weight, (n,) or None.
    """

    def __init__(self, x: Array, y: Array, weight: Array | None) -> None:
        self.x = np.ascontiguousarray(x)
        self.y = np.ascontiguousarray(y)
        self.weight = None if weight is None else np.ascontiguousarray(weight)

    def __len__(self) -> int:
        return len(self.x)

    @property
    def target(self) -> Any:
        """What Objective is called with."""
        return self.y if self.weight is None else (self.y, self.weight)

    def take(self, index: Array) -> Samples:
        """The samples of these indices."""
        weight = None if self.weight is None else self.weight[index]
        return Samples(self.x[index], self.y[index], weight)


def layers(
    sizes: Sequence[int],
    activation: str,
    dtype: Any,
    random: np.random.RandomState,
    *,
    dropout: float,
    layer_norm: bool,
) -> list[nn.Module]:
    """The layers up to the output's activation; weights are drawn as scikit-learn draws them.

    Uniform within +-sqrt(6 / (inputs + outputs)), for a logistic activation sqrt(2 / ...).
    Source: Glorot and Bengio, 2010; scikit-learn, sklearn.neural_network.
    """
    found: list[nn.Module] = []
    factor = 2.0 if activation == "logistic" else 6.0
    for i, (inputs, outputs) in enumerate(pairwise(sizes)):
        linear = nn.Linear(inputs, outputs, dtype=dtype)
        bound = np.sqrt(factor / (inputs + outputs))
        linear.weight.data = random.uniform(-bound, bound, (inputs, outputs)).T
        linear.bias.data = random.uniform(-bound, bound, outputs)
        found.append(linear)
        if i == len(sizes) - 2:
            break
        if layer_norm:
            found.append(nn.LayerNorm(outputs, dtype=dtype))
        if HIDDEN[activation] is not None:
            found.append(HIDDEN[activation]())
        if dropout:
            found.append(nn.Dropout(dropout))
    return [layer.to(dtype) for layer in found]


def optimizer(
    solver: str, net: nn.Module, weights: Sequence[Parameter], options: Any
) -> optim.Optimizer:
    """The optimiser of a solver's name, with an estimator's parameters.

    adamw shrinks the weights itself, by learning_rate_init alpha in each step; for all others the
    penalty is part of the objective.
    """
    lr = float(options.learning_rate_init)
    betas = (float(options.beta_1), float(options.beta_2))
    eps = float(options.epsilon)
    parameters = list(net.parameters())
    if solver == "sgd":
        momentum = float(options.momentum)
        nesterov = bool(options.nesterovs_momentum) and momentum > 0
        return optim.SGD(parameters, lr, momentum, nesterov=nesterov)
    if solver == "adamw":
        chosen = set(map(id, weights))
        rest = [parameter for parameter in parameters if id(parameter) not in chosen]
        groups = [
            {"params": list(weights), "weight_decay": float(options.alpha)},
            {"params": rest, "weight_decay": 0.0},
        ]
        return optim.AdamW(groups, lr, betas, eps)
    if solver == "rmsprop":
        return optim.RMSprop(parameters, lr, alpha=betas[1], eps=eps)
    if solver == "adagrad":
        return optim.Adagrad(parameters, lr, eps=eps)
    return optim.Adam(parameters, lr, betas, eps)
