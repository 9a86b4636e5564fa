# SPDX-License-Identifier: Apache-2.0
"""How a plan runs: as one program, or in stages, decided from what flows through it.

Some operands have to be known when a program is made, because they decide shapes, and some
operators run on arrays only; the rules say so. Where the elements of a model's inputs reach such a
place, the plan is cut there: a stage is a program, behind it come nodes on arrays, and what the
next program has to know is then there. Nothing is found out by trying.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lamella.foreign.plan import Entry, Plan
from lamella.ir.types import DType

__all__ = ["Decision", "Engine", "Segment", "decide", "engine", "in_programs"]

# Where a node runs: nowhere, as its results are known; in a program; on arrays.
KNOWN, PROGRAM, ARRAYS = "known", "program", "arrays"


def in_programs(dtype: np.dtype[Any] | None) -> bool:
    """Whether programs compute with this type; None stands for one that nobody declares."""
    return dtype is None or dtype.kind in "fb" or dtype in _INTEGERS


_INTEGERS = frozenset(one.numpy for one in DType if one.is_integer)


@dataclass(frozen=True, slots=True)
class Decision:
    """Where a node runs; needs: values that must be known first; why: it keeps the plan apart."""

    where: str
    needs: tuple[str, ...] = ()
    why: str = ""


@dataclass(frozen=True, slots=True)
class Segment:
    """Nodes that are one program.

    nodes: their numbers in the plan; reads: values that it takes as inputs; needs: values that it
    is made for; gives: values that others read.
    """

    nodes: tuple[int, ...]
    reads: tuple[str, ...]
    needs: tuple[str, ...]
    gives: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Engine:
    """steps: segments, and numbers of nodes that run on arrays, in their order; why: the first node
    that keeps the plan from being one program, "" where it is one; known: of the nodes on arrays
    those that follow from shapes.
    """

    steps: tuple[Segment | int, ...]
    known: frozenset[int]
    why: str = ""

    @property
    def is_program(self) -> bool:
        """Whether the plan is one program."""
        return not self.why


def decide(plan: Plan, elements: Mapping[str, np.dtype[Any] | None]) -> list[Decision]:
    """Where each node runs. elements: of the inputs that are given, by name; None: undeclared."""
    found: list[Decision] = []
    # Values that differ from call to call; parameters are known as they are, not what is made of
    # them.
    varying = _given(plan, elements)
    stored = {*plan.learnt, *plan.statistics} - varying
    types: dict[str, np.dtype[Any] | None] = {
        name: array.dtype for name, array in plan.constants.items()
    }
    types.update(elements)
    for entry in plan.entries:
        decision = _decision(entry, varying, stored, types)
        found.append(decision)
        outputs = [name for name in entry.outputs if name]
        if decision.where != KNOWN:
            varying.update(outputs)
        types.update(
            zip(entry.outputs, entry.elements([types.get(x) for x in entry.inputs]), strict=False)
        )
    return found


def _given(plan: Plan, elements: Mapping[str, Any]) -> set[str]:
    """The inputs that a call has given, with the constants that are copies of them."""
    copies = (plan.copies.get(name, ()) for name in elements)
    return {*elements, *(copy for names in copies for copy in names)}


def _decision(
    entry: Entry,
    varying: set[str],
    stored: set[str],
    types: Mapping[str, np.dtype[Any] | None],
) -> Decision:
    rule = entry.rule
    data = [name for name in entry.inputs if name in varying]
    if rule.shapes or not (data or any(name in stored for name in entry.inputs)):
        return Decision(KNOWN)
    cold = any(name in varying and rule.mark(i) == "@" for i, name in enumerate(entry.inputs))
    if rule.arrays or cold:
        return Decision(ARRAYS, (), f"{entry.label} runs on arrays only")
    results = entry.elements([types.get(name) for name in entry.inputs])
    odd = next(
        (one for one in (*(types.get(name) for name in data), *results) if not in_programs(one)),
        None,
    )
    if odd is not None and not rule.moves:
        return Decision(ARRAYS, (), f"{entry.label} computes with {odd}")
    if rule.floats and any(
        one is not None and one.kind in "iub" for one in (types.get(entry.inputs[0]), *results)
    ):
        return Decision(ARRAYS, (), f"{entry.label} computes with integers")
    needs = tuple(dict.fromkeys(
        name for position, name in enumerate(entry.inputs)
        if name in varying and rule.mark(position) == "!"
    ))  # fmt: skip
    why = f"{entry.label} has to know {needs[0]!r}, which is computed" if needs else ""
    return Decision(PROGRAM, needs, why)


@dataclass(slots=True)
class _Value:
    """When a value is there: for programs from segment `segment` on, on arrays behind `behind`."""

    segment: int = 0
    behind: int = -1


@dataclass(slots=True)
class _Draft:
    nodes: list[int] = field(default_factory=list)
    needs: dict[str, None] = field(default_factory=dict)


def engine(plan: Plan, elements: Mapping[str, np.dtype[Any] | None]) -> Engine:
    """The steps of a plan, each as early as what it reads allows."""
    decisions = decide(plan, elements)
    why = next((one.why for one in decisions if one.why), "")
    values: dict[str, _Value] = {}
    drafts: list[_Draft] = []
    cold: list[tuple[int, int]] = []
    maker = {name: i for i, entry in enumerate(plan.entries) for name in entry.outputs if name}
    for number, (entry, decision) in enumerate(zip(plan.entries, decisions, strict=True)):
        operands = [values.get(name, _Value()) for name in entry.inputs if name]
        if decision.where == PROGRAM:
            known = [values.get(name, _Value()).behind + 1 for name in decision.needs]
            segment = max([0, *known, *(value.segment for value in operands)])
            while len(drafts) <= segment:
                drafts.append(_Draft())
            drafts[segment].nodes.append(number)
            drafts[segment].needs.update(dict.fromkeys(decision.needs))
            made = _Value(segment, segment)
        else:
            behind = max([-1, *(value.behind for value in operands)])
            if decision.where == ARRAYS:
                cold.append((behind, number))
                made = _Value(behind + 1, behind)
            else:
                made = _Value(max([0, *(value.segment for value in operands)]), behind)
        values.update((name, made) for name in entry.outputs if name)
    known_at = _known_on_arrays(plan, decisions, maker, [number for _, number in cold])
    cold += [(values[_named(plan.entries[number])].behind, number) for number in known_at]
    cold.sort()
    fixed = {*plan.constants, *plan.learnt, *plan.statistics} - _given(plan, elements)
    segments = _segments(plan, decisions, maker, drafts, {number for _, number in cold}, fixed)
    steps: list[Segment | int] = [number for behind, number in cold if behind < 0]
    for position, one in enumerate(segments):
        if one.nodes:
            steps.append(one)
        steps += [number for behind, number in cold if behind == position]
    return Engine(tuple(steps), frozenset(known_at), why)


def _named(entry: Entry) -> str:
    return next(name for name in entry.outputs if name)


def _closure(
    plan: Plan, decisions: Sequence[Decision], maker: Mapping[str, int], names: Iterable[str]
) -> set[int]:
    """The nodes with known results that these values are made by."""
    found: set[int] = set()
    pending = [maker[name] for name in names if name in maker]
    while pending:
        number = pending.pop()
        if number in found or decisions[number].where != KNOWN:
            continue
        found.add(number)
        pending += [maker[name] for name in plan.entries[number].inputs if name in maker]
    return found


def _known_on_arrays(
    plan: Plan, decisions: Sequence[Decision], maker: Mapping[str, int], cold: Sequence[int]
) -> list[int]:
    """The known nodes whose results are read outside of programs."""
    names = [name for number in cold for name in plan.entries[number].inputs]
    names += [output.name for output in plan.outputs]
    return sorted(_closure(plan, decisions, maker, names))


def _segments(
    plan: Plan,
    decisions: Sequence[Decision],
    maker: Mapping[str, int],
    drafts: Sequence[_Draft],
    cold: set[int],
    fixed: set[str],
) -> list[Segment]:
    own = [set(draft.nodes) for draft in drafts]
    found: list[tuple[list[int], list[str]]] = []
    for draft, nodes in zip(drafts, own, strict=True):
        read = {name for number in draft.nodes for name in plan.entries[number].inputs}
        # Known nodes are worked out wherever they are read: in a program out of its shapes.
        every = sorted(nodes | _closure(plan, decisions, maker, read - set(draft.needs)))
        names = dict.fromkeys(name for number in every for name in plan.entries[number].inputs)
        made = {name for number in every for name in plan.entries[number].outputs}
        inside = {*made, *draft.needs, ""}
        found.append((every, [name for name in names if name not in inside | fixed]))
    wanted = {output.name for output in plan.outputs}
    wanted.update(name for number in cold for name in plan.entries[number].inputs)
    for draft, (_, reads) in zip(drafts, found, strict=True):
        wanted.update((*draft.needs, *reads))
    return [
        Segment(
            tuple(nodes),
            tuple(reads),
            tuple(draft.needs),
            tuple(
                name
                for number in draft.nodes
                for name in plan.entries[number].outputs
                if name in wanted
            ),
        )
        for draft, (nodes, reads) in zip(drafts, found, strict=True)
    ]
