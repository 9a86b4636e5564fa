# SPDX-License-Identifier: Apache-2.0
"""Running a plan in stages: programs, with nodes on arrays between them.

What the steps are is decided before (engine.py). A stage is a module of its own, so that it keeps
programs as every module does: one for all sizes of what it reads, where there is such a one. Where
elements decide shapes there is a stage for each value that they have had lately.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from lamella.foreign.call import Allowance
from lamella.foreign.engine import Engine, Segment, in_programs
from lamella.foreign.engine import engine as make_engine
from lamella.foreign.plan import Plan, TensorInfo
from lamella.foreign.walk import apply_rule, settled, walk
from lamella.foreign.words import as_element
from lamella.ir.types import Array, DType
from lamella.nn.explain import Explanation, Fact, Section, of_module
from lamella.nn.module import Module
from lamella.nn.parameter import Parameter, Stored
from lamella.runtime.tensor import Tensor
from lamella.runtime.trace import current

__all__ = ["Met", "Stage", "Stages", "explained", "handed_out"]

# Stages kept of one model, which differ in the elements that they are made for.
_MOST = 32


class Stage(Module):
    """A segment of a plan as a module: arrays by position, a tuple of all that others read."""

    def __init__(
        self,
        plan: Plan,
        stored: Mapping[str, Stored],
        elements: tuple[np.dtype[Any], ...],
        numbers: DType | None,
    ) -> None:
        super().__init__()
        self._plan = plan
        self._elements = elements
        self._numbers = numbers
        self._names: dict[str, str] = {}
        for position, name in enumerate((*plan.learnt, *plan.statistics)):
            self._names[name] = f"stored{position}"
            one = stored[name]
            if isinstance(one, Parameter):
                self.register_parameter(self._names[name], one)
            else:
                self.register_buffer(self._names[name], one)

    def forward(self, /, *inputs: Any) -> Any:
        """The segment on symbolic tensors."""
        trace, env = current(), dict[str, Any]()
        trace.numbers = self._numbers or trace.numbers
        for info, x, element in zip(self._plan.inputs, inputs, self._elements, strict=True):
            env[info.name] = as_element(x, element)
        found = walk(self._plan, env, self.training, lambda name: getattr(self, self._names[name]))
        return tuple(
            handed_out(settled(y, info.name))
            for info, y in zip(self._plan.outputs, found, strict=True)
        )

    def _cast_inputs(
        self, inputs: tuple[Any, ...], named: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        return inputs, named


def handed_out(result: Any) -> Any:
    """A result as a trace hands it out: known integers of other widths than programs' marked."""
    if not isinstance(result, np.ndarray) or in_programs(result.dtype):
        return result
    trace = current()
    return as_element(Tensor(trace.constant(result.astype(np.int64)), trace), result.dtype)


class Met(NamedTuple):
    """A stage of one call, with what it ran on."""

    segment: Segment
    stage: Stage
    arrays: list[Array]


@dataclass(slots=True)
class _Known:
    """Results of a node that follow from shapes, and the operands that they follow from."""

    operands: tuple[Any, ...]
    results: tuple[Any, ...]


class Stages:
    """The stages of one model; made anew, empty, in copies and after unpickling."""

    __slots__ = ("_engines", "_known", "_lock", "_stages")

    def __init__(self) -> None:
        self._stages: OrderedDict[Any, Stage] = OrderedDict()
        self._known: dict[int, _Known] = {}
        self._engines: dict[Hashable, Engine] = {}
        self._lock = threading.Lock()

    def __reduce__(self) -> Any:
        return Stages, ()

    def __deepcopy__(self, memo: Any) -> Stages:
        return Stages()

    def engine(self, plan: Plan, elements: Mapping[str, np.dtype[Any] | None]) -> Engine:
        """How the plan runs for inputs of these element types."""
        key = tuple(elements.items())
        found = self._engines.get(key)
        if found is None:
            found = self._engines[key] = make_engine(plan, elements)
        return found

    def run(
        self,
        plan: Plan,
        engine: Engine,
        inputs: Mapping[str, Array],
        training: bool,
        stored: Mapping[str, Stored],
        numbers: DType | None,
        met: list[Met] | None = None,
    ) -> list[Array]:
        """The outputs for these inputs. met: takes the stages, with what they ran on."""
        env: dict[str, Any] = {**plan.constants, **stored, **inputs}
        for position, step in enumerate(engine.steps):
            if isinstance(step, int):
                entry = plan.entries[step]
                operands = [_array(env[name]) if name else None for name in entry.inputs]
                known = step in engine.known
                results = (self._of_shapes if known else _on_arrays)(plan, step, operands, training)
                env.update(zip(entry.outputs, results, strict=False))
                continue
            arrays = [_array(env[name]) for name in step.reads]
            made_for = [_array(env[name]) for name in step.needs]
            stage = self._stage(plan, engine, position, arrays, made_for, stored, numbers, training)
            ready = [_ready(array) for array in arrays]
            if met is not None:
                met.append(Met(step, stage, ready))
            env.update(zip(step.gives, stage(*ready), strict=True))
        return [_array(env[output.name]) for output in plan.outputs]

    def _of_shapes(
        self, plan: Plan, number: int, operands: Sequence[Array | None], training: bool
    ) -> tuple[Any, ...]:
        """Results that are known, of the last call if its shapes were the same."""
        shapes = plan.entries[number].rule.shapes
        seen = tuple(
            (x.shape, x.dtype) if shapes and x is not None else x for x in operands
        )  # fmt: skip
        last = self._known.get(number)
        if last is None or len(last.operands) != len(seen) or not all(
            a is b or (shapes and a == b) for a, b in zip(last.operands, seen, strict=True)
        ):  # fmt: skip
            last = _Known(seen, _on_arrays(plan, number, operands, training))
            self._known[number] = last
        return last.results

    def _stage(
        self,
        plan: Plan,
        engine: Engine,
        position: int,
        arrays: Sequence[Array],
        known: Sequence[Array],
        stored: Mapping[str, Stored],
        numbers: DType | None,
        training: bool,
    ) -> Stage:
        segment = engine.steps[position]
        assert isinstance(segment, Segment)
        elements = tuple(array.dtype for array in arrays)
        made_for = tuple((array.dtype.str, array.shape, array.tobytes()) for array in known)
        names = {name for number in segment.nodes for name in plan.entries[number].inputs}
        used = tuple(sorted(names & set(stored)))
        key = (id(engine), position, elements, made_for, training, numbers,
               tuple(id(stored[name]) for name in used))  # fmt: skip
        with self._lock:
            stage = self._stages.get(key)
            if stage is not None:
                self._stages.move_to_end(key)
                return stage
        part = Plan(
            plan.name,
            tuple(plan.entries[number] for number in segment.nodes),
            {name: plan.constants[name] for name in names if name in plan.constants}
            | dict(zip(segment.needs, known, strict=True)),
            tuple(name for name in used if name in plan.learnt),
            tuple(name for name in used if name not in plan.learnt),
            tuple(TensorInfo(name) for name in segment.reads),
            tuple(TensorInfo(name) for name in segment.gives),
            plan.folding_bytes,
        )
        stage = Stage(part, stored, elements, numbers)
        stage.train(training)
        with self._lock:
            self._stages[key] = stage
            while len(self._stages) > _MOST:
                self._stages.popitem(last=False)
        return stage


def explained(name: str, plan: Plan, engine: Engine, met: Sequence[Met]) -> Explanation:
    """What the steps of a call are, and what becomes of other sizes in each of its programs."""
    facts, sizes, pending = (
        [Fact("why", engine.why, "so the model is several programs")],
        [],
        [*met],
    )
    for number, step in enumerate(engine.steps, 1):
        if isinstance(step, int):
            what = plan.entries[step].label
            how = "worked out of shapes" if step in engine.known else "runs on arrays"
            facts.append(Fact(f"step {number}", what, how))
            continue
        one = pending.pop(0)
        made_for = f"made for the elements of {', '.join(step.needs)}" if step.needs else ""
        facts.append(
            Fact(f"step {number}", f"program of {len(step.nodes)} nodes", made_for or "one program")
        )
        found = of_module(one.stage, *one.arrays)
        sizes += [
            Fact(f"step {number}, {step.reads[int(fact.name.split()[-1])]}", fact.value, fact.how)
            for fact in found.sizes.facts
        ]
    return Explanation(
        name,
        Section("constants of the program", ()),
        Section("arrays", ()),
        Section("sizes", tuple(sizes)),
        Section("computed of parameters alone", ()),
        Section("stages", tuple(facts)),
    )


def _on_arrays(
    plan: Plan, number: int, operands: Sequence[Array | None], training: bool
) -> tuple[Any, ...]:
    """The rule of a node on arrays."""
    allowance = Allowance(plan.folding_bytes, each=True)
    return apply_rule(plan.entries[number], operands, allowance, training)


def _array(value: Any) -> Array:
    return value.data if isinstance(value, Stored) else np.asarray(value)


def _ready(array: Array) -> Array:
    """An array as programs take it; integers of other widths as int64, uint64 by its bits."""
    if in_programs(array.dtype):
        return array
    return array.view(np.int64) if array.dtype == np.uint64 else array.astype(np.int64)
