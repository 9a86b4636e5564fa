# SPDX-License-Identifier: Apache-2.0
"""What operands that are indices have in common: their type, their range, how they lie.

An index operand has as many axes as what it picks from. In front of the axis and behind it, it has
either the same extents, or ones: then an index counts for all entries alike, and whole rows move.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from lamella._core import IndexSpec
from lamella.errors import DTypeError, ShapeError, message
from lamella.ir.types import Array, DType, Shape, TensorType, same_shape
from lamella.ops.base import Lowered, Op, require_count

if TYPE_CHECKING:
    from lamella._core import ProgramBuilder

__all__ = ["Index", "counted", "layout", "require_indices"]


def require_indices(op: str, index: TensorType) -> None:
    """Raises DTypeError unless indices are int64."""
    if index.dtype is not DType.int64:
        raise DTypeError(
            message(
                op,
                "indices are not integers",
                {"index": index.dtype},
                "int64",
                "Convert with astype(np.int64) or .long()",
            )
        )


def layout(op: str, axis: int, shape: Shape, index: Shape) -> tuple[bool, bool]:
    """Whether the extents in front of the axis, and those behind it, have indices of their own.

    Raises ShapeError for an index operand that is neither whole nor one in either group.
    """
    fits = len(index) == len(shape) and 0 <= axis < len(shape)
    own: list[bool] = []
    for part in (slice(axis), slice(axis + 1, None)) if fits else ():
        alike = all(extent == 1 for extent in index[part])
        own.append(not alike)
        fits = fits and (alike or same_shape(index[part], shape[part]))
    if not fits:
        raise ShapeError(
            message(
                op,
                "indices do not fit",
                {"input": shape, "index": index, "dim": axis},
                "as many axes, and in front of dim and behind it the same extents or ones",
            )
        )
    return own[0], own[1]


def counted(op: str, index: Array, rows: int, from_end: bool) -> Array:
    """Indices counted from the front; IndexError for one outside."""
    first = -rows if from_end else 0
    if index.size and not first <= index.min() <= index.max() < rows:
        raise IndexError(
            message(
                op,
                "an index is outside the axis",
                {"index": f"{index.min()}..{index.max()}", "extent": rows},
                f"{first} <= index < {rows}",
            )
        )
    return np.where(index < 0, index + rows, index)


@dataclass(frozen=True, slots=True)
class Index(Op):
    """y = input, entries of an axis of so many rows, counted from the front.

    An index outside [0, rows), or with from_end outside [-rows, rows), raises IndexError when the
    program runs.
    """

    rows: int
    from_end: bool = False
    overwrites = True
    differentiable = False
    raises = True
    positions = (0,)

    def __str__(self) -> str:
        return f"index({self.rows}{', from_end' if self.from_end else ''})"

    def infer(self, inputs: Sequence[TensorType], /) -> tuple[TensorType, ...]:
        require_count("index", inputs, 1)
        require_indices("index", inputs[0])
        return (inputs[0],)

    def reference(self, arrays: Sequence[Array], /) -> tuple[Array, ...]:
        return (counted("index", arrays[0], self.rows, self.from_end),)

    def lower(
        self,
        program: ProgramBuilder,
        inputs: Sequence[Lowered],
        outputs: Sequence[Lowered],
        /,
    ) -> None:
        spec = IndexSpec(rows=self.rows, count=inputs[0].type.size, from_end=self.from_end)
        program.add(spec, indices=inputs[0].slot, y=outputs[0].slot)
