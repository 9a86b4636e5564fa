# SPDX-License-Identifier: Apache-2.0
"""Debug runs: every node alone, on its real operands, against its reference.

The first node whose result is farther from the float64 reference than its op allows, or that has
NaN although its operands had none, is named with its module and its line of the listing. The whole
program's outputs must then have the bits of the nodes run one by one.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lamella import _core
from lamella.errors import message
from lamella.ir.graph import (
    Constant,
    Graph,
    GraphBuilder,
    Input,
    Node,
    Parameter,
    Result,
    Value,
)
from lamella.ir.show import number_values, show_node
from lamella.ir.types import Array
from lamella.runtime.emit import emit

__all__ = ["Checker"]


class Checker:
    """The one-node programs of a graph."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._names = number_values(graph)
        self._folded = {value: Checker(value.graph) for value in graph.folded()}
        self._programs = [_alone(node) for node in graph.nodes]
        self._random = any(node.op.effects for node in graph.nodes)

    def run(self, inputs: Sequence[Array]) -> tuple[Array, ...]:
        """Runs and checks every node in order; gives the outputs."""
        known: dict[Value, Array] = dict(zip(self._graph.inputs, inputs, strict=True))
        folded = {value: checker.run(())[0] for value, checker in self._folded.items()}
        for node, program in zip(self._graph.nodes, self._programs, strict=True):
            operands = [_array(value, known | folded) for value in node.inputs]
            made = dict.fromkeys(value for value in node.inputs if value in known)
            results = program.run([known[value] for value in made])
            self._check(node, operands, results)
            known.update(zip(node.outputs, results, strict=True))
        return tuple(_array(value, known | folded) for value in self._graph.outputs)

    def compare(self, stepwise: Sequence[Array], whole: Sequence[Array]) -> None:
        """Raises ArithmeticError unless the outputs are those of the nodes, bit by bit."""
        if self._random:
            return
        for number, (expected, got) in enumerate(zip(stepwise, whole, strict=True)):
            if not np.array_equal(expected, got, equal_nan=expected.dtype.kind == "f"):
                raise ArithmeticError(
                    message(
                        "debug",
                        f"output {number} differs from its nodes run one by one",
                        {"elements": int(np.sum(expected != got))},
                        "equal bits",
                    )
                )

    def _check(self, node: Node, operands: Sequence[Array], results: Sequence[Array]) -> None:
        references = node.op.reference(operands)
        tolerances = node.op.tolerance(operands, references)
        for got, reference, tolerance in zip(results, references, tolerances, strict=True):
            if _has_nan(got) and not any(map(_has_nan, operands)):
                raise FloatingPointError(
                    self._text(node, "NaN from operands that have none", int(np.isnan(got).sum()))
                )
            wrong = ~_agrees(got, reference, tolerance)
            if np.any(wrong):
                place = tuple(int(index) for index in np.argwhere(wrong)[0])
                raise ArithmeticError(
                    self._text(
                        node,
                        f"result and reference differ, first at {place}: {got[place]!r} for"
                        f" {np.asarray(reference)[place]!r}",
                        int(wrong.sum()),
                    )
                )

    def _text(self, node: Node, rule: str, count: int) -> str:
        where = f" (at {node.path})" if node.path else ""
        line = show_node(node, self._names)
        return message("debug", rule, {"elements": count, "node": f"`{line}`"}) + where


def _alone(node: Node) -> _core.Program:
    """The program of one node; results of other nodes and inputs become its inputs."""
    builder = GraphBuilder()
    leaves: dict[Value, Value] = {}
    for value in node.inputs:
        if value not in leaves:
            given = isinstance(value, Result | Input)
            leaves[value] = builder.input(value.type, "") if given else value
    outputs = builder.apply(node.op, [leaves[value] for value in node.inputs], node.path)
    return emit(builder.build(outputs))


def _array(value: Value, known: dict[Value, Array]) -> Array:
    found = known.get(value)
    if found is not None:
        return found
    if isinstance(value, Parameter):
        return value.source.array
    assert isinstance(value, Constant)
    return value.array


def _has_nan(array: Array) -> bool:
    return array.dtype.kind == "f" and bool(np.isnan(array).any())


def _agrees(got: Array, reference: Array, tolerance: Array) -> Array:
    if got.dtype.kind != "f":
        return np.asarray(got == reference)
    with np.errstate(all="ignore"):
        near = np.abs(got.astype(np.float64) - reference) <= tolerance
        same = got == reference.astype(got.dtype)
        return np.asarray(near | same | (np.isnan(got) & np.isnan(reference)))
