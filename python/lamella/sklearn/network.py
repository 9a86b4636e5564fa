# SPDX-License-Identifier: Apache-2.0
"""The nets of the estimators with what trains them, and where idle ones wait for the next fit.

Compiling takes as long as some hundred steps of a small net. So the net of an estimator that is
forgotten, as searches and validations forget most, goes to the next estimator of the same layers,
with the programs it has.
"""

from __future__ import annotations

import sys
from collections.abc import Hashable, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from lamella import nn, optim
from lamella.nn.parameter import Parameter
from lamella.sklearn.names import ACTIVATIONS, HIDDEN
from lamella.sklearn.objective import Objective
from lamella.train.step import TrainStep

__all__ = ["Layout", "Network", "take"]

# The parameters of an estimator that its optimiser's options are made of.
_NUMBERS = ("learning_rate_init", "beta_1", "beta_2", "epsilon", "momentum", "alpha")

# Idle nets kept: of so many layouts, so many each, none with more parameters than this, as nobody
# expects a forgotten estimator to hold memory, and a step of such nets takes as long as compiling.
_LAYOUTS = 4
_EACH = 2
_LARGEST = 2**18
_idle: dict[Hashable, list[_Parts]] = {}


class Layout(NamedTuple):
    """What a net is built from."""

    sizes: tuple[int, ...]
    activation: str
    output: str
    dtype: str
    dropout: float
    layer_norm: bool


class _Kept(NamedTuple):
    """A step, the estimator's numbers behind its optimiser, and its groups' options under these: a
    new optimiser, as any change of structure, would send every net to look for its program anew.
    """  # fmt: skip

    step: TrainStep
    numbers: tuple[float, ...]
    groups: list[dict[str, Any]]


class _Parts(NamedTuple):
    """trained: the layers up to the output's activation, as they are trained; net: all layers, as
    they predict; steps: the step of training of the kind that was asked for last.
    """  # fmt: skip

    trained: nn.Sequential
    net: nn.Sequential
    steps: dict[Hashable, _Kept]


class Network:
    """The net of one estimator."""

    def __init__(self, layout: Layout, parts: _Parts) -> None:
        self.layout = layout
        self.parts = parts
        self.trained, self.net, _ = parts

    @property
    def linears(self) -> list[nn.Linear]:
        """The dense layers, first to last."""
        return [layer for layer in self.net if isinstance(layer, nn.Linear)]

    def draw(self, random: np.random.RandomState) -> None:
        """Draws new weights as scikit-learn does.

        Uniform within +-sqrt(6 / (inputs + outputs)), for a logistic activation sqrt(2 / ...).
        Source: Glorot and Bengio, 2010; scikit-learn, sklearn.neural_network.
        """
        factor = 2.0 if self.layout.activation == "logistic" else 6.0
        for linear in self.linears:
            outputs, inputs = linear.weight.shape
            bound = np.sqrt(factor / (inputs + outputs))
            linear.weight.data = random.uniform(-bound, bound, (inputs, outputs)).T
            linear.bias.data = random.uniform(-bound, bound, outputs)

    def step(self, solver: str, loss: str, options: Any, *, alpha: float, fresh: bool) -> TrainStep:
        """The step of training under an estimator's parameters.

        Parameters: alpha, of the penalty within the objective; fresh, whether the optimiser begins.
        """
        variant = (solver, loss, alpha, options.momentum > 0, options.nesterovs_momentum)
        kept = self.parts.steps.get(variant)
        if kept is not None and not fresh:
            return kept.step
        numbers = tuple(float(getattr(options, name)) for name in _NUMBERS)
        if kept is None or kept.numbers != numbers:
            weights = [linear.weight for linear in self.linears]
            rule = _optimizer(solver, self.trained, weights, options)
            groups = [{k: v for k, v in one.items() if k != "params"} for one in rule.param_groups]
            step = None if kept is None else kept.step
            if step is None:
                step = TrainStep(self.trained, Objective(loss, alpha, weights), rule)
            kept = _Kept(step, numbers, groups)
            self.parts.steps.clear()
            self.parts.steps[variant] = kept
        kept.step.optimizer.reset()
        for group, first in zip(kept.step.optimizer.param_groups, kept.groups, strict=True):
            for key, value in first.items():
                if group[key] != value:
                    group[key] = value
        return kept.step

    def __del__(self) -> None:
        parts = self.__dict__.get("parts")
        if parts is None or sys.is_finalizing() or not _worth_keeping(parts.trained):
            return
        kept = _idle.setdefault(self.layout, [])
        if len(kept) < _EACH:
            kept.append(parts)
        for oldest in list(_idle)[:-_LAYOUTS]:
            _idle.pop(oldest, None)


def take(layout: Layout) -> Network:
    """An idle net of this layout, or a new one; its weights are to be drawn."""
    kept = _idle.get(layout)
    if kept:
        try:
            return Network(layout, kept.pop())
        except IndexError:  # another thread took the last
            pass
    return Network(layout, _build(layout))


def _worth_keeping(net: nn.Sequential) -> bool:
    """Whether a net is small, and learns nothing but what a fit draws anew."""
    linears = [layer for layer in net if isinstance(layer, nn.Linear)]
    sizes = [parameter.memory.size for parameter in net.parameters()]
    return len(sizes) == 2 * len(linears) and sum(sizes) <= _LARGEST


def _build(layout: Layout) -> _Parts:
    found: list[nn.Module] = []
    for i, (inputs, outputs) in enumerate(pairwise(layout.sizes)):
        found.append(nn.Linear(inputs, outputs))
        if i == len(layout.sizes) - 2:
            break
        if layout.layer_norm:
            found.append(nn.LayerNorm(outputs))
        if HIDDEN[layout.activation] is not None:
            found.append(HIDDEN[layout.activation]())
        if layout.dropout:
            found.append(nn.Dropout(layout.dropout))
    trained = nn.Sequential(*(layer.to(layout.dtype) for layer in found))
    kept = [layer for layer in trained if not isinstance(layer, nn.Dropout)]
    if layout.output == "softmax":
        kept.append(nn.Softmax(1))
    elif ACTIVATIONS[layout.output] is not None:
        kept.append(ACTIVATIONS[layout.output]())
    return _Parts(trained, nn.Sequential(*kept).eval(), {})


def _optimizer(
    solver: str, net: nn.Module, weights: Sequence[Parameter], options: Any
) -> optim.Optimizer:
    """The optimiser of a solver's name with an estimator's parameters; its first group decays."""
    lr = float(options.learning_rate_init)
    betas = (float(options.beta_1), float(options.beta_2))
    eps = float(options.epsilon)
    chosen = set(map(id, weights))
    rest = [parameter for parameter in net.parameters() if id(parameter) not in chosen]
    groups = [{"params": list(weights)}, {"params": rest, "weight_decay": 0.0}]
    if solver == "sgd":
        momentum = float(options.momentum)
        nesterov = bool(options.nesterovs_momentum) and momentum > 0
        return optim.SGD(groups, lr, momentum, nesterov=nesterov)
    if solver == "adamw":
        return optim.AdamW(groups, lr, betas, eps, weight_decay=float(options.alpha))
    if solver == "rmsprop":
        return optim.RMSprop(groups, lr, alpha=betas[1], eps=eps)
    if solver == "adagrad":
        return optim.Adagrad(groups, lr, eps=eps)
    return optim.Adam(groups, lr, betas, eps)
