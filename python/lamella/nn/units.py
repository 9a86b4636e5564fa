# SPDX-License-Identifier: Apache-2.0
"""Units that several features share: gated linear units, maxout."""

from __future__ import annotations

from typing import Any

from lamella import functional as F
from lamella.nn.module import Module

__all__ = ["GLU", "Maxout"]


class GLU(Module):
    """y = a * sigmoid(b), a and b the halves of x along dim.

    Parameters: dim, the axis. Input: an even extent at dim; output: half of it.
    Source: Dauphin et al. 2016, "Language modeling with gated convolutional networks".

    >>> import numpy as np
    >>> from lamella import nn
    >>> nn.GLU()(np.array([4.0, 0.0], np.float32))
    array([2.], dtype=float32)
    """

    def __init__(self, dim: int = -1) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, x: Any) -> Any:
        return F.glu(x, self.dim)

    def extra_repr(self) -> str:
        return f"dim={self.dim}"


class Maxout(Module):
    """The largest of each num_pieces neighbours along dim: a Linear of K * num_pieces gives K.

    Parameters: num_pieces >= 1; dim, the axis. Input: an extent at dim that num_pieces divides;
    output: 1 / num_pieces of it. Source: Goodfellow et al. 2013, "Maxout networks".

    >>> import numpy as np
    >>> from lamella import nn
    >>> nn.Maxout(2)(np.array([1.0, 3.0, 5.0, 4.0], np.float32))
    array([3., 5.], dtype=float32)
    """

    def __init__(self, num_pieces: int = 2, dim: int = -1) -> None:
        super().__init__()
        self.num_pieces = num_pieces
        self.dim = dim

    def forward(self, x: Any) -> Any:
        return F.maxout(x, self.num_pieces, self.dim)

    def extra_repr(self) -> str:
        return f"num_pieces={self.num_pieces}, dim={self.dim}"
