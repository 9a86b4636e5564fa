# SPDX-License-Identifier: Apache-2.0
"""What an ONNX rule is given beside its operands: its node's attributes and version too.

Attributes are read with the type that the operator says they have; a file that has another is
malformed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lamella.foreign import call as foreign
from lamella.foreign.call import Allowance
from lamella.ir.types import Array

__all__ = ["Call"]


class Call(foreign.Call):
    """One node as its rule sees it."""

    __slots__ = ("attributes", "version")

    def __init__(
        self,
        op: str,
        version: int,
        attributes: Mapping[str, Any],
        outputs: int,
        operands: Sequence[Any],
        allowance: Allowance,
        training: bool = False,
    ) -> None:
        super().__init__(op, outputs, operands, allowance, training)
        self.version = version
        self.attributes = attributes

    @property
    def kind(self) -> str:
        """The operator with its version."""
        return f"{self.op}-{self.version}"

    def integer(self, name: str, default: int | None = None) -> int:
        """An integer attribute."""
        return int(self._typed(name, default, (int,), "an integer"))

    def number(self, name: str, default: float | None = None) -> float:
        """A floating attribute; a default is a float32 number, as a written one would be."""
        value = float(self._typed(name, default, (int, float), "a number"))
        return value if name in self.attributes else float(np.float32(value))

    def text(self, name: str, default: str | None = None) -> str:
        """A text attribute."""
        value = self._typed(name, default, (bytes, str), "a text")
        return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)

    def ints(self, name: str, default: Sequence[int] | None = None) -> tuple[int, ...]:
        """A list of integers."""
        values = self._typed(name, default, (tuple,), "integers")
        if any(not isinstance(value, int) for value in values):
            raise self.malformed(f"attribute {name} is not integers")
        return tuple(values)

    def floats(self, name: str, default: Sequence[float] | None = None) -> tuple[float, ...]:
        """A list of numbers."""
        values = self._typed(name, default, (tuple,), "numbers")
        if any(not isinstance(value, int | float) for value in values):
            raise self.malformed(f"attribute {name} is not numbers")
        return tuple(float(value) for value in values)

    def texts(self, name: str) -> tuple[str, ...]:
        """A list of texts."""
        values = self._typed(name, (), (tuple,), "texts")
        return tuple(str(item, "utf-8", "replace") for item in values if isinstance(item, bytes))

    def tensor(self, name: str) -> Array:
        """A tensor attribute."""
        found: Array = self._typed(name, None, (np.ndarray,), "a tensor")
        return found

    def has(self, name: str) -> bool:
        """Whether the attribute is there."""
        return name in self.attributes

    def _typed(self, name: str, default: Any, kinds: tuple[type, ...], expected: str) -> Any:
        value = self.attributes.get(name, default)
        if value is None:
            raise self.malformed(f"attribute {name} is missing")
        if not isinstance(value, kinds):
            raise self.malformed(f"attribute {name} is not {expected}")
        return value
