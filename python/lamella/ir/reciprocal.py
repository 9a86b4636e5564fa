# SPDX-License-Identifier: Apache-2.0
"""1 / n of an extent (extent.py): a float to Python, whose formula a constant of a graph may keep.

So the gradient of a mean over a batch stays a function of the batch. Computing with it is a reason
why a trace holds for its example only.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from lamella.ir.extent import Extent

    # For type checkers it is what isinstance says.
    _Fraction = float
else:
    _Fraction = object

__all__ = ["Reciprocal"]


class Reciprocal(_Fraction):
    """1 / n of an Extent: counts as a float, and a constant of a graph may keep its formula."""

    __slots__ = ("extent",)

    def __init__(self, extent: Extent) -> None:
        self.extent = extent

    # isinstance(x, float) asks for it.
    __class__ = property(lambda self: float)

    @property
    def value(self) -> float:
        """The example's."""
        return 1.0 / self.extent.value

    def __float__(self) -> float:
        self.extent.extents.reason("the reciprocal of an extent in a computation of numbers")
        return self.value

    def __bool__(self) -> bool:
        return True

    def __hash__(self) -> int:
        return hash(float(self))

    def __repr__(self) -> str:
        return repr(self.value)

    def __format__(self, spec: str) -> str:
        return format(self.value, spec)

    def __reduce__(self) -> Any:
        return float, (float(self),)


def _leaving(name: str) -> Callable[..., Any]:
    def method(self: Reciprocal, *others: Any) -> Any:
        # What is no number (a tensor) takes the operand as it is.
        if not all(isinstance(other, int | float | np.number | None) for other in others):
            return NotImplemented
        return getattr(float(self), name)(*map(float, others))

    return method


for _name in ("add", "radd", "sub", "rsub", "mul", "rmul", "truediv", "rtruediv", "floordiv",
              "rfloordiv", "mod", "rmod", "pow", "rpow", "neg", "abs", "trunc", "floor", "ceil",
              "round", "int", "eq", "ne", "lt", "le", "gt", "ge"):  # fmt: skip
    setattr(Reciprocal, f"__{_name}__", _leaving(f"__{_name}__"))
