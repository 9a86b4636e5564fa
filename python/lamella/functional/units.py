# SPDX-License-Identifier: Apache-2.0
"""Units that several features share: one gates the other, or the largest stands for all.

`out=` is written to and returned.
"""

from __future__ import annotations

from lamella.errors import ShapeError, message
from lamella.ir.types import normalize_axis
from lamella.runtime.function import function
from lamella.runtime.tensor import Operand

__all__ = ["glu", "maxout"]


@function
def glu(input: Operand, dim: int = -1) -> Operand:
    """Gated linear unit: y = a * sigmoid(b), a and b the two halves of input along dim.

    Parameters: input, any shape with an even extent at dim; dim, the axis.
    Returns: an array with half the extent at dim. Raises: ShapeError, DTypeError.
    Source: Dauphin et al. 2016, "Language modeling with gated convolutional networks";
    torch.nn.functional.glu.

    >>> import numpy as np
    >>> from lamella import functional as F
    >>> F.glu(np.array([4.0, 0.0], np.float32))
    array([2.], dtype=float32)
    """
    axis = normalize_axis("glu", dim, input.ndim)
    if input.shape[axis] % 2:
        raise ShapeError(
            message("glu", "no halves", {"input": input.shape, "dim": dim}, "an even extent")
        )
    half = input.shape[axis] // 2
    front = (slice(None),) * axis
    value, gate = input[(*front, slice(half))], input[(*front, slice(half, None))]
    return value * gate.sigmoid()


@function
def maxout(input: Operand, num_pieces: int, dim: int = -1) -> Operand:
    """The largest of each num_pieces neighbours along dim.

    y[j] = max(input[j * num_pieces + i] for i in range(num_pieces)), along dim

    Parameters: input, any shape; num_pieces >= 1, a divisor of the extent at dim; dim, the axis.
    Returns: an array with 1 / num_pieces of the extent at dim. Raises: ShapeError, DTypeError.
    Source: Goodfellow et al. 2013, "Maxout networks".

    >>> import numpy as np
    >>> from lamella import functional as F
    >>> F.maxout(np.array([1.0, 3.0, 5.0, 4.0], np.float32), 2)
    array([3., 5.], dtype=float32)
    """
    axis = normalize_axis("maxout", dim, input.ndim)
    extent = input.shape[axis]
    if num_pieces < 1 or extent % num_pieces:
        raise ShapeError(
            message(
                "maxout",
                "pieces do not divide the axis",
                {"input": input.shape, "dim": dim, "num_pieces": num_pieces},
                f"num_pieces >= 1 and input.shape[{dim}] % num_pieces == 0",
            )
        )
    pieces = (*input.shape[:axis], extent // num_pieces, num_pieces, *input.shape[axis + 1 :])
    return input.reshape(pieces).amax(axis + 1)
