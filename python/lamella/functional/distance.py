# SPDX-License-Identifier: Apache-2.0
"""Lengths of vectors, vectors of length one, and distances.

`out=` is written to and returned.
"""

from __future__ import annotations

import math

from lamella.errors import UnsupportedError, message
from lamella.functional.comparison import logical_or
from lamella.functional.detach import detach
from lamella.ops.base import require_floating
from lamella.runtime.function import function
from lamella.runtime.tensor import Dims, Operand, where

__all__ = ["norm", "normalize", "pairwise_distance"]


@function
def norm(
    input: Operand, p: float | str = "fro", dim: Dims = None, keepdim: bool = False
) -> Operand:
    """Length of vectors: y = (sum of |input|**p over dim) ** (1 / p).

    For p = infinity the largest magnitude, for -infinity the smallest, for 0 how many elements are
    not 0; 'fro' is 2. No power leaves the range on the way. Where y is 0, so is its slope.

    Parameters: input, any shape; p, a number or 'fro'; dim, an axis, several, or None for all;
    keepdim, whether the axes stay with extent 1. Returns: an array without the axes.
    Raises: ShapeError, DTypeError; UnsupportedError for 'nuc'. Source: torch.norm.

    >>> import numpy as np
    >>> from lamella import functional as F
    >>> F.norm(np.array([[3.0, 4.0], [6.0, 8.0]], np.float32), dim=1)
    array([ 5., 10.], dtype=float32)
    """
    require_floating("norm", ("input",), (input._type,))
    if p == "fro" or p == 2:
        return input._reduce("norm", dim, keepdim)
    if isinstance(p, str):
        raise UnsupportedError(message("norm", "no such norm", {"p": p}, "a number or 'fro'"))
    size = input.abs()
    if p == math.inf:
        return size.amax(dim, keepdim)
    if p == -math.inf:
        return size.amin(dim, keepdim)
    if p == 0:
        return input.ne(0.0).to(input._type.dtype).sum(dim, keepdim)
    if p == 1:
        return size.sum(dim, keepdim)
    # Of ratios to what counts most, the largest or for p < 0 the smallest, no power overflows.
    base: Operand = detach(size.amax(dim, True) if p > 0 else size.amin(dim, True))
    alone = logical_or(base.eq(0.0), base.eq(math.inf))
    # Zeros apart: of a power below one the slope there is infinite, as is that of a root.
    zero = size.eq(0.0)
    ratio = where(logical_or(alone, zero), 1.0, size) / where(alone, 1.0, base)
    total = where(zero, 0.0, ratio ** float(p)).sum(dim, True)
    y = where(alone, base, base * where(alone, 1.0, total) ** (1.0 / float(p)))
    return y if keepdim else y.reshape(size.amax(dim).shape)


@function
def normalize(input: Operand, p: float = 2.0, dim: Dims = 1, eps: float = 1e-12) -> Operand:
    """Vectors of length one: y = input / max(norm(input), eps) along dim.

    Parameters: input, any shape; p, of norm; dim, an axis or several; eps, the least length.
    Returns: an array of input's shape. Raises: ShapeError, DTypeError.
    Source: torch.nn.functional.normalize.

    >>> import numpy as np
    >>> from lamella import functional as F
    >>> F.normalize(np.array([[3.0, 4.0]], np.float32))
    array([[0.6, 0.8]], dtype=float32)
    """
    length: Operand = norm(input, p, dim, True)
    return input / length.clamp(min=eps)


@function
def pairwise_distance(
    x1: Operand, x2: Operand, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False
) -> Operand:
    """Distance of two vectors: y = norm(x1 - x2 + eps) along the last axis.

    Parameters: x1, x2, (..., D), whose shapes broadcast; p, of norm; eps, which is added to each
    difference; keepdim, whether the last axis stays with extent 1.
    Returns: an array without the last axis. Raises: ShapeError, DTypeError.
    Source: torch.nn.functional.pairwise_distance.

    >>> import numpy as np
    >>> from lamella import functional as F
    >>> F.pairwise_distance(np.float32([[3.0, 0.0]]), np.float32([[0.0, 4.0]]), eps=0.0)
    array([5.], dtype=float32)
    """
    y: Operand = norm(x1 - x2 + eps, p, -1, keepdim)
    return y
