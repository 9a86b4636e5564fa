# SPDX-License-Identifier: Apache-2.0
"""Detach: a value at which gradients end; y is x, in x's memory.

It lives until gradients are taken; `simplify` drops it afterwards.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lamella.ir.types import Array, TensorType
from lamella.ops.base import Lowered, Op, require_count, widened

if TYPE_CHECKING:
    from lamella._core import ProgramBuilder

__all__ = ["Detach"]


@dataclass(frozen=True, slots=True)
class Detach(Op):
    """y = x; what x was made of gets no gradient by way of y."""

    view = True
    differentiable = False

    def infer(self, inputs: Sequence[TensorType], /) -> tuple[TensorType, ...]:
        require_count("detach", inputs, 1)
        return (inputs[0],)

    def reference(self, arrays: Sequence[Array], /) -> tuple[Array, ...]:
        return (widened(arrays[0]),)

    def lower(
        self,
        program: ProgramBuilder,
        inputs: Sequence[Lowered],
        outputs: Sequence[Lowered],
        /,
    ) -> None:
        """Nothing: the plan has put y where x is."""
