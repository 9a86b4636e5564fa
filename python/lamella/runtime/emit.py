# SPDX-License-Identifier: Apache-2.0
"""Emit: an optimised graph as a program of the C++ core.

Plans the memory, gives every value its slot, lets each op append its steps, copies what could not
be computed in place, and last of all copies updates to their sources that do not lie there yet. The
steps of a folded value go to a builder of their own, and so ahead of the runs.
"""

from __future__ import annotations

from collections.abc import Sequence, Set

from lamella import _core
from lamella.ir.digest import digest
from lamella.ir.graph import Constant, Folded, Graph, Node, Parameter, Result, Source, Value
from lamella.ops.base import Lowered
from lamella.passes.plan import Place, Plan, Region, plan

__all__ = ["emit"]


def emit(graph: Graph, origins: list[Node | None] | None = None) -> _core.Program:
    """The program of `graph`, for the instruction set selected now.

    origins: receives for each step the node that it belongs to, None for copies behind the nodes.
    """
    emitter = _Emitter(graph)
    program = emitter.emit().build()
    if origins is not None:
        origins += emitter.origins + [None] * (len(program.steps) - len(emitter.origins))
    return program


def _leaf_of(value: Value) -> Value:
    """What the value is a view of: itself, or the first that is no view."""
    while isinstance(value, Result) and value.node.op.view:
        value = value.node.inputs[0]
    return value


def _is_constant(value: Value, updated: Set[int]) -> bool:
    """True when the value lies in the memory of a weight, under whatever shape.

    Not one that the program changes, or that anybody may: a packed copy would be stale.
    """
    leaf = _leaf_of(value)
    if isinstance(leaf, Parameter):
        return leaf.source.version is not None and id(leaf.source) not in updated
    return isinstance(leaf, Constant | Folded)


class _Emitter:
    __slots__ = (
        "_builder",
        "_graph",
        "_leaves",
        "_memory",
        "_packs",
        "_ranges",
        "_updated",
        "origins",
        "sources",
    )

    def __init__(self, graph: Graph, packs: bool = True) -> None:
        self._graph = graph
        self._updated = frozenset(id(source) for source, _ in graph.updates)
        # Whether steps may keep packed copies of what is constant.
        self._packs = packs
        self._memory: Plan = plan(graph)
        memory = self._memory
        self._builder = _core.ProgramBuilder(
            inputs=[(value.dtype.value, value.shape) for value in graph.inputs],
            outputs=[(value.dtype.value, value.shape) for value in graph.outputs],
            formulas=() if graph.extents is None else graph.extents.formulas,
        )
        self._ranges = [self._builder.range(nbytes) for nbytes in memory.ranges]
        self._leaves: dict[Value, _core.Slot] = {
            value: self._builder.input(number) for number, value in enumerate(graph.inputs)
        }
        # In the order in which they became constants of the builder.
        self.sources: dict[int, tuple[Source, _core.Slot]] = {}
        self.origins: list[Node | None] = []

    def emit(self) -> _core.ProgramBuilder:
        """A builder with all steps."""
        self._declare()
        for node in self._memory.nodes:
            if node.op.view:
                continue
            node.op.lower(
                self._builder,
                [self._lowered(value) for value in node.inputs],
                [self._lowered(value) for value in node.outputs],
            )
            self.origins += [node] * (self._builder.step_count - len(self.origins))
        for copy in self._memory.copies:
            self._copy(self._lowered(copy.value), self._builder.output(copy.output))
        self._update(self._graph.updates)
        return self._builder

    def _declare(self) -> None:
        """Tells what the program changes, and what it reads while it does."""
        if self._graph.random is not None and any(n.op.effects for n in self._graph.nodes):
            self._builder.random_source(self._source(self._graph.random))
        for source, _ in self._graph.updates:
            self._builder.changes(self._source(source))
        late = [value for node in self._memory.late for value in node.inputs]
        late += [copy.value for copy in self._memory.copies]
        late += [value for _, value in self._graph.updates]
        for value in late if self._graph.updates else ():
            leaf = _leaf_of(value)
            if not isinstance(leaf, Parameter) or leaf.source.version is None:
                continue
            if id(leaf.source) not in self._updated:
                self._builder.hold(self._source(leaf.source))

    def _update(self, updates: Sequence[tuple[Source, Value]]) -> None:
        for value, number in self._memory.saved.items():
            self._copy(self._lowered(value), self._ranges[number])
        for source, value in updates:
            origin, target = self._lowered(value), self._source(source)
            saved = self._memory.saved.get(value)
            if saved is not None:
                origin = origin._replace(slot=self._ranges[saved])
            if origin.slot != target:
                self._copy(origin, target)

    def _copy(self, source: Lowered, target: _core.Slot) -> None:
        spec = _core.CopySpec(
            item_bytes=source.type.dtype.itemsize,
            shape=(source.type.size,),
            x_strides=(1,),
            y_strides=(1,),
        )
        self._builder.add(spec, x=source.slot, y=target)

    def _lowered(self, value: Value) -> Lowered:
        place = self._memory.places.get(value)
        if place is None:
            return Lowered(self._leaf(value), value.type, self._is_constant(value))
        if place.leaf is not None:
            return Lowered(self._leaf(place.leaf), value.type, self._is_constant(place.leaf))
        if place.region is Region.NOWHERE:
            return Lowered(self._builder.range(0), value.type, wanted=False)
        return Lowered(self._slot(place), value.type)

    def _is_constant(self, value: Value) -> bool:
        return self._packs and _is_constant(value, self._updated)

    def _slot(self, place: Place) -> _core.Slot:
        if place.region is Region.OUTPUT:
            return self._builder.output(place.number)
        return self._ranges[place.number]

    def _leaf(self, value: Value) -> _core.Slot:
        slot = self._leaves.get(value)
        if slot is None:
            if isinstance(value, Parameter):
                slot = self._source(value.source)
            elif isinstance(value, Folded):
                slot = self._folded(value)
            else:
                assert isinstance(value, Constant)
                slot = self._constant(value)
            self._leaves[value] = slot
        return slot

    def _constant(self, value: Constant) -> _core.Slot:
        if value.extent is None:
            return self._builder.constant(value.array)
        form, extent = value.extent
        return self._builder.number(value.dtype.value, form, extent, value.factors)

    def _folded(self, value: Folded) -> _core.Slot:
        inner = _Emitter(value.graph, packs=False)
        steps = inner.emit()
        sources = [source for source, _ in inner.sources.values()]
        # Which sources they are the core knows by where they lie.
        order = {id(source): number for number, source in enumerate(sources)}
        kind = digest(value.graph, lambda source: order[id(source)], paths=False).hex()
        return self._builder.fold(steps, [self._source(source) for source in sources], kind)

    def _source(self, source: Source) -> _core.Slot:
        found = self.sources.get(id(source))
        if found is None:
            found = source, self._builder.constant(source.memory, source.version)
            self.sources[id(source)] = found
        return found[1]
