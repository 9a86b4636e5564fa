# SPDX-License-Identifier: Apache-2.0
"""A graph in a few bytes: equal for the same ops in the same order on the same leaves.

Nodes count as a trace placed them, not by what they compute. Constants are told apart by their
bits, parameters by the identity of their storage, which has to live as long as the digest.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any

from lamella.ir.graph import (
    Constant,
    Graph,
    Parameter,
    Source,
    Value,
    array_of,
    formulas,
    sized,
)

__all__ = ["digest"]


def digest(
    graph: Graph,
    identity: Callable[[Source], Hashable] = id,
    symbols: Sequence[int] | None = None,
    paths: bool = True,
) -> bytes:
    """Equal for two graphs where a run of either gives the same bits.

    identity: what tells storages apart. Of a trace with free extents their formulas count too, and
    what it took for granted; unless there are `symbols`: then it is the digest of a trace of these
    sizes. paths: whether it counts which modules placed the nodes, for messages.
    """
    # Imported when a first program is made: the library behind it takes 3 ms to load.
    from hashlib import blake2b

    found = blake2b(digest_size=32)
    numbers: dict[Value, int] = {}
    constants: dict[Value, str] = {}
    free = graph.extents

    def plain(tree: Any) -> Any:
        return tree if symbols is None else sized(tree, symbols)

    def add(*parts: object) -> None:
        # A text of plain values: numbers such as 0.0 and -0.0 are equal and have two.
        found.update(repr(parts).encode())

    def add_value(value: Value) -> None:
        if isinstance(value, Parameter):
            add("parameter", identity(value.source), value.dtype.value, value.shape)
        elif isinstance(value, Constant):
            array = value.array
            if value.extent is not None and symbols is not None:
                made, factors = plain((value.extent, value.factors))
                array = array_of(made, value.dtype, array.ndim, factors)
            elif value.extent is not None:
                add(value.extent[0], formulas((value.extent, value.factors)), value.factors)
            if value not in constants:
                constants[value] = blake2b(array.tobytes()).hexdigest()
            add("constant", value.dtype.value, value.shape, constants[value])
        else:
            add(numbers[value])

    add(None if graph.random is None else identity(graph.random), len(graph.nodes))
    for given in graph.inputs:
        numbers[given] = len(numbers)
        shape = plain(given.shape)
        add("input", given.dtype.value, shape, formulas(shape))
    for node in graph.nodes:
        op = plain(node.op)
        add(type(op), op, node.path if paths else "", len(node.inputs))
        if free is not None and symbols is None:
            add(formulas(op))
        for operand in node.inputs:
            add_value(operand)
        for result in node.outputs:
            numbers[result] = len(numbers)
    add("outputs", len(graph.outputs), len(graph.updates))
    for output in graph.outputs:
        add_value(output)
    for source, value in graph.updates:
        add(identity(source))
        add_value(value)
    if free is not None and symbols is None:
        add(free.formulas, free.conditions, free.reasons)
    return found.digest()
