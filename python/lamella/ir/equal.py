# SPDX-License-Identifier: Apache-2.0
"""Whether two graphs are the same text: the same ops in the same order on the same leaves.

Nodes are compared as a trace placed them, not by what they compute. Constants are equal by their
bits, parameters when they have the same storage.
"""

from __future__ import annotations

from collections.abc import Callable

from lamella.ir.graph import Constant, Graph, Input, Parameter, Source, Value

__all__ = ["equal"]


def equal(a: Graph, b: Graph, same_source: Callable[[Source, Source], bool]) -> bool:
    """True when a run of either gives the same bits. same_source: whether storages are the same."""
    if len(a.nodes) != len(b.nodes) or len(a.inputs) != len(b.inputs) or a.random is not b.random:
        return False
    other: dict[Value, Value] = dict(zip(a.inputs, b.inputs, strict=True))

    def same(x: Value, y: Value) -> bool:
        if isinstance(x, Constant) and isinstance(y, Constant):
            return x.type == y.type and x.array.tobytes() == y.array.tobytes()
        if isinstance(x, Parameter) and isinstance(y, Parameter):
            return x.type == y.type and same_source(x.source, y.source)
        return other.get(x) is y

    for x, y in other.items():
        if x.type != y.type or not isinstance(x, Input):
            return False
    for one, two in zip(a.nodes, b.nodes, strict=True):
        # Numbers such as 0.0 and -0.0 are equal and have two texts.
        if one.op != two.op or repr(one.op) != repr(two.op) or one.path != two.path:
            return False
        if len(one.inputs) != len(two.inputs) or not all(map(same, one.inputs, two.inputs)):
            return False
        other.update(zip(one.outputs, two.outputs, strict=True))
    if len(a.outputs) != len(b.outputs) or len(a.updates) != len(b.updates):
        return False
    return all(map(same, a.outputs, b.outputs)) and all(
        same_source(one[0], two[0]) and same(one[1], two[1])
        for one, two in zip(a.updates, b.updates, strict=True)
    )
