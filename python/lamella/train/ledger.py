# SPDX-License-Identifier: Apache-2.0
"""How many calls a TrainStep has finished, whatever became of them in Python.

A call adds one to the version of everything it writes, in the same native call that writes it. So
versions tell after an exception whether a step was still finished, whatever Python has noticed.
"""

from __future__ import annotations

from lamella.nn.parameter import Stored
from lamella.train.step import TrainStep

__all__ = ["Ledger"]


class Ledger:
    """The calls that a step has finished since this was made."""

    def __init__(self, step: TrainStep) -> None:
        self.step = step
        self._held = step.held
        self._before = [(stored.version, int(stored.version[0])) for stored in _written(step)]

    def finished(self) -> int:
        """How many calls were finished."""
        return max((int(version[0]) - old for version, old in self._before), default=0)

    def settle(self, most: int) -> int:
        """After an exception: the calls finished, which the step then agrees with.

        most: how many there can be; others that train the same parameters meanwhile count up the
        same versions.
        """
        count = min(self.finished(), most)
        self.step.held = (self._held + count) % self.step.accumulate
        return count


def _written(step: TrainStep) -> list[Stored]:
    """What every call writes: parameters, or the mass where several calls make an update."""
    return [step.sums.mass] if step.accumulate > 1 else list(step.optimizer.parameters)
