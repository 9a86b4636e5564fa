# SPDX-License-Identifier: Apache-2.0
"""A transformer's encoder and one layer that decodes, in lamella's layers: what sizes.py measures.

Sequences are (..., T, D); an encoder takes any number of them of any length. A decoding layer keeps
the keys and values of one sequence in buffers of fixed capacity, (heads, capacity, D / heads).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from lamella import functional as F
from lamella import nn

__all__ = ["Attention", "Block", "Decoder", "Encoder"]


class Attention(nn.Module):
    """Self-attention: softmax(q k^T / sqrt(d)) v in each head of d = D / heads, then a layer."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads, self.scale = heads, (width // heads) ** -0.5
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: Any) -> Any:
        parts = self.qkv(x).chunk(3, dim=-1)
        q, k, v = (part.unflatten(-1, (self.heads, -1)).transpose(-3, -2) for part in parts)
        weights = (q @ k.mT * self.scale).softmax(-1)
        return self.out((weights @ v).transpose(-3, -2).flatten(-2))


class Block(nn.Module):
    """x + attention(norm(x)), then x + MLP(norm(x)) with four times the width inside."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.first, self.attention = nn.LayerNorm(width), Attention(width, heads)
        self.second = nn.LayerNorm(width)
        self.mlp = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )

    def forward(self, x: Any) -> Any:
        x = x + self.attention(self.first(x))
        return x + self.mlp(self.second(x))


class Encoder(nn.Module):
    """The blocks, one after the other."""

    def __init__(self, blocks: int, width: int, heads: int) -> None:
        super().__init__()
        self.blocks = nn.Sequential(*(Block(width, heads) for _ in range(blocks)))

    def forward(self, x: Any) -> Any:
        return self.blocks(x)


class Decoder(nn.Module):
    """Attention of one token (D,) to those before it, whose keys and values the buffers hold.

    length, an integer (): how many there are; theirs are the first places of the buffers.
    """

    keys: Any
    values: Any

    def __init__(self, width: int, heads: int, capacity: int) -> None:
        super().__init__()
        self.heads, self.scale = heads, (width // heads) ** -0.5
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        for name in ("keys", "values"):
            empty = np.zeros((heads, capacity, width // heads), np.float32)
            self.register_buffer(name, empty)
        self.places = np.arange(capacity, dtype=np.float32)

    def forward(self, x: Any, length: Any) -> Any:
        parts = self.qkv(x).chunk(3, dim=-1)
        q, k, v = (part.unflatten(-1, (self.heads, 1, -1)) for part in parts)
        self.keys = self.keys.index_copy(1, length, k)
        self.values = self.values.index_copy(1, length, v)
        scores = q @ self.keys.mT * self.scale
        seen = F.where(self.places <= length.float(), scores, -np.inf)
        return self.out((seen.softmax(-1) @ self.values).flatten())
