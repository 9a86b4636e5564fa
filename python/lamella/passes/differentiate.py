# SPDX-License-Identifier: Apache-2.0
"""Differentiate: the gradients of one number with respect to leaves or results of its graph.

Reverse mode. Works on a graph under construction, before simplify: the rules of the ops (`Op.grad`)
add nodes through `place`, so that forward and backward are one graph for the passes that follow.
Only the nodes between `wrt` and y are visited, in reverse order, without recursion.
"""

from __future__ import annotations

from collections.abc import Sequence

from lamella.errors import DTypeError, ShapeError, UnsupportedError, locate, message
from lamella.ir.graph import Node, Place, Result, Value
from lamella.ops.base import Op, number
from lamella.ops.composites import reshape
from lamella.ops.elementwise import Binary
from lamella.ops.reduce import Reduce

__all__ = ["differentiate"]


def differentiate(place: Place, y: Value, wrt: Sequence[Value]) -> list[Value | None]:
    """dy/dv for each v of `wrt`, in its shape and dtype; None where y does not depend on v."""
    if y.shape or not y.dtype.is_floating:
        raise (DTypeError if not y.shape else ShapeError)(
            message(
                "differentiate",
                "only a number has gradients",
                {"y": y.type},
                "a 0-d value of float32 or float64",
                "Reduce first, as in y.sum() or y.mean()",
            )
        )
    gradients: dict[Value, Value] = {y: number(1.0, y.dtype)}
    nodes, active = _between(y, set(wrt))
    for node in reversed(nodes):
        dys = [gradients.get(value) for value in node.outputs]
        if any(dy is not None for dy in dys):
            _backward(_located(place, node), node, dys, active, gradients)
    return [gradients.get(value) for value in wrt]


def _between(y: Value, wrt: set[Value]) -> tuple[list[Node], set[Value]]:
    """The nodes that lie between `wrt` and y, each after its inputs; and the values among them."""
    order: list[Node] = []
    seen: set[Node] = set()
    stack: list[tuple[Node, bool]] = [(y.node, False)] if isinstance(y, Result) else []
    while stack:
        node, done = stack.pop()
        if done:
            order.append(node)
        elif node not in seen:
            seen.add(node)
            stack.append((node, True))
            stack += [
                (value.node, False)
                for value in node.inputs
                if isinstance(value, Result) and value.node not in seen
            ]
    active = set(wrt)
    kept = []
    for node in order:
        if not active.isdisjoint(node.inputs):
            active.update(node.outputs)
            kept.append(node)
    return kept, active


def _backward(
    place: Place,
    node: Node,
    dys: Sequence[Value | None],
    active: set[Value],
    gradients: dict[Value, Value],
) -> None:
    """Adds what `node` passes on to the gradients of its inputs."""
    op: Op = node.op
    for value, dx in zip(node.inputs, op.grad(place, node.inputs, node.outputs, dys), strict=True):
        if dx is None or value not in active:
            continue
        dx = _summed(place, dx, value)
        before = gradients.get(value)
        gradients[value] = dx if before is None else place(Binary("add"), before, dx)


def _summed(place: Place, dx: Value, value: Value) -> Value:
    """dx in the shape of `value`: summed over the axes along which that was repeated."""
    if dx.shape != value.shape:
        added = len(dx.shape) - len(value.shape)
        kept = [
            axis >= added and extent == value.shape[axis - added]
            for axis, extent in enumerate(dx.shape)
        ]
        # Neighbours together and the last ones first: never a permuted copy.
        last = len(kept) - 1
        while last >= 0:
            first = last
            if not kept[last]:
                while first and not kept[first - 1]:
                    first -= 1
                dx = place(Reduce("sum", first, last), dx)
            last = first - 1
        dx = reshape(place, dx, value.shape)
    assert dx.type == value.type, f"a gradient of {dx.type} for {value.type}"
    return dx


def _located(place: Place, node: Node) -> Place:
    """`place` with the forward node's path: a backward node belongs to the same module."""

    def placed(op: Op, *values: Value) -> Value:
        try:
            result = place(op, *values)
        except (ShapeError, DTypeError, UnsupportedError) as error:
            locate(error, node.path)
            raise
        if isinstance(result, Result) and not result.node.path:
            result.node.path = node.path
        return result

    return placed
