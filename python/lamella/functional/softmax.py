# SPDX-License-Identifier: Apache-2.0
"""Softmax, its mirror image and its logarithm.

A row's result does not depend on the rows around it. `out=` is written to and returned.
"""

from __future__ import annotations

from typing import Any

from lamella.runtime.function import function
from lamella.runtime.tensor import Operand

__all__ = ["log_softmax", "softmax", "softmin"]


@function
def softmax(input: Operand, dim: int = -1, dtype: Any = None) -> Operand:
    """Exponentials scaled to add up to one along an axis.

    y = exp(input - m) / sum of exp(input - m), m = max(input), along dim

    Parameters: input, any shape; dim, the axis; dtype, what input is cast to first.
    Returns: an array of input's shape. Raises: ShapeError, DTypeError.
    Source: torch.nn.functional.softmax.

    >>> import numpy as np
    >>> from lamella import functional as F
    >>> F.softmax(np.zeros(4, np.float32))
    array([0.25, 0.25, 0.25, 0.25], dtype=float32)
    """
    return (input if dtype is None else input.to(dtype)).softmax(dim)


@function
def softmin(input: Operand, dim: int = -1, dtype: Any = None) -> Operand:
    """Softmax of the negated input: y = softmax(-input).

    Parameters: input, any shape; dim, the axis; dtype, what input is cast to first.
    Returns: an array of input's shape. Raises: ShapeError, DTypeError.
    Source: torch.nn.functional.softmin.

    >>> import numpy as np
    >>> from lamella import functional as F
    >>> F.softmin(np.zeros(4, np.float32))
    array([0.25, 0.25, 0.25, 0.25], dtype=float32)
    """
    return (-(input if dtype is None else input.to(dtype))).softmax(dim)


@function
def log_softmax(input: Operand, dim: int = -1, dtype: Any = None) -> Operand:
    """Logarithm of softmax, without overflow or cancellation.

    y = (input - m) - log(sum of exp(input - m)), m = max(input), along dim

    Parameters: input, any shape; dim, the axis; dtype, what input is cast to first.
    Returns: an array of input's shape. Raises: ShapeError, DTypeError.
    Source: torch.nn.functional.log_softmax.

    >>> import numpy as np
    >>> from lamella import functional as F
    >>> F.log_softmax(np.array([0.0], np.float32))
    array([0.], dtype=float32)
    """
    return (input if dtype is None else input.to(dtype)).log_softmax(dim)
