# SPDX-License-Identifier: Apache-2.0
"""Where gradients end.

`out=` is written to and returned.
"""

from __future__ import annotations

from lamella.ops.detach import Detach
from lamella.runtime.function import function
from lamella.runtime.tensor import Operand, apply

__all__ = ["detach"]


@function
def detach(input: Operand) -> Operand:
    """The same numbers, of which what they were made of gets no gradient: y = input.

    Parameters: input, any shape. Returns: an array like input. Raises: DTypeError.
    Source: torch.Tensor.detach.

    >>> import numpy as np
    >>> from lamella import functional as F
    >>> F.detach(np.array([1.0], np.float32))
    array([1.], dtype=float32)
    """
    return apply(Detach(), input)
