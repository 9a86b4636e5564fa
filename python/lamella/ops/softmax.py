# SPDX-License-Identifier: Apache-2.0
"""Softmax and its logarithm over the last axis; other axes are composites with a Permute."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

import numpy as np

from lamella._core import SoftmaxSpec
from lamella.errors import ShapeError, message
from lamella.ir.graph import Place, Value
from lamella.ir.types import Array, TensorType
from lamella.ops.base import Lowered, Op, only, require_count, require_floating, unit
from lamella.ops.elementwise import Term
from lamella.ops.reduce import Reduce

if TYPE_CHECKING:
    from lamella._core import ProgramBuilder

__all__ = ["Softmax"]


@dataclass(frozen=True, slots=True)
class Softmax(Op):
    """y = exp(x) / sum(exp(x)) along the last axis, or with `log` its logarithm.

    Rows of -inf alone, and rows with +inf or NaN, are NaN.
    """

    log: bool = False
    overwrites = True

    @property
    def label(self) -> str:
        return "log_softmax" if self.log else "softmax"

    def __str__(self) -> str:
        return self.label

    def infer(self, inputs: Sequence[TensorType], /) -> tuple[TensorType, ...]:
        require_count(self.label, inputs, 1)
        require_floating(self.label, ("x",), inputs)
        if not inputs[0].shape:
            raise ShapeError(
                message(self.label, "a number has no axis", {"x": ()}, "at least one axis")
            )
        return (inputs[0],)

    def reference(self, arrays: Sequence[Array], /) -> tuple[Array, ...]:
        x = arrays[0].astype(np.float64)
        if x.size == 0:
            return (x,)
        with np.errstate(all="ignore"):
            shifted = x - x.max(axis=-1, keepdims=True)
            total = np.exp(shifted).sum(axis=-1, keepdims=True)
            return (shifted - np.log(total) if self.log else np.exp(shifted) / total,)

    def tolerance(self, arrays: Sequence[Array], results: Sequence[Array], /) -> tuple[Array, ...]:
        x = arrays[0].astype(np.float64)
        y = np.abs(results[0].astype(np.float64))
        if x.size == 0:
            return (y,)
        u = unit(arrays[0].dtype)
        with np.errstate(all="ignore"):
            # x - max is rounded once, and its error passes through exp unchanged; the sum of D
            # positive terms adds at most D + 2 roundings.
            distance = x.max(axis=-1, keepdims=True) - x
            # Where the subtraction overflows the exponential is zero anyway.
            slack = (x.shape[-1] + 8 + 2 * np.where(np.isfinite(distance), distance, 0.0)) * u
            bound = slack + 2 * u * y if self.log else slack * y
            bound = bound + np.finfo(arrays[0].dtype).smallest_subnormal * 4
            return (np.where(np.isfinite(bound), bound, 0.0),)

    def grad(
        self,
        place: Place,
        inputs: Sequence[Value],
        outputs: Sequence[Value],
        dys: Sequence[Value | None],
    ) -> tuple[Value | None, ...]:
        """y (dy - sum(y dy)), or dy - exp(y) sum(dy) for the logarithm."""
        y, dy = Term(place, outputs[0]), Term(place, only(dys))
        last = len(inputs[0].shape) - 1
        total = Reduce("sum", last, last, keepdim=True)
        if self.log:
            return ((dy - y.unary("exp") * dy.apply(total)).value,)
        return ((y * (dy - (y * dy).apply(total))).value,)

    def lower(
        self,
        program: ProgramBuilder,
        inputs: Sequence[Lowered],
        outputs: Sequence[Lowered],
        /,
    ) -> None:
        shape = inputs[0].type.shape
        spec = SoftmaxSpec(
            dtype=inputs[0].type.dtype.value,
            rows=prod(shape[:-1]),
            cols=shape[-1],
            log=self.log,
        )
        program.add(spec, x=inputs[0].slot, y=outputs[0].slot)
