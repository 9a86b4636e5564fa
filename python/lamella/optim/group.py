# SPDX-License-Identifier: Apache-2.0
"""Parameter groups: dictionaries whose numbers compiled programs read while they run.

A group is what torch has, a dictionary of options and `params`. Beside it lies a small float64
buffer, `hyper`, with the numbers of its rule; assigning to the group writes there, so that the next
run sees the change without compiling. What changes the arrays or the formula, `plan`, counts as a
change of structure instead.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from lamella import _core
from lamella.errors import message
from lamella.nn.parameter import Buffer
from lamella.ops.optimizer import HYPER, Update

__all__ = ["Group", "GroupPlan"]

_ABSENT = object()

# Numbers of every rule that no plan depends on: schedules set them often.
_ONLY_NUMBERS = ("lr", "weight_decay")


class GroupPlan(NamedTuple):
    """What a program is compiled for: the rule of its scalars, the update, whether steps count."""

    rule: str
    update: Update
    counts: bool


class Group(dict[str, Any]):
    """The options of some parameters.

    judge: raises for options that the optimiser refuses; describe: the plan of options.
    """

    def __init__(
        self,
        options: Mapping[str, Any],
        judge: Callable[[Mapping[str, Any]], None],
        describe: Callable[[Mapping[str, Any]], GroupPlan],
    ) -> None:
        super().__init__(options)
        self._judge = judge
        self._describe = describe
        judge(self)
        self.plan = describe(self)
        self.hyper = Buffer(self._numbers(self.plan))
        self.hyper.name = "hyper"
        self.structure = _core.Structure()

    def replace(self, options: Mapping[str, Any]) -> None:
        """Takes over all options at once, or raises for what is no number and changes nothing.

        As in torch their ranges are not judged again: schedules may leave them by a rounding.
        """
        before = dict(self)
        super().clear()
        super().update(options)
        try:
            plan = self._describe(self)
            numbers = self._numbers(plan)
        except Exception:
            super().clear()
            super().update(before)
            raise
        if plan != self.plan:
            self.plan = plan
            self.structure.touch()
        if not np.array_equal(numbers, self.hyper.array):
            self.hyper.data = numbers

    def __setitem__(self, key: str, value: Any) -> None:
        if self.get(key, _ABSENT) is value:
            return
        if key in _ONLY_NUMBERS and type(value) is float and key in self:
            super().__setitem__(key, value)
            numbers = self.hyper.array.copy()
            place = 1 if key == "weight_decay" else 2 + HYPER[self.plan.rule].index(key)
            numbers[place] = value
            # Its shape and type are right: looking again would take most of the time.
            self.hyper._write(numbers)
        else:
            self.replace({**self, key: value})

    def __delitem__(self, key: str) -> None:
        self.replace({name: value for name, value in self.items() if name != key})

    def __ior__(self, other: Any) -> Group:  # type: ignore[override, misc]
        self.update(other)
        return self

    def update(self, *others: Any, **named: Any) -> None:
        """As dict has it, all or nothing."""
        self.replace({**self, **dict(*others, **named)})

    def setdefault(self, key: str, default: Any = None) -> Any:
        """As dict has it."""
        if key not in self:
            self[key] = default
        return self[key]

    def pop(self, key: str, *default: Any) -> Any:
        """As dict has it."""
        if key not in self and default:
            return default[0]
        value = self[key]
        del self[key]
        return value

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return type(self), (dict(self), self._judge, self._describe)

    def _numbers(self, plan: GroupPlan) -> np.ndarray[Any, np.dtype[Any]]:
        numbers = [-1.0 if self["maximize"] else 1.0]
        for name in ("weight_decay", *HYPER[plan.rule]):
            pair = name in ("beta1", "beta2")
            value = self["betas"][name == "beta2"] if pair else self[name]
            numbers.append(number("optimizer", name, value))
        return np.array(numbers)


def number(label: str, name: str, value: Any) -> float:
    """The value as a float. Raises: TypeError for what is no number."""
    if not hasattr(value, "__float__"):
        raise TypeError(message(label, f"{name} is no number", {name: repr(value)}, "a number"))
    return float(value)
