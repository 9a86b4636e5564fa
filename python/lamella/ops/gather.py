# SPDX-License-Identifier: Apache-2.0
"""Looking rows of a table up by index."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

from lamella.errors import DTypeError, ShapeError, message
from lamella.ir.types import Array, DType, TensorType
from lamella.ops.base import Lowered, Op, require_count, widened

if TYPE_CHECKING:
    from lamella._core import ProgramBuilder, Slot

__all__ = ["Embedding"]


@dataclass(frozen=True, slots=True)
class Embedding(Op):
    """y[i..., :] = weight[input[i...], :]; operands input (int64) and weight, as torch orders them.

    An index outside [0, rows) raises IndexError when the program runs.
    """

    def infer(self, inputs: Sequence[TensorType], /) -> tuple[TensorType, ...]:
        require_count("embedding", inputs, 2)
        indices, weight = inputs
        if indices.dtype is not DType.int64:
            raise DTypeError(
                message("embedding", "indices are not integers", {"input": indices.dtype}, "int64")
            )
        if len(weight.shape) != 2:
            raise ShapeError(
                message("embedding", "weight is no table", {"weight": weight.shape}, "two axes")
            )
        return (TensorType(indices.shape + weight.shape[1:], weight.dtype),)

    def reference(self, arrays: Sequence[Array], /) -> tuple[Array, ...]:
        indices, weight = arrays
        if indices.size and not 0 <= indices.min() <= indices.max() < len(weight):
            raise IndexError(
                message(
                    "embedding",
                    "index outside the table",
                    {"input": f"{indices.min()}..{indices.max()}", "weight": weight.shape},
                    f"0 <= input < {len(weight)}",
                )
            )
        return (widened(weight)[indices],)

    def lower(
        self,
        program: ProgramBuilder,
        inputs: Sequence[Lowered],
        outputs: Sequence[Lowered],
        scratch: Slot | None,
        /,
    ) -> None:
        indices, weight = inputs
        program.gather(
            row_bytes=prod(weight.type.shape[1:]) * weight.type.dtype.itemsize,
            rows=weight.type.shape[0],
            table=weight.slot,
            count=indices.type.size,
            indices=indices.slot,
            y=outputs[0].slot,
        )
