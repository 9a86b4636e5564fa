# SPDX-License-Identifier: Apache-2.0
"""Looking rows of a table up by index, and the sums that lead back to the table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

import numpy as np

from lamella._core import GatherSpec, ScatterAddSpec
from lamella.errors import DTypeError, ShapeError, message
from lamella.ir.graph import Constant, Place, Value
from lamella.ir.types import Array, DType, TensorType
from lamella.ops.base import Lowered, Op, only, require_count, require_floating, unit, widened
from lamella.ops.elementwise import Binary
from lamella.ops.shape import Reshape

if TYPE_CHECKING:
    from lamella._core import ProgramBuilder, Slot

__all__ = ["Embedding", "ScatterAdd"]


def _judge_indices(op: str, indices: TensorType) -> None:
    if indices.dtype is not DType.int64:
        raise DTypeError(message(op, "indices are not integers", {"input": indices.dtype}, "int64"))


def _counted(op: str, indices: Array, rows: int, from_end: bool) -> Array:
    """Indices counted from the front; IndexError for one outside."""
    first = -rows if from_end else 0
    if indices.size and not first <= indices.min() <= indices.max() < rows:
        raise IndexError(
            message(
                op,
                "index outside the table",
                {"input": f"{indices.min()}..{indices.max()}", "rows": rows},
                f"{first} <= input < {rows}",
            )
        )
    return np.where(indices < 0, indices + rows, indices)


@dataclass(frozen=True, slots=True)
class Embedding(Op):
    """y[i..., :] = weight[input[i...], :]; operands input (int64) and weight, as torch orders them.

    An index outside [0, rows), or with from_end outside [-rows, rows), raises IndexError when the
    program runs. The row padding_idx gets no gradient.
    """

    padding_idx: int | None = None
    from_end: bool = False

    def __str__(self) -> str:
        pad = [] if self.padding_idx is None else [f"pad {self.padding_idx}"]
        options = pad + ["from_end"] * self.from_end
        return f"embedding({', '.join(options)})" if options else "embedding"

    def infer(self, inputs: Sequence[TensorType], /) -> tuple[TensorType, ...]:
        require_count("embedding", inputs, 2)
        indices, weight = inputs
        _judge_indices("embedding", indices)
        if len(weight.shape) != 2:
            raise ShapeError(
                message("embedding", "weight is no table", {"weight": weight.shape}, "two axes")
            )
        return (TensorType(indices.shape + weight.shape[1:], weight.dtype),)

    def reference(self, arrays: Sequence[Array], /) -> tuple[Array, ...]:
        indices, weight = arrays
        return (widened(weight)[_counted("embedding", indices, len(weight), self.from_end)],)

    def grad(
        self,
        place: Place,
        inputs: Sequence[Value],
        outputs: Sequence[Value],
        dys: Sequence[Value | None],
    ) -> tuple[Value | None, ...]:
        indices, weight = inputs
        flat = place(Reshape((indices.type.size,)), indices)
        rows = place(Reshape((indices.type.size, weight.shape[1])), only(dys))
        scatter = ScatterAdd(weight.shape[0], self.padding_idx, self.from_end)
        return None, place(scatter, flat, rows)

    def lower(
        self,
        program: ProgramBuilder,
        inputs: Sequence[Lowered],
        outputs: Sequence[Lowered],
        scratch: Slot | None,
        /,
    ) -> None:
        indices, weight = inputs
        spec = GatherSpec(
            row_bytes=prod(weight.type.shape[1:]) * weight.type.dtype.itemsize,
            rows=weight.type.shape[0],
            count=indices.type.size,
            from_end=self.from_end,
        )
        program.add(spec, table=weight.slot, indices=indices.slot, y=outputs[0].slot)


@dataclass(frozen=True, slots=True)
class ScatterAdd(Op):
    """y[r, :] = the sum of x[i, :] over input[i] = r, in increasing i; the gradient of a table.

    Operands input (count,) of int64 and x (count, D); y is (rows, D). The row padding_idx stays 0.
    An index outside [0, rows), or with from_end outside [-rows, rows), raises IndexError when the
    program runs.
    """

    rows: int
    padding_idx: int | None = None
    from_end: bool = False

    @property
    def label(self) -> str:
        return "scatter_add"

    def __str__(self) -> str:
        return f"scatter_add({self.rows})"

    def infer(self, inputs: Sequence[TensorType], /) -> tuple[TensorType, ...]:
        require_count("scatter_add", inputs, 2)
        indices, x = inputs
        _judge_indices("scatter_add", indices)
        require_floating("scatter_add", ("x",), (x,))
        if len(x.shape) != 2 or indices.shape != x.shape[:1]:
            raise ShapeError(
                message(
                    "scatter_add",
                    "not one index a row",
                    {"input": indices.shape, "x": x.shape},
                    "input (N,) and x (N, D)",
                )
            )
        return (TensorType((self.rows, x.shape[1]), x.dtype),)

    def reference(self, arrays: Sequence[Array], /) -> tuple[Array, ...]:
        return (self._sums(*arrays),)

    def _sums(self, indices: Array, x: Array) -> Array:
        indices = _counted("scatter_add", indices, self.rows, self.from_end)
        kept = indices != (-1 if self.padding_idx is None else self.padding_idx)
        y = np.zeros((self.rows, x.shape[1]))
        with np.errstate(all="ignore"):
            np.add.at(y, indices[kept], x[kept].astype(np.float64))
        return y

    def tolerance(self, arrays: Sequence[Array], results: Sequence[Array], /) -> tuple[Array, ...]:
        # A row's sum rounds once for each of its terms.
        indices, x = arrays
        counted = _counted("scatter_add", indices, self.rows, self.from_end)
        terms = np.bincount(counted, minlength=self.rows)[:, np.newaxis]
        bound = terms * unit(x.dtype) * self._sums(indices, np.abs(x))
        return (np.where(np.isfinite(bound), bound, 0.0),)

    def grad(
        self,
        place: Place,
        inputs: Sequence[Value],
        outputs: Sequence[Value],
        dys: Sequence[Value | None],
    ) -> tuple[Value | None, ...]:
        dy = only(dys)
        if self.padding_idx is not None:
            used = np.ones((self.rows, 1), dy.dtype.numpy)
            used[self.padding_idx] = 0
            dy = place(Binary("mul"), dy, Constant(used))
        return None, place(Embedding(None, self.from_end), inputs[0], dy)

    def lower(
        self,
        program: ProgramBuilder,
        inputs: Sequence[Lowered],
        outputs: Sequence[Lowered],
        scratch: Slot | None,
        /,
    ) -> None:
        indices, x = inputs
        spec = ScatterAddSpec(
            dtype=x.type.dtype.value,
            rows=self.rows,
            cols=x.type.shape[1],
            count=indices.type.size,
            skipped=-1 if self.padding_idx is None else self.padding_idx,
            from_end=self.from_end,
        )
        program.add(spec, indices=indices.slot, x=x.slot, y=outputs[0].slot)
