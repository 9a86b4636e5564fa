# SPDX-License-Identifier: Apache-2.0
"""The last axis in order, or the first of that order; and where numbers belong in such an axis.

The order is stable and total: NaN stand above all numbers and equal each other, -0 equals 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Literal

import numpy as np

from lamella._core import SearchSpec, SortSpec
from lamella.errors import DTypeError, ShapeError, message
from lamella.ir.graph import Place, Value
from lamella.ir.types import Array, DType, TensorType, same_shape
from lamella.ops.base import Lowered, Op, require_count, widened
from lamella.ops.gather import Scatter

if TYPE_CHECKING:
    from lamella._core import ProgramBuilder

__all__ = ["Search", "Sort"]

# Positions are 32 bits wide while they are sorted.
_MOST = 2**32 - 1


@dataclass(frozen=True, slots=True)
class Sort(Op):
    """The first `wanted` elements of the last axis in order, and their positions as int64."""

    wanted: int
    descending: bool = False
    optional_outputs = True

    def __str__(self) -> str:
        return f"sort({self.wanted}{', descending' if self.descending else ''})"

    def infer(self, inputs: Sequence[TensorType], /) -> tuple[TensorType, ...]:
        require_count("sort", inputs, 1)
        (x,) = inputs
        if not x.shape or not 0 <= self.wanted <= x.shape[-1] or x.shape[-1] > _MOST:
            raise ShapeError(
                message(
                    "sort",
                    "more elements are wanted than there are",
                    {"input": x.shape, "k": self.wanted},
                    "0 <= k <= extent of the axis < 2**32",
                )
            )
        shape = (*x.shape[:-1], self.wanted)
        return TensorType(shape, x.dtype), TensorType(shape, DType.int64)

    def reference(self, arrays: Sequence[Array], /) -> tuple[Array, ...]:
        x = widened(arrays[0])
        if self.descending:
            # Stable from the end, so that equal elements keep their order.
            back = np.argsort(np.flip(x, -1), axis=-1, kind="stable")
            order = x.shape[-1] - 1 - np.flip(back, -1)
        else:
            order = np.argsort(x, axis=-1, kind="stable")
        order = order[..., : self.wanted]
        return np.take_along_axis(x, order, -1), order

    def grad(
        self,
        place: Place,
        inputs: Sequence[Value],
        outputs: Sequence[Value],
        dys: Sequence[Value | None],
    ) -> tuple[Value | None, ...]:
        (x,), dy = inputs, dys[0]
        if dy is None or not x.dtype.is_floating:
            return (None,)
        axis = len(x.shape) - 1
        return (place(Scatter(axis, "sum", rows=x.shape[axis]), outputs[1], dy),)

    def lower(
        self,
        program: ProgramBuilder,
        inputs: Sequence[Lowered],
        outputs: Sequence[Lowered],
        /,
    ) -> None:
        (x,) = inputs
        values, positions = outputs
        shape = x.type.shape
        spec = SortSpec(
            dtype=x.type.dtype.value,
            rows=prod(shape[:-1]),
            cols=shape[-1],
            wanted=self.wanted,
            descending=self.descending,
        )
        program.add(
            spec,
            x=x.slot,
            values=values.slot if values.wanted else None,
            positions=positions.slot if positions.wanted else None,
        )


@dataclass(frozen=True, slots=True)
class Search(Op):
    """How many elements of `sorted` stand before each of x: those below it, or with `right` those
    not above it either.

    Operands sorted (C,), or with x's axes but for the last, and x; each row of sorted is in order.
    """

    right: bool = False
    differentiable = False

    @property
    def label(self) -> str:
        return "searchsorted"

    def __str__(self) -> str:
        return f"searchsorted({'right' if self.right else 'left'})"

    def infer(self, inputs: Sequence[TensorType], /) -> tuple[TensorType, ...]:
        require_count(self.label, inputs, 2)
        row, x = inputs
        if row.dtype is not x.dtype:
            raise DTypeError(
                message(
                    self.label,
                    "element types differ",
                    {"sorted_sequence": row.dtype, "input": x.dtype},
                    "one dtype",
                    "Convert with .to()",
                )
            )
        one = len(row.shape) == 1
        if not one and not (row.shape and x.shape and same_shape(row.shape[:-1], x.shape[:-1])):
            raise ShapeError(
                message(
                    self.label,
                    "rows do not fit",
                    {"sorted_sequence": row.shape, "input": x.shape},
                    "sorted_sequence (C,), or input's extents but for the last",
                )
            )
        return (TensorType(x.shape, DType.int64),)

    def reference(self, arrays: Sequence[Array], /) -> tuple[Array, ...]:
        row, x = arrays
        side: Literal["left", "right"] = "right" if self.right else "left"
        if row.ndim == 1:
            return (np.searchsorted(row, x, side=side).astype(np.int64),)
        y = np.empty(x.shape, np.int64)
        for at in np.ndindex(x.shape[:-1]):
            y[at] = np.searchsorted(row[at], x[at], side=side)
        return (y,)

    def lower(
        self,
        program: ProgramBuilder,
        inputs: Sequence[Lowered],
        outputs: Sequence[Lowered],
        /,
    ) -> None:
        row, x = inputs
        shared = len(row.type.shape) == 1
        spec = SearchSpec(
            dtype=x.type.dtype.value,
            rows=1 if shared else prod(x.type.shape[:-1]),
            cols=row.type.shape[-1],
            count=x.type.size if shared else x.type.shape[-1],
            shared=shared,
            right=self.right,
        )
        program.add(spec, sorted=row.slot, x=x.slot, y=outputs[0].slot)
