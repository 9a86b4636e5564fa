# SPDX-License-Identifier: Apache-2.0
"""What a door makes of its file: entries with their rules, known arrays, declared inputs.

A Plan is what an Imported runs, and all that is pickled of the file. A door's entries say how the
call that their rules are given is made, and how they are pickled: rules are looked up again.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lamella.foreign.call import Allowance, Call
from lamella.foreign.rule import Rule
from lamella.ir.types import Array, Shape
from lamella.storage.source import quoted

__all__ = ["Entry", "Plan", "TensorInfo"]


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """What a file declares of an input or output.

    name; dtype, in which values are computed and come back (half floats: float32), None where the
    file says nothing; shape, None where it is unknown: an int for each fixed extent, a name for one
    that is open, the same name for the same extent, None for an open one without a name.
    """

    name: str
    dtype: np.dtype[Any] | None = None
    shape: tuple[int | str | None, ...] | None = None

    def __str__(self) -> str:
        if self.shape is None:
            extents = "of any shape"
        else:
            inner = ", ".join("?" if extent is None else str(extent) for extent in self.shape)
            extents = f"({inner},)" if len(self.shape) == 1 else f"({inner})"
        return f"{self.name}: {self.dtype or 'any type'} {extents}"


@dataclass(frozen=True, slots=True, eq=False)
class Entry(ABC):
    """A node with its rule; inputs and outputs are names of values, "" for one left out."""

    name: str
    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    rule: Rule = field(repr=False)

    @property
    def label(self) -> str:
        """How messages call it."""
        return f"{self.op} {quoted(self.name)}" if self.name else self.op

    @property
    def keeps_sizes(self) -> bool:
        """Whether the rule keeps free extents among known integers: shapes made of shapes."""
        return False

    def elements(self, operands: Sequence[np.dtype[Any] | None]) -> list[np.dtype[Any] | None]:
        """The element types of the outputs, None where nobody declares one."""
        return self.rule.elements(operands, len(self.outputs))

    def place(self, title: str) -> str:
        """The module that the node belongs to, where names say so; else its title."""
        return title

    @abstractmethod
    def call(self, operands: Sequence[Any], allowance: Allowance, training: bool) -> Call:
        """What the rule is given beside the operands."""

    @abstractmethod
    def __reduce__(self) -> Any: ...


class Plan:
    """The nodes in order, the known arrays, and the declared inputs and outputs.

    constants: arrays by value name; learnt, statistics: the names among them that become parameters
    and buffers; defaults: inputs that have a constant as their default; copies: constants that
    others were copied from, with the copies' names; folding_bytes: what known results may take;
    metadata: the file's own; fixed: shapes that inputs had before extents were freed.
    """

    __slots__ = (
        "constants",
        "copies",
        "defaults",
        "entries",
        "fixed",
        "folding_bytes",
        "inputs",
        "learnt",
        "metadata",
        "name",
        "outputs",
        "statistics",
    )

    def __init__(
        self,
        name: str,
        entries: tuple[Entry, ...],
        constants: dict[str, Array],
        learnt: tuple[str, ...],
        statistics: tuple[str, ...],
        inputs: tuple[TensorInfo, ...],
        outputs: tuple[TensorInfo, ...],
        folding_bytes: int,
        defaults: tuple[TensorInfo, ...] = (),
        copies: dict[str, list[str]] | None = None,
        metadata: dict[str, str] | None = None,
    ) -> None:
        self.name = name
        self.entries = entries
        self.constants = constants
        self.learnt = learnt
        self.statistics = statistics
        self.inputs = inputs
        self.outputs = outputs
        self.folding_bytes = folding_bytes
        self.defaults = defaults
        self.copies = copies or {}
        self.metadata = metadata or {}
        self.fixed: dict[str, tuple[int | str | None, ...]] = {}

    def file_shape(self, name: str, shape: Shape) -> Shape:
        """The shape of an input with the extents that the file fixes, freed ones among them."""
        fixed = self.fixed.get(name, shape)
        pairs = zip(fixed, shape, strict=True)
        return tuple(want if isinstance(want, int) else have for want, have in pairs)
