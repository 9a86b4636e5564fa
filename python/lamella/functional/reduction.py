# SPDX-License-Identifier: Apache-2.0
"""Reductions over axes. `dim` is an axis, a tuple of axes, or None for all of them.

Every reduction runs in the fixed order of DESIGN.md, "Same bits": a row's result depends neither
on the rows around it nor on the number of threads. NaN goes through. Empty axes give the neutral
element where there is one (0, 1, -infinity for logsumexp), NaN for mean and var, and ShapeError
where there is none. Integers and truth values are added and multiplied as int64, which wraps
around. `out=` is written to and returned.
"""

from __future__ import annotations

from lamella.runtime.function import function
from lamella.runtime.tensor import Dims, Extremes, Operand

__all__ = [
    "all",
    "amax",
    "amin",
    "any",
    "argmax",
    "argmin",
    "logsumexp",
    "max",
    "mean",
    "min",
    "prod",
    "std",
    "sum",
    "var",
]


@function
def sum(input: Operand, dim: Dims = None, keepdim: bool = False) -> Operand:
    """Adds up: y = sum of input over dim.

    Parameters: input, any shape; dim, an axis, several, or None for all; keepdim, whether
    the reduced axes stay with extent 1. Returns: an array without the reduced axes.
    Raises: ShapeError, DTypeError. Source: torch.sum.

    >>> import numpy as np
    >>> from lamella import functional as F
    >>> F.sum(np.array([[1.0, 2.0], [3.0, 4.0]], np.float32), 1)
    array([3., 7.], dtype=float32)
    """
    return input.sum(dim, keepdim)


@function
def mean(input: Operand, dim: Dims = None, keepdim: bool = False) -> Operand:
    """Arithmetic mean: y = sum of input over dim / number of terms.

    Parameters: input, any shape; dim, an axis, several, or None for all; keepdim, whether
    the reduced axes stay with extent 1. Returns: an array without the reduced axes.
    Raises: ShapeError, DTypeError. Source: torch.mean.

    >>> import numpy as np
    >>> from lamella import functional as F
    >>> F.mean(np.array([[1.0, 2.0], [3.0, 4.0]], np.float32), 1)
    array([1.5, 3.5], dtype=float32)
    """
    return input.mean(dim, keepdim)


@function
def prod(input: Operand, dim: Dims = None, keepdim: bool = False) -> Operand:
    """Multiplies up: y = product of input over dim.

    Parameters: input, any shape; dim, an axis, several, or None for all; keepdim, whether
    the reduced axes stay with extent 1. Returns: an array without the reduced axes.
    Raises: ShapeError, DTypeError. Source: torch.prod.

    >>> import numpy as np
    >>> from lamella import functional as F
    >>> F.prod(np.array([[1.0, 2.0], [3.0, 4.0]], np.float32), 1)
    array([ 2., 12.], dtype=float32)
    """
    return input.prod(dim, keepdim)


@function
def amax(input: Operand, dim: Dims = None, keepdim: bool = False) -> Operand:
    """Largest element over dim; NaN when there is one.

    Parameters: input, any shape; dim, an axis, several, or None for all; keepdim, whether
    the reduced axes stay with extent 1. Returns: an array without the reduced axes.
    Raises: ShapeError, DTypeError. Source: torch.amax.

    >>> import numpy as np
    >>> from lamella import functional as F
    >>> F.amax(np.array([[1.0, 2.0], [3.0, 4.0]], np.float32), 1)
    array([2., 4.], dtype=float32)
    """
    return input.amax(dim, keepdim)


@function
def amin(input: Operand, dim: Dims = None, keepdim: bool = False) -> Operand:
    """Smallest element over dim; NaN when there is one.

    Parameters: input, any shape; dim, an axis, several, or None for all; keepdim, whether
    the reduced axes stay with extent 1. Returns: an array without the reduced axes.
    Raises: ShapeError, DTypeError. Source: torch.amin.

    >>> import numpy as np
    >>> from lamella import functional as F
    >>> F.amin(np.array([[1.0, 2.0], [3.0, 4.0]], np.float32), 1)
    array([1., 3.], dtype=float32)
    """
    return input.amin(dim, keepdim)


@function
def max(input: Operand, dim: int | None = None, keepdim: bool = False) -> Operand | Extremes:
    """Largest element of all, or along one axis together with its position.

    As in torch the result is one array without dim, and a pair (values, indices) with it; of equal
    elements the first counts, NaN counts as largest. For the larger of two arrays: maximum.

    Parameters: input, any shape; dim, an axis or None; keepdim, whether the axis stays with
    extent 1. Returns: an array, or Extremes(values, indices), indices being int64.
    Raises: ShapeError, DTypeError. Source: torch.max.

    >>> import numpy as np
    >>> from lamella import functional as F
    >>> F.max(np.array([[1.0, 2.0], [3.0, 4.0]], np.float32), 1).indices
    array([1, 1])
    """
    return input.max(dim, keepdim)


@function
def min(input: Operand, dim: int | None = None, keepdim: bool = False) -> Operand | Extremes:
    """Smallest element of all, or along one axis together with its position.

    As in torch the result is one array without dim, and a pair (values, indices) with it; of equal
    elements the first counts, NaN counts as smallest. For the smaller of two arrays: minimum.

    Parameters: input, any shape; dim, an axis or None; keepdim, whether the axis stays with
    extent 1. Returns: an array, or Extremes(values, indices), indices being int64.
    Raises: ShapeError, DTypeError. Source: torch.min.

    >>> import numpy as np
    >>> from lamella import functional as F
    >>> F.min(np.array([[1.0, 2.0], [3.0, 4.0]], np.float32), 1).indices
    array([0, 0])
    """
    return input.min(dim, keepdim)


@function
def any(input: Operand, dim: Dims = None, keepdim: bool = False) -> Operand:
    """Whether at least one element over dim is not zero; NaN is not, and of nothing none is.

    Parameters: input, any shape and type; dim, an axis, several, or None for all; keepdim, whether
    the reduced axes stay with extent 1. Returns: a bool array without the reduced axes.
    Raises: ShapeError. Source: torch.any.

    >>> import numpy as np
    >>> from lamella import functional as F
    >>> F.any(np.array([[0, 0], [0, 2]]), 1)
    array([False,  True])
    """
    return input.any(dim, keepdim)


@function
def all(input: Operand, dim: Dims = None, keepdim: bool = False) -> Operand:
    """Whether no element over dim is zero; of nothing, all are not.

    Parameters: input, any shape and type; dim, an axis, several, or None for all; keepdim, whether
    the reduced axes stay with extent 1. Returns: a bool array without the reduced axes.
    Raises: ShapeError. Source: torch.all.

    >>> import numpy as np
    >>> from lamella import functional as F
    >>> F.all(np.array([[1, 2], [0, 2]]), 1)
    array([ True, False])
    """
    return input.all(dim, keepdim)


@function
def argmax(input: Operand, dim: int | None = None, keepdim: bool = False) -> Operand:
    """Position of the first largest element; NaN counts as largest.

    Parameters: input, any shape; dim, an axis, or None for the position in the flattened array;
    keepdim, whether the reduced axes stay with extent 1. Returns: an int64 array.
    Raises: ShapeError (also for empty axes), DTypeError. Source: torch.argmax.

    >>> import numpy as np
    >>> from lamella import functional as F
    >>> F.argmax(np.array([[1.0, 2.0], [4.0, 3.0]], np.float32), 1)
    array([1, 0])
    """
    return input.argmax(dim, keepdim)


@function
def argmin(input: Operand, dim: int | None = None, keepdim: bool = False) -> Operand:
    """Position of the first smallest element; NaN counts as smallest.

    Parameters: input, any shape; dim, an axis, or None for the position in the flattened array;
    keepdim, whether the reduced axes stay with extent 1. Returns: an int64 array.
    Raises: ShapeError (also for empty axes), DTypeError. Source: torch.argmin.

    >>> import numpy as np
    >>> from lamella import functional as F
    >>> F.argmin(np.array([[1.0, 2.0], [4.0, 3.0]], np.float32), 1)
    array([0, 1])
    """
    return input.argmin(dim, keepdim)


@function
def var(
    input: Operand, dim: Dims = None, *, correction: float = 1.0, keepdim: bool = False
) -> Operand:
    """Variance: y = sum of (input - mean)**2 over dim / (number of terms - correction).

    Parameters: input, any shape; dim, an axis, several, or None for all; correction, 1 for the
    unbiased estimate, 0 for the population's; keepdim, whether the reduced axes stay with extent 1.
    Returns: an array without the reduced axes; NaN where no term is left after correction.
    Raises: ShapeError, DTypeError. Source: torch.var.

    >>> import numpy as np
    >>> from lamella import functional as F
    >>> F.var(np.array([[1.0, 3.0], [2.0, 6.0]], np.float32), 1)
    array([2., 8.], dtype=float32)
    """
    return input.var(dim, correction, keepdim)


@function
def std(
    input: Operand, dim: Dims = None, *, correction: float = 1.0, keepdim: bool = False
) -> Operand:
    """Standard deviation: y = sqrt(var(input)).

    Parameters: input, any shape; dim, an axis, several, or None for all; correction, 1 for the
    unbiased estimate, 0 for the population's; keepdim, whether the reduced axes stay with extent 1.
    Returns: an array without the reduced axes; NaN where no term is left after correction.
    Raises: ShapeError, DTypeError. Source: torch.std.

    >>> import numpy as np
    >>> from lamella import functional as F
    >>> F.std(np.array([[1.0, 3.0], [2.0, 6.0]], np.float32), 1, correction=0)
    array([1., 2.], dtype=float32)
    """
    return input.std(dim, correction, keepdim)


@function
def logsumexp(input: Operand, dim: Dims = None, keepdim: bool = False) -> Operand:
    """Logarithm of a sum of exponentials, without overflow.

    y = log(sum of exp(input) over dim) = m + log(sum of exp(input - m)), m = max(input)

    Parameters: input, any shape; dim, an axis, several, or None for all; keepdim, whether
    the reduced axes stay with extent 1. Returns: an array without the reduced axes.
    Raises: ShapeError, DTypeError. Source: torch.logsumexp.

    >>> import numpy as np
    >>> from lamella import functional as F
    >>> F.logsumexp(np.array([1000.0], np.float32))
    array(1000., dtype=float32)
    """
    return input.logsumexp(dim, keepdim)
