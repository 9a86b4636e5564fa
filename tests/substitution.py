# SPDX-License-Identifier: Apache-2.0
"""A trace with free extents, evaluated at other sizes: it has to be the plain trace of those sizes.

`check` traces a body once with free axes and once for each other size, optimises both, and compares
the graphs line by line: types, ops with all their numbers, operands, constants by their bits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from lamella.ir.extent import Extents
from lamella.ir.graph import Constant, Folded, Graph, Parameter, Value, array_of, sized
from lamella.passes import finish, prepare
from lamella.runtime.session import Free, trace


class Evaluation:
    """Trees of a trace at other values of its symbols; at none they hold no extents."""

    def __init__(self, symbols: Sequence[int]) -> None:
        self.symbols = symbols

    def tree(self, tree: Any) -> Any:
        """An op, or what is in it, with numbers instead of extents."""
        return sized(tree, self.symbols)

    def constant(self, value: Constant) -> np.ndarray:
        if value.extent is None:
            return value.array
        made, factors = self.tree((value.extent, value.factors))
        return array_of(made, value.dtype, value.array.ndim, factors)


def listing(graph: Graph, at: Evaluation) -> list[str]:
    """A graph as lines that are equal for equal graphs."""
    names: dict[Value, str] = {}

    def typed(value: Value) -> str:
        return f"{value.dtype} {at.tree(value.shape)}"

    def name(value: Value) -> str:
        if isinstance(value, Parameter):
            return f"parameter {value.source.name} {id(value.source):x}"
        if isinstance(value, Constant):
            return f"constant {at.constant(value).tobytes().hex()[:400]} {typed(value)}"
        if isinstance(value, Folded):
            return f"folded {listing(value.graph, at)}"
        return names[value]

    lines = [f"random {graph.random is not None}"]
    for number, value in enumerate(graph.inputs):
        names[value] = f"input {number}"
        lines.append(f"{names[value]}: {typed(value)}")
    for node in graph.nodes:
        operands = ", ".join(map(name, node.inputs))
        for value in node.outputs:
            names[value] = f"%{len(names)}"
        results = ", ".join(f"{names[value]}: {typed(value)}" for value in node.outputs)
        lines.append(f"{results} = {at.tree(node.op)!r} <- {operands}  # {node.path}")
    lines += [f"return {name(value)}: {typed(value)}" for value in graph.outputs]
    lines += [f"update {id(source):x} = {name(value)}" for source, value in graph.updates]
    return lines


def check(
    body: Callable[..., Any],
    arguments: Callable[..., Sequence[Any]],
    free: Free,
    example: Sequence[int],
    sizes: Sequence[Sequence[int]],
    refused: Sequence[Sequence[int]] = (),
) -> Extents:
    """Raises unless the trace at `example` is that at all `sizes`; gives its extents.

    arguments: those of the body, of one size a symbol; free: as in `trace`; refused: sizes at which
    a condition does not hold.
    """
    traced = trace(body, arguments(*example), free=free)[0]
    extents = traced.extents
    assert extents is not None
    simplified = prepare(traced, check=True)
    graph = finish(simplified, check=True)
    assert not extents.reasons, extents.reasons
    for size in (example, *sizes):
        assert extents.hold(size), (size, told(extents))
        # What is cut to a size is folded where all sizes are known.
        alike = prepare(trace(body, arguments(*size))[0], check=True).like(simplified)
        plain = finish(alike, check=True)
        assert plain.extents is None
        found, wanted = listing(graph, Evaluation(size)), listing(plain, at=NOWHERE)
        for one, other in zip(found, wanted, strict=False):
            assert one == other, size
        assert len(found) == len(wanted)
    for size in refused:
        assert not extents.hold(size), (size, told(extents))
    return extents


NOWHERE = Evaluation(())


def told(extents: Extents) -> list[str]:
    """The conditions, as formulas."""

    def formula(number: int) -> str:
        kind, i, j = extents.formulas[number]
        if kind in ("symbol", "constant"):
            return "abcdef"[i] if kind == "symbol" else str(i)
        sign = {"add": "+", "mul": "*", "floordiv": "//"}[kind]
        return f"({formula(i)} {sign} {formula(j)})"

    return [f"{formula(i)} {relation} {formula(j)}" for relation, i, j in extents.conditions]
