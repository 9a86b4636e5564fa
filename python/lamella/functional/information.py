# SPDX-License-Identifier: Apache-2.0
"""Information: losses between distributions over classes, and the measures they come from.

Losses take logits where they can: log(softmax(x)) is then exact to rounding whatever the size of x,
where the logarithm of a rounded probability is not. Against class indices, cross-entropy and its
gradient are one pass over the logits (ops/loss.py). What functional/regression.py says of
reductions, shapes and torch's deprecated arguments holds here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from lamella.errors import ShapeError, message
from lamella.functional.mass import reduced, require_reduction
from lamella.functional.regression import require_same_shape
from lamella.ir.types import DType
from lamella.ops.base import require_floating
from lamella.ops.elementwise import unary
from lamella.ops.loss import ClampedLog, CrossEntropy
from lamella.runtime.function import function
from lamella.runtime.tensor import Operand, apply, apply_all, where

__all__ = [
    "binary_cross_entropy",
    "binary_cross_entropy_with_logits",
    "cross_entropy",
    "entropy",
    "information_gain",
    "kl_div",
    "nll_loss",
]


@function
def cross_entropy(
    input: Operand,
    target: Operand,
    weight: Operand | None = None,
    *,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Operand:
    """What a prediction of classes, given as logits, is worth against the true ones.

    loss = -sum over c of weight[c] t[c] log(p[c]),   p = softmax(input),
    t = (1 - label_smoothing) target + label_smoothing / C, target one-hot if it is an index

    Parameters: input, logits (N, C), (C,) or (N, C, d1, ...); target, class indices (integers in
    [0, C), of input's shape without C), or probabilities of the classes (floating, of input's
    shape); weight, (C,), of the classes; ignore_index, a target whose samples do not count (their
    loss is 0), for indices only; reduction, 'mean', 'sum' or 'none', where the mean is divided by
    the sum of the samples' weights (0: NaN, without a gradient), or for probabilities by the number
    of samples, as in torch; label_smoothing, 0 to 1. Returns: a 0-d array, or one loss a sample.
    Raises: ShapeError, DTypeError; IndexError for an index outside [0, C); ValueError for another
    reduction or smoothing, or an ignore_index >= 0 beside probabilities.
    Source: Szegedy et al. 2016, "Rethinking the Inception architecture" (smoothing);
    torch.nn.functional.cross_entropy.

    >>> import numpy as np
    >>> from lamella import functional as F
    >>> logits = np.array([[0.0, 0.0], [1e4, 0.0]], np.float32)
    >>> F.cross_entropy(logits, np.array([1, 1]), reduction="none")
    array([6.931472e-01, 1.000000e+04], dtype=float32)
    """
    if not 0.0 <= label_smoothing <= 1.0:
        raise ValueError(
            message(
                "cross_entropy",
                "not a share",
                {"label_smoothing": label_smoothing},
                "0 <= label_smoothing <= 1",
            )
        )
    if target._type.dtype.is_floating:
        return _soft_cross_entropy(input, target, weight, ignore_index, reduction, label_smoothing)
    op = CrossEntropy(int(ignore_index), float(label_smoothing))
    return _class_loss(op, input, target, weight, reduction)


@function
def nll_loss(
    input: Operand,
    target: Operand,
    weight: Operand | None = None,
    *,
    ignore_index: int = -100,
    reduction: str = "mean",
) -> Operand:
    """Negative log-likelihood: loss = -weight[target] input[target].

    Parameters: input, log-probabilities (as log_softmax gives them), (N, C), (C,) or
    (N, C, d1, ...); target, class indices, of input's shape without C; weight, (C,), of the
    classes; ignore_index, a target whose samples do not count; reduction, 'mean', 'sum' or 'none',
    where the mean is divided by the sum of the samples' weights (0: NaN, without a gradient).
    Returns: a 0-d array, or one loss a sample. Raises: ShapeError, DTypeError; IndexError for an
    index outside [0, C); ValueError for another reduction. Source: torch.nn.functional.nll_loss.

    >>> import numpy as np
    >>> from lamella import functional as F
    >>> F.nll_loss(np.array([[-0.5, -2.0]], np.float32), np.array([1]))
    array(2., dtype=float32)
    """
    op = CrossEntropy(int(ignore_index), log_probabilities=True)
    return _class_loss(op, input, target, weight, reduction)


def _class_axis(op: str, input: Operand) -> int:
    if input.ndim == 0:
        raise ShapeError(
            message(op, "a number has no classes", {"input": ()}, "(N, C), (C,) or (N, C, d1, ...)")
        )
    return 0 if input.ndim == 1 else 1


def _class_loss(
    op: CrossEntropy, input: Operand, target: Operand, weight: Operand | None, reduction: str
) -> Operand:
    """One loss for each class index, reduced."""
    require_reduction(op.label, reduction)
    axis = _class_axis(op.label, input)
    samples = input.shape[:axis] + input.shape[axis + 1 :]
    if target.shape != samples:
        raise ShapeError(
            message(
                op.label,
                "targets do not fit",
                {"input": input.shape, "target": target.shape},
                f"target {samples}: one class index for each sample",
                "Probabilities of the classes are floating and have input's shape"
                if not op.log_probabilities
                else "",
            )
        )
    if axis != input.ndim - 1:
        input = input.permute(*range(axis), *range(axis + 1, input.ndim), axis)
    classes = input.shape[-1]
    operands = (input.reshape(math.prod(samples), classes), target.reshape(math.prod(samples)))
    losses, _, weights = apply_all(op, *operands, *(() if weight is None else (weight,)))
    return reduced(op.label, losses.reshape(samples), reduction, weights.reshape(samples))


def _soft_cross_entropy(
    input: Operand,
    target: Operand,
    weight: Operand | None,
    ignore_index: int,
    reduction: str,
    label_smoothing: float,
) -> Operand:
    """Cross-entropy against probabilities of the classes."""
    require_reduction("cross_entropy", reduction)
    require_same_shape("cross_entropy", {"input": input, "target": target})
    axis = _class_axis("cross_entropy", input)
    classes = input.shape[axis]
    if ignore_index >= 0:
        raise ValueError(
            message(
                "cross_entropy",
                "probabilities have no index to ignore",
                {"ignore_index": ignore_index},
                "a negative one, or class indices as target",
            )
        )
    if label_smoothing > 0:
        target = target * (1.0 - label_smoothing) + label_smoothing / max(classes, 1)
    terms: Operand = input.log_softmax(axis) * target
    if weight is not None:
        if weight.shape != (classes,):
            raise ShapeError(
                message(
                    "cross_entropy",
                    "weights do not fit",
                    {"input": input.shape, "weight": weight.shape},
                    f"one weight a class, ({classes},)",
                )
            )
        terms = terms * weight.reshape(classes, *(1,) * (input.ndim - 1 - axis))
    losses = -terms.sum(axis)
    return reduced("cross_entropy", losses, reduction)


@function
def binary_cross_entropy(
    input: Operand, target: Operand, weight: Operand | None = None, *, reduction: str = "mean"
) -> Operand:
    """Cross-entropy of two classes from the probability of one of them.

    loss = -weight (target log(input) + (1 - target) log(1 - input)), logarithms not below -100

    Where input is 0 or 1 the gradient is cut off at 1e12, as in torch (but is 1 or -1 there where
    the target agrees, which torch makes 0). From logits, binary_cross_entropy_with_logits loses no
    digits.

    Parameters: input, probabilities, in [0, 1]: outside, and for NaN, the loss is NaN (torch
    raises); target, of input's shape, in [0, 1]; weight, broadcasts with input; reduction, 'mean',
    'sum' or 'none'. Returns: a 0-d array, or input's shape.
    Raises: ShapeError, DTypeError; ValueError for another reduction.
    Source: torch.nn.functional.binary_cross_entropy.

    >>> import numpy as np
    >>> from lamella import functional as F
    >>> F.binary_cross_entropy(np.array([0.0, 1.0], np.float32), np.ones(2, np.float32))
    array(50., dtype=float32)
    """
    require_same_shape("binary_cross_entropy", {"input": input, "target": target})
    own, other = apply(ClampedLog(), input), apply(ClampedLog(complement=True), input)
    losses: Operand = (target - 1.0) * other - target * own
    return _weighted_binary("binary_cross_entropy", losses, weight, reduction)


@function
def binary_cross_entropy_with_logits(
    input: Operand,
    target: Operand,
    weight: Operand | None = None,
    *,
    reduction: str = "mean",
    pos_weight: Operand | None = None,
) -> Operand:
    """Cross-entropy of two classes from the logit of one of them.

    loss = weight (pos_weight target log(1 + exp(-input)) + (1 - target) log(1 + exp(input)))

    Both logarithms are taken without overflow, and as neither term is negative nothing cancels.

    Parameters: input, logits; target, of input's shape, in [0, 1]; weight, broadcasts with input;
    reduction, 'mean', 'sum' or 'none'; pos_weight, of the positive class, broadcasts with input.
    Returns: a 0-d array, or input's shape. Raises: ShapeError, DTypeError; ValueError for another
    reduction. Source: torch.nn.functional.binary_cross_entropy_with_logits.

    >>> import numpy as np
    >>> from lamella import functional as F
    >>> logits = np.array([-1e4, 1e4], np.float32)
    >>> F.binary_cross_entropy_with_logits(logits, np.ones(2, np.float32))
    array(5000., dtype=float32)
    """
    name = "binary_cross_entropy_with_logits"
    require_same_shape(name, {"input": input, "target": target})
    hit = target * apply(unary("logsigmoid"), input)
    if pos_weight is not None:
        hit = _fitting(name, input, "pos_weight", pos_weight) * hit
    losses: Operand = (target - 1.0) * apply(unary("logsigmoid"), -input) - hit
    return _weighted_binary(name, losses, weight, reduction)


def _weighted_binary(op: str, losses: Operand, weight: Operand | None, reduction: str) -> Operand:
    if weight is not None:
        losses = losses * _fitting(op, losses, "weight", weight)
    return reduced(op, losses, reduction)


def _fitting(op: str, input: Operand, name: str, weight: Operand) -> Operand:
    """The weight, which must not make the losses more than there are inputs."""
    extents = zip(reversed(weight.shape), reversed(input.shape), strict=False)
    if weight.ndim > input.ndim or any(extent not in (1, own) for extent, own in extents):
        raise ShapeError(
            message(
                op,
                "weights do not fit",
                {"input": input.shape, name: weight.shape},
                "extents equal to input's or one, counted from the last axis",
            )
        )
    return weight


@function
def kl_div(
    input: Operand, target: Operand, *, reduction: str = "mean", log_target: bool = False
) -> Operand:
    """Kullback-Leibler divergence of target from input, where input holds logarithms.

    loss = target (log(target) - input), 0 where target is 0; with log_target
    exp(target) (target - input)

    Parameters: input, log-probabilities; target, probabilities, of input's shape; reduction,
    'batchmean' (the sum divided by input's first extent: the divergence by its definition), 'mean'
    (divided by all elements, as in torch), 'sum' or 'none'; log_target, whether target holds
    logarithms too. Returns: a 0-d array, or input's shape. Raises: ShapeError, DTypeError;
    ValueError for another reduction.
    Source: Kullback and Leibler 1951, "On information and sufficiency";
    torch.nn.functional.kl_div.

    >>> import numpy as np
    >>> from lamella import functional as F
    >>> F.kl_div(np.log(np.float32([[0.5, 0.5]])), np.float32([[1, 0]]), reduction="batchmean")
    array(0.6931472, dtype=float32)
    """
    words = "mean batchmean sum none"
    require_reduction("kl_div", reduction, words)
    require_same_shape("kl_div", {"input": input, "target": target})
    if log_target:
        losses: Operand = target.exp() * (target - input)
    else:
        losses = target * (where(target.eq(0.0), 1.0, target).log() - input)
    batch = input.shape[0] if input.ndim else 1
    return reduced("kl_div", losses, reduction, batch if reduction == "batchmean" else None, words)


@function
def entropy(p: Operand, dim: int = -1, base: float = 2.0) -> Operand:
    """How much there is to learn from a draw: H = -sum over dim of p log(p) / log(base).

    Parameters: p, probabilities that add up to 1 along dim (not checked); p = 0 adds nothing, p < 0
    gives NaN; dim, an axis; base, of the logarithm, > 0 and not 1: 2 measures in bits, math.e in
    nats. Returns: an array without dim. Raises: ShapeError, DTypeError; ValueError for another
    base. Source: Shannon 1948, "A mathematical theory of communication".

    >>> import numpy as np
    >>> from lamella import functional as F
    >>> F.entropy(np.array([[0.5, 0.5], [1.0, 0.0]], np.float32))
    array([1., 0.], dtype=float32)
    """
    return _entropy("entropy", p, dim, base)


def _entropy(op: str, p: Operand, dim: int, base: float) -> Operand:
    if not (base > 0 and base != 1 and math.isfinite(base)):
        raise ValueError(message(op, "no base of a logarithm", {"base": base}, "> 0 and not 1"))
    require_floating(op, ("p",), (p._type,))
    # Zero less the sum: of a certain event +0.
    bits: Operand = 0.0 - (p * where(p.eq(0.0), 1.0, p).log()).sum(dim) / math.log(base)
    return bits


@function
def information_gain(
    parent: Operand, children: Sequence[Operand], dim: int = -1, base: float = 2.0
) -> Operand:
    """How much a split of a decision tree tells about the classes.

    gain = H(parent) - sum over children of n_i / n H(child_i), H the entropy of the classes'
    shares, n and n_i the numbers of samples

    Parameters: parent, how many samples of each class there are, classes along dim (integers, or
    floating for weighted samples); children, the same for each part of the split, which together
    should be the parent (not checked); an empty part adds nothing; dim, an axis; base, as in
    entropy. Returns: an array without dim; float64 for integers; NaN for a parent without samples.
    Raises: ShapeError, DTypeError; ValueError for another base.
    Source: Quinlan 1986, "Induction of decision trees"; the example is his: play, by wind.

    >>> import numpy as np
    >>> from lamella import functional as F
    >>> F.information_gain([9, 5], [[6, 2], [3, 3]]).round(3)
    np.float64(0.048)
    """
    parent = _counts(parent)
    total = parent.sum(dim, True)
    gain = _entropy("information_gain", parent / total, dim, base)
    for child in map(_counts, children):
        require_same_shape("information_gain", {"parent": parent, "child": child})
        size = child.sum(dim, True)
        shares = child / where(size.eq(0.0), 1.0, size)
        share = (size / total).squeeze(dim)
        gain = gain - share * _entropy("information_gain", shares, dim, base)
    return gain


def _counts(counts: Operand) -> Operand:
    """Numbers of samples as floating numbers."""
    return counts.to(DType.float64) if counts._type.dtype.is_integer else counts
