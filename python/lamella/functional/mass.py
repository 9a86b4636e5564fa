# SPDX-License-Identifier: Apache-2.0
"""Reductions of losses, and the mass of each: what its mean divides by.

    mean = total / mass,   total = the sum of the losses

A mass is a number of elements or a sum of weights. Whoever adds up batches (lamella.train) has to
know it, as a mean of means is not the mean of the whole; so every reduced loss is noted in its
trace, with its elements.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from lamella.errors import message
from lamella.runtime.tensor import Operand, where
from lamella.runtime.trace import Trace, current

__all__ = ["Reduced", "reduced", "require_reduction", "source"]


@dataclass(frozen=True)
class Reduced:
    """What was reduced to a number.

    losses: one an element; mass: what all of them count together, or an operand of their shape
    with what each counts; mean: whether they were divided by it, or only added up.
    """

    losses: Operand
    mass: int | Operand
    mean: bool


def reduced(
    op: str,
    losses: Operand,
    reduction: str,
    mass: int | Operand | None = None,
    words: str = "mean sum none",
) -> Operand:
    """The losses' mean, their sum, or they themselves.

    mass: what the mean divides by: None for the number of elements, another number, or an operand
    of the losses' shape whose sum it is; where that is 0 the mean is NaN, with a gradient of 0.
    words: the reductions that there are; all but 'sum' and 'none' are means.
    """
    require_reduction(op, reduction, words)
    if reduction == "none":
        return losses
    mean = reduction != "sum"
    if not mean:
        result: Operand = losses.sum()
    elif mass is None:
        result = losses.mean()
    elif isinstance(mass, Operand):
        total = mass.sum()
        none = total.eq(0.0)
        result = where(none, math.nan, losses.sum() / where(none, 1.0, total))
    else:
        result = losses.sum() / mass
    trace = current()
    elements = losses.numel() if mass is None else mass
    trace.notes[result._value(trace)] = Reduced(losses, elements, mean)
    return result


def source(trace: Trace, loss: object) -> Reduced | None:
    """What a loss of this trace was reduced from; None for what no function here has reduced."""
    found = trace.notes.get(loss._value(trace)) if isinstance(loss, Operand) else None
    return found if isinstance(found, Reduced) else None


def require_reduction(op: str, reduction: object, words: str = "mean sum none") -> None:
    """Raises ValueError unless `reduction` is one of `words`."""
    if not isinstance(reduction, str) or reduction not in words.split():
        raise ValueError(
            message(
                op,
                "no such reduction",
                {"reduction": repr(reduction)},
                ", ".join(f"'{word}'" for word in words.split()),
            )
        )
