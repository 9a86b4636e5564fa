# SPDX-License-Identifier: Apache-2.0
"""Differentiate: the gradients of one number with respect to leaves or results of its graph.

Reverse mode; `pull_back` is the same from given gradients of several results (a vector-Jacobian
product). Works on a graph under construction, before simplify: the rules of the ops (`Op.grad`)
add nodes through `place`, so that forward and backward are one graph for the passes that follow.
Only the nodes between `wrt` and y are visited, in reverse order, without recursion.
"""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet

from lamella.errors import DTypeError, ShapeError, UnsupportedError, locate, message
from lamella.ir.graph import Node, Place, Result, Value
from lamella.ir.types import same_shape
from lamella.ops.base import Op, number, only
from lamella.ops.composites import reshape
from lamella.ops.detach import Detach
from lamella.ops.elementwise import Binary
from lamella.ops.reduce import Reduce
from lamella.ops.shape import Concat, Slice

__all__ = ["differentiate", "ends", "pull_back"]


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
    return pull_back(place, [y], [number(1.0, y.dtype)], wrt)


def pull_back(
    place: Place,
    ys: Sequence[Value],
    dys: Sequence[Value],
    wrt: Sequence[Value],
    leaves: Sequence[Value] = (),
) -> list[Value | None]:
    """sum over y of dy * dy/dv for each v of `wrt`; None where no y depends on v.

    ys: floating; dys: in their shapes and dtypes; leaves: values that count as given, so that what
    they were made of has no part in it.
    """
    given = set(leaves)
    nodes, active = _between(ys, set(wrt), given)
    sums = _Sums(place)
    for y, dy in zip(ys, dys, strict=True):
        assert dy.type == y.type, f"a gradient of {dy.type} for {y.type}"
        if y in active:
            sums.add(y, dy)
    for node in reversed(nodes):
        found = [None if value in given else sums.take(value) for value in node.outputs]
        if any(dy is not None for dy in found):
            _backward(_located(place, node), node, found, active, sums)
    return [sums.take(value) for value in wrt]


def ends(y: Value, wrt: Sequence[Value]) -> list[Op]:
    """The ops at which gradients end on their way from y to `wrt`: positions and truth values."""
    nodes, _ = _between([y], set(wrt))
    return [
        node.op
        for node in nodes
        if type(node.op) is Detach or not any(out.dtype.is_floating for out in node.outputs)
    ]


class _Sums:
    """What the uses of each value have passed on to it so far.

    Gradients of slices are kept as they are until the value is asked for: where they cover it side
    by side (split, chunk) they are joined, instead of each being padded with zeros and added.
    """

    __slots__ = ("_pieces", "_place", "_totals")

    def __init__(self, place: Place) -> None:
        self._place = place
        self._totals: dict[Value, Value] = {}
        self._pieces: dict[Value, list[tuple[Node, Value]]] = {}

    def add(self, value: Value, dx: Value) -> None:
        before = self._totals.get(value)
        self._totals[value] = dx if before is None else self._place(Binary("add"), before, dx)

    def add_piece(self, node: Node, dy: Value) -> None:
        """The gradient of a slice of the node's input."""
        self._pieces.setdefault(node.inputs[0], []).append((node, dy))

    def take(self, value: Value) -> Value | None:
        """The gradient of `value`, when all its uses have been visited."""
        pieces = self._pieces.pop(value, [])
        joined = _joined(value, pieces)
        if joined is not None:
            axis, parts = joined
            self.add(value, _located(self._place, pieces[0][0])(Concat(axis), *parts))
            return self._totals[value]
        for node, dy in pieces:
            (dx,) = node.op.grad(_located(self._place, node), node.inputs, node.outputs, [dy])
            self.add(value, dx)
        return self._totals.get(value)


def _joined(value: Value, pieces: Sequence[tuple[Node, Value]]) -> tuple[int, list[Value]] | None:
    """The axis along which slices cover `value` without gap or overlap, and them in order."""
    found: list[tuple[int, Value]] = []
    axes: set[int] = set()
    for node, dy in pieces:
        op: Slice = node.op
        if any(step != 1 for step in op.steps):
            return None
        axes.update(
            axis for axis, size in enumerate(op.sizes) if size != value.shape[axis] or not size
        )
        if len(axes) != 1:
            return None
        found.append((op.starts[min(axes)], dy))
    if not found:
        return None
    axis, end = axes.pop(), 0
    found.sort(key=lambda piece: piece[0])
    for start, dy in found:
        if start != end:
            return None
        end += dy.shape[axis]
    return (axis, [dy for _, dy in found]) if end == value.shape[axis] else None


def _between(
    ys: Sequence[Value], wrt: set[Value], leaves: AbstractSet[Value] = frozenset()
) -> tuple[list[Node], set[Value]]:
    """The nodes that lie between `wrt` and ys, each after its inputs; and the values among them."""
    order: list[Node] = []
    seen: set[Node] = set()
    stack: list[tuple[Node, bool]] = [
        (y.node, False) for y in reversed(ys) if isinstance(y, Result) and y not in leaves
    ]
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
                if isinstance(value, Result) and value.node not in seen and value not in leaves
            ]
    active = set(wrt)
    kept = []
    for node in order:
        if not active.isdisjoint(node.inputs):
            active.update(value for value in node.outputs if value not in leaves)
            kept.append(node)
    return kept, active


def _backward(
    place: Place, node: Node, dys: Sequence[Value | None], active: set[Value], sums: _Sums
) -> None:
    """Adds what `node` passes on to the gradients of its inputs."""
    op: Op = node.op
    if type(op) is Slice:
        sums.add_piece(node, only(dys))
        return
    for value, dx in zip(node.inputs, op.grad(place, node.inputs, node.outputs, dys), strict=True):
        if dx is not None and value in active:
            sums.add(value, _summed(place, dx, value))


def _summed(place: Place, dx: Value, value: Value) -> Value:
    """dx in the shape of `value`: summed over the axes along which that was repeated."""
    if not same_shape(dx.shape, value.shape):
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
