# SPDX-License-Identifier: Apache-2.0
"""Every loss of the library as something to train with: a net of one parameter, data, cuts.

The list is the library's own: functions of lamella.functional that have a reduction. Their
arguments are those of cases/functional.py, so that a new loss is here as soon as it has a row
there; arrays with an extent for each sample are targets, all others options of the loss.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from cases.functional import CALLS, array
from lamella import functional as F
from lamella import nn

N = 5
NAMES = [n for n in F.__all__ if "reduction" in inspect.signature(getattr(F, n)).parameters]
# Batches of these sizes, one behind the other.
CUTS = [(2, 3), (1, 1, 3), (4, 1)]
WEIGHT = np.array([0.5, 2.0, 1.0, 0.25, 3.0])
SOME = np.array([0.0, 2.0, 0.0, 0.0, 1.5])


class Scale(nn.Module):
    """y = scale * x."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.scale = nn.Parameter(np.linspace(0.5, 0.9, int(np.prod(shape))).reshape(shape))

    def forward(self, x: Any) -> Any:
        return x * self.scale


class Task(NamedTuple):
    """A loss with what it is called with: loss(net(x), targets)."""

    x: np.ndarray
    targets: tuple[np.ndarray, ...]
    loss: Callable[..., Any]

    def net(self) -> Scale:
        return Scale(self.x.shape[1:])

    def part(self, rows: Any) -> tuple[np.ndarray, tuple[np.ndarray, ...]]:
        return self.x[rows], tuple(target[rows] for target in self.targets)

    def cut(self, sizes: tuple[int, ...]) -> Iterator[tuple[Any, Any, slice]]:
        ends = np.cumsum(sizes)
        for end, size in zip(ends, sizes, strict=True):
            rows = slice(end - size, end)
            yield *self.part(rows), rows


def _ignored(options: dict[str, Any]) -> tuple[dict[str, Any], dict[int, np.ndarray]]:
    """Targets of which the first two samples have none that counts, the third has one."""
    target = np.array(CALLS["cross_entropy"]("float64")[0][1])
    target[:2], target[2, 1:] = -100, -100
    return options, {1: target}


# Further calls of some losses: options, and arguments in place of others.
VARIANTS: dict[str, tuple[str, dict[str, Any], dict[int, Any]]] = {
    **{name: (name, {}, {}) for name in NAMES},
    "cross_entropy ignored": ("cross_entropy", *_ignored({})),
    "cross_entropy ignored, no weights": ("cross_entropy", *_ignored({"weight": None})),
    "cross_entropy smooth": ("cross_entropy", *_ignored({"label_smoothing": 0.25})),
    "cross_entropy soft": ("cross_entropy", {}, {1: array(5, 4, 3, dtype="float64", seed=1)}),
    "nll_loss ignored": ("nll_loss", *_ignored({})),
    "mse_loss weighted": ("mse_loss", {}, {2: array(5, 6, dtype="float64", seed=2)}),
    "l1_loss weighted": ("l1_loss", {}, {2: array(5, 6, dtype="float64", seed=2)}),
    "huber_loss weighted": ("huber_loss", {}, {2: array(5, 6, dtype="float64", seed=2)}),
}


def task(variant: str, reduction: str) -> Task:
    """A loss with one of its reductions."""
    name, options, changed = VARIANTS[variant]
    function = getattr(F, name)
    args, named = CALLS[name]("float64")
    names = [n for n in inspect.signature(function).parameters if n != "reduction"]
    if 2 in changed and len(args) == 2:
        names = [*names[:2], "weight"]
    given = dict(zip(names, args, strict=False)) | named
    given |= {names[index]: value for index, value in changed.items()} | options
    targets = [n for n in names[1:] if np.shape(given.get(n))[:1] == (N,)]

    def loss(output: Any, target: Any) -> Any:
        call = given | dict(zip(targets, target, strict=True)) | {names[0]: output}
        return function(**call, reduction=reduction)

    return Task(given[names[0]], tuple(given[n] for n in targets), loss)


def reductions(variant: str) -> list[str]:
    return ["mean", "sum", *(["batchmean"] if variant == "kl_div" else [])]


ALL = [(variant, reduction) for variant in VARIANTS for reduction in reductions(variant)]
