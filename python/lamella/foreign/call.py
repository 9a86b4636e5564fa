# SPDX-License-Identifier: Apache-2.0
"""What a rule is given beside its operands: its node's name, its outputs, an allowance of bytes.

A rule is `rule(call, *operands) -> operand or tuple`. Operands are NumPy arrays, whose elements are
known, or symbolic tensors, whose elements are not; None stands for an optional one left out. A rule
that must know elements (a shape, an axis) asks `call.value`, which raises NeedsValue for a tensor.
What the core cannot do with a tensor raises DTypeError or UnsupportedError there; the model may
then run the rule on arrays instead (stages.py). A door adds how its nodes tell their attributes.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from lamella.errors import FormatError, UnsupportedError, message
from lamella.ir.extent import Extent, Extents, index
from lamella.ir.types import Array
from lamella.nn.parameter import Stored

__all__ = ["Allowance", "Call", "NeedsValue", "is_array", "is_sizes", "sizes"]


class NeedsValue(UnsupportedError):
    """A rule asked for the elements of operand number `position`, a symbolic tensor."""

    def __init__(self, text: str, position: int) -> None:
        super().__init__(text)
        self.position = position


class Allowance:
    """Bytes that known results may take: of one walk together, or each of them beside its operands.

    A model of a few bytes can ask for terabytes; nothing is allocated before this was asked.
    """

    __slots__ = ("each", "left")

    def __init__(self, left: int, each: bool = False) -> None:
        self.left = left
        self.each = each


class Call:
    """One node as its rule sees it."""

    __slots__ = ("_allowance", "op", "operands", "outputs", "training")

    def __init__(
        self,
        op: str,
        outputs: int,
        operands: Sequence[Any],
        allowance: Allowance,
        training: bool = False,
    ) -> None:
        self.op = op
        self.outputs = outputs
        self.operands = operands
        self.training = training
        self._allowance = allowance

    # Elements that have to be known.

    def value(self, operand: Any) -> Array:
        """The elements of an operand; NeedsValue for a symbolic tensor."""
        if isinstance(operand, np.ndarray):
            return operand
        if isinstance(operand, Stored):
            return operand.data
        if operand is None:
            raise self.malformed("an operand is missing")
        for position, other in enumerate(self.operands):
            if other is operand:
                raise NeedsValue(
                    message(
                        self.op,
                        f"operand {position} decides shapes, so its elements must be known",
                        None,
                        "a constant, or what is computed from shapes",
                    ),
                    position,
                )
        raise self.unsupported("decides shapes by computed elements")

    def numbers(self, operand: Any) -> tuple[int, ...]:
        """The elements of an operand as integers: a shape, axes, sizes."""
        array = self.value(operand)
        kind = "iu" if is_sizes(array) is None else "O"
        if array.dtype.kind not in kind or array.ndim > 1 or array.size > 4096:
            raise self.malformed("an operand is no list of integers")
        return tuple(index(number) for number in array.reshape(-1))

    def scalar(self, operand: Any) -> Any:
        """The one element of an operand, as a Python number."""
        array = self.value(operand)
        if array.size != 1:
            raise self.malformed("an operand is not one number")
        return array.reshape(()).item()

    # Judging what a file gives.

    def ranked(self, operand: Any, least: int, most: int | None = None) -> None:
        """Raises unless an operand has from `least` to `most` axes, or `least` or more for None."""
        rank = len(operand.shape)
        if rank < least or (most is not None and rank > most):
            raise self.malformed(f"an operand has {rank} axes")

    # Refusals.

    def room(self, shape: Sequence[int], itemsize: int = 8) -> None:
        """Raises before an array of this shape would be allocated beyond the allowance."""
        size = prod(shape) * itemsize
        limit = self._allowance.left
        if self._allowance.each:
            given = sum(x.nbytes for x in self.operands if isinstance(x, np.ndarray))
            limit = max(limit, 16 * given)
        if any(extent < 0 for extent in shape):
            raise self.malformed("a negative extent")
        if size > limit:
            raise self.unsupported(
                f"a known result of {size} bytes, where {limit} are allowed (folding_bytes)"
            )

    def spend(self, results: Sequence[Any]) -> None:
        """Takes known results from the allowance of a walk."""
        if not self._allowance.each:
            self._allowance.left -= sum(x.nbytes for x in results if isinstance(x, np.ndarray))
            if self._allowance.left < 0:
                raise self.unsupported("known results beyond the allowed bytes (folding_bytes)")

    @property
    def kind(self) -> str:
        """The operator, as messages call it."""
        return self.op

    def malformed(self, rule: str) -> FormatError:
        """The error of a node that does not keep its operator's definition."""
        return FormatError(message(self.kind, rule))

    def unsupported(self, rule: str) -> UnsupportedError:
        """The error of a use of an operator that has no rule."""
        return UnsupportedError(message(self.kind, rule))


def sizes(numbers: Sequence[int] | int) -> Array:
    """Extents as an operand: int64, or objects where a trace with free extents has to keep them."""
    found = np.array(numbers, object)
    return found if is_sizes(found) else found.astype(np.int64)


def is_sizes(x: Any) -> Extents | None:
    """The free extents of which an operand holds some; None for every other operand."""
    if isinstance(x, np.ndarray) and x.dtype == object:
        for one in x.reshape(-1):
            if type(one) is Extent:
                return one.extents
    return None


def is_array(*operands: Any) -> bool:
    """True when the elements of all operands are known; NumPy's numbers are arrays of no axes."""
    return all(isinstance(operand, np.ndarray | np.generic) for operand in operands)
