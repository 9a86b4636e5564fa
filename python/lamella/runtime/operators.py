# SPDX-License-Identifier: Apache-2.0
"""Operators between operands, functions of one or two of them, and their element types.

Each places one op of the tables; what operands of several types become is decided by promotion.py.
On truth values & | ^ ~ combine, on integers they work on the bits, as in NumPy and torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self, TypeAlias

import numpy as np

from lamella.habits import is_device
from lamella.ir.types import DType
from lamella.ops.base import Op
from lamella.ops.elementwise import Binary, Cast, Compare, unary
from lamella.ops.logical import Bitwise
from lamella.runtime.overrides import NumpyOperand
from lamella.runtime.promotion import is_number

if TYPE_CHECKING:
    from lamella.runtime.tensor import Operand, OperandLike, Tensor

    Bound: TypeAlias = OperandLike | None

__all__ = ["ElementTypes", "Operators"]


class _Placing(NumpyOperand):
    """What operators ask of an operand."""

    __slots__ = ()

    if TYPE_CHECKING:

        @staticmethod
        def _placed(op: Op, *operands: Any) -> Tensor:
            """One op on operands, in the current trace."""


class Operators(_Placing):
    """Python's operators, and the methods that do the same or take one operand."""

    __slots__ = ()

    def __add__(self, other: OperandLike) -> Tensor:
        return self._placed(Binary("add"), self, other)

    def __radd__(self, other: OperandLike) -> Tensor:
        return self._placed(Binary("add"), other, self)

    def __sub__(self, other: OperandLike) -> Tensor:
        return self._placed(Binary("sub"), self, other)

    def __rsub__(self, other: OperandLike) -> Tensor:
        return self._placed(Binary("sub"), other, self)

    def __mul__(self, other: OperandLike) -> Tensor:
        return self._placed(Binary("mul"), self, other)

    def __rmul__(self, other: OperandLike) -> Tensor:
        return self._placed(Binary("mul"), other, self)

    def __truediv__(self, other: OperandLike) -> Tensor:
        return self._placed(Binary("div"), self, other)

    def __rtruediv__(self, other: OperandLike) -> Tensor:
        return self._placed(Binary("div"), other, self)

    def __floordiv__(self, other: OperandLike) -> Tensor:
        return self._placed(Binary("floor_divide"), self, other)

    def __rfloordiv__(self, other: OperandLike) -> Tensor:
        return self._placed(Binary("floor_divide"), other, self)

    def __mod__(self, other: OperandLike) -> Tensor:
        return self._placed(Binary("remainder"), self, other)

    def __rmod__(self, other: OperandLike) -> Tensor:
        return self._placed(Binary("remainder"), other, self)

    def __pow__(self, other: OperandLike) -> Tensor:
        return self.pow(other)

    def __rpow__(self, other: OperandLike) -> Tensor:
        return self._placed(Binary("pow"), other, self)

    def __and__(self, other: OperandLike) -> Tensor:
        return self._placed(Bitwise("bitwise_and"), self, other)

    def __rand__(self, other: OperandLike) -> Tensor:
        return self._placed(Bitwise("bitwise_and"), other, self)

    def __or__(self, other: OperandLike) -> Tensor:
        return self._placed(Bitwise("bitwise_or"), self, other)

    def __ror__(self, other: OperandLike) -> Tensor:
        return self._placed(Bitwise("bitwise_or"), other, self)

    def __xor__(self, other: OperandLike) -> Tensor:
        return self._placed(Bitwise("bitwise_xor"), self, other)

    def __rxor__(self, other: OperandLike) -> Tensor:
        return self._placed(Bitwise("bitwise_xor"), other, self)

    def __lshift__(self, other: OperandLike) -> Tensor:
        return self._placed(Bitwise("left_shift"), self, other)

    def __rlshift__(self, other: OperandLike) -> Tensor:
        return self._placed(Bitwise("left_shift"), other, self)

    def __rshift__(self, other: OperandLike) -> Tensor:
        return self._placed(Bitwise("right_shift"), self, other)

    def __rrshift__(self, other: OperandLike) -> Tensor:
        return self._placed(Bitwise("right_shift"), other, self)

    def __invert__(self) -> Tensor:
        return self._placed(Bitwise("bitwise_not"), self)

    def __neg__(self) -> Tensor:
        return self._placed(unary("neg"), self)

    def __pos__(self) -> Self:
        return self

    def __abs__(self) -> Tensor:
        return self._placed(unary("abs"), self)

    def __lt__(self, other: OperandLike) -> Tensor:
        return self._placed(Compare("lt"), self, other)

    def __le__(self, other: OperandLike) -> Tensor:
        return self._placed(Compare("le"), self, other)

    def __gt__(self, other: OperandLike) -> Tensor:
        return self._placed(Compare("gt"), self, other)

    def __ge__(self, other: OperandLike) -> Tensor:
        return self._placed(Compare("ge"), self, other)

    def eq(self, other: OperandLike) -> Tensor:
        return self._placed(Compare("eq"), self, other)

    def ne(self, other: OperandLike) -> Tensor:
        return self._placed(Compare("ne"), self, other)

    def maximum(self, other: OperandLike) -> Tensor:
        return self._placed(Binary("maximum"), self, other)

    def minimum(self, other: OperandLike) -> Tensor:
        return self._placed(Binary("minimum"), self, other)

    def pow(self, exponent: OperandLike) -> Tensor:
        """self ** exponent; the number 2 is a multiplication."""
        if is_number(exponent) and exponent == 2:
            return self.square()
        return self._placed(Binary("pow"), self, exponent)

    def exp(self) -> Tensor:
        return self._placed(unary("exp"), self)

    def log(self) -> Tensor:
        return self._placed(unary("log"), self)

    def sqrt(self) -> Tensor:
        return self._placed(unary("sqrt"), self)

    def rsqrt(self) -> Tensor:
        return self._placed(unary("rsqrt"), self)

    def square(self) -> Tensor:
        return self._placed(unary("square"), self)

    def abs(self) -> Tensor:
        return self._placed(unary("abs"), self)

    def tanh(self) -> Tensor:
        return self._placed(unary("tanh"), self)

    def sigmoid(self) -> Tensor:
        return self._placed(unary("sigmoid"), self)

    def relu(self) -> Tensor:
        return self._placed(unary("relu"), self)

    def clamp(self, min: Bound = None, max: Bound = None) -> Operand:
        """min(max(x, min), max); a bound that is None does not bound."""
        plain = all(bound is None or is_number(bound) for bound in (min, max))
        if plain and self._type.dtype.is_floating:
            low: Any = -np.inf if min is None else min
            high: Any = np.inf if max is None else max
            return self._placed(unary("clamp", low, high), self)
        lowest: Any = self if min is None else self._placed(Binary("clamp_min"), self, min)
        bounded: Operand = lowest
        return bounded if max is None else self._placed(Binary("clamp_max"), bounded, max)

    clip = clamp


class ElementTypes(_Placing):
    """The same values as another element type."""

    __slots__ = ()

    def to(self, *args: Any, dtype: Any = None, device: Any = None, **_others: Any) -> Operand:
        """As a dtype, or as that of another operand; the device 'cpu' changes nothing.

        torch's non_blocking, copy and memory_format have no meaning here.
        """
        wanted = dtype
        for arg in (*args, device):
            if isinstance(arg, ElementTypes):
                wanted = arg._type.dtype
            elif not (arg is None or isinstance(arg, (True).__class__) or is_device("to", arg)):
                wanted = arg
        found: Any = self
        operand: Operand = found
        return operand if wanted is None else self._placed(Cast(DType.computed("to", wanted)), self)

    def type(self, dtype: Any) -> Operand:
        return self._placed(Cast(DType.computed("type", dtype)), self)

    def type_as(self, other: Operand) -> Tensor:
        return self._placed(Cast(other._type.dtype), self)

    def float(self) -> Tensor:
        return self._placed(Cast(DType.float32), self)

    def double(self) -> Tensor:
        return self._placed(Cast(DType.float64), self)

    def long(self) -> Tensor:
        return self._placed(Cast(DType.int64), self)

    def int(self) -> Tensor:
        return self._placed(Cast(DType.int32), self)

    def char(self) -> Tensor:
        return self._placed(Cast(DType.int8), self)

    def byte(self) -> Tensor:
        return self._placed(Cast(DType.uint8), self)

    def bool(self) -> Tensor:
        """Which elements are not zero."""
        return self._placed(Cast(DType.bool), self)
