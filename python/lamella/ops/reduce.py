# SPDX-License-Identifier: Apache-2.0
"""Reductions over neighbouring axes: the operand is seen as (outer, size, inner).

Other sets of axes are composites with a Permute (composites.py). Sums run in a fixed order that
depends on size and on whether inner is one, never on outer: a row's bits do not depend on its
neighbours. Integers and truth values are counted, added and multiplied in int64, which wraps.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf, prod
from typing import TYPE_CHECKING

import numpy as np

from lamella._core import ReduceSpec
from lamella.errors import ShapeError, message
from lamella.ir.graph import Constant, Place, Value
from lamella.ir.types import Array, DType, Shape, TensorType
from lamella.ops.base import (
    Lowered,
    Op,
    no_such_types,
    number,
    only,
    require_count,
    require_floating,
    unit,
    widened,
)
from lamella.ops.elementwise import Cast, Term
from lamella.ops.shape import Expand, Permute, Reshape

if TYPE_CHECKING:
    from lamella._core import ProgramBuilder

__all__ = ["REDUCE", "Reduce", "ReduceRow"]


@dataclass(frozen=True, slots=True)
class ReduceRow:
    """A reduction of the last axis: `reference(x, correction)`.

    columns: whether a kernel reduces an axis that is not the last one. empty: whether the
    reduction of nothing has a value. index: the result is a position. whole: it is defined on
    integers and truth values; wide: those it gives as int64. truth: it is defined on those alone,
    and gives a truth value.
    """

    reference: Callable[[Array, float], Array]
    columns: bool = True
    empty: bool = True
    index: bool = False
    whole: bool = False
    wide: bool = False
    truth: bool = False


def _logsumexp(x: Array, _correction: float) -> Array:
    if x.shape[-1] == 0:
        return np.full(x.shape[:-1], -np.inf)
    peak = x.max(axis=-1, keepdims=True)
    shift = np.where(np.isfinite(peak), peak, 0.0)
    result: Array = np.log(np.exp(x - shift).sum(axis=-1)) + shift[..., 0]
    return result


def _var(x: Array, correction: float) -> Array:
    squares = np.square(x - x.mean(axis=-1, keepdims=True)).sum(axis=-1)
    result: Array = squares / np.float64(max(0.0, x.shape[-1] - correction))
    return result


def _norm(x: Array, _correction: float) -> Array:
    # Scaled by the largest, so that no square leaves the range.
    peak = np.abs(x).max(axis=-1, initial=0.0)
    scale = np.where((peak > 0) & np.isfinite(peak), peak, 1.0)
    result: Array = np.sqrt(np.square(x / scale[..., None]).sum(axis=-1)) * scale
    return result


def _std(x: Array, correction: float) -> Array:
    centred = x - _mean(x, 0.0)[..., None]
    result: Array = _norm(centred / np.sqrt(np.float64(max(0.0, x.shape[-1] - correction))), 0.0)
    return result


def _mean(x: Array, _correction: float) -> Array:
    size = np.float64(x.shape[-1])
    total: Array = x.sum(axis=-1) / size
    # The sum may overflow where the mean does not.
    return np.where(np.isfinite(total), total, (x / size).sum(axis=-1))


REDUCE: dict[str, ReduceRow] = {
    "sum": ReduceRow(lambda x, _: x.sum(axis=-1), whole=True, wide=True),
    "mean": ReduceRow(_mean),
    "prod": ReduceRow(lambda x, _: x.prod(axis=-1), whole=True, wide=True),
    "max": ReduceRow(lambda x, _: x.max(axis=-1), empty=False, whole=True),
    "min": ReduceRow(lambda x, _: x.min(axis=-1), empty=False, whole=True),
    "logsumexp": ReduceRow(_logsumexp, columns=False),
    "var": ReduceRow(_var, columns=False),
    "std": ReduceRow(_std, columns=False),
    "norm": ReduceRow(_norm, columns=False),
    "any": ReduceRow(lambda x, _: np.asarray(x.any(axis=-1)), whole=True, truth=True),
    "all": ReduceRow(lambda x, _: np.asarray(x.all(axis=-1)), whole=True, truth=True),
    "argmax": ReduceRow(
        lambda x, _: x.argmax(axis=-1), columns=False, empty=False, index=True, whole=True
    ),
    "argmin": ReduceRow(
        lambda x, _: x.argmin(axis=-1), columns=False, empty=False, index=True, whole=True
    ),
}


@dataclass(frozen=True, slots=True)
class Reduce(Op):
    """y = kind of x over the axes first..last; correction is taken from the divisor of var and std.

    pick: of equal extremes the first one takes the whole gradient; else they share it.
    """

    kind: str
    first: int
    last: int
    keepdim: bool = False
    correction: float = 1.0
    pick: bool = False

    @property
    def label(self) -> str:
        return self.kind

    def __str__(self) -> str:
        axes = f"{self.first}" if self.first == self.last else f"{self.first}..{self.last}"
        extra = f", correction={self.correction:g}" if self.kind in ("var", "std") else ""
        return f"{self.kind}({axes}{', keepdim' if self.keepdim else ''}{extra})"

    def extents(self, shape: Shape) -> tuple[int, int, int]:
        """(outer, size, inner) of a shape."""
        return (
            prod(shape[: self.first]),
            prod(shape[self.first : self.last + 1]),
            prod(shape[self.last + 1 :]),
        )

    def infer(self, inputs: Sequence[TensorType], /) -> tuple[TensorType, ...]:
        require_count(self.kind, inputs, 1)
        row, dtype = REDUCE[self.kind], inputs[0].dtype
        if not row.whole:
            require_floating(self.kind, ("x",), inputs)
        elif row.truth and dtype.is_floating:
            raise no_such_types(self.kind, ("x",), inputs, "integers or bool", "Compare first")
        shape = inputs[0].shape
        if not 0 <= self.first <= self.last < len(shape):
            raise ShapeError(
                message(
                    self.kind,
                    "no such axes",
                    {"x": shape, "axes": (self.first, self.last)},
                    f"axes below {len(shape)}",
                )
            )
        _, size, inner = self.extents(shape)
        if size == 0 and not row.empty:
            raise ShapeError(
                message(self.kind, "nothing to choose from", {"x": shape}, "a non-empty axis")
            )
        if inner != 1 and not row.columns:
            raise ShapeError(
                message(
                    self.kind,
                    "the reduced axes are not the last ones",
                    {"x": shape, "axes": (self.first, self.last)},
                    f"axes up to {len(shape) - 1}",
                )
            )
        kept = (1,) * (self.last + 1 - self.first) if self.keepdim else ()
        result = shape[: self.first] + kept + shape[self.last + 1 :]
        wide = row.index or (row.wide and not dtype.is_floating)
        return (TensorType(result, DType.bool if row.truth else DType.int64 if wide else dtype),)

    def reference(self, arrays: Sequence[Array], /) -> tuple[Array, ...]:
        x = widened(arrays[0])
        if x.dtype.kind != "f" and REDUCE[self.kind].wide:
            x = x.astype(np.int64)
        rows = x.reshape(self.extents(x.shape)).swapaxes(1, 2)
        with np.errstate(all="ignore"):
            y = np.asarray(REDUCE[self.kind].reference(rows, self.correction))
        kept = (1,) * (self.last + 1 - self.first) if self.keepdim else ()
        return (y.reshape(x.shape[: self.first] + kept + x.shape[self.last + 1 :]),)

    def tolerance(self, arrays: Sequence[Array], results: Sequence[Array], /) -> tuple[Array, ...]:
        if arrays[0].dtype.kind != "f":
            return super(Reduce, self).tolerance(arrays, results)
        x = np.abs(arrays[0].astype(np.float64))
        y = np.abs(results[0].astype(np.float64))
        u = unit(arrays[0].dtype)
        size = self.extents(x.shape)[1]
        rounding = (size + 2) * u
        with np.errstate(all="ignore"):
            if self.kind in ("sum", "mean"):
                (magnitude,) = Reduce(self.kind, self.first, self.last, self.keepdim).reference(
                    (x,)
                )
                bound = rounding * magnitude + 2 * u * y
            elif self.kind in ("prod", "norm"):
                bound = rounding * y
            elif self.kind == "var":
                # Two passes: the mean's own error enters squared, beside a relative error.
                (mean,) = Reduce("mean", self.first, self.last, self.keepdim).reference((x,))
                bound = 3 * rounding * y + 4 * np.square(rounding * mean)
            elif self.kind == "std":
                (mean,) = Reduce("mean", self.first, self.last, self.keepdim).reference((x,))
                bound = 2 * rounding * (y + mean)
            elif self.kind == "logsumexp":
                # The sum lies in [1, size]: its logarithm's error is absolute, the peak's relative.
                bound = rounding + 4 * u * y
            else:
                return super(Reduce, self).tolerance(arrays, results)
            bound = bound + np.finfo(arrays[0].dtype).smallest_subnormal
            return (np.where(np.isfinite(bound), bound, 0.0),)

    def grad(
        self,
        place: Place,
        inputs: Sequence[Value],
        outputs: Sequence[Value],
        dys: Sequence[Value | None],
    ) -> tuple[Value | None, ...]:
        if REDUCE[self.kind].index or not inputs[0].dtype.is_floating:
            return (None,)
        kept = self._kept(inputs[0].shape)
        x = Term(place, inputs[0])
        y, dy = (Term(place, value).apply(Reshape(kept)) for value in (outputs[0], only(dys)))
        dx = self._slope(x, y, dy, max(self.extents(inputs[0].shape)[1], 1))
        return ((dx if dx.value.shape == x.value.shape else dx.apply(Expand(x.value.shape))).value,)

    def _kept(self, shape: Shape) -> Shape:
        """A shape with the reduced axes as ones."""
        ones = (1,) * (self.last + 1 - self.first)
        return shape[: self.first] + ones + shape[self.last + 1 :]

    def _slope(self, x: Term, y: Term, dy: Term, size: int) -> Term:
        """dx from y and dy with the reduced axes kept as ones; it may still want expanding."""
        total = Reduce("sum", self.first, self.last, keepdim=True)
        if self.kind == "sum":
            return dy
        if self.kind == "mean":
            return dy * (1.0 / size)
        if self.kind == "logsumexp":
            # A row of -inf alone has no slope; -inf minus itself would be NaN.
            return dy * (x - y.drop(y.equals(-inf))).unary("exp")
        if self.kind == "var":
            share = dy * self._share(size)
            centred = x - x.apply(Reduce("mean", self.first, self.last, keepdim=True))
            return (share + share) * centred
        if self.kind == "std":
            # Of equal elements the slope is 0, and no square leaves the range.
            share = dy * self._share(size)
            centred = x - x.apply(Reduce("mean", self.first, self.last, keepdim=True))
            return (share * (centred / y)).drop(y.equals(0.0))
        if self.kind == "norm":
            return (dy * (x / y)).drop(y.equals(0.0))
        if self.kind == "prod":
            # The product of the others, without a division by zero: zeros are left out, counted,
            # and an element whose neighbours hold one has no slope.
            zero = x.equals(0.0)
            safe = zero.choose(number(1.0, x.value.dtype), x)
            found = zero.apply(Cast(x.value.dtype))
            others = safe.apply(Reduce("prod", self.first, self.last, keepdim=True)) / safe
            return (dy * others).drop(found.apply(total) - found > 0.0)
        if self.pick:
            return dy.keep(self._first(x))
        # Equal extremes share.
        among = x.equals(y).apply(Cast(x.value.dtype))
        return dy / among.apply(total) * among

    def _share(self, size: int) -> float:
        """What each of `size` elements has of a variance: 1 / (size - correction)."""
        whole = self.correction == int(self.correction)
        divisor = max(size - (int(self.correction) if whole else self.correction), 0)
        return 1.0 / divisor if divisor else inf

    def _first(self, x: Term) -> Term:
        """Where the extreme is that argmax or argmin names."""
        shape = x.value.shape
        outer, size, inner = self.extents(shape)
        rows = x.apply(Reshape((outer, size, inner))).apply(Permute((0, 2, 1)))
        # float64 holds every position.
        position = rows.apply(Reduce(f"arg{self.kind}", 2, 2)).apply(Cast(DType.float64))
        along = Term(x.place, Constant(np.arange(size, dtype=np.float64).reshape(size, 1)))
        return along.equals(position.apply(Reshape((outer, 1, inner)))).apply(Reshape(shape))

    def lower(
        self,
        program: ProgramBuilder,
        inputs: Sequence[Lowered],
        outputs: Sequence[Lowered],
        /,
    ) -> None:
        outer, size, inner = self.extents(inputs[0].type.shape)
        spec = ReduceSpec(
            kind=self.kind,
            dtype=inputs[0].type.dtype.value,
            outer=outer,
            size=size,
            inner=inner,
            # By rank, not by extent: a batch of one column is summed like a column of many.
            columns=REDUCE[self.kind].columns and self.last + 1 < len(inputs[0].type.shape),
            correction=self.correction,
        )
        program.add(spec, x=inputs[0].slot, y=outputs[0].slot)
