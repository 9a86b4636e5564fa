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
# A program made anew so often for values of Python is a schedule, not a setting.
_MANY = 16


class Recompilations:
    """Counts the programs that one function or module has made anew, and warns once."""

    __slots__ = ("count", "op")

    def __init__(self, op: str) -> None:
        self.op = op
        self.count = 0

    def note(self, names: Sequence[str]) -> None:
        """A program is made anew because these have changed."""
        if not names:
            return
        self.count += 1
        if self.count == _MANY:
            warnings.warn(
                f"{self.op}: compiled {_MANY} times since {', '.join(names[:3])} changed; a value "
                "that changes often belongs into a nn.Buffer or an array of one element, which "
                "programs read at every run",
                RuntimeWarning,
                stacklevel=2,
            )


class Variants:
    """The programs of one signature, the latest last. keep: what has to live as long as they."""

    __slots__ = ("_programs", "keep")

    def __init__(self, keep: Any = None) -> None:
        self.keep = keep
        self._programs: list[Compiled] = []

    def find(self) -> Compiled | None:
        """The program for what Python's values are now."""
        for compiled in reversed(self._programs):
            if compiled.watched.holds():
                self._programs.remove(compiled)
                self._programs.append(compiled)
                return compiled
        return None

    def add(self, compiled: Compiled, recompilations: Recompilations) -> None:
        """A program made since none of those here holds."""
        if self._programs:
            recompilations.note(self._programs[-1].watched.changed())
        self._programs.append(compiled)
        del self._programs[:-_MOST]
