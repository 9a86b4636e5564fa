# SPDX-License-Identifier: Apache-2.0
"""What a step computes of a batch before it differentiates: its rows, its loss and their mass.

Both work on operands of an open trace. Rows are gathered from whole data sets by the program
itself. A loss is a sum divided by a mass, or a sum alone; steps and epochs add up sums and masses,
never means, so that nothing depends on how samples were cut into batches.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from lamella.errors import DTypeError, ShapeError, UnsupportedError, message
from lamella.functional.comparison import where
from lamella.functional.mass import source
from lamella.ir.types import DType
from lamella.nn.module import Module
from lamella.ops import entries
from lamella.runtime.promotion import place_number
from lamella.runtime.signature import flatten
from lamella.runtime.tensor import Operand, Tensor
from lamella.runtime.trace import Trace, current

__all__ = ["Objective", "gather", "objective"]


@dataclass(frozen=True)
class Objective:
    """The loss of a batch, and what it is the quotient of.

    loss = total / mass, 0 where the mass is 0;   mass None: loss = total, nothing is divided
    """

    loss: Operand
    total: Operand
    mass: Operand | float | None

    def measure(self, trace: Trace) -> Tensor:
        """The mass as a result of a program: NaN where nothing is divided."""
        if isinstance(self.mass, Operand):
            return Tensor(self.mass._value(trace), trace)
        mass = np.nan if self.mass is None else self.mass
        return Tensor(place_number(trace, mass, DType.float64), trace)


def gather(trace: Trace, tree: Any, index: Tensor) -> Any:
    """The rows `index` of every array in a tree."""
    if tree is None:
        return None
    if isinstance(tree, Mapping):
        return {name: gather(trace, item, index) for name, item in tree.items()}
    if isinstance(tree, tuple | list):
        return tuple(gather(trace, item, index) for item in tree)
    table, rows = tree._value(trace), index._value(trace)
    if not table.shape:
        raise ShapeError(message("TrainStep.rows", "no rows", {"array": table.shape}, "an axis"))
    return Tensor(entries.rows(trace.place, table, rows), trace)


def objective(loss: Callable[..., Any], x: Any, output: Any, target: Any, weight: Any) -> Objective:
    """The loss of a batch with its sum and mass; weights multiply both of each sample.

    loss = sum(w l) / sum(w m), or sum(w l) for a sum; l, m: losses and masses of the elements

    The losses of `lamella.functional` say what they added up; of another function the losses count
    one a sample.
    """
    value = loss(output, target)
    if not isinstance(value, Operand):
        raise TypeError(
            message(
                "TrainStep",
                "the loss does not depend on the net",
                {"loss": type(value)},
                "what functions of the net's output give",
            )
        )
    if value.shape != () or not value._type.dtype.is_floating:
        raise ShapeError(
            message(
                "TrainStep",
                "the loss is no number",
                {"loss": value._type},
                "a float, shape (): reduction='mean' or 'sum'",
            )
        )
    found = source(current(), value)
    if weight is not None:
        if found is None:
            return _weighted(*_per_sample(loss, output, target), weight)
        return _weighted(found.losses, found.mass, found.mean, weight)
    if found is None:
        samples = _samples((target, x))
        adds = _reduction(loss) == "sum"
        return Objective(value, value, None) if adds else Objective(value, value * samples, samples)
    if not found.mean:
        return Objective(value, value, None)
    if isinstance(found.mass, Operand):
        return _quotient(found.losses.sum(), found.mass)
    total = found.losses.sum()
    return Objective(value if found.mass else total, total, found.mass)


def _quotient(total: Operand, masses: Operand, each: float = 1.0, exact: bool = False) -> Objective:
    """The objective of a sum and the masses of the samples; exact: those are added up in double."""
    mass = masses.sum() * each
    # Where nothing counts: a loss of 0 that changes nothing, where 0 / 0 would ruin the net.
    loss = total / where(mass.eq(0.0), 1.0, mass)
    return Objective(loss, total, masses.to(DType.float64).sum() * each if exact else mass)


def _weighted(losses: Operand, mass: int | Operand, mean: bool, weight: Operand) -> Objective:
    """The objective of losses and masses, one an element, with weights of the samples."""
    if not isinstance(weight, Operand):
        raise DTypeError(
            message("TrainStep", "no weights", {"sample_weight": type(weight)}, "an array, (N,)")
        )
    if losses.ndim == 0 or weight.shape != losses.shape[:1]:
        raise ShapeError(
            message(
                "TrainStep",
                "one weight for each sample",
                {"sample_weight": weight.shape, "losses": losses.shape},
                f"sample_weight.shape == {losses.shape[:1]}",
            )
        )
    weight = weight.to(losses._type.dtype)
    total = (_by_sample(losses) * weight).sum()
    if not mean:
        return Objective(total, total, None)
    if isinstance(mass, Operand):
        return _quotient(total, _by_sample(mass) * weight, exact=True)
    each, left = divmod(mass, max(losses.shape[0], 1))
    return _quotient(total, weight, mass / losses.shape[0] if left else each, exact=True)


def _by_sample(elements: Operand) -> Operand:
    return elements.flatten(1).sum(1) if elements.ndim > 1 else elements


def _per_sample(loss: Callable[..., Any], output: Any, target: Any) -> tuple[Operand, int, bool]:
    """Losses of the samples by a function that is not ours, their mass, and if it averages them."""
    reduction = _reduction(loss)
    if reduction is None:
        raise UnsupportedError(
            message(
                "TrainStep",
                "sample_weight needs the losses of single samples",
                {"loss": getattr(loss, "__name__", type(loss).__name__)},
                "a loss with `reduction`, or what a loss of lamella.functional returned",
            )
        )
    if isinstance(loss, Module):
        unreduced: Any = copy.copy(loss)
        unreduced.reduction = "none"
        losses = unreduced(output, target)
    else:
        losses = loss(output, target, reduction="none")
    mean = reduction != "sum"
    if mean and losses.ndim > 1:
        losses = losses.flatten(1).mean(1)
    return losses, losses.shape[0] if losses.ndim else 1, mean


def _reduction(loss: Callable[..., Any]) -> str | None:
    """The reduction of a function that is not ours; None if it has none to choose."""
    if isinstance(loss, Module):
        return str(loss.reduction) if hasattr(loss, "reduction") else None
    own = getattr(loss, "reduction", None)
    if isinstance(own, str):
        return own
    try:
        parameters = inspect.signature(loss).parameters
    except (TypeError, ValueError):  # written in C
        return None
    return str(parameters["reduction"].default) if "reduction" in parameters else None


def _samples(trees: Any) -> int:
    """How many samples a batch has: the first extent of the first array that has axes."""
    found = [leaf.shape[0] for leaf in flatten(trees)[0] if isinstance(leaf, Operand) and leaf.ndim]
    return found[0] if found else 1
