# SPDX-License-Identifier: Apache-2.0
"""Dropout: random zeros in training, nothing in inference."""

from __future__ import annotations

from typing import Any

from lamella import functional as F
from lamella.errors import message
from lamella.nn.module import Module

__all__ = ["Dropout"]


class Dropout(Module):
    """In training y = x / (1 - p) with probability 1 - p, else 0; in inference y = x.

    Parameters: p, the probability of a zero, 0 <= p <= 1; inplace, accepted and ignored.
    Input and output: any shape. Raises: ValueError for another p.
    Source: Srivastava et al. 2014, "Dropout: a simple way to prevent neural networks from
    overfitting"; torch.nn.Dropout.

    >>> import numpy as np
    >>> from lamella import nn
    >>> nn.Dropout(0.5).eval()(np.ones(3, np.float32))
    array([1., 1., 1.], dtype=float32)
    """

    def __init__(self, p: float = 0.5, inplace: bool = False) -> None:
        super().__init__()
        if not 0.0 <= p <= 1.0:
            raise ValueError(message("Dropout", "not a probability", {"p": p}, "0 <= p <= 1"))
        self.p = float(p)
        self.inplace = inplace

    def forward(self, x: Any) -> Any:
        return F.dropout(x, self.p, self.training)

    def extra_repr(self) -> str:
        return f"p={self.p}, inplace={self.inplace}"
