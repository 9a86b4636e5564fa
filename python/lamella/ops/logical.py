# SPDX-License-Identifier: Apache-2.0
"""Truth values combined, and functions of the bits of integers.

Both are elementwise steps like the others (elementwise.py) and have no gradient. The bits of a
truth value are itself: & | ^ ~ of masks are the functions of LOGICAL.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lamella.ir.types import DType, TensorType
from lamella.ops.base import Meeting, no_such_types, require_count
from lamella.ops.elementwise import Elementwise, broadcast
from lamella.ops.interpret import Instruction
from lamella.ops.tables import BITWISE, LOGICAL, TRUTH

__all__ = ["BITWISE", "LOGICAL", "Bitwise", "Logical"]


@dataclass(frozen=True, slots=True)
class Logical(Elementwise):
    """Truth values combined, for a row of LOGICAL."""

    name: str
    differentiable = False

    @property
    def label(self) -> str:
        return self.name

    def __str__(self) -> str:
        return self.name

    def infer(self, inputs: Sequence[TensorType], /) -> tuple[TensorType, ...]:
        require_count(self.name, inputs, 1 if self.name == "logical_not" else 2)
        names = ("x", "y")[: len(inputs)]
        if any(type.dtype is not DType.bool for type in inputs):
            raise no_such_types(self.name, names, inputs, "bool", "Compare first, as in x != 0")
        return (TensorType(broadcast(self.name, names, inputs), DType.bool),)

    def code(self, inputs: Sequence[TensorType]) -> tuple[Instruction, ...]:
        return (Instruction(self.name, DType.bool, tuple(range(len(inputs)))),)


@dataclass(frozen=True, slots=True)
class Bitwise(Elementwise):
    """A function of the bits of integers, for a row of BITWISE; of truth values, one of LOGICAL."""

    name: str
    meeting = Meeting.COMMON
    differentiable = False

    @property
    def label(self) -> str:
        return self.name

    def __str__(self) -> str:
        return self.name

    def infer(self, inputs: Sequence[TensorType], /) -> tuple[TensorType, ...]:
        require_count(self.name, inputs, 1 if self.name == "bitwise_not" else 2)
        names = ("x", "y")[: len(inputs)]
        dtype = inputs[0].dtype
        counts = dtype.is_integer or (dtype is DType.bool and self.name in TRUTH)
        if not counts or any(type.dtype is not dtype for type in inputs):
            raise no_such_types(
                self.name,
                names,
                inputs,
                "integers of one type" + (", or bool" if self.name in TRUTH else ""),
                "Compare first, in brackets: (x > 0) & (x < 1)" if dtype.is_floating else "",
            )
        return (TensorType(broadcast(self.name, names, inputs), dtype),)

    def code(self, inputs: Sequence[TensorType]) -> tuple[Instruction, ...]:
        dtype = inputs[0].dtype
        name = TRUTH[self.name] if dtype is DType.bool else self.name
        return (Instruction(name, dtype, tuple(range(len(inputs)))),)
