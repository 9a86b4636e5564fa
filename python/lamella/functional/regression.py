# SPDX-License-Identifier: Apache-2.0
"""Losses between numbers: squares, absolute values and what lies between; Poisson and normal.

Everywhere: reduction is 'mean', 'sum' or 'none'; with 'none' the result has one loss per element,
which takes weights of samples as (loss * sample_weight).mean(). Shapes must agree: torch broadcasts
with a warning, which turns (N, 1) against (N,) into N * N wrong losses. torch's deprecated
size_average and reduce are left out; what follows them in torch takes its name here. NaN goes
through.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from lamella.errors import ShapeError, message
from lamella.functional.mass import reduced
from lamella.ir.types import same_shape
from lamella.ops.base import require_floating
from lamella.runtime.function import function
from lamella.runtime.tensor import Operand, where

__all__ = [
    "gaussian_nll_loss",
    "huber_loss",
    "l1_loss",
    "mse_loss",
    "poisson_nll_loss",
    "smooth_l1_loss",
]


def require_same_shape(op: str, operands: Mapping[str, Operand | None]) -> None:
    """Raises unless the first operand is floating, and those that are there have one shape."""
    name, first = next((name, one) for name, one in operands.items() if one is not None)
    require_floating(op, (name,), (first._type,))
    shapes = {name: one.shape for name, one in operands.items() if one is not None}
    if not all(same_shape(first.shape, shape) for shape in shapes.values()):
        raise ShapeError(
            message(
                op,
                "shapes differ",
                shapes,
                "the same shape",
                "A loss does not broadcast; use reshape or expand",
            )
        )


def as_labels(target: Operand, input: Operand) -> Operand:
    """Integer labels as numbers of input's dtype; other targets as they are."""
    return target.to(input._type.dtype) if target._type.dtype.is_integer else target


def _weighted(
    op: str, losses: Operand, weight: Operand | None, reduction: str, by_weight: bool
) -> Operand:
    """Reduced losses times weight; by_weight: the mean divides by the weights' sum."""
    if weight is None:
        return reduced(op, losses, reduction)
    return reduced(op, losses * weight, reduction, weight if by_weight else None)


@function
def mse_loss(
    input: Operand, target: Operand, *, reduction: str = "mean", weight: Operand | None = None
) -> Operand:
    """Squared errors: loss = (input - target)^2.

    Parameters: input, target, of one shape; reduction, 'mean', 'sum' or 'none'; weight, of the same
    shape, multiplies the losses, and then the mean is divided by its sum instead of the number of
    elements. Returns: a 0-d array, or input's shape. Raises: ShapeError, DTypeError; ValueError for
    another reduction. Source: torch.nn.functional.mse_loss.

    >>> import numpy as np
    >>> from lamella import functional as F
    >>> F.mse_loss(np.array([1.0, 5.0], np.float32), np.array([0.0, 2.0], np.float32))
    array(5., dtype=float32)
    """
    require_same_shape("mse_loss", {"input": input, "target": target, "weight": weight})
    return _weighted("mse_loss", (input - target).square(), weight, reduction, True)


@function
def l1_loss(
    input: Operand, target: Operand, *, reduction: str = "mean", weight: Operand | None = None
) -> Operand:
    """Absolute errors: loss = |input - target|.

    Parameters: input, target, of one shape; reduction, 'mean', 'sum' or 'none'; weight, of the same
    shape, multiplies the losses, and then the mean is divided by its sum instead of the number of
    elements. Returns: a 0-d array, or input's shape. Raises: ShapeError, DTypeError; ValueError for
    another reduction. Source: torch.nn.functional.l1_loss.

    >>> import numpy as np
    >>> from lamella import functional as F
    >>> F.l1_loss(np.array([1.0, 5.0], np.float32), np.array([0.0, 2.0], np.float32))
    array(2., dtype=float32)
    """
    require_same_shape("l1_loss", {"input": input, "target": target, "weight": weight})
    return _weighted("l1_loss", (input - target).abs(), weight, reduction, True)


@function
def smooth_l1_loss(
    input: Operand, target: Operand, *, reduction: str = "mean", beta: float = 1.0
) -> Operand:
    """Squares near zero, absolute errors beyond beta, joined smoothly.

    loss = e^2 / (2 beta) where e < beta, else e - beta / 2,   e = |input - target|

    Parameters: input, target, of one shape; reduction, 'mean', 'sum' or 'none'; beta >= 0, where
    zero gives l1_loss. Returns: a 0-d array, or input's shape. Raises: ShapeError, DTypeError;
    ValueError for another reduction or beta.
    Source: Girshick 2015, "Fast R-CNN"; torch.nn.functional.smooth_l1_loss.

    >>> import numpy as np
    >>> from lamella import functional as F
    >>> x = np.array([0.5, 3.0], np.float32)
    >>> F.smooth_l1_loss(x, np.zeros(2, np.float32), reduction="none")
    array([0.125, 2.5  ], dtype=float32)
    """
    require_same_shape("smooth_l1_loss", {"input": input, "target": target})
    if not beta >= 0:
        raise ValueError(message("smooth_l1_loss", "negative beta", {"beta": beta}, "beta >= 0"))
    error = (input - target).abs()
    if beta > 0:
        near = error.clamp(max=beta)
        error = (near / beta) * (error - near * 0.5)
    return reduced("smooth_l1_loss", error, reduction)


@function
def huber_loss(
    input: Operand,
    target: Operand,
    reduction: str = "mean",
    delta: float = 1.0,
    weight: Operand | None = None,
) -> Operand:
    """Squares near zero, absolute errors times delta beyond it, joined smoothly.

    loss = e^2 / 2 where e < delta, else delta (e - delta / 2),   e = |input - target|

    Parameters: input, target, of one shape; reduction, 'mean', 'sum' or 'none'; delta > 0; weight,
    of the same shape, multiplies the losses (the mean stays divided by the number of elements, in
    torch too). Returns: a 0-d array, or input's shape. Raises: ShapeError, DTypeError; ValueError
    for another reduction or delta.
    Source: Huber 1964, "Robust estimation of a location parameter"; torch.nn.functional.huber_loss.

    >>> import numpy as np
    >>> from lamella import functional as F
    >>> F.huber_loss(np.array([0.5, 3.0], np.float32), np.zeros(2, np.float32), "none", 2.0)
    array([0.125, 4.   ], dtype=float32)
    """
    require_same_shape("huber_loss", {"input": input, "target": target, "weight": weight})
    if not delta > 0:
        raise ValueError(message("huber_loss", "delta is not positive", {"delta": delta}, "> 0"))
    error = (input - target).abs()
    near = error.clamp(max=delta)
    return _weighted("huber_loss", near * (error - near * 0.5), weight, reduction, False)


@function
def poisson_nll_loss(
    input: Operand,
    target: Operand,
    log_input: bool = True,
    full: bool = False,
    *,
    eps: float = 1e-8,
    reduction: str = "mean",
) -> Operand:
    """Negative log-likelihood of counts under a Poisson distribution.

    loss = exp(input) - target input, or input - target log(input + eps) without log_input;
    full adds target log(target) - target + log(2 pi target) / 2 where target > 1 (Stirling)

    Parameters: input, the expected counts or their logarithms; target, the counts, of input's
    shape; log_input, whether input holds logarithms; full, whether to approximate the term that
    does not depend on input; eps, kept from a logarithm of zero; reduction, 'mean', 'sum' or
    'none'. Returns: a 0-d array, or input's shape. Raises: ShapeError, DTypeError; ValueError for
    another reduction. Source: torch.nn.functional.poisson_nll_loss.

    >>> import numpy as np
    >>> from lamella import functional as F
    >>> F.poisson_nll_loss(np.zeros(1, np.float32), np.array([2.0], np.float32))
    array(1., dtype=float32)
    """
    require_same_shape("poisson_nll_loss", {"input": input, "target": target})
    target = as_labels(target, input)
    losses: Operand = (
        input.exp() - target * input if log_input else input - target * (input + eps).log()
    )
    if full:
        many = target > 1.0
        count = where(many, target, 1.0)
        # log(count!) by Stirling, with count log(count) and log(count) / 2 in one product.
        rest = (count + 0.5) * count.log() - count + 0.5 * math.log(2 * math.pi)
        losses = losses + where(many, rest, 0.0)
    return reduced("poisson_nll_loss", losses, reduction)


@function(scalars=("var",))
def gaussian_nll_loss(
    input: Operand,
    target: Operand,
    var: Operand,
    full: bool = False,
    eps: float = 1e-6,
    reduction: str = "mean",
) -> Operand:
    """Negative log-likelihood of numbers under a normal distribution.

    loss = (log(v) + (input - target)^2 / v) / 2,   v = max(var, eps); full adds log(2 pi) / 2

    Parameters: input, the means; target, of input's shape; var, the variances: of input's shape,
    without its last axis, with one axis of extent 1 instead, or one number; full, whether to add
    the constant; eps > 0, below which var has no gradient (torch raises for negative var: here they
    count as eps, like all that are too small); reduction, 'mean', 'sum' or 'none'.
    Returns: a 0-d array, or input's shape. Raises: ShapeError, DTypeError; ValueError for another
    reduction or eps. Source: Nix and Weigend 1994, "Estimating the mean and variance of the target
    probability distribution"; torch.nn.functional.gaussian_nll_loss.

    >>> import numpy as np
    >>> from lamella import functional as F
    >>> x = np.array([1.0, 3.0], np.float32)
    >>> F.gaussian_nll_loss(x, np.zeros(2, np.float32), np.ones(2, np.float32))
    array(2.5, dtype=float32)
    """
    require_same_shape("gaussian_nll_loss", {"input": input, "target": target})
    if not eps > 0:
        raise ValueError(message("gaussian_nll_loss", "eps is not positive", {"eps": eps}, "> 0"))
    given: Any = var
    error = input - target
    half = error * 0.5
    if isinstance(given, Operand):
        var = _fitting_variance(input, var).clamp(min=eps)
        # Neither the square nor twice the loss may leave the range.
        losses: Operand = var.log() * 0.5 + half * (error / var)
    else:
        # A Python number, inside a trace.
        floor = max(float(given), eps)
        losses = half * (error / floor) + 0.5 * math.log(floor)
    if full:
        losses = losses + 0.5 * math.log(2 * math.pi)
    return reduced("gaussian_nll_loss", losses, reduction)


def _fitting_variance(input: Operand, var: Operand) -> Operand:
    """var with the axes that make it broadcast to input's shape, as torch counts them."""
    if var.shape in ((), input.shape):
        return var
    if var.shape == input.shape[:-1]:
        return var.unsqueeze(-1)
    others = [extent for extent, own in zip(var.shape, input.shape, strict=False) if extent != own]
    if var.ndim != input.ndim or others != [1]:
        raise ShapeError(
            message(
                "gaussian_nll_loss",
                "variances do not fit",
                {"input": input.shape, "var": var.shape},
                "input's shape, the same without the last axis, or with one extent 1",
            )
        )
    return var
