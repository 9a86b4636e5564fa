# SPDX-License-Identifier: Apache-2.0
"""Programs of one signature that differ in what they have taken of Python.

A value that goes back and forth between a few states finds the program of each. One that is new
at every call compiles every time, which is said once.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

from lamella.runtime.session import Compiled

__all__ = ["Recompilations", "Variants"]

# Programs kept: before one is made, each of them is asked whether it holds.
_MOST = 8
# A function traced anew so often for values of Python is a schedule, not a setting.
_MANY = 16


class Recompilations:
    """Counts how often values of Python had one function or module traced anew; warns once."""

    __slots__ = ("count", "op")

    def __init__(self, op: str) -> None:
        self.op = op
        self.count = 0

    def note(self, names: Sequence[str]) -> None:
        """It is traced anew because these have changed."""
        if not names:
            return
        self.count += 1
        if self.count == _MANY:
            warnings.warn(
                f"{self.op}: traced anew {_MANY} times since {', '.join(names[:3])} changed; what "
                "changes often belongs into a nn.Buffer or an array of one element, which programs "
                "read at every run",
                RuntimeWarning,
                stacklevel=2,
            )


class Variants:
    """The programs of one signature, the latest last. keep: what has to live as long as they.

    Threads may ask and add at once: the list is replaced as a whole, and what one of two adds gets
    lost at worst.
    """

    __slots__ = ("keep", "programs")

    def __init__(self, keep: Any = None) -> None:
        self.keep = keep
        self.programs: list[Compiled] = []

    @property
    def nbytes(self) -> int:
        """What they take; one that holds for several states counts once."""
        return sum({id(one.program): one.nbytes for one in self.programs}.values())

    def find(self, exact: bool = False) -> Compiled | None:
        """The program for what Python's values are now. exact: one whose graph is of its size."""
        programs = self.programs
        for compiled in reversed(programs):
            if compiled.watched.holds() and not (exact and compiled.is_sized):
                if compiled is not programs[-1]:
                    self.programs = [*(one for one in programs if one is not compiled), compiled]
                return compiled
        return None

    def add(self, compiled: Compiled, recompilations: Recompilations) -> None:
        """A program made since none of those here holds."""
        before = self.programs
        self.programs = [*before, compiled][-_MOST:]
        if before:
            recompilations.note(before[-1].watched.changed())
