# SPDX-License-Identifier: Apache-2.0
"""A graph as text, one node per line: `%2 = relu <- %1 : float32 (32, 128)  # encoder.act`."""

from __future__ import annotations

from collections.abc import Mapping

from lamella.ir.graph import Constant, Graph, Input, Node, Parameter, Value

__all__ = ["number_values", "show", "show_node"]


def show(graph: Graph) -> str:
    """The whole graph: inputs, parameters, folded values, nodes, outputs, updates."""
    names = number_values(graph)
    lines = [f"input {names[value]} : {value.type}" for value in graph.inputs]
    lines += [f"parameter {names[value]} : {value.type}" for value in graph.parameters()]
    for folded in graph.folded():
        inner = {**number_values(folded.graph), **names}
        lines.append(f"folded {names[folded]} : {folded.type}")
        lines += [f"  {show_node(node, inner)}" for node in folded.graph.nodes]
        lines.append(f"  return {_name(folded.graph.outputs[0], inner)}")
    lines += [show_node(node, names) for node in graph.nodes]
    lines += ["return " + ", ".join(_name(value, names) for value in graph.outputs)]
    lines += [f"update {source.name} = {_name(value, names)}" for source, value in graph.updates]
    return "\n".join(lines)


def show_node(node: Node, names: Mapping[Value, str] | None = None) -> str:
    """One line for one node; values without a name are shown by their types."""
    known = names or {}
    outputs = ", ".join(known.get(value, "%") for value in node.outputs)
    inputs = ", ".join(_name(value, known) for value in node.inputs)
    types = ", ".join(str(value.type) for value in node.outputs)
    path = f"  # {node.path}" if node.path else ""
    return f"{outputs} = {node.op} <- {inputs} : {types}{path}"


def number_values(graph: Graph) -> dict[Value, str]:
    """Names for every input, parameter, folded value and result, each different."""
    names: dict[Value, str] = {
        value: f"%folded{number}" for number, value in enumerate(graph.folded())
    }
    taken: set[str] = set()
    leaves: tuple[Input | Parameter, ...] = (*graph.inputs, *graph.parameters())
    for value in leaves:
        name = value.source.name if isinstance(value, Parameter) else value.name
        base = name or "unnamed"
        count = 1
        while name in taken or not name:
            count += 1
            name = f"{base}_{count}"
        taken.add(name)
        names[value] = name
    results = (value for node in graph.nodes for value in node.outputs)
    for number, result in enumerate(results):
        names[result] = f"%{number}"
    return names


def _name(value: Value, names: Mapping[Value, str]) -> str:
    if isinstance(value, Constant):
        if value.array.size == 1:
            return f"{value.array.item():g}"
        return f"constant[{value.type}]"
    found = names.get(value)
    if found is None and isinstance(value, Parameter):
        found = value.source.name
    return f"[{value.type}]" if found is None else found
