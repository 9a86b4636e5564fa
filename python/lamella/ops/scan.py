# SPDX-License-Identifier: Apache-2.0
"""Running sums, products and extremes along an axis.

Sums and products of float32 are carried in float64 and rounded where they are stored, as PyTorch
does; integers are carried as int64 and wrap.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

import numpy as np

from lamella._core import ScanSpec
from lamella.errors import DTypeError, ShapeError, message
from lamella.ir.graph import Place, Value
from lamella.ir.types import Array, DType, TensorType
from lamella.ops.base import Lowered, Op, number, require_count, unit, widened
from lamella.ops.elementwise import Cast, Term
from lamella.ops.gather import Scatter
from lamella.ops.logical import Logical

if TYPE_CHECKING:
    from lamella._core import ProgramBuilder

__all__ = ["Scan"]

_RUNNING: dict[str, Callable[..., Array]] = {"sum": np.cumsum, "prod": np.cumprod}
_CARRIED = (DType.float32, DType.float64, DType.int64)


@dataclass(frozen=True, slots=True)
class Scan(Op):
    """y[j] = kind of x[0] .. x[j] along the axis, or with reverse of x[j] and all behind it.

    sum and prod have one output. max and min have two, with the position of the extreme, of equal
    ones the last; NaN counts as extreme.
    """

    kind: str
    axis: int
    reverse: bool = False

    @property
    def label(self) -> str:
        return f"cum{self.kind}"

    def __str__(self) -> str:
        return f"{self.label}({self.axis}{', reverse' if self.reverse else ''})"

    @property
    def _carries(self) -> bool:
        return self.kind in _RUNNING

    def infer(self, inputs: Sequence[TensorType], /) -> tuple[TensorType, ...]:
        require_count(self.label, inputs, 1)
        (x,) = inputs
        if self._carries and x.dtype not in _CARRIED:
            raise DTypeError(
                message(
                    self.label,
                    "element type is not carried",
                    {"input": x.dtype},
                    "float32, float64 or int64",
                    "Convert with .to()",
                )
            )
        if not 0 <= self.axis < len(x.shape):
            raise ShapeError(
                message(self.label, "no such axis", {"input": x.shape, "dim": self.axis})
            )
        return (x,) if self._carries else (x, TensorType(x.shape, DType.int64))

    def overwrites_operand(self, output: int, /) -> int | None:
        return 0 if self._carries else None

    def reference(self, arrays: Sequence[Array], /) -> tuple[Array, ...]:
        x = widened(arrays[0])
        with np.errstate(all="ignore"):
            if self._carries:
                x = np.flip(x, self.axis) if self.reverse else x
                y = _RUNNING[self.kind](x, axis=self.axis, dtype=x.dtype)
                return (np.flip(y, self.axis) if self.reverse else y,)
            pick = np.maximum if self.kind == "max" else np.minimum
            y = pick.accumulate(x, axis=self.axis)
            taken = (x == y) | (x != x)
        shape = [1] * x.ndim
        shape[self.axis] = -1
        numbers = np.arange(x.shape[self.axis]).reshape(shape)
        return y, np.maximum.accumulate(np.where(taken, numbers, 0), axis=self.axis)

    def tolerance(self, arrays: Sequence[Array], results: Sequence[Array], /) -> tuple[Array, ...]:
        x = arrays[0]
        if not self._carries or x.dtype.kind != "f":
            return super(Scan, self).tolerance(arrays, results)
        # Each link rounds in double; what is stored rounds once more.
        links = x.shape[self.axis] * 2.0**-53
        scale = np.abs(results[0])
        if self.kind == "sum":
            (scale,) = Scan("sum", self.axis, self.reverse).reference((np.abs(widened(x)),))
        tiny = np.finfo(x.dtype).smallest_subnormal
        bound = 2 * links * scale + unit(x.dtype) * np.abs(results[0]) + tiny
        return (np.where(np.isfinite(bound), bound, 0.0),)

    def grad(
        self,
        place: Place,
        inputs: Sequence[Value],
        outputs: Sequence[Value],
        dys: Sequence[Value | None],
    ) -> tuple[Value | None, ...]:
        x, dy = inputs[0], dys[0]
        if dy is None or not x.dtype.is_floating:
            return (None,)
        if not self._carries:
            put = Scatter(self.axis, "sum", rows=x.shape[self.axis])
            return (place(put, outputs[1], dy),)
        back = Scan("sum", self.axis, not self.reverse)
        if self.kind == "sum":
            return (place(back, dy),)
        return (self._of_product(Term(place, x), Term(place, outputs[0]), Term(place, dy)).value,)

    def _of_product(self, x: Term, y: Term, dy: Term) -> Term:
        """Sums of dy y / x over all that x is in, without a division by zero.

        Up to the first zero that is the formula. The first zero itself is left out of the products
        behind it; further ones, and what follows them, have no slope.
        """
        back = Scan("sum", self.axis, not self.reverse)
        count = x.equals(0.0).apply(Cast(DType.float64)).apply(Scan("sum", self.axis, self.reverse))
        before = count.equals(0.0)
        first = x.equals(0.0).apply(Logical("logical_and"), count.equals(1.0))
        one = number(1.0, x.value.dtype)
        safe = x.equals(0.0).choose(one, x)
        without = first.choose(one, x).apply(self)
        front = (dy * y).keep(before).apply(back) / safe
        behind = (dy * without).drop(before).apply(back)
        return before.choose(front, behind.keep(first))

    def lower(
        self,
        program: ProgramBuilder,
        inputs: Sequence[Lowered],
        outputs: Sequence[Lowered],
        /,
    ) -> None:
        (x,) = inputs
        shape = x.type.shape
        spec = ScanSpec(
            kind=self.kind,
            dtype=x.type.dtype.value,
            outer=prod(shape[: self.axis]),
            size=shape[self.axis],
            inner=prod(shape[self.axis + 1 :]),
            reverse=self.reverse,
        )
        slots = {"x": x.slot, "y": outputs[0].slot}
        if not self._carries:
            slots["positions"] = outputs[1].slot
        program.add(spec, **slots)
