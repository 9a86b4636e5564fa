# SPDX-License-Identifier: Apache-2.0
"""Entries of an axis picked by index, and put where an index says: each is the other's gradient.

Entries that meet in one place are taken in increasing order along the axis: of several the last one
replaces, and sums have one order.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from lamella._core import GatherSpec, ScatterSpec
from lamella.errors import DTypeError, ShapeError, message
from lamella.ir.graph import Constant, Place, Value
from lamella.ir.types import Array, DType, TensorType
from lamella.ops.base import Lowered, Op, number, only, require_count, unit, widened
from lamella.ops.elementwise import Cast, Term
from lamella.ops.indices import Index, counted, layout, require_indices
from lamella.ops.logical import Logical
from lamella.ops.shape import Expand

if TYPE_CHECKING:
    from lamella._core import ProgramBuilder

__all__ = ["REDUCTIONS", "Gather", "Scatter"]


@dataclass(frozen=True, slots=True)
class Gather(Op):
    """y[i, j, k] = x[i, index[i, j, k], k] with j along the axis; operands x and index.

    index lies as `indices.layout` says. One outside [0, extent), or with from_end outside
    [-extent, extent), raises IndexError when the program runs. The entry padding_idx of the axis
    gets no gradient.
    """

    axis: int
    from_end: bool = False
    padding_idx: int | None = None
    raises = True
    positions = (1,)

    def __str__(self) -> str:
        pad = [] if self.padding_idx is None else [f"pad {self.padding_idx}"]
        return f"gather({', '.join([str(self.axis), *['from_end'] * self.from_end, *pad])})"

    def infer(self, inputs: Sequence[TensorType], /) -> tuple[TensorType, ...]:
        require_count("gather", inputs, 2)
        x, index = inputs
        require_indices("gather", index)
        layout("gather", self.axis, x.shape, index.shape)
        count = index.shape[self.axis]
        shape = (*x.shape[: self.axis], count, *x.shape[self.axis + 1 :])
        return (TensorType(shape, x.dtype),)

    def reference(self, arrays: Sequence[Array], /) -> tuple[Array, ...]:
        x, index = arrays
        index = counted("gather", index, x.shape[self.axis], self.from_end)
        shape = (*x.shape[: self.axis], index.shape[self.axis], *x.shape[self.axis + 1 :])
        picked = np.take_along_axis(x, np.broadcast_to(index, shape), self.axis)
        return (widened(picked),)

    def grad(
        self,
        place: Place,
        inputs: Sequence[Value],
        outputs: Sequence[Value],
        dys: Sequence[Value | None],
    ) -> tuple[Value | None, ...]:
        x, index = inputs
        rows = x.shape[self.axis]
        index = place(Index(rows, self.from_end), index)
        scatter = Scatter(self.axis, "sum", rows=rows, skipped=self.padding_idx)
        return place(scatter, index, only(dys)), None

    def lower(
        self,
        program: ProgramBuilder,
        inputs: Sequence[Lowered],
        outputs: Sequence[Lowered],
        /,
    ) -> None:
        x, index = inputs
        shape = x.type.shape
        outer_index, inner_index = layout("gather", self.axis, shape, index.type.shape)
        inner = prod(shape[self.axis + 1 :])
        spec = GatherSpec(
            piece_bytes=x.type.dtype.itemsize * (1 if inner_index else inner),
            rows=shape[self.axis],
            count=index.type.shape[self.axis],
            outer=prod(shape[: self.axis]),
            inner=inner if inner_index else 1,
            outer_index=outer_index,
            from_end=self.from_end,
        )
        program.add(spec, x=x.slot, indices=index.slot, y=outputs[0].slot)


def _replaced(y: Array, where: tuple[Array, ...], source: Array) -> None:
    # NumPy leaves open which of several counts; here it is the last one.
    flat = np.ravel_multi_index(np.broadcast_arrays(*where), y.shape).reshape(-1)
    _, last = np.unique(flat[::-1], return_index=True)
    kept = flat.size - 1 - last
    y.reshape(-1)[flat[kept]] = source.reshape(-1)[kept]


# Name of a reduction: what it does to y, and what it starts from where y does not count.
REDUCTIONS: dict[str, tuple[Callable[[Array, Any, Array], None], float]] = {
    "replace": (_replaced, 0.0),
    "sum": (np.add.at, 0.0),
    "prod": (np.multiply.at, 1.0),
    "amax": (np.maximum.at, -np.inf),
    "amin": (np.minimum.at, np.inf),
}


@dataclass(frozen=True, slots=True)
class Scatter(Op):
    """y = x, then y[i, index[i, j, k], k] = reduce(.., source[i, j, k]) with j along the axis.

    Operands x, index and source, or with `rows`, the extent of the axis, index and source: then y
    starts from zeros. index lies beside source as `indices.layout` says. include_self: whether what
    is there counts where something is put. An index outside the axis, or `skipped`, writes nothing,
    so that the op never fails: `Index` judges. With `rows`, reduce is "replace" or "sum".
    """

    axis: int
    reduce: str
    include_self: bool = True
    rows: int | None = None
    skipped: int | None = None
    positions = (-2,)

    @property
    def label(self) -> str:
        return f"scatter_{self.reduce}"

    def __str__(self) -> str:
        own = "" if self.include_self else ", without self"
        return f"{self.label}({self.axis}{own})"

    def infer(self, inputs: Sequence[TensorType], /) -> tuple[TensorType, ...]:
        require_count(self.label, inputs, 3 if self.rows is None else 2)
        index, source = inputs[-2:]
        require_indices(self.label, index)
        layout(self.label, self.axis, source.shape, index.shape)
        counts = source.dtype is DType.bool and self.reduce in ("sum", "prod")
        if counts or inputs[0].dtype is not (source if self.rows is None else index).dtype:
            raise DTypeError(
                message(
                    self.label,
                    "truth values do not add up" if counts else "element types differ",
                    {"input": inputs[0].dtype, "source": source.dtype},
                    "numbers" if counts else "one dtype",
                    "Convert with .to()",
                )
            )
        front, behind = source.shape[: self.axis], source.shape[self.axis + 1 :]
        if self.rows is not None:
            return (TensorType((*front, self.rows, *behind), source.dtype),)
        x = inputs[0]
        wanted = (*x.shape[: self.axis], source.shape[self.axis], *x.shape[self.axis + 1 :])
        if (
            len(x.shape) != len(source.shape)
            or source.shape != wanted
            or index.shape[self.axis] != source.shape[self.axis]
        ):
            raise ShapeError(
                message(
                    self.label,
                    "source does not fit",
                    {"input": x.shape, "index": index.shape, "source": source.shape},
                    f"input's shape but along dim {self.axis}, and there index's extent",
                )
            )
        return (x,)

    def overwrites_operand(self, output: int, /) -> int | None:
        return 0 if self.rows is None else None

    def reference(self, arrays: Sequence[Array], /) -> tuple[Array, ...]:
        return (self._scattered(arrays, widened(arrays[-1])),)

    def _scattered(self, arrays: Sequence[Array], source: Array, self_too: bool = True) -> Array:
        """The result for another source; self_too: with what is there, or zeros instead."""
        index = np.broadcast_to(arrays[-2], source.shape)
        if self.rows is None:
            y = widened(arrays[0]).copy()
        else:
            shape = (*source.shape[: self.axis], self.rows, *source.shape[self.axis + 1 :])
            y = np.zeros(shape, source.dtype)
        if not self_too:
            y = np.abs(y)
        rows = y.shape[self.axis]
        kept = (index >= 0) & (index < rows)
        kept &= index != (-1 if self.skipped is None else self.skipped)
        # Along the axis first: the order in which entries meet.
        order = np.argwhere(np.moveaxis(kept, self.axis, 0))
        grid = list(np.moveaxis(order, 1, 0))
        grid.insert(self.axis, grid.pop(0))
        at = tuple(grid)
        where = list(at)
        where[self.axis] = index[at]
        into = tuple(where)
        reduce, start = REDUCTIONS[self.reduce]
        with np.errstate(all="ignore"):
            if not self.include_self and self.reduce != "replace":
                y[into] = _start(start, y.dtype)
            reduce(y, into, source[at])
        return y

    def tolerance(self, arrays: Sequence[Array], results: Sequence[Array], /) -> tuple[Array, ...]:
        source = arrays[-1]
        if self.reduce not in ("sum", "prod") or source.dtype.kind != "f":
            return super(Scatter, self).tolerance(arrays, results)
        # A place rounds once for each entry that meets there.
        ones = np.ones(source.shape)
        count = Scatter(self.axis, "sum", rows=results[0].shape[self.axis])
        terms = 1.0 + count._scattered((arrays[-2], ones), ones)
        if self.reduce == "sum":
            scale = self._scattered(arrays, np.abs(widened(source)), False)
        else:
            scale = np.abs(results[0])
        bound = terms * unit(source.dtype) * scale
        if self.reduce == "prod":
            bound = bound + terms * np.finfo(source.dtype).smallest_subnormal
        return (np.where(np.isfinite(bound), bound, 0.0),)

    def grad(
        self,
        place: Place,
        inputs: Sequence[Value],
        outputs: Sequence[Value],
        dys: Sequence[Value | None],
    ) -> tuple[Value | None, ...]:
        *before, index, source = inputs
        slopes = _Slopes(self, place, index, source, only(dys))
        if self.reduce == "sum":
            dx, dsource = slopes.of_sum()
        elif self.reduce == "replace":
            dx, dsource = slopes.of_replacing()
        else:
            x, y = (Term(place, value) for value in (before[0], outputs[0]))
            dx, dsource = (
                slopes.of_product(x, y) if self.reduce == "prod" else slopes.of_extreme(x, y)
            )
        return *((dx.value,) if before else ()), None, dsource.value

    def lower(
        self,
        program: ProgramBuilder,
        inputs: Sequence[Lowered],
        outputs: Sequence[Lowered],
        /,
    ) -> None:
        index, source = inputs[-2:]
        shape = source.type.shape
        outer_index, inner_index = layout(self.label, self.axis, shape, index.type.shape)
        inner = prod(shape[self.axis + 1 :])
        spec = ScatterSpec(
            reduce=self.reduce,
            dtype=source.type.dtype.value,
            rows=outputs[0].type.shape[self.axis],
            count=shape[self.axis],
            width=1 if inner_index else inner,
            outer=prod(shape[: self.axis]),
            inner=inner if inner_index else 1,
            outer_index=outer_index,
            include_self=self.include_self,
            skipped=-1 if self.skipped is None else self.skipped,
        )
        slots = {"x": inputs[0].slot} if self.rows is None else {}
        slots |= {"indices": index.slot, "source": source.slot}
        program.add(spec, **slots, y=outputs[0].slot)


def _start(start: float, dtype: np.dtype[Any]) -> Any:
    """What a reduction starts from, in a type without infinities its end of the range."""
    if np.isfinite(start) or dtype.kind == "f":
        return start
    if dtype.kind == "b":
        return start > 0
    return np.iinfo(dtype).max if start > 0 else np.iinfo(dtype).min


class _Slopes:
    """The gradients of a scatter's operands."""

    def __init__(self, op: Scatter, place: Place, index: Value, source: Value, dy: Value) -> None:
        self.op = op
        self.place = place
        self.index = index
        self.source = Term(place, source)
        self.dy = Term(place, dy)

    def at_entries(self, y: Term) -> Term:
        """What y has where each entry was put."""
        return y.apply(Gather(self.op.axis), self.index)

    def untouched(self, y: Term) -> Term:
        """y where nothing was put, else 0."""
        return y.apply(Scatter(self.op.axis, "replace"), self.index, self.source.zeros())

    def of_sum(self) -> tuple[Term, Term]:
        dy, skipped = self.dy, self.op.skipped
        if skipped is not None:
            axis, shape = self.op.axis, [1] * len(dy.value.shape)
            shape[axis] = dy.value.shape[axis]
            used = np.ones(shape, dy.value.dtype.numpy)
            np.moveaxis(used, axis, 0)[skipped] = 0
            dy = dy * Term(self.place, Constant(used))
        return self.dy if self.op.include_self else self.untouched(self.dy), self.at_entries(dy)

    def of_replacing(self) -> tuple[Term, Term]:
        dsource = self.at_entries(self.dy)
        if self.index.shape[self.op.axis] != 1:
            # Of several entries in one place the last one counts: it finds its own number there.
            shape = [1] * len(self.index.shape)
            shape[self.op.axis] = self.index.shape[self.op.axis]
            along = Constant(np.arange(shape[self.op.axis], dtype=np.float64).reshape(shape))
            numbers = Term(self.place, along).apply(Expand(self.index.shape))
            put = Scatter(self.op.axis, "replace", rows=self.dy.value.shape[self.op.axis])
            met = self.at_entries(Term(self.place, self.place(put, self.index, numbers.value)))
            dsource = dsource.keep(met.equals(numbers))
        return self.untouched(self.dy), dsource

    def of_extreme(self, x: Term, y: Term) -> tuple[Term, Term]:
        # Equal extremes share.
        dtype = self.dy.value.dtype
        ours = x.equals(y).apply(Cast(dtype))
        if not self.op.include_self:
            ours = self.untouched(ours)
        theirs = self.source.equals(self.at_entries(y))
        among = ours.apply(
            Scatter(self.op.axis, "sum"), self.index, theirs.apply(Cast(dtype)).value
        )
        share = self.dy / among
        return share.keep(ours > 0.0), self.at_entries(share).keep(theirs)

    def of_product(self, x: Term, y: Term) -> tuple[Term, Term]:
        # The product of the others, without a division by zero. An entry that is the only zero of
        # its place is left out of it; beside another zero it has no slope.
        one = number(1.0, self.dy.value.dtype)
        safe = x.equals(0.0).choose(one, x)
        others = safe.apply(self.op, self.index, self.source.value)
        dx = self.dy * others / safe
        zero = self.source.equals(0.0)
        put = Scatter(self.op.axis, "sum", rows=x.value.shape[self.op.axis])
        zeros = self.place(put, self.index, zero.apply(Cast(one.dtype)).value)
        alone = self.at_entries(Term(self.place, zeros)).equals(1.0)
        single = zero.apply(Logical("logical_and"), alone)
        without = x.apply(self.op, self.index, single.choose(one, self.source).value)
        rest = self.at_entries(self.dy * y) / zero.choose(one, self.source)
        dsource = single.choose(self.at_entries(self.dy * without), rest)
        return dx if self.op.include_self else self.untouched(dx), dsource
