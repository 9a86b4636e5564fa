# SPDX-License-Identifier: Apache-2.0
"""What scikit-learn calls things, and what they are here: activations and solvers.

Below all other files of this door, so that taking estimators over and training them may both know
the names.
"""

from __future__ import annotations

from typing import Any

from lamella import functional as F
from lamella import nn
from lamella.nn import activation as activations

__all__ = ["ACTIVATIONS", "HIDDEN", "SOLVERS", "Exp"]


class Exp(nn.Module):
    """y = exp(x), the output of a Poisson regression."""

    def forward(self, x: Any) -> Any:
        """Exponential of x."""
        return F.exp(x)


# scikit-learn's names of activations, hidden and output.
ACTIVATIONS: dict[str, Any] = {
    "identity": None,
    "logistic": nn.Sigmoid,
    "tanh": nn.Tanh,
    "relu": nn.ReLU,
    "softmax": nn.Softmax,
    "exp": Exp,
}

# Names of hidden activations: scikit-learn's, and those of lamella.nn in small letters. Threshold
# is the one that has no default.
HIDDEN: dict[str, Any] = {
    **{name.lower(): getattr(nn, name) for name in activations.__all__ if name != "Threshold"},
    **{name: ACTIVATIONS[name] for name in ("identity", "logistic", "tanh", "relu")},
}

SOLVERS = ("adam", "sgd", "lbfgs", "adamw", "rmsprop", "adagrad")
