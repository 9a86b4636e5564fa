# SPDX-License-Identifier: Apache-2.0
"""Ops that draw random numbers: a counter-based generator, keyed by element and stream."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from lamella._core import DrawSpec, DropoutSpec
from lamella.errors import DTypeError, message
from lamella.ir.graph import Place, Value
from lamella.ir.types import Array, DType, Shape, TensorType
from lamella.ops.base import Lowered, Op, only, require_count, require_floating

if TYPE_CHECKING:
    from lamella._core import ProgramBuilder

__all__ = ["Draw", "Dropout"]


@dataclass(frozen=True, slots=True)
class Dropout(Op):
    """y = x / (1 - p) with probability 1 - p, else 0; each stream draws its own numbers.

    Source: Srivastava et al., "Dropout", 2014; generator Philox 4x32-10, Salmon et al., 2011.
    """

    p: float
    stream: int
    effects = True

    def __str__(self) -> str:
        return f"dropout(p={self.p:g}, stream={self.stream})"

    def infer(self, inputs: Sequence[TensorType], /) -> tuple[TensorType, ...]:
        require_count("dropout", inputs, 1)
        require_floating("dropout", ("x",), inputs)
        if not 0.0 <= self.p <= 1.0:
            raise ValueError(message("dropout", "no probability", {"p": self.p}, "0 <= p <= 1"))
        return (inputs[0],)

    def reference(self, arrays: Sequence[Array], /) -> tuple[Array, ...]:
        """The kept values everywhere: which elements are dropped is the generator's affair."""
        x = arrays[0].astype(np.float64)
        return (x * (1.0 / (1.0 - self.p)) if self.p < 1.0 else np.zeros_like(x),)

    def tolerance(self, arrays: Sequence[Array], results: Sequence[Array], /) -> tuple[Array, ...]:
        # Zero and the kept value are both right.
        return (np.abs(results[0]) * (1.0 + 1e-6),)

    def grad(
        self,
        place: Place,
        inputs: Sequence[Value],
        outputs: Sequence[Value],
        dys: Sequence[Value | None],
    ) -> tuple[Value | None, ...]:
        """The same stream drawn again: within a run nothing else decides what is dropped."""
        return (place(self, only(dys)),)

    def lower(
        self,
        program: ProgramBuilder,
        inputs: Sequence[Lowered],
        outputs: Sequence[Lowered],
        /,
    ) -> None:
        spec = DropoutSpec(
            dtype=inputs[0].type.dtype.value,
            count=inputs[0].type.size,
            p=self.p,
            stream=self.stream,
        )
        program.add(spec, x=inputs[0].slot, y=outputs[0].slot)


# What is drawn: a middle of the range, and how far from it a number can be.
_RANGES = {"uniform": (0.5, 0.5), "normal": (0.0, 8.75)}


@dataclass(frozen=True, slots=True)
class Draw(Op):
    """Random numbers of a shape: uniform in [0, 1), or normal with mean 0 and variance 1.

    Uniform ones are multiples of 2^-24 (float32) or 2^-53 (float64), all equally likely. Normal
    ones come in pairs, of 64 or 106 random bits; they are within 2^-18 (2^-47) of what those give
    in exact arithmetic, and where both are below 2^-6 within 2^-12 (2^-26).
    Source: Philox 4x32-10, Salmon et al., 2011; Box and Muller, 1958.
    """

    kind: str
    shape: Shape
    dtype: DType
    stream: int
    effects = True
    differentiable = False

    def __str__(self) -> str:
        return f"draw({self.kind}, stream={self.stream})"

    def infer(self, inputs: Sequence[TensorType], /) -> tuple[TensorType, ...]:
        require_count("draw", inputs, 0)
        if self.kind not in _RANGES:
            raise ValueError(message("draw", "no such kind", {"kind": self.kind}, str([*_RANGES])))
        if not self.dtype.is_floating:
            raise DTypeError(
                message(
                    "draw", "only floats are drawn", {"dtype": self.dtype}, "float32 or float64"
                )
            )
        return (TensorType(self.shape, self.dtype),)

    def reference(self, arrays: Sequence[Array], /) -> tuple[Array, ...]:
        """The middle: which numbers come is the generator's affair."""
        return (np.full(self.shape, _RANGES[self.kind][0]),)

    def tolerance(self, arrays: Sequence[Array], results: Sequence[Array], /) -> tuple[Array, ...]:
        return (np.full(self.shape, _RANGES[self.kind][1]),)

    def lower(
        self,
        program: ProgramBuilder,
        inputs: Sequence[Lowered],
        outputs: Sequence[Lowered],
        /,
    ) -> None:
        spec = DrawSpec(
            name=self.kind,
            dtype=self.dtype.value,
            count=outputs[0].type.size,
            stream=self.stream,
        )
        program.add(spec, y=outputs[0].slot)
