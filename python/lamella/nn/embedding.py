# SPDX-License-Identifier: Apache-2.0
"""Embedding: a learnt table of rows."""

from __future__ import annotations

from typing import Any

import numpy as np

from lamella import functional as F
from lamella.errors import ShapeError, UnsupportedError, message
from lamella.nn import init
from lamella.nn.module import Module
from lamella.nn.parameter import Parameter, new_array

__all__ = ["Embedding"]


class Embedding(Module):
    """y[...] = weight[x[...]].

    Parameters: num_embeddings, rows; embedding_dim, D; padding_idx, a row of zeros that training
    leaves alone; max_norm, sparse and scale_grad_by_freq only in their defaults; device, None or
    'cpu'; dtype, float32 by default. weight is (rows, D), drawn from N(0, 1).
    Input: integers of any shape, 0 <= index < rows; output: that shape with D behind.
    Raises: ShapeError for a padding_idx outside the table; IndexError for an index outside, when
    it runs. Source: torch.nn.Embedding.

    >>> import numpy as np
    >>> from lamella import nn
    >>> nn.Embedding(10, 3, padding_idx=0)(np.array([[0, 2]])).shape
    (1, 2, 3)
    """

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        padding_idx: int | None = None,
        max_norm: float | None = None,
        norm_type: float = 2.0,
        scale_grad_by_freq: bool = False,
        sparse: bool = False,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        if max_norm is not None or scale_grad_by_freq or sparse:
            raise UnsupportedError(
                message(
                    "Embedding",
                    "not offered",
                    {"max_norm": max_norm, "scale_grad_by_freq": scale_grad_by_freq,
                     "sparse": sparse},
                    "their defaults",
                )
            )  # fmt: skip
        shape = (num_embeddings, embedding_dim)
        self.num_embeddings = num_embeddings
        self.embedding_dim = embedding_dim
        self.weight = Parameter(new_array("Embedding", shape, device, dtype))
        if padding_idx is not None:
            if not -num_embeddings <= padding_idx < num_embeddings:
                raise ShapeError(
                    message(
                        "Embedding",
                        "no such row",
                        {"padding_idx": padding_idx, "num_embeddings": num_embeddings},
                        "-num_embeddings <= padding_idx < num_embeddings",
                    )
                )
            padding_idx %= num_embeddings
        self.padding_idx = padding_idx
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draws the table anew; the padding row is zero."""
        init.normal_(self.weight)
        if self.padding_idx is not None:
            table = np.array(self.weight.data)
            table[self.padding_idx] = 0
            self.weight.data = table

    @classmethod
    def from_pretrained(
        cls, embeddings: Any, freeze: bool = True, padding_idx: int | None = None
    ) -> Embedding:
        """A layer with this table (rows, D); freeze keeps optimisers off it.

        >>> from lamella import nn
        >>> nn.Embedding.from_pretrained([[1.0, 2.0]]).embedding_dim
        2
        """
        weight = Parameter(embeddings, requires_grad=not freeze)
        if weight.ndim != 2:
            raise ShapeError(
                message("Embedding", "not a table", {"embeddings": weight.shape}, "2 dimensions")
            )
        rows, width = weight.shape
        layer = cls(rows, width, padding_idx=padding_idx)
        layer.weight = weight
        return layer

    def forward(self, x: Any) -> Any:
        return F.embedding(x, self.weight, self.padding_idx)

    def extra_repr(self) -> str:
        padding = "" if self.padding_idx is None else f", padding_idx={self.padding_idx}"
        return f"{self.num_embeddings}, {self.embedding_dim}{padding}"
