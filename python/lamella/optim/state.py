# SPDX-License-Identifier: Apache-2.0
"""An optimiser's state as torch lays it out: collecting it, and judging what is to be loaded.

State is keyed by the index of its parameter, groups list the indices. Reading judges everything
first and names all faults in one error.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from lamella.errors import DTypeError, FormatError, message
from lamella.ir.types import Array
from lamella.nn.parameter import Buffer, Parameter
from lamella.optim.group import Group

if TYPE_CHECKING:
    from lamella.optim.optimizer import Optimizer

__all__ = ["Entry", "collect", "judge", "read"]

# A parameter's count of steps and its arrays; None where it has no state.
Found = tuple[float, dict[str, Array]] | None


class Entry:
    """A parameter, its group, its state by name, and the count of its steps."""

    def __init__(self, parameter: Parameter, group: Group) -> None:
        self.parameter = parameter
        self.group = group
        self.state: dict[str, Buffer] = {}
        self.counter: Buffer | None = None


def judge(op: str, parameter: Parameter) -> None:
    """Raises DTypeError for a parameter that is stored narrow, whose digits no step would move."""
    if parameter.dtype.is_storage:
        raise DTypeError(
            message(
                op,
                "a parameter of a type of storage, which cannot be learnt",
                {parameter.name or "parameter": parameter.dtype},
                "float32 or float64",
                "Train net.float(), and call net.narrow() afterwards; or leave it as it is with"
                " requires_grad_(False)",
            )
        )


def collect(
    groups: Sequence[Group], entries: Sequence[Entry], with_step: bool, from_start: bool
) -> dict[str, Any]:
    """The state dictionary; without the state of parameters that made no step yet."""
    state: dict[int, dict[str, Array]] = {}
    for index, entry in enumerate(entries):
        if entry.counter is None or not (from_start or entry.counter.array > 0):
            continue
        found = {"step": np.array(entry.counter.array)} if with_step else {}
        state[index] = found | {name: np.array(one.array) for name, one in entry.state.items()}
    packed: list[dict[str, Any]] = []
    first = 0
    for group in groups:
        last = first + len(group["params"])
        options = {key: value for key, value in group.items() if key != "params"}
        packed.append({**options, "params": list(range(first, last))})
        first = last
    return {"state": state, "param_groups": packed}


def read(
    optimizer: Optimizer, groups: Sequence[Group], entries: Sequence[Entry], given: Any
) -> tuple[list[dict[str, Any]], list[Found]]:
    """Each group's options and each parameter's state; FormatError with all that is wrong."""
    wrong: list[str] = []
    options, indices = _read_groups(optimizer, groups, given, wrong)
    states: list[Found] = [None] * len(entries)
    if not wrong:
        position = {index: number for number, index in enumerate(indices)}
        for key, value in given["state"].items():
            if key not in position:
                wrong.append(f"state of {key!r}, which no group names")
                continue
            number = position[key]
            new = options[_group_of(groups, number)]
            states[number] = _read_entry(optimizer, entries[number], new, key, value, wrong)
    if wrong:
        raise FormatError(message(f"{type(optimizer).__name__}.load_state_dict", "; ".join(wrong)))
    return options, states


def _group_of(groups: Sequence[Group], number: int) -> int:
    for position, group in enumerate(groups):
        number -= len(group["params"])
        if number < 0:
            return position
    raise IndexError(number)


def _read_groups(
    optimizer: Optimizer, groups: Sequence[Group], given: Any, wrong: list[str]
) -> tuple[list[dict[str, Any]], list[Any]]:
    if not isinstance(given, Mapping) or not {"state", "param_groups"} <= set(given):
        wrong.append("no 'state' and 'param_groups'")
        return [], []
    if not isinstance(given["state"], Mapping):
        wrong.append("'state' is not a mapping")
    saved = given["param_groups"]
    if len(saved) != len(groups):
        wrong.append(f"{len(saved)} parameter groups, {len(groups)} here")
        return [], []
    options: list[dict[str, Any]] = []
    indices: list[Any] = []
    for number, (group, new) in enumerate(zip(groups, saved, strict=True)):
        params = list(new.get("params", ()))
        if len(params) != len(group["params"]):
            wrong.append(
                f"group {number} has {len(params)} parameters, {len(group['params'])} here"
            )
        indices += params
        names = {"param_names": group["param_names"]} if "param_names" in group else {}
        merged = {**optimizer.defaults, **names, **new, "params": group["params"]}
        try:
            Group(merged, type(optimizer).judge, type(optimizer).describe)
        except Exception as error:
            wrong.append(f"group {number}: {error}")
        options.append(merged)
    return options, indices


def _read_entry(
    optimizer: Optimizer,
    entry: Entry,
    options: Mapping[str, Any],
    key: Any,
    given: Any,
    wrong: list[str],
) -> Found:
    array = entry.parameter.memory
    found: dict[str, Array] = {}
    step = 0.0
    before = len(wrong)
    for name, value in given.items():
        # torch keeps an empty momentum_buffer as None.
        if value is None:
            continue
        try:
            new = np.asarray(value)
        except Exception as error:
            wrong.append(f"{name} of {key!r}: {error}")
            continue
        if name == "step" and optimizer.saves_step:
            if new.size != 1 or new.dtype.kind not in "fiu" or not float(new.reshape(())) >= 0:
                wrong.append(f"step of {key!r} is not a count")
            else:
                step = float(new.reshape(()))
        elif name not in optimizer.state_names:
            wrong.append(f"{name} of {key!r} is unknown")
        elif new.shape != array.shape or new.dtype.kind != "f":
            wrong.append(f"{name} of {key!r} is {new.dtype} {new.shape}, expected {array.shape}")
        else:
            found[name] = new.astype(array.dtype)
    if len(wrong) > before or not (found or "step" in given):
        return None
    needed = type(optimizer).describe(options).update.states
    wrong += [f"{name} of {key!r} is missing" for name in needed if name not in found]
    if optimizer.saves_step and "step" not in given:
        wrong.append(f"step of {key!r} is missing")
    # Without a saved count there has been a step, or there would be no state.
    return (step if optimizer.saves_step else 1.0), found
