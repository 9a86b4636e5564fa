# SPDX-License-Identifier: Apache-2.0
"""The protocol every op keeps, and what it is given when it is lowered.

An op is a frozen dataclass whose fields are plain values, so that equal ops compare equal. `infer`
is the only place where shapes and dtypes are judged; `reference` is the meaning, in NumPy float64;
`lower` turns the op into steps of a program; `grad` is its gradient as more nodes of the graph. Of
the core, ops name the specs of their steps alone: the builder comes as an argument.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from functools import lru_cache
from typing import TYPE_CHECKING, ClassVar, NamedTuple

import numpy as np

from lamella.errors import DTypeError, ShapeError, UnsupportedError, message
from lamella.ir.extent import Extent
from lamella.ir.graph import Constant, Place, Value, made_of
from lamella.ir.reciprocal import Reciprocal
from lamella.ir.types import Array, DType, TensorType

if TYPE_CHECKING:
    from lamella._core import ProgramBuilder, Slot

__all__ = [
    "TO_FLOAT",
    "Lowered",
    "Meeting",
    "Op",
    "ProgramBuilder",
    "no_such_types",
    "number",
    "only",
    "require_count",
    "require_floating",
    "unit",
    "widened",
]

# The cure for integers and truth values where only floating numbers have a meaning.
TO_FLOAT = "Convert integers and booleans with astype(np.float32) or .float()"


class Lowered(NamedTuple):
    """A value as the steps see it: where it lies and its type; contiguous, always.

    constant: the storage belongs to the program's constants (a weight it does not change itself),
    so that a step may keep its own packed copy. wanted: False for an output that nobody reads, of
    an op with `optional_outputs`; it has no memory and must not be written.
    """

    slot: Slot
    type: TensorType
    constant: bool = False
    wanted: bool = True


class Meeting(Enum):
    """Which operands of an op get one element type; runtime/promotion.py says which type."""

    # Floating ones among themselves; integers and truth values stay what they are.
    FLOATING = "floating"
    # Those and, beside them, truth values, which count 0 and 1.
    PRODUCT = "product"
    # All.
    COMMON = "common"
    # All, but they are only moved.
    MOVED = "moved"
    # All, in a floating type.
    QUOTIENT = "quotient"
    # All, in a type that holds every value of each.
    COMPARISON = "comparison"


class Op:
    """Base of all ops."""

    # Every occurrence counts; equal nodes stay two nodes.
    effects: ClassVar[bool] = False
    # The output is the first input's memory under another shape.
    view: ClassVar[bool] = False
    # The output may lie on any input of its own type that nobody needs afterwards.
    overwrites: ClassVar[bool] = False
    # `lower` looks at the outputs' `wanted` and leaves out what nobody reads.
    optional_outputs: ClassVar[bool] = False
    # A run may fail in it, by what the inputs hold: an index out of range.
    raises: ClassVar[bool] = False
    # It is a step of an optimiser: the program that has it is for training.
    learns: ClassVar[bool] = False
    # How operands of several element types meet, before the op judges them.
    meeting: ClassVar[Meeting] = Meeting.FLOATING
    # Operands that are positions: integers of every type, as int64.
    positions: ClassVar[tuple[int, ...]] = ()
    # False for ops whose outputs are not numbers on a line (masks, positions) and for updates: no
    # input of theirs has a gradient. All others have a rule, or are made by fusion, afterwards.
    differentiable: ClassVar[bool] = True

    @property
    def label(self) -> str:
        """How listings and messages call this op."""
        return type(self).__name__.lower()

    def __str__(self) -> str:
        return self.label

    def infer(self, inputs: Sequence[TensorType], /) -> tuple[TensorType, ...]:
        """The output types; raises ShapeError or DTypeError when the inputs do not fit."""
        raise NotImplementedError

    def grad(
        self,
        place: Place,
        inputs: Sequence[Value],
        outputs: Sequence[Value],
        dys: Sequence[Value | None],
    ) -> tuple[Value | None, ...]:
        """The gradients of the inputs, placed in the graph; None where there is none.

        dys: the gradients of the outputs, None for an output that does not matter; at least one
        does. Where an operand was broadcast its gradient keeps the output's shape: the pass sums.
        """
        if not self.differentiable:
            return (None,) * len(inputs)
        raise UnsupportedError(
            message(
                self.label,
                "a fused op has no gradient rule",
                None,
                "the graph as it was traced",
                "Differentiate before fusing",
            )
        )

    def overwrites_operand(self, output: int, /) -> int | None:
        """The operand of the output's type that this output may lie on; for several outputs.

        An op with one output that may lie on any operand says `overwrites` instead.
        """
        return None

    def reference(self, arrays: Sequence[Array], /) -> tuple[Array, ...]:
        """The outputs, computed in float64 where the inputs are floating."""
        raise NotImplementedError

    def tolerance(self, arrays: Sequence[Array], results: Sequence[Array], /) -> tuple[Array, ...]:
        """How far each output element may be from `results`, the reference on `arrays`.

        The default is exact.
        """
        return tuple(np.zeros(result.shape) for result in results)

    def lower(
        self,
        program: ProgramBuilder,
        inputs: Sequence[Lowered],
        outputs: Sequence[Lowered],
        /,
    ) -> None:
        """Appends this op's steps."""
        raise NotImplementedError

    def work(self, inputs: Sequence[TensorType], outputs: Sequence[TensorType], /) -> int:
        """Multiply-adds of the products that it consists of."""
        return 0


def require_count(op: str, inputs: Sequence[TensorType], low: int, high: int | None = None) -> None:
    """Raises ShapeError unless an op got between `low` and `high` inputs."""
    if low <= len(inputs) <= (low if high is None else high):
        return
    expected = str(low) if high is None else f"{low} to {high}"
    raise ShapeError(message(op, "wrong number of operands", {"operands": len(inputs)}, expected))


def require_floating(op: str, names: Sequence[str], inputs: Sequence[TensorType]) -> DType:
    """The one floating dtype of `inputs`; DTypeError if they are not floating or differ."""
    dtype = inputs[0].dtype
    if not dtype.is_floating or any(type.dtype is not dtype for type in inputs):
        raise no_such_types(
            op,
            names,
            inputs,
            "float32 or float64 everywhere",
            TO_FLOAT,
        )
    return dtype


def no_such_types(
    op: str, names: Sequence[str], inputs: Sequence[TensorType], expected: str, cure: str = ""
) -> DTypeError:
    """The error of operands whose element types do not fit."""
    types = {name: type.dtype for name, type in zip(names, inputs, strict=False)}
    return DTypeError(message(op, "element types do not fit", types, expected, cure))


@lru_cache(4096)
def _number(digits: str, dtype: DType) -> Constant:
    with np.errstate(over="ignore"):
        return Constant(np.array(float.fromhex(digits), dtype.numpy))


def number(value: float, dtype: DType) -> Constant:
    """A 0-d constant for gradient rules; equal numbers are one leaf, so that equal nodes merge.

    Of an extent, or of its reciprocal, it is made of that at every size.
    """
    if type(value) is Extent:
        return made_of(("value", value), dtype)
    if type(value) is Reciprocal:
        return made_of(("reciprocal", value.extent), dtype)
    # By digits: 0.0 and -0.0 are equal keys.
    return _number(float(value).hex(), dtype)


def only(dys: Sequence[Value | None]) -> Value:
    """The gradient of the one output."""
    (dy,) = dys
    assert dy is not None
    return dy


def widened(array: Array) -> Array:
    """Floating arrays as float64, in which references compute; others as they are.

    An array of uint16 holds bfloat16, which NumPy does not have.
    """
    if array.dtype == np.uint16:
        return (array.astype(np.uint32) << 16).view(np.float32).astype(np.float64)
    return array.astype(np.float64) if array.dtype.kind == "f" else array


def unit(dtype: np.dtype[np.generic] | DType) -> float:
    """The unit roundoff of a floating dtype: half the gap above one; 0 for other dtypes."""
    if dtype is DType.bfloat16:
        return 2.0**-8
    resolved = dtype.numpy if isinstance(dtype, DType) else dtype
    return float(np.finfo(resolved).eps) / 2 if resolved.kind == "f" else 0.0
