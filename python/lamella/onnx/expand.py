# SPDX-License-Identifier: Apache-2.0
"""Functions of a model put in place of the nodes that call them.

Names inside a body get a prefix, attributes that refer to the call's are filled in. Calls may nest,
but not endlessly and not into themselves, and the whole may not grow beyond a limit: a file of a
few hundred bytes could otherwise stand for billions of nodes. The walk keeps its own stack.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import TypeAlias

from lamella.errors import FormatError, UnsupportedError, message
from lamella.onnx.model import AttributeProto, FunctionProto, ModelProto, NodeProto
from lamella.onnx.wire import MAX_DEPTH
from lamella.storage.source import quoted

__all__ = ["expand_functions"]

# Nodes of a model after expansion, at some 25 us each; a graph that has more by itself may still
# have _MORE_NODES of functions.
_MAX_NODES, _MORE_NODES = 25_000, 5_000
# Names of a body are kept up to this length: in every call a long one would be a new text.
_MAX_NAME = 64

Opsets: TypeAlias = "tuple[tuple[str, int], ...] | None"


def expand_functions(model: ModelProto) -> list[tuple[NodeProto, Opsets]]:
    """The nodes of the graph with all calls expanded; beside each its function's opsets or None."""
    functions = {(f.domain, f.name, f.overload): f for f in model.functions}
    if not functions:
        return [(node, None) for node in model.graph.nodes]
    result: list[tuple[NodeProto, Opsets]] = []
    stack: list[tuple[Iterator[NodeProto], Opsets, tuple[FunctionProto, ...]]] = [
        (iter(model.graph.nodes), None, ())
    ]
    calls = 0
    limit = max(_MAX_NODES, len(model.graph.nodes) + _MORE_NODES)
    while stack:
        nodes, opsets, path = stack[-1]
        node = next(nodes, None)
        if node is None:
            stack.pop()
            continue
        function = functions.get((node.domain, node.op_type, node.overload))
        if function is None:
            result.append((node, opsets))
        else:
            calls += 1
            if function in path or len(path) >= MAX_DEPTH:
                raise FormatError(
                    message(
                        "onnx.load",
                        "functions call themselves, or each other too deep",
                        {"function": quoted(function.name)},
                        f"at most {MAX_DEPTH} levels and no cycle",
                    )
                )
            called = (node.name or node.op_type)[:_MAX_NAME]
            body = _body(function, node, f"{called}/{calls}/")
            stack.append((iter(body), function.opsets, (*path, function)))
        if len(result) + calls > limit:
            raise UnsupportedError(
                message("onnx.load", "functions expand to too many nodes", None, f"{limit}")
            )
    return result


def _body(function: FunctionProto, call: NodeProto, prefix: str) -> Iterable[NodeProto]:
    """The nodes of a function as one call means them; graphs in attributes stay as they are."""
    if len(call.inputs) > len(function.inputs) or len(call.outputs) > len(function.outputs):
        raise FormatError(
            message(
                "onnx.load",
                "a call has more operands than its function",
                {"function": quoted(function.name), "inputs": len(call.inputs)},
                str(len(function.inputs)),
            )
        )
    names = dict(zip(function.inputs, (*call.inputs, *("",) * len(function.inputs)), strict=False))
    results = zip(function.outputs, call.outputs, strict=False)
    names.update((inner, outer) for inner, outer in results if outer)
    given = {attribute.name: attribute for attribute in function.defaults}
    given.update((attribute.name, attribute) for attribute in call.attributes)

    def renamed(name: str) -> str:
        if name and name not in names:
            short = name if len(name) <= _MAX_NAME else f"{name[:_MAX_NAME]}/{len(names)}"
            names[name] = prefix + short
        return names[name] if name else ""

    for node in function.nodes:
        attributes: list[AttributeProto] = []
        for attribute in node.attributes:
            if attribute.reference:
                if attribute.reference in given:
                    filled = given[attribute.reference]
                    attributes.append(AttributeProto(attribute.name, filled.value))
                continue
            attributes.append(attribute)
        yield replace(
            node,
            name=prefix + node.name[:_MAX_NAME],
            inputs=tuple(renamed(name) for name in node.inputs),
            outputs=tuple(renamed(name) for name in node.outputs),
            attributes=tuple(attributes),
        )
    passed = [
        (inner, outer)
        for inner, outer in zip(function.outputs, call.outputs, strict=False)
        if outer and inner in function.inputs
    ]
    if passed:
        raise FormatError(
            message(
                "onnx.load", "a function's input is its output", {"function": quoted(function.name)}
            )
        )
