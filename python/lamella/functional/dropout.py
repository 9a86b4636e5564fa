# SPDX-License-Identifier: Apache-2.0
"""Dropout: elements that random numbers choose become zero.

What an element gets depends on the seed, the call and its position alone. `out=` is written to and
returned.
"""

from __future__ import annotations

from lamella.errors import message
from lamella.ops.base import require_floating
from lamella.ops.random import Dropout
from lamella.runtime.function import function
from lamella.runtime.tensor import Operand, apply
from lamella.runtime.trace import current

__all__ = ["dropout"]


@function(draws=True)
def dropout(
    input: Operand, p: float = 0.5, training: bool = True, inplace: bool = False
) -> Operand:
    """In training, zeroes elements at random and scales up the others; else gives input back.

    y = input / (1 - p) with probability 1 - p, 0 with probability p

    The draws come from a counter-based generator (Philox) that lamella.manual_seed restarts: they
    do not depend on the number of threads.

    Parameters: input, any shape; p, the probability, 0 <= p <= 1; training; inplace, accepted and
    ignored. Returns: an array of input's shape. Raises: DTypeError; ValueError for another p.
    Source: Srivastava et al. 2014, "Dropout"; Salmon et al. 2011, "Parallel random numbers: as
    easy as 1, 2, 3"; torch.nn.functional.dropout.

    >>> import numpy as np
    >>> from lamella import functional as F
    >>> F.dropout(np.array([1.0], np.float32), training=False)
    array([1.], dtype=float32)
    """
    if not 0.0 <= p <= 1.0:
        raise ValueError(message("dropout", "not a probability", {"p": p}, "0 <= p <= 1"))
    require_floating("dropout", ("input",), (input._type,))
    if not training or p == 0.0:
        return input
    return apply(Dropout(float(p), current().stream()), input)
