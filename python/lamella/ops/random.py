# SPDX-License-Identifier: Apache-2.0
"""Ops that draw random numbers: a counter-based generator, keyed by element and stream."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from lamella._core import DropoutSpec
from lamella.errors import message
from lamella.ir.graph import Place, Value
from lamella.ir.types import Array, TensorType
from lamella.ops.base import Lowered, Op, only, require_count, require_floating

if TYPE_CHECKING:
    from lamella._core import ProgramBuilder

__all__ = ["Dropout"]


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
