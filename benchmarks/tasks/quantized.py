# SPDX-License-Identifier: Apache-2.0
"""Models of integers: products of bytes, and a transformer's encoder after a dynamic quantiser.

Files, so that every rival that runs ONNX meets the same graph. A product is MatMulInteger of uint8
by a constant of int8, whose bits are compared; the encoder is lamella's of `encoder.py`, quantised
by ONNX Runtime: DynamicQuantizeLinear, MatMulInteger, Cast, Mul and Add for each of its layers.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from lamella import functional as F
from lamella import nn
from lamella.config import manual_seed
from lamella.onnx.network import Model, load
from lamella.onnx.writer import encode

from ..encoder import Encoder
from .work import Work

# A value that one library rounds up and another down moves an integer by one, of the 255 that span
# an array, and every layer behind has such: units of the largest element of the output.
TOLERANCE = 2e-2


class _Product(nn.Module):
    """x @ w of bytes, the weight inside."""

    def __init__(self, w: np.ndarray) -> None:
        super().__init__()
        self.w = w

    def forward(self, x: Any) -> Any:
        return F.matmul_integer(x, self.w)


@dataclass(frozen=True)
class Product:
    """uint8 (m, k) by a constant int8 (k, n)."""

    m: int
    k: int
    n: int
    family: str = "model"

    @property
    def name(self) -> str:
        return f"u8 x s8 {self.m}x{self.k}x{self.n}"

    @property
    def work(self) -> Work:
        read = float(self.m * self.k + self.k * self.n)
        operations = 2.0 * self.m * self.k * self.n
        return Work(0.0, read, 4.0 * self.m * self.n, byte_operations=operations)

    def _arrays(self) -> tuple[np.ndarray, np.ndarray]:
        rng = np.random.default_rng(8)
        x = rng.integers(0, 256, (self.m, self.k), np.uint8)
        return x, rng.integers(-128, 128, (self.k, self.n), np.int8)

    def file(self) -> bytes:
        """The model as bytes of a file."""
        x, w = self._arrays()
        return encode(_Product(w), x)

    def model(self) -> Model:
        """The model as lamella reads it."""
        return load(self.file())

    def data(self) -> dict[str, np.ndarray]:
        return {"x": self._arrays()[0]}

    def error(self, arrays: dict[str, np.ndarray], answer: Any) -> float:
        x, w = self._arrays()
        # Exact in float64: below 2^53.
        expected = x.astype(np.float64) @ w.astype(np.float64)
        found = np.asarray(answer[0] if isinstance(answer, list | tuple) else answer)
        return 0.0 if np.array_equal(found, expected.astype(np.int32)) else float("inf")


@lru_cache(maxsize=1)
def _encoder(blocks: int, width: int, tokens: int) -> bytes:
    from ..rivals.onnxruntime import quantised

    manual_seed(0)
    net = Encoder(blocks, width, 8).eval()
    return quantised(encode(net, np.zeros((1, tokens, width), np.float32)))


@dataclass(frozen=True)
class QuantizedEncoder:
    """Blocks of attention and an MLP on one sequence, all products with weights in bytes."""

    blocks: int
    width: int
    tokens: int
    family: str = "model"

    @property
    def name(self) -> str:
        return f"int8 encoder {self.blocks}x{self.width}, {self.tokens} tokens"

    @property
    def work(self) -> Work:
        weights = 12.0 * self.blocks * self.width**2
        attention = 4.0 * self.blocks * self.tokens**2 * self.width
        one = 4.0 * self.tokens * self.width
        return Work(attention, weights + one, one, byte_operations=2.0 * self.tokens * weights)

    def file(self) -> bytes:
        """The model as bytes of a file; wants onnxruntime and onnx, whose quantiser makes it."""
        return _encoder(self.blocks, self.width, self.tokens)

    def model(self) -> Model:
        """The model as lamella reads it."""
        return load(self.file())

    def data(self) -> dict[str, np.ndarray]:
        rng = np.random.default_rng(9)
        return {"x": rng.standard_normal((1, self.tokens, self.width)).astype(np.float32)}

    def error(self, arrays: dict[str, np.ndarray], answer: Any) -> float:
        from .model import reference

        (expected,) = reference(self.model(), arrays)
        found = np.asarray(answer[0] if isinstance(answer, list | tuple) else answer)
        if found.shape != expected.shape:
            return float("inf")
        scale = TOLERANCE * float(np.max(np.abs(expected)))
        return float(np.max(np.abs(found - expected)) / scale)


TASKS = [
    Product(512, 512, 512),
    Product(128, 768, 3072),
    Product(1, 4096, 4096),
    QuantizedEncoder(4, 256, 128),
]
DEFAULT = TASKS
