# SPDX-License-Identifier: Apache-2.0
"""Plan: where every value lies. The only place that decides that two values share memory.

Leaves lie where they are. A graph output is computed in the caller's array. All else lies in ranges
of the arena; the core finds how long each is in use and where it fits. Values share a range when
one is a view of the other (Reshape), or when an op may write over an operand that dies there.
Inputs are never written, parameters by their updates only: an update whose node may write over the
very parameter is computed there, after everything that reads the old values or might still fail.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from heapq import heappop, heappush

from lamella.ir.graph import Graph, Node, Parameter, Result, Source, Value

__all__ = ["Copy", "Place", "Plan", "Region", "plan"]


class Region(Enum):
    """What a place's number counts in."""

    ARENA = "arena"  # a range of the arena
    OUTPUT = "output"  # an output's position
    LEAF = "leaf"  # a leaf value's own storage; the number is not used
    NOWHERE = "nowhere"  # an output that nobody wants and its op leaves out


@dataclass(frozen=True, slots=True)
class Place:
    """Where a value lies; for LEAF, `leaf` is the value whose storage it is."""

    region: Region
    number: int = 0
    leaf: Value | None = None


@dataclass(frozen=True, slots=True)
class Copy:
    """An output that could not be computed in its array and is copied there at the end."""

    value: Value
    output: int


@dataclass(frozen=True, slots=True)
class Plan:
    """Places of all values, and what remains to be copied at the end.

    nodes: in the order in which they run; late: the last of them, from the first that writes over a
    parameter. saved: ranges for updates' values that lie in a parameter which is updated too: to be
    copied there before the first update. ranges: the bytes of each.
    """

    nodes: tuple[Node, ...]
    late: tuple[Node, ...]
    places: dict[Value, Place]
    copies: tuple[Copy, ...]
    saved: dict[Value, int]
    ranges: tuple[int, ...]


def plan(graph: Graph) -> Plan:
    """Places for one graph."""
    root = _roots(graph)
    early, late, stored = _settle(graph, root)
    nodes = early + late
    last_use = _last_uses(graph, nodes, root)
    places, copies = _output_places(graph, root)
    places.update((value, Place(Region.LEAF, 0, leaf)) for value, leaf in stored.items())
    ranges: list[int] = []
    # Roots by the position at which they die; -1 as soon as they are made.
    dying: list[list[Value]] = [[] for _ in nodes]
    for position, node in enumerate(nodes):
        for value in node.outputs:
            if root[value] is not value or value in places:
                continue
            if value not in last_use and node.op.optional_outputs:
                places[value] = Place(Region.NOWHERE)
                continue
            end = last_use.get(value, position)
            reused = _overwritten(node, value, root, dying[position], places)
            if reused is not None:
                # The operand's range lives on under the new value.
                places[value] = places[reused]
                dying[position].remove(reused)
            else:
                places[value] = Place(Region.ARENA, len(ranges))
                ranges.append(value.type.nbytes)
            if end < len(nodes):
                dying[end].append(value)
    for view, first in root.items():
        if view is not first:
            places[view] = places.get(first) or Place(Region.LEAF, 0, first)
    saved: dict[Value, int] = {}
    for overtaken in _overtaken(graph, root):
        saved[overtaken] = len(ranges)
        ranges.append(overtaken.type.nbytes)
    return Plan(nodes, late, places, tuple(copies), saved, tuple(ranges))


def _roots(graph: Graph) -> dict[Value, Value]:
    """For every result, the value whose memory it is: itself, or what it is a view of."""
    root: dict[Value, Value] = {}
    for node in graph.nodes:
        for value in node.outputs:
            source = node.inputs[0] if node.op.view else value
            root[value] = root.get(source, source)
    return root


def _last_uses(graph: Graph, nodes: tuple[Node, ...], root: dict[Value, Value]) -> dict[Value, int]:
    """For every root, the position of its last reader; past the end where it is wanted there."""
    last: dict[Value, int] = {}
    for position, node in enumerate(nodes):
        for value in node.inputs:
            last[root.get(value, value)] = position
    for value in graph.roots():
        last[root.get(value, value)] = len(nodes)
    return last


def _settle(
    graph: Graph, root: dict[Value, Value]
) -> tuple[tuple[Node, ...], tuple[Node, ...], dict[Result, Parameter]]:
    """The nodes that run first, those from the first write to a parameter, and what lies in one.

    A run that fails must have changed nothing, so whatever might fail comes before.
    """
    readers = graph.consumers()
    sources: dict[int, list[Node]] = {}
    for node in graph.nodes:
        for value in node.inputs:
            leaf = root.get(value, value)
            if isinstance(leaf, Parameter):
                sources.setdefault(id(leaf.source), []).append(node)
    stored: dict[Result, Parameter] = {}
    behind: dict[Result, set[Node]] = {}
    for source, value in graph.updates:
        if not isinstance(value, Result) or value in stored:
            continue
        parameter = _updated_operand(graph, source, value, root)
        if parameter is None:
            continue
        behind[value] = _descendants(value, readers)
        if not any(node.op.raises for node in behind[value]):
            stored[value] = parameter
    order = {node: position for position, node in enumerate(graph.nodes)}
    while True:
        late: set[Node] = set().union(*(behind[value] for value in stored))
        sorted_late, blocked = _sorted(late, stored, sources, order)
        if blocked is None:
            early = tuple(node for node in graph.nodes if node not in late)
            return early, tuple(sorted_late), stored
        del stored[blocked]


def _operands(node: Node, output: int) -> tuple[Value, ...]:
    """The operands over which an output may be written, if types and readers allow it."""
    if node.op.overwrites:
        return node.inputs
    number = node.op.overwrites_operand(output)
    return () if number is None else (node.inputs[number],)


def _updated_operand(
    graph: Graph, source: Source, value: Result, root: dict[Value, Value]
) -> Parameter | None:
    """The leaf of `source` if `value`, its update, may be computed over it."""
    if root[value] is not value:
        return None
    for output in graph.outputs:
        leaf = root.get(output, output)
        if leaf is value or (isinstance(leaf, Parameter) and leaf.source is source):
            return None
    for _, other in graph.updates:
        leaf = root.get(other, other)
        if isinstance(leaf, Parameter) and leaf.source is source:
            return None
    found: Parameter | None = None
    for operand in value.node.inputs:
        leaf = root.get(operand, operand)
        if isinstance(leaf, Parameter) and leaf.source is source:
            if operand.type != value.type or operand not in _operands(value.node, value.index):
                return None
            found = leaf
    return found


def _descendants(value: Result, readers: dict[Value, list[Node]]) -> set[Node]:
    """The node of `value` and all that need what it makes."""
    found: set[Node] = set()
    pending = [value.node]
    while pending:
        node = pending.pop()
        if node not in found:
            found.add(node)
            pending += [reader for output in node.outputs for reader in readers.get(output, ())]
    return found


def _sorted(
    late: set[Node],
    stored: dict[Result, Parameter],
    sources: dict[int, list[Node]],
    order: dict[Node, int],
) -> tuple[list[Node], Result | None]:
    """The late nodes such that a parameter's readers come before what is written over it.

    Where they need each other's old values: a value that must not be stored.
    """
    before: dict[Node, set[Node]] = {node: set() for node in late}
    for node in late:
        for operand in node.inputs:
            if isinstance(operand, Result) and operand.node in late:
                before[node].add(operand.node)
    for value, parameter in stored.items():
        before[value.node].update(node for node in sources[id(parameter.source)] if node in late)
        before[value.node].discard(value.node)
    behind: dict[Node, list[Node]] = {node: [] for node in late}
    for node, needed in before.items():
        for other in needed:
            behind[other].append(node)
    # Of several orders the one nearest to the graph's own.
    at = {order[node]: node for node in late}
    ready = sorted(order[node] for node in late if not before[node])
    done: list[Node] = []
    while ready:
        node = at[heappop(ready)]
        done.append(node)
        for reader in behind[node]:
            before[reader].remove(node)
            if not before[reader]:
                heappush(ready, order[reader])
    if len(done) == len(late):
        return done, None
    for value in reversed(stored):
        if not before[value.node].isdisjoint(sources[id(stored[value].source)]):
            return [], value
    raise AssertionError("the graph itself has a cycle")


def _output_places(graph: Graph, root: dict[Value, Value]) -> tuple[dict[Value, Place], list[Copy]]:
    """Output arrays as the places of results; a result wanted twice and a leaf are copied."""
    places: dict[Value, Place] = {}
    copies: list[Copy] = []
    for number, value in enumerate(graph.outputs):
        first = root.get(value, value)
        if isinstance(first, Result) and first not in places:
            places[first] = Place(Region.OUTPUT, number)
        else:
            copies.append(Copy(value, number))
    return places, copies


def _overtaken(graph: Graph, root: dict[Value, Value]) -> list[Value]:
    """Values of updates that lie in the storage of another source which is updated too."""
    updated = {id(source) for source, _ in graph.updates}
    found: dict[Value, None] = {}
    for source, value in graph.updates:
        first = root.get(value, value)
        if isinstance(first, Parameter) and first.source is not source:
            if id(first.source) in updated:
                found[value] = None
    return list(found)


def _overwritten(
    node: Node,
    value: Result,
    root: dict[Value, Value],
    dying: list[Value],
    places: dict[Value, Place],
) -> Value | None:
    """The arena value that `value` may be written over: of its type and dying here."""
    for operand in _operands(node, value.index):
        first = root.get(operand, operand)
        if (
            operand.type == value.type
            and first.type.nbytes == value.type.nbytes
            and first in dying
            and places[first].region is Region.ARENA
        ):
            return first
    return None
