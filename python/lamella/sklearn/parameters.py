# SPDX-License-Identifier: Apache-2.0
"""The estimators' parameters: which values they may have, judged when fit begins.

The ranges are scikit-learn's; activations and solvers are more.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from numbers import Integral, Real
from typing import Any

import numpy as np

from lamella.errors import message
from lamella.sklearn.names import HIDDEN, SOLVERS

__all__ = ["hidden_sizes", "judge"]

Rule = tuple[Callable[[Any], bool], str]


def _whole(least: int) -> Rule:
    return (lambda v: _is(v, Integral) and v >= least), f"an int >= {least}"


def _number(accepts: Callable[[Any], bool], words: str) -> Rule:
    return (lambda v: _is(v, Real) and accepts(v)), words


def _one_of(*names: str) -> Rule:
    return (lambda v: isinstance(v, str) and v in names), ", ".join(map(repr, names))


def _is(value: Any, kind: type) -> bool:
    return isinstance(value, kind) and not isinstance(value, bool | np.bool_)


_FLAG: Rule = (lambda v: isinstance(v, bool | np.bool_)), "True or False"
_POSITIVE = _number(lambda v: 0 < v < np.inf, "a number > 0")
_NOT_NEGATIVE = _number(lambda v: 0 <= v < np.inf, "a number >= 0")
_SHARE = _number(lambda v: 0 <= v < 1, "a number in [0, 1)")

RULES: dict[str, Rule] = {
    "loss": _one_of("squared_error", "poisson"),
    "activation": _one_of(*HIDDEN),
    "solver": _one_of(*SOLVERS),
    "alpha": _NOT_NEGATIVE,
    "batch_size": (
        lambda v: v == "auto" if isinstance(v, str) else _is(v, Integral) and v >= 1,
        "'auto' or an int >= 1",
    ),
    "learning_rate": _one_of("constant", "invscaling", "adaptive"),
    "learning_rate_init": _POSITIVE,
    "power_t": _NOT_NEGATIVE,
    "max_iter": _whole(1),
    "shuffle": _FLAG,
    "tol": _NOT_NEGATIVE,
    "verbose": (
        (lambda v: isinstance(v, bool | np.bool_ | int | np.integer) and bool(v >= 0)),
        "bool or int",
    ),
    "warm_start": _FLAG,
    "momentum": _number(lambda v: 0 <= v <= 1, "a number in [0, 1]"),
    "nesterovs_momentum": _FLAG,
    "early_stopping": _FLAG,
    "validation_fraction": _SHARE,
    "beta_1": _SHARE,
    "beta_2": _SHARE,
    "epsilon": _POSITIVE,
    "n_iter_no_change": (
        lambda v: (_is(v, Integral) and v >= 1) or (isinstance(v, float) and v == np.inf),
        "an int >= 1 or infinity",
    ),
    "max_fun": _whole(1),
    "dropout": _SHARE,
    "layer_norm": _FLAG,
    "class_weight": (
        lambda v: v is None or v == "balanced" or isinstance(v, dict | list),
        "None, 'balanced', a dictionary of labels, or a list of such for several outputs",
    ),
}


def judge(label: str, parameters: Mapping[str, Any]) -> None:
    """Raises ValueError for parameters out of range, and for those that exclude each other."""
    for name, value in parameters.items():
        if name in RULES and not RULES[name][0](value):
            raise ValueError(message(label, "out of range", {name: repr(value)}, RULES[name][1]))
    hidden_sizes(label, parameters["hidden_layer_sizes"])
    if parameters["solver"] == "lbfgs" and parameters["dropout"]:
        raise ValueError(
            message(
                label,
                "L-BFGS needs the same objective in every evaluation",
                {"dropout": parameters["dropout"]},
                "dropout=0.0 with solver='lbfgs'",
            )
        )


def hidden_sizes(label: str, value: Any) -> list[int]:
    """hidden_layer_sizes as a list, from a number or any sequence of numbers."""
    sizes = list(value) if hasattr(value, "__iter__") and not isinstance(value, str) else [value]
    if not all(_is(size, Integral) and size > 0 for size in sizes):
        raise ValueError(
            message(
                label,
                "hidden_layer_sizes must be > 0",
                {"hidden_layer_sizes": repr(value)},
                "an int >= 1 or a sequence of such",
            )
        )
    return [int(size) for size in sizes]
