# SPDX-License-Identifier: Apache-2.0
"""What a TrainStep keeps between calls: how many were finished, what they left to the next.

A call adds one to the version of everything it writes, in the same native call that writes it. So
versions tell after an exception whether a step was still finished, whatever Python has noticed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from lamella.nn.parameter import Stored
from lamella.train.step import TrainStep

__all__ = ["Ledger", "load_state", "state"]


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


def _parameters(step: TrainStep) -> list[Any]:
    return [p for group in step.optimizer.param_groups for p in group["params"]]


def _written(step: TrainStep) -> list[Stored]:
    """What every call writes: parameters, or sums of gradients where several make an update."""
    parameters = _parameters(step)
    return parameters if step.accumulate == 1 else [step.held_sum(p) for p in parameters]


def state(step: TrainStep) -> dict[str, Any]:
    """What a checkpoint has to hold: the random state, and gradients that wait for an update."""
    sums = [np.array(step.held_sum(p).data) for p in _parameters(step)] if step.held else []
    return {"random_state": list(step.random_state), "held": step.held, "sums": sums}


def load_state(step: TrainStep, saved: Mapping[str, Any]) -> None:
    """Takes over what state gave. Raises: ShapeError, ValueError for sums of other parameters."""
    key, calls = saved["random_state"]
    parameters = _parameters(step)
    sums = saved["sums"] if saved["held"] else [np.zeros_like(p.array) for p in parameters]
    if step.accumulate > 1:
        for parameter, array in zip(parameters, sums, strict=True):
            step.held_sum(parameter).data = array
            if np.any(array):
                step.reach(parameter)
    step.held = int(saved["held"])
    step.random_state = (int(key), int(calls))
