# SPDX-License-Identifier: Apache-2.0
"""What a step holds between its updates, when several calls make one.

    gradients = sum over calls of d total / sum over calls of mass

So calls of any size make the step that one call on all their samples would make. The sums are
buffers that programs write in place; `calls` of them have been made since the last update, `blank`
of these without a sample that counts. Every program that adds or updates writes `mass`: its version
tells after an exception whether a call was still finished.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lamella import _core
from lamella.ir.graph import Value
from lamella.ir.types import DType
from lamella.nn.parameter import Buffer, Parameter
from lamella.ops.elementwise import Binary, Cast, Compare, Where
from lamella.runtime.trace import Trace
from lamella.train.objective import Objective

__all__ = ["Held"]


class Held:
    """The sums of one step."""

    def __init__(self) -> None:
        self.calls = 0
        self.blank = 0
        # In float64: a mass is a number of elements, which float32 counts to 16 million.
        self.mass = Buffer(np.zeros((), np.float64))
        self._sums: dict[int, Buffer] = {}
        self._reached: dict[int, bool] = {}
        self.changes = _core.Structure()

    @property
    def nbytes(self) -> int:
        """Bytes of all sums."""
        return sum(one.memory.nbytes for one in self._sums.values())

    def structure(self) -> tuple[int, ...]:
        """What programs that read the sums depend on: the parameters that have one."""
        return tuple(self._reached)

    def clear(self) -> None:
        """An update has been made."""
        self.calls = self.blank = 0

    def sum(self, parameter: Parameter) -> Buffer:
        """What the gradients of the calls add up to, for one parameter."""
        found = self._sums.get(id(parameter))
        if found is None:
            found = self._sums[id(parameter)] = Buffer(np.zeros_like(parameter.memory))
        found.cast(parameter.memory.dtype)
        return found

    def _reach(self, parameter: Parameter) -> None:
        if id(parameter) not in self._reached:
            self._reached[id(parameter)] = True
            self.changes.touch()

    # In a trace

    def weigh(self, trace: Trace, objective: Objective) -> Value:
        """The mass with this call's: what the sums are divided by; 1 where nothing is divided."""
        if objective.mass is None:
            return trace.constant(np.float64(1))
        mass = objective.measure(trace)._value(trace)
        if mass.dtype is not DType.float64:
            mass = trace.place(Cast(DType.float64), mass)
        return trace.place(Binary("add"), trace.parameter(self.mass), mass)

    def add(self, trace: Trace, parameter: Parameter, gradient: Value) -> None:
        """Adds a call's gradient to the sum."""
        self._reach(parameter)
        held = self.sum(parameter)
        trace.update(held, trace.place(Binary("add"), trace.parameter(held), gradient))

    def mean(
        self, trace: Trace, parameter: Parameter, gradient: Value | None, mass: Value
    ) -> Value | None:
        """The gradient of an update, of the sum and the last call's; the sum begins anew."""
        if id(parameter) not in self._reached:
            total = gradient
        else:
            held = self.sum(parameter)
            total = trace.parameter(held)
            if gradient is not None:
                total = trace.place(Binary("add"), total, gradient)
            trace.update(held, trace.constant(np.zeros_like(held.memory)))
        if total is None:
            return None
        none = trace.place(Compare("eq"), mass, trace.constant(np.float64(0)))
        divisor = trace.place(Where(), none, trace.constant(np.float64(1)), mass)
        if total.dtype is not DType.float64:
            divisor = trace.place(Cast(total.dtype), divisor)
        return trace.place(Binary("div"), total, divisor)

    def drop(self, trace: Trace, parameter: Parameter) -> None:
        """Forgets the sum of a parameter that is no longer trained."""
        if id(parameter) in self._reached:
            held = self.sum(parameter)
            trace.update(held, trace.constant(np.zeros_like(held.memory)))

    # For checkpoints

    def state(self, parameters: Sequence[Parameter]) -> dict[str, Any]:
        """What a checkpoint has to hold of them, sums in the order of the parameters."""
        sums = [
            np.array(self.sum(one).data) if id(one) in self._reached else None for one in parameters
        ]
        mass = float(self.mass.data)
        held: dict[str, Any] = {"held": self.calls, "blank": self.blank}
        return held | ({"mass": mass, "sums": sums} if self.calls else {})

    def load(self, parameters: Sequence[Parameter], saved: Mapping[str, Any]) -> None:
        """Takes over what state gave. Raises: KeyError, ValueError, ShapeError, DTypeError."""
        calls = int(saved["held"])
        sums = saved["sums"] if calls else [None for _ in parameters]
        mass, blank = (saved["mass"], int(saved["blank"])) if calls else (0.0, 0)
        for parameter, array in zip(parameters, sums, strict=True):
            if array is not None:
                self._reach(parameter)
                self.sum(parameter).data = array
            elif id(parameter) in self._reached:
                self.sum(parameter).data = np.zeros_like(parameter.memory)
        self.mass.data = np.float64(mass)
        self.calls, self.blank = calls, blank
