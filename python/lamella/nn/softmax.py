# SPDX-License-Identifier: Apache-2.0
"""Softmax, its mirror image and its logarithm, along an axis."""

from __future__ import annotations

from typing import Any

from lamella import functional as F
from lamella.errors import ShapeError, message
from lamella.nn.module import Module

__all__ = ["LogSoftmax", "Softmax", "Softmax2d", "Softmin"]


class _AlongAxis(Module):
    """An activation whose constructor takes the axis; None is the last one."""

    def __init__(self, dim: int | None = None) -> None:
        super().__init__()
        self.dim = dim

    @property
    def axis(self) -> int:
        """The axis as a number."""
        return -1 if self.dim is None else self.dim

    def extra_repr(self) -> str:
        return f"dim={self.dim}"


class Softmax(_AlongAxis):
    """y = exp(x) / sum of exp(x) along dim.

    Parameters: dim, the axis; None is the last one (torch guesses by rank, and deprecates that).
    Input and output: any shape. Source: torch.nn.Softmax.

    >>> import numpy as np
    >>> from lamella import nn
    >>> nn.Softmax(dim=-1)(np.zeros(2, np.float32))
    array([0.5, 0.5], dtype=float32)
    """

    def forward(self, x: Any) -> Any:
        return F.softmax(x, self.axis)


class Softmax2d(Module):
    """y = softmax of x over its channels, at each place of an image.

    Input and output: (N, C, H, W) or (C, H, W). Raises: ShapeError. Source: torch.nn.Softmax2d.

    >>> import numpy as np
    >>> from lamella import nn
    >>> nn.Softmax2d()(np.zeros((2, 1, 1), np.float32)).ravel()
    array([0.5, 0.5], dtype=float32)
    """

    def forward(self, x: Any) -> Any:
        y = F.softmax(x, -3)
        if y.ndim > 4:
            raise ShapeError(
                message("Softmax2d", "no image", {"x": y.shape}, "(N, C, H, W) or (C, H, W)")
            )
        return y


class Softmin(_AlongAxis):
    """y = softmax(-x) along dim.

    Parameters: dim, the axis; None is the last one. Input and output: any shape.
    Source: torch.nn.Softmin.

    >>> import numpy as np
    >>> from lamella import nn
    >>> nn.Softmin(dim=-1)(np.zeros(2, np.float32))
    array([0.5, 0.5], dtype=float32)
    """

    def forward(self, x: Any) -> Any:
        return F.softmin(x, self.axis)


class LogSoftmax(_AlongAxis):
    """y = log(softmax(x)) along dim, without overflow or cancellation.

    Parameters: dim, the axis; None is the last one. Input and output: any shape.
    Source: torch.nn.LogSoftmax.

    >>> import numpy as np
    >>> from lamella import nn
    >>> nn.LogSoftmax(dim=-1)(np.zeros(1, np.float32))
    array([0.], dtype=float32)
    """

    def forward(self, x: Any) -> Any:
        return F.log_softmax(x, self.axis)
