# SPDX-License-Identifier: Apache-2.0
"""What the estimators minimise, and the samples it is the mean of.

scikit-learn's formulas as functions of lamella's; nothing here needs scikit-learn.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from lamella import functional as F
from lamella.ir.types import Array
from lamella.nn.parameter import Parameter

__all__ = ["Objective", "Samples"]


class Objective:
    """The mean of the samples' losses and the penalty of the weights, as scikit-learn has them.

        sum of w_i loss_i / sum of w_i  +  alpha / 2 sum of W^2 / sum of w_i

    Solvers that go batch by batch leave alpha at 0: their optimiser decays the weights.

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

    def take(self, index: Array | slice) -> Samples:
        """The samples of these indices, or of this stretch."""
        weight = None if self.weight is None else self.weight[index]
        return Samples(self.x[index], self.y[index], weight)
