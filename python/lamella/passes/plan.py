# SPDX-License-Identifier: Apache-2.0
"""Plan: where every value lies. The only place that decides that two values share memory.

Leaves lie where they are. A graph output is computed in the caller's array. All else lies in the
arena, at multiples of 64 bytes, from its node to its last reader, first fit. Values share memory
when one is a view of the other (Reshape), or when an op may write over an operand that dies there.
Inputs and parameters are never written.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from lamella.errors import message
from lamella.ir.graph import Graph, Node, Parameter, Result, Value

__all__ = ["Copy", "Place", "Plan", "Region", "plan"]

_ALIGNMENT = 64
_LIMIT = 2**63


class Region(Enum):
    """What a place's number counts in."""

    ARENA = "arena"  # a byte offset
    OUTPUT = "output"  # an output's position
    LEAF = "leaf"  # a leaf value's own storage; the number is not used


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
    """Places of all values, of the nodes' scratch, and what remains to be copied at the end.

    saved: arena offsets for updates' values that lie in a parameter which is updated too: to be
    copied there before the first update. reserved: (offset, bytes) of every arena range, when guard
    bytes surround them.
    """

    places: dict[Value, Place]
    scratch: dict[Node, int]
    copies: tuple[Copy, ...]
    saved: dict[Value, int]
    arena_bytes: int
    reserved: tuple[tuple[int, int], ...] = ()


class _Arena:
    """First-fit allocation; with guard bytes nothing is ever reused."""

    __slots__ = ("guard", "high", "live", "reserved")

    def __init__(self, guard: int) -> None:
        self.guard = guard
        self.high = 0
        self.live: list[tuple[int, int]] = []  # (offset, end), ascending
        self.reserved: list[tuple[int, int]] = []

    def take(self, nbytes: int) -> int:
        """The offset of a free range."""
        if self.guard:
            offset = _aligned(self.high + self.guard)
            self.high = offset + nbytes + self.guard
            self.reserved.append((offset, nbytes))
            return offset
        offset = 0
        needed = _aligned(nbytes)
        for start, end in self.live:
            if offset + needed <= start:
                break
            offset = max(offset, end)
        insort(self.live, (offset, offset + needed))
        self.high = max(self.high, offset + needed)
        return offset

    def give_back(self, offset: int, nbytes: int) -> None:
        if not self.guard:
            self.live.remove((offset, offset + _aligned(nbytes)))


def _aligned(nbytes: int) -> int:
    return max(1, -(-nbytes // _ALIGNMENT)) * _ALIGNMENT


def plan(graph: Graph, scratch_bytes: Callable[[Node], int], guard: int = 0) -> Plan:
    """Places for one graph. scratch_bytes: arena bytes a node wants while it runs."""
    root = _roots(graph)
    last_use = _last_uses(graph, root)
    places, copies = _output_places(graph, root)
    arena = _Arena(guard)
    scratch: dict[Node, int] = {}
    # Roots by the position at which they die; -1 as soon as they are made.
    dying: list[list[Value]] = [[] for _ in graph.nodes]
    for position, node in enumerate(graph.nodes):
        for value in node.outputs:
            if root[value] is not value or value in places:
                continue
            end = last_use.get(value, position)
            reused = None if end < 0 else _overwritten(node, value, root, dying[position], places)
            if reused is not None:
                # The operand's range lives on under the new value.
                places[value] = places[reused]
                dying[position].remove(reused)
            else:
                places[value] = Place(Region.ARENA, arena.take(value.type.nbytes))
            if end < len(graph.nodes):
                dying[end].append(value)
        nbytes = scratch_bytes(node)
        if nbytes:
            scratch[node] = arena.take(nbytes)
            arena.give_back(scratch[node], nbytes)
        for dead in dying[position]:
            arena.give_back(places[dead].number, dead.type.nbytes)
    for view, first in root.items():
        if view is not first:
            places[view] = places.get(first) or Place(Region.LEAF, 0, first)
    saved = {value: arena.take(value.type.nbytes) for value in _overtaken(graph, root)}
    if arena.high >= _LIMIT:
        raise MemoryError(
            message("plan", "the arena is larger than any memory", {"bytes": arena.high})
        )
    return Plan(places, scratch, tuple(copies), saved, arena.high, tuple(arena.reserved))


def _roots(graph: Graph) -> dict[Value, Value]:
    """For every result, the value whose memory it is: itself, or what it is a view of."""
    root: dict[Value, Value] = {}
    for node in graph.nodes:
        for value in node.outputs:
            source = node.inputs[0] if node.op.view else value
            root[value] = root.get(source, source)
    return root


def _last_uses(graph: Graph, root: dict[Value, Value]) -> dict[Value, int]:
    """For every root, the position of its last reader; past the end where it is wanted there."""
    last: dict[Value, int] = {}
    for position, node in enumerate(graph.nodes):
        for value in node.inputs:
            last[root.get(value, value)] = position
    for value in graph.roots():
        last[root.get(value, value)] = len(graph.nodes)
    return last


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
    """The arena value that `value` may be written over: of its type and among the `dying`."""
    if not node.op.overwrites:
        return None
    number = node.op.overwrites_operand(value.index)
    for operand in node.inputs if number is None else (node.inputs[number],):
        first = root.get(operand, operand)
        if (
            operand.type == value.type
            and first.type.nbytes == value.type.nbytes
            and first in dying
            and places[first].region is Region.ARENA
        ):
            return first
    return None
