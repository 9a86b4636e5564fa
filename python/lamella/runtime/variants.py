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

# Programs kept; more states than these in turn are compiled again and again.
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
    """The programs of one signature, the latest last. keep: what has to live as long as they."""

    __slots__ = ("keep", "programs")

    def __init__(self, keep: Any = None) -> None:
        self.keep = keep
        self.programs: list[Compiled] = []

    def find(self) -> Compiled | None:
        """The program for what Python's values are now."""
        for compiled in reversed(self.programs):
            if compiled.watched.holds():
                self.programs.remove(compiled)
                self.programs.append(compiled)
                return compiled
        return None

    def add(self, compiled: Compiled, recompilations: Recompilations) -> None:
        """A program made since none of those here holds."""
        if self.programs:
            recompilations.note(self.programs[-1].watched.changed())
        self.programs.append(compiled)
        del self.programs[:-_MOST]
