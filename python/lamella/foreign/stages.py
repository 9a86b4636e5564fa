# SPDX-License-Identifier: Apache-2.0
"""Running a plan in stages: programs for the floating work, NumPy for cold work on integers.

A call of a new signature walks the nodes on real arrays. Floating work collects in a trace; where a
node needs elements or computes with integers, the trace so far becomes a program and runs, and the
node runs on arrays. What was done is a tape: later calls of the signature play it. A tape holds
the integers that decided shapes, and the shapes that traces read, as guards; where they differ a
new tape is made.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np

from lamella import _core
from lamella.errors import DTypeError, UnsupportedError
from lamella.foreign.call import Allowance, NeedsValue
from lamella.foreign.plan import Entry, Plan
from lamella.foreign.walk import apply_rule
from lamella.foreign.words import as_element, dtype_of
from lamella.ir.types import Array, DType, TensorType
from lamella.nn.parameter import Stored
from lamella.runtime.programs import Programs
from lamella.runtime.session import Compiled
from lamella.runtime.signature import flatten, normalize
from lamella.runtime.tensor import Tensor
from lamella.runtime.trace import Trace, begin

__all__ = ["Stages"]

# Tapes of one signature, which differ in the integers of their guards: before one is made, each of
# them is played as far as a guard that says no.
_MOST = 8


class _Data:
    """A value that differs from call to call, as an array."""

    __slots__ = ("array",)

    def __init__(self, array: Array) -> None:
        self.array = array


@dataclass(slots=True)
class _Host:
    """One node on arrays."""

    entry: Entry


@dataclass(slots=True)
class _Guard:
    """The elements that a value had when shapes were decided."""

    name: str
    value: Array


@dataclass(slots=True)
class _Shape:
    """The shape that an array made on the way had when it was read by a trace."""

    name: str
    shape: tuple[int, ...]


@dataclass(slots=True)
class _Program:
    """A compiled piece, with the names of what it reads and gives, and its element types."""

    compiled: Compiled
    inputs: list[str]
    outputs: list[str]
    elements: list[np.dtype[Any]]

    def run(self, arrays: list[Array]) -> dict[str, Array]:
        """The outputs by name."""
        found = zip(self.outputs, self.compiled.run(arrays), self.elements, strict=True)
        return {name: array.astype(element, copy=False) for name, array, element in found}


@dataclass(slots=True)
class _Tape:
    """What a call did; known: constants that its host nodes read."""

    steps: list[_Host | _Guard | _Shape | _Program]
    known: dict[str, Any]

    @property
    def nbytes(self) -> int:
        """What it takes, weights and constants of the file among what is known included."""
        known = sum(one.nbytes for one in self.known.values() if isinstance(one, np.ndarray))
        guards = sum(step.value.nbytes for step in self.steps if isinstance(step, _Guard))
        programs = [step.compiled for step in self.steps if isinstance(step, _Program)]
        return known + guards + sum(one.nbytes for one in programs) + 200 * len(self.steps)


class Stages:
    """Tapes by signature; made anew, empty, in copies and after unpickling."""

    __slots__ = ("_tapes",)

    def __init__(self) -> None:
        self._tapes = Programs[tuple[_Tape, ...]]("Model")

    def __reduce__(self) -> Any:
        return Stages, ()

    def __deepcopy__(self, memo: Any) -> Stages:
        return Stages()

    def run(
        self, plan: Plan, inputs: dict[str, Array], training: bool, stored: dict[str, Stored]
    ) -> list[Array]:
        """The outputs for these inputs."""
        key = (
            _core.isa(),
            training,
            tuple((name, array.dtype.str, array.shape) for name, array in inputs.items()),
            tuple((id(one), id(one.memory)) for one in stored.values()),
        )
        entry = self._tapes.get(key)
        for tape in () if entry is None else entry.value:
            outputs = _play(tape, plan, inputs, training, stored)
            if outputs is not None:
                return outputs
        recorder = _Recorder(plan, inputs, training, stored)
        outputs = recorder.record()
        # A tape that another thread has made meanwhile stays.
        entry = self._tapes.get(key)
        tapes = (recorder.tape, *(() if entry is None else entry.value))[:_MOST]
        self._tapes.put(key, tapes, sum(tape.nbytes for tape in tapes))
        return outputs


def _arrays(names: tuple[str, ...], env: dict[str, Any]) -> list[Array | None]:
    found = [env[name] if name else None for name in names]
    return [value.data if isinstance(value, Stored) else value for value in found]


def _play(
    tape: _Tape, plan: Plan, inputs: dict[str, Array], training: bool, stored: dict[str, Stored]
) -> list[Array] | None:
    """Runs a tape; None when a guard or a shape says that it is not for these inputs."""
    env: dict[str, Any] = {**tape.known, **stored, **inputs}
    for step in tape.steps:
        if isinstance(step, _Guard):
            if not np.array_equal(env[step.name], step.value):
                return None
        elif isinstance(step, _Shape):
            if env[step.name].shape != step.shape:
                return None
        elif isinstance(step, _Host):
            entry = step.entry
            allowance = Allowance(plan.folding_bytes, each=True)
            results = apply_rule(entry, _arrays(entry.inputs, env), allowance, training)
            env.update(zip(entry.outputs, results, strict=False))
        else:
            arrays = [_ready(env[name]) for name in step.inputs]
            env.update(step.run(arrays))
    return [np.asarray(env[output.name]) for output in plan.outputs]


def _ready(array: Array) -> Array:
    if array.dtype == np.uint64:
        # By its bits, as Narrow has it.
        array = array.view(np.int64)
    return normalize(array, op="Model", name="value", floating=_floating(array))


def _floating(array: Array) -> DType | None:
    return DType.of(array.dtype) if array.dtype in (np.float32, np.float64) else DType.float32


class _Recorder:
    """One walk on real arrays, and the tape of it."""

    def __init__(
        self, plan: Plan, inputs: dict[str, Array], training: bool, stored: dict[str, Stored]
    ) -> None:
        self.plan = plan
        self.training = training
        self.tape = _Tape([], {})
        self.env: dict[str, Any] = {**plan.constants, **stored}
        self.env.update((name, _Data(array)) for name, array in inputs.items())
        self.folding = Allowance(plan.folding_bytes)
        self._trace: Trace | None = None
        self._open = ExitStack()
        self._lifted: dict[str, Tensor] = {}

    def record(self) -> list[Array]:
        """Walks the plan to its end; gives the outputs."""
        with self._open:
            for position, entry in enumerate(self.plan.entries):
                results = self._node(position, entry)
                self.env.update(zip(entry.outputs, results, strict=False))
            self._flush(len(self.plan.entries), ())
        outputs = [self.env[output.name] for output in self.plan.outputs]
        for output, value in zip(self.plan.outputs, outputs, strict=True):
            if isinstance(value, np.ndarray):
                self.tape.known[output.name] = value
        return [_plain(value) for value in outputs]

    def _node(self, position: int, entry: Entry) -> tuple[Any, ...]:
        guarded: dict[int, Array] = {}
        while True:
            values = [self.env[name] if name else None for name in entry.inputs]
            varying = [value for value in values if not isinstance(value, np.ndarray | None)]
            if not varying:
                return apply_rule(entry, values, self.folding, self.training)
            if not any(map(_is_floating, varying)):
                return self._host(position, entry)
            try:
                return self._core(entry, values, guarded)
            except NeedsValue as error:
                value = values[error.position]
                if isinstance(value, Tensor):
                    self._flush(position, entry.inputs)
                    continue
                if not isinstance(value, _Data) or error.position in guarded:
                    return self._host(position, entry)
                if value.array.dtype.kind == "f":
                    return self._host(position, entry)
                guarded[error.position] = value.array
                self.tape.steps.append(_Guard(entry.inputs[error.position], value.array.copy()))
            except (DTypeError, UnsupportedError):
                return self._host(position, entry)

    def _core(self, entry: Entry, values: list[Any], guarded: dict[int, Array]) -> tuple[Any, ...]:
        """The rule on tensors, in the open trace."""
        if self._trace is None:
            self._trace = self._open.enter_context(begin())
        operands = [
            guarded[i] if i in guarded else self._lift(entry.inputs[i], value)
            for i, value in enumerate(values)
        ]
        return apply_rule(entry, operands, self.folding, self.training)

    def _lift(self, name: str, value: Any) -> Any:
        """Data as an input of the open trace."""
        if not isinstance(value, _Data):
            return value
        found = self._lifted.get(name)
        if found is None:
            assert self._trace is not None
            array = _ready(value.array)
            type = TensorType(array.shape, DType.of(array.dtype))
            found = Tensor(self._trace.builder.input(type, name), self._trace)
            found = as_element(found, value.array.dtype)
            self._lifted[name] = found
            self.tape.steps.append(_Shape(name, value.array.shape))
        return found

    def _host(self, position: int, entry: Entry) -> tuple[Any, ...]:
        """The rule on arrays, after the open trace has run."""
        if any(name and isinstance(self.env[name], Tensor) for name in entry.inputs):
            self._flush(position, entry.inputs)
        for name in entry.inputs:
            if name and isinstance(self.env[name], np.ndarray):
                self.tape.known[name] = self.env[name]
        operands = [_plain(self.env[name]) if name else None for name in entry.inputs]
        allowance = Allowance(self.plan.folding_bytes, each=True)
        results = apply_rule(entry, operands, allowance, self.training)
        self.tape.steps.append(_Host(entry))
        return tuple(None if result is None else _Data(result) for result in results)

    def _flush(self, position: int, needed: tuple[str, ...]) -> None:
        """Makes a program of the open trace and runs it; pending tensors become data."""
        context = self._trace
        if context is None:
            return
        pending = [name for name, value in self.env.items() if isinstance(value, Tensor)]
        names = [
            name for name in pending if name in needed or self.plan.last.get(name, -1) >= position
        ]
        if names:
            graph = context.build([self.env[name].value for name in names])
            compiled = Compiled(graph, flatten(list(names))[1])
            inputs = list(self._lifted)
            program = _Program(compiled, inputs, names, [dtype_of(self.env[n]) for n in names])
            found = program.run([_ready(self.env[name].array) for name in inputs])
            self.tape.steps.append(program)
            self.env.update((name, _Data(array)) for name, array in found.items())
        for name in pending:
            if isinstance(self.env[name], Tensor):
                del self.env[name]
        self._lifted = {}
        self._trace = None
        self._open.close()


def _is_floating(value: Any) -> bool:
    if isinstance(value, _Data):
        return value.array.dtype.kind == "f"
    return True


def _plain(value: Any) -> Array:
    if isinstance(value, _Data):
        return value.array
    return value.data if isinstance(value, Stored) else np.asarray(value)
