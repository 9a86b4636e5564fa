# SPDX-License-Identifier: Apache-2.0
"""Looking rows of a table up by index, sums that lead back to the table, and rows put elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

import numpy as np

from lamella._core import GatherSpec, IndexCopySpec, IndexSpec, ScatterAddSpec
from lamella.errors import DTypeError, ShapeError, message
from lamella.ir.graph import Constant, Place, Value
from lamella.ir.types import Array, DType, TensorType
from lamella.ops.base import (
    Lowered,
    Op,
    number,
    only,
    require_count,
    require_floating,
    unit,
    widened,
)
from lamella.ops.elementwise import Binary, Compare, Where
from lamella.ops.shape import Expand, Permute, Reshape

if TYPE_CHECKING:
    from lamella._core import ProgramBuilder

__all__ = ["Embedding", "Index", "IndexCopy", "ScatterAdd"]


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
    raises = True

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
    raises = True

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

    def __str__(self) -> str:
        return f"index({self.rows}{', from_end' if self.from_end else ''})"

    def infer(self, inputs: Sequence[TensorType], /) -> tuple[TensorType, ...]:
        require_count("index", inputs, 1)
        _judge_indices("index", inputs[0])
        return (inputs[0],)

    def reference(self, arrays: Sequence[Array], /) -> tuple[Array, ...]:
        return (_counted("index", arrays[0], self.rows, self.from_end),)

    def lower(
        self,
        program: ProgramBuilder,
        inputs: Sequence[Lowered],
        outputs: Sequence[Lowered],
        /,
    ) -> None:
        spec = IndexSpec(rows=self.rows, count=inputs[0].type.size, from_end=self.from_end)
        program.add(spec, indices=inputs[0].slot, y=outputs[0].slot)


@dataclass(frozen=True, slots=True)
class IndexCopy(Op):
    """y = x with entry i of source as entry index[i] along an axis, in increasing i.

    Operands x, index of int64, (count,) or (), and source, of x's shape but for `count` along the
    axis. It writes nothing for an index outside the axis and so never fails: `Index` judges those.
    """

    axis: int

    @property
    def label(self) -> str:
        return "index_copy"

    def __str__(self) -> str:
        return f"index_copy({self.axis})"

    def infer(self, inputs: Sequence[TensorType], /) -> tuple[TensorType, ...]:
        require_count("index_copy", inputs, 3)
        x, index, source = inputs
        _judge_indices("index_copy", index)
        if source.dtype is not x.dtype:
            raise DTypeError(
                message(
                    "index_copy",
                    "element types differ",
                    {"input": x.dtype, "source": source.dtype},
                    "one dtype",
                )
            )
        wanted = (*x.shape[: self.axis], index.size, *x.shape[self.axis + 1 :])
        if len(index.shape) > 1 or not self.axis < len(x.shape) or source.shape != wanted:
            raise ShapeError(
                message(
                    "index_copy",
                    "not one index an entry",
                    {"input": x.shape, "index": index.shape, "source": source.shape},
                    f"index (N,) or (), source as input but for N along axis {self.axis}",
                )
            )
        return (x,)

    def overwrites_operand(self, output: int, /) -> int | None:
        return 0

    def reference(self, arrays: Sequence[Array], /) -> tuple[Array, ...]:
        x, index, source = arrays
        y = widened(x).copy()
        rows, entries = np.moveaxis(y, self.axis, 0), np.moveaxis(source, self.axis, 0)
        for i, row in enumerate(index.reshape(-1)):
            if 0 <= row < len(rows):
                rows[row] = entries[i]
        return (y,)

    def grad(
        self,
        place: Place,
        inputs: Sequence[Value],
        outputs: Sequence[Value],
        dys: Sequence[Value | None],
    ) -> tuple[Value | None, ...]:
        (x, index, source), dy = inputs, only(dys)
        zeros = place(Expand(source.shape), number(0.0, dy.dtype))
        first = (self.axis, *(axis for axis in range(len(x.shape)) if axis != self.axis))
        back = tuple(first.index(axis) for axis in range(len(first)))
        rest = tuple(x.shape[axis] for axis in first[1:])
        rows = place(Reshape((x.shape[self.axis], prod(rest))), place(Permute(first), dy))
        index = place(Reshape((index.type.size,)), index)
        taken = place(Embedding(), index, rows)
        if index.type.size != 1:
            # Of several entries with one index the last one counts: it finds its own number there.
            numbers = Constant(np.arange(index.type.size, dtype=np.float64)[:, np.newaxis])
            nobody = place(Expand((x.shape[self.axis], 1)), number(0.0, DType.float64))
            met = place(Embedding(), index, place(IndexCopy(0), nobody, index, numbers))
            last = place(Compare("eq"), met, numbers)
            taken = place(Where(), last, taken, number(0.0, dy.dtype))
        taken = place(Permute(back), place(Reshape((index.type.size, *rest)), taken))
        return place(IndexCopy(self.axis), dy, index, zeros), None, taken

    def lower(
        self,
        program: ProgramBuilder,
        inputs: Sequence[Lowered],
        outputs: Sequence[Lowered],
        /,
    ) -> None:
        x, index, source = inputs
        shape = x.type.shape
        spec = IndexCopySpec(
            outer=prod(shape[: self.axis]),
            rows=shape[self.axis],
            count=index.type.size,
            row_bytes=prod(shape[self.axis + 1 :]) * x.type.dtype.itemsize,
        )
        slots = {"x": x.slot, "indices": index.slot, "source": source.slot}
        program.add(spec, **slots, y=outputs[0].slot)
