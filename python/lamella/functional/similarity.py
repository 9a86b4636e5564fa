# SPDX-License-Identifier: Apache-2.0
"""How much two vectors point the same way, and losses against the labels 1 and -1.

Labels of pairs are 1 (alike) and -1 (not alike); all may be floating or integers. What
functional/regression.py says of reductions, shapes and torch's deprecated arguments holds here.
"""

from __future__ import annotations

from lamella.errors import ShapeError, message
from lamella.functional.mass import reduced
from lamella.functional.regression import as_labels, require_same_shape
from lamella.ops.base import require_floating
from lamella.ops.elementwise import unary
from lamella.runtime.function import function
from lamella.runtime.tensor import Operand, apply, where

__all__ = [
    "cosine_embedding_loss",
    "cosine_similarity",
    "hinge_embedding_loss",
    "soft_margin_loss",
]


@function
def cosine_similarity(x1: Operand, x2: Operand, dim: int = 1, eps: float = 1e-8) -> Operand:
    """Cosine of the angle between two vectors.

    y = x1 . x2 / (max(|x1|, eps) max(|x2|, eps)) along dim

    Neither the lengths' product nor their squares are formed: only a length itself must be finite.

    Parameters: x1, x2, whose shapes broadcast; dim, an axis of the broadcast shape; eps > 0.
    Returns: an array without dim. Raises: ShapeError, DTypeError.
    Source: torch.nn.functional.cosine_similarity.

    >>> import numpy as np
    >>> from lamella import functional as F
    >>> F.cosine_similarity(np.array([[3.0, 4.0]], np.float32), np.array([[3.0, 0.0]], np.float32))
    array([0.6], dtype=float32)
    """
    require_floating("cosine_similarity", ("x1",), (x1._type,))
    product = x1 * x2
    if x1.shape != product.shape:
        x1 = x1.expand(*product.shape)
    if x2.shape != product.shape:
        x2 = x2.expand(*product.shape)
    # Each vector by its own length: their product alone may leave the range.
    x1, x2 = (x / _length(x, dim).clamp(min=eps) for x in (x1, x2))
    cosine: Operand = (x1 * x2).sum(dim)
    return cosine


def _length(x: Operand, dim: int) -> Operand:
    """|x| along dim, which stays with extent one; of a zero vector the slope is zero."""
    return x._reduce("norm", dim, True)


@function
def cosine_embedding_loss(
    input1: Operand,
    input2: Operand,
    target: Operand,
    margin: float = 0.0,
    *,
    reduction: str = "mean",
) -> Operand:
    """Pulls pairs labelled 1 to the same direction, pushes those labelled -1 apart.

    loss = 1 - cos(input1, input2) where target is 1, max(0, cos(input1, input2) - margin) where it
    is -1

    Parameters: input1, input2, (N, D) or (D,); target, (N,) or (), of 1 and -1; margin, -1 to 1;
    reduction, 'mean', 'sum' or 'none'. Returns: a 0-d array, or target's shape.
    Raises: ShapeError, DTypeError; ValueError for another reduction.
    Source: torch.nn.functional.cosine_embedding_loss.

    >>> import numpy as np
    >>> from lamella import functional as F
    >>> x = np.array([[3.0, 4.0]], np.float32)
    >>> F.cosine_embedding_loss(x, np.array([[3.0, 0.0]], np.float32), np.array([-1]), 0.1)
    array(0.5, dtype=float32)
    """
    if (
        input1.ndim not in (1, 2)
        or input1.shape != input2.shape
        or target.shape != input1.shape[:-1]
    ):
        raise ShapeError(
            message(
                "cosine_embedding_loss",
                "shapes do not fit",
                {"input1": input1.shape, "input2": input2.shape, "target": target.shape},
                "(N, D), (N, D) and (N,), or the same without N",
            )
        )
    require_floating("cosine_embedding_loss", ("input1",), (input1._type,))
    target = as_labels(target, input1)
    first, second = _shortened(input1), _shortened(input2)
    cosine = (first * second).sum(-1)
    losses = _by_label(target, 1.0 - cosine, (cosine - margin).clamp(min=0.0))
    return reduced("cosine_embedding_loss", losses, reduction)


@function
def hinge_embedding_loss(
    input: Operand, target: Operand, margin: float = 1.0, *, reduction: str = "mean"
) -> Operand:
    """Makes distances of pairs labelled 1 small, those of pairs labelled -1 larger than margin.

    loss = input where target is 1, max(0, margin - input) where it is -1

    Parameters: input, distances; target, of input's shape, of 1 and -1; margin; reduction, 'mean',
    'sum' or 'none'. Returns: a 0-d array, or input's shape. Raises: ShapeError, DTypeError;
    ValueError for another reduction. Source: torch.nn.functional.hinge_embedding_loss.

    >>> import numpy as np
    >>> from lamella import functional as F
    >>> distances = np.array([0.5, 0.25], np.float32)
    >>> F.hinge_embedding_loss(distances, np.array([1, -1]), reduction="none")
    array([0.5 , 0.75], dtype=float32)
    """
    require_same_shape("hinge_embedding_loss", {"input": input, "target": target})
    target = as_labels(target, input)
    # Another label takes both terms, as in torch.
    near = where(target.ne(-1.0), input, 0.0)
    far = where(target.ne(1.0), (margin - input).clamp(min=0.0), 0.0)
    return reduced("hinge_embedding_loss", near + far, reduction)


@function
def soft_margin_loss(input: Operand, target: Operand, *, reduction: str = "mean") -> Operand:
    """Logistic loss of two classes, which are labelled 1 and -1.

    loss = log(1 + exp(-target * input)), computed without overflow

    Parameters: input, scores, positive for class 1; target, of input's shape, of 1 and -1;
    reduction, 'mean', 'sum' or 'none'. Returns: a 0-d array, or input's shape. Raises: ShapeError,
    DTypeError; ValueError for another reduction. Source: torch.nn.functional.soft_margin_loss.

    >>> import numpy as np
    >>> from lamella import functional as F
    >>> F.soft_margin_loss(np.array([200.0, -200.0], np.float32), np.array([1, 1]))
    array(100., dtype=float32)
    """
    require_same_shape("soft_margin_loss", {"input": input, "target": target})
    losses = -apply(unary("logsigmoid"), as_labels(target, input) * input)
    return reduced("soft_margin_loss", losses, reduction)


def _shortened(x: Operand) -> Operand:
    """x / sqrt(|x|^2 + 1e-12) along the last axis: torch's floor, without a square of a length."""
    floor = 1e-6
    length = _length(x, -1)
    larger = length.clamp(min=floor)
    return x / larger * ((length / larger).square() + (floor / larger).square()).rsqrt()


def _by_label(target: Operand, alike: Operand, other: Operand) -> Operand:
    """alike where target is 1, other where it is -1, else 0."""
    return where(target.eq(1.0), alike, where(target.eq(-1.0), other, 0.0))
