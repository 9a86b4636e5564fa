# SPDX-License-Identifier: Apache-2.0
"""What a step computes of a batch before it differentiates: its rows, and its loss.

Both work on operands of an open trace. Rows are gathered from whole data sets by the program
itself; with weights, the loss is the weighted mean (or sum) of the samples' own losses.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from lamella.errors import ShapeError, UnsupportedError, message
from lamella.functional.comparison import where
from lamella.nn.module import Module
from lamella.ops import composites
from lamella.ops.gather import Embedding
from lamella.runtime.tensor import Tensor
from lamella.runtime.trace import Trace

__all__ = ["batch_loss", "gather"]


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
    flat = composites.reshape(trace.place, table, (table.shape[0], int(np.prod(table.shape[1:]))))
    taken = trace.place(Embedding(), rows, flat)
    return Tensor(composites.reshape(trace.place, taken, rows.shape + table.shape[1:]), trace)


def batch_loss(loss: Callable[..., Any], output: Any, target: Any, weight: Any) -> Any:
    """The loss of a batch; with weights, the weighted mean (or sum) of its samples' losses.

    mean: sum(w l) / sum(w), 0 where all w are 0;   sum: sum(w l)
    """
    if weight is None:
        return loss(output, target)
    samples, mean = _per_sample(loss, output, target)
    if samples.ndim == 0 or weight.shape != samples.shape[:1]:
        raise ShapeError(
            message(
                "TrainStep",
                "one weight for each sample",
                {"sample_weight": weight.shape, "losses": samples.shape},
                f"sample_weight.shape == {samples.shape[:1]}",
            )
        )
    if samples.ndim > 1:
        rest = samples.flatten(1)
        samples = rest.mean(1) if mean else rest.sum(1)
    weight = weight.to(samples.dtype)
    total = (samples * weight).sum()
    if not mean:
        return total
    weights = weight.sum()
    # Weights of zero only: a loss of 0 that changes nothing, where 0 / 0 would ruin the net.
    return total / where(weights == 0, 1.0, weights)


def _per_sample(loss: Callable[..., Any], output: Any, target: Any) -> tuple[Any, bool]:
    """The losses of the samples, and whether the loss averages them."""
    if isinstance(loss, Module) and hasattr(loss, "reduction"):
        unreduced = copy.copy(loss)
        mean = loss.reduction != "sum"
        unreduced.reduction = "none"
        return unreduced(output, target), mean
    if not isinstance(loss, Module):
        parameters = inspect.signature(loss).parameters
        if "reduction" in parameters:
            mean = parameters["reduction"].default != "sum"
            return loss(output, target, reduction="none"), mean
    raise UnsupportedError(
        message(
            "TrainStep",
            "sample_weight needs the losses of single samples",
            {"loss": type(loss).__name__},
            "a loss with `reduction`",
        )
    )
