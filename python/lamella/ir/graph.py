# SPDX-License-Identifier: Apache-2.0
"""Values, nodes and the immutable graph; the builder that makes them.

A Value is a leaf (Input, Constant, Parameter, Folded) or one Result of a Node. A Graph lists its
nodes in topological order and is never edited: a pass builds a new one. The builder hash-conses:
the same op on the same values is one node, unless the op has effects. Values compare by identity.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import fields, is_dataclass, replace
from typing import Any, Literal, Protocol, TypeAlias, cast

import numpy as np

from lamella.ir.extent import Extent, Extents, plain
from lamella.ir.types import Array, DType, TensorType

__all__ = [
    "Constant",
    "Factor",
    "Folded",
    "Graph",
    "GraphBuilder",
    "Input",
    "Made",
    "Node",
    "Operation",
    "Parameter",
    "Place",
    "Result",
    "Source",
    "Value",
    "array_of",
    "formulas",
    "made_of",
]

# An extent, or its reciprocal, as a number.
Made: TypeAlias = tuple[Literal["value", "reciprocal"], int]
# What such a number is multiplied by, or divided: a number of its dtype, or an extent again.
Factor: TypeAlias = Made | tuple[Literal["times", "over"], float]

# Constants up to this many bytes are compared by content, so that equal scalars are one leaf.
_SHARED_CONSTANT_BYTES = 1024


class Operation(Protocol):
    """What the graph knows of an op: its outputs' types, and whether equal nodes are one node."""

    @property
    def effects(self) -> bool:
        """True for ops whose every occurrence counts (random draws)."""

    def infer(self, inputs: Sequence[TensorType], /) -> tuple[TensorType, ...]:
        """The types of the outputs; raises ShapeError or DTypeError."""


class Source(Protocol):
    """The storage behind a Parameter leaf: C-contiguous, with a version that counts changes.

    `version` is a writeable int64 array of shape (1,) that counts the changes; it is negative while
    a program or an assignment changes the elements. None says that nobody counts them: nothing may
    be kept that was made of the elements, and no program may change them.
    """

    @property
    def array(self) -> Array:
        """The elements; of bfloat16 as float32."""

    @property
    def memory(self) -> Array:
        """The array that programs read: where it lies, its shape and type, not what is in it."""

    @property
    def version(self) -> Array | None:
        """How often they changed."""

    @property
    def name(self) -> str:
        """What listings call it."""


class Value:
    """A tensor in a graph."""

    __slots__ = ("type",)
    type: TensorType

    @property
    def shape(self) -> tuple[int, ...]:
        """The extents."""
        return self.type.shape

    @property
    def dtype(self) -> DType:
        """The element type."""
        return self.type.dtype


class Input(Value):
    """An array given at every call."""

    __slots__ = ("name",)

    def __init__(self, type: TensorType, name: str) -> None:
        self.type = type
        self.name = name


class Constant(Value):
    """An array known when the graph is built; C-contiguous and read-only.

    extent: of an array of one element that is made of an extent: ("value", n) for n, or
    ("reciprocal", n) for 1 / n, in double and then cast; the array is the example's. factors: what
    it is multiplied by or divided, one after the other, each time in double and then cast.
    """

    __slots__ = ("array", "extent", "factors")

    def __init__(
        self, array: Array, extent: Made | None = None, factors: tuple[Factor, ...] = ()
    ) -> None:
        self.extent = extent
        self.factors = factors
        # ascontiguousarray would make a 0-d array 1-d.
        array = np.array(array, order="C", copy=None if array.flags.c_contiguous else True)
        self.array = array.view()
        self.array.flags.writeable = False
        self.type = TensorType(array.shape, DType.of(array.dtype))


def array_of(made: Made, dtype: DType, rank: int, factors: Sequence[Factor] = ()) -> Array:
    """The array of a constant that is made of these sizes."""
    kind, size = made
    array = np.array(plain(size) if kind == "value" else 1.0 / plain(size), dtype.numpy)
    with np.errstate(all="ignore"):
        for how, number in factors:
            if how == "value" or how == "reciprocal":
                number = array_of((how, plain(cast(int, number))), dtype, 0).item()
            x, y = np.float64(array), np.float64(number)
            array = np.array(x / y if how == "over" else x * y, dtype.numpy)
    return array.reshape((1,) * rank)


def made_of(made: Made, dtype: DType, rank: int = 0, factors: tuple[Factor, ...] = ()) -> Constant:
    """The constant of an extent, or of its reciprocal; one for each formula and type."""
    kind, extent = made
    assert type(extent) is Extent
    leaves = extent.extents.leaves
    key = (kind, extent.number, dtype, rank, repr(factors), formulas(factors))
    found = leaves.get(key)
    if found is None:
        found = leaves[key] = Constant(array_of(made, dtype, rank, factors), made, factors)
    assert isinstance(found, Constant)
    return found


class Parameter(Value):
    """An array that stays in place between calls and may change: a weight or a statistic."""

    __slots__ = ("source",)

    def __init__(self, source: Source) -> None:
        self.source = source
        self.type = TensorType(source.memory.shape, DType.stored(source.memory.dtype))


class Folded(Value):
    """What a graph without inputs makes of parameters and constants: its one output.

    It is computed ahead of the runs, once per version of the parameters.
    """

    __slots__ = ("graph",)

    def __init__(self, graph: Graph) -> None:
        (output,) = graph.outputs
        self.graph = graph
        self.type = output.type


class Result(Value):
    """Output number `index` of `node`."""

    __slots__ = ("index", "node")

    def __init__(self, type: TensorType, node: Node, index: int) -> None:
        self.type = type
        self.node = node
        self.index = index


class Node:
    """One op applied to values. `path` names the module that placed it, for messages."""

    __slots__ = ("inputs", "op", "outputs", "path")

    def __init__(
        self, op: Any, inputs: tuple[Value, ...], types: tuple[TensorType, ...], path: str
    ) -> None:
        self.op = op
        self.inputs = inputs
        self.outputs = tuple(Result(type, self, index) for index, type in enumerate(types))
        self.path = path


# How ops and passes add a node with one output: place(op, *inputs) -> output.
Place: TypeAlias = Callable[..., Value]


class Graph:
    """Inputs, nodes in topological order, outputs, and what is written back after a run.

    updates: (source, value) pairs; after the run the value is the content of the source's array.
    random: an int64 (key, calls) that random draws come from and advance, instead of the generator
    that the whole process shares. extents: the free extents of its trace.
    """

    __slots__ = ("extents", "inputs", "nodes", "outputs", "random", "updates")

    def __init__(
        self,
        inputs: tuple[Input, ...],
        outputs: tuple[Value, ...],
        nodes: tuple[Node, ...],
        updates: tuple[tuple[Source, Value], ...] = (),
        random: Source | None = None,
        extents: Extents | None = None,
    ) -> None:
        self.extents = extents
        self.inputs = inputs
        self.outputs = outputs
        self.nodes = nodes
        self.updates = updates
        self.random = random

    def roots(self) -> tuple[Value, ...]:
        """Every value that must exist after a run: the outputs, then the updates' values."""
        return self.outputs + tuple(value for _, value in self.updates)

    def parameters(self) -> tuple[Parameter, ...]:
        """The Parameter leaves, each source once, in order of first use; those folded, too."""
        found: dict[int, Parameter] = {}
        for value in self._leaves():
            if isinstance(value, Parameter):
                found.setdefault(id(value.source), value)
            elif isinstance(value, Folded):
                for leaf in value.graph.parameters():
                    found.setdefault(id(leaf.source), leaf)
        return tuple(found.values())

    def folded(self) -> tuple[Folded, ...]:
        """The Folded leaves, in order of first use."""
        found = (value for value in self._leaves() if isinstance(value, Folded))
        return tuple(dict.fromkeys(found))

    def _leaves(self) -> Iterator[Value]:
        for node in self.nodes:
            yield from node.inputs
        yield from self.roots()

    def consumers(self) -> dict[Value, list[Node]]:
        """The nodes that read each value, each node once, in order."""
        readers: dict[Value, list[Node]] = {}
        for node in self.nodes:
            for value in dict.fromkeys(node.inputs):
                readers.setdefault(value, []).append(node)
        return readers


def formulas(tree: Any) -> Any:
    """Which extents an op, or what is in it, holds, and where; None for none.

    Two ops with equal numbers at the example are one op only if their formulas are the same.
    """
    if type(tree) is Extent:
        return tree.number
    if isinstance(tree, tuple):
        found = tuple(map(formulas, tree))
    elif is_dataclass(tree):
        found = tuple(formulas(getattr(tree, field.name)) for field in fields(tree))
    else:
        return None
    return found if any(one is not None for one in found) else None


def sized(tree: Any, symbols: Sequence[int]) -> Any:
    """An op, or what is in it, with numbers in place of extents, at these sizes of the symbols."""
    if type(tree) is Extent:
        return tree.extents.at(tree, symbols)
    if formulas(tree) is None:
        return tree
    if isinstance(tree, tuple):
        items = [sized(item, symbols) for item in tree]
        return type(tree)(*items) if hasattr(tree, "_fields") else tuple(items)
    names = [field.name for field in fields(tree)]
    return replace(tree, **{name: sized(getattr(tree, name), symbols) for name in names})


class GraphBuilder:
    """Collects nodes in the order in which they are placed.

    random, extents: see Graph; to be set before `build`, extents before the first node.
    """

    __slots__ = ("_constants", "_inputs", "_nodes", "_parameters", "_shared", "extents", "random")

    def __init__(self) -> None:
        self.extents: Extents | None = None
        self.random: Source | None = None
        self._inputs: list[Input] = []
        self._nodes: list[Node] = []
        self._constants: dict[Hashable, Constant] = {}
        self._parameters: dict[int, Parameter] = {}
        self._shared: dict[Hashable, Node] = {}

    def input(self, type: TensorType, name: str) -> Input:
        """A new input, after those already there."""
        value = Input(type, name)
        self._inputs.append(value)
        return value

    def adopt(self, graph: Graph) -> None:
        """Takes over the input leaves of another graph, its generator and its extents."""
        self._inputs.extend(graph.inputs)
        self.random = graph.random
        self.extents = graph.extents

    @property
    def count(self) -> int:
        """How many nodes have been placed."""
        return len(self._nodes)

    def since(self, count: int) -> Sequence[Node]:
        """The nodes placed after the first `count`."""
        return self._nodes[count:]

    def constant(self, array: Array) -> Constant:
        """The leaf of `array`, which must not change any more; small equal arrays share one."""
        if array.nbytes > _SHARED_CONSTANT_BYTES:
            return Constant(array)
        key = (array.dtype.str, array.shape, array.tobytes())
        found = self._constants.get(key)
        if found is None:
            found = self._constants[key] = Constant(array)
        return found

    def parameter(self, source: Source) -> Parameter:
        """The leaf of `source`; always the same for the same source."""
        found = self._parameters.get(id(source))
        if found is None:
            found = self._parameters[id(source)] = Parameter(source)
        return found

    def apply(self, op: Operation, inputs: Sequence[Value], path: str = "") -> tuple[Result, ...]:
        """Places `op` on `inputs` after judging their types; gives its outputs."""
        return self.add(op, tuple(inputs), None, path)

    def add(
        self,
        op: Operation,
        inputs: tuple[Value, ...],
        types: tuple[TensorType, ...] | None,
        path: str,
    ) -> tuple[Result, ...]:
        """As `apply`, with the output types where the caller already knows them."""
        if op.effects:
            return self._append(op, inputs, types, path).outputs
        key: Hashable = (op, *map(id, inputs))
        if self.extents is not None:
            # In front: where formulas differ, equal numbers are not even compared.
            key = (formulas(op), key)
        found = self._shared.get(key)
        if found is None:
            found = self._shared[key] = self._append(op, inputs, types, path)
        elif repr(found.op) != repr(op):
            # Equal but not the same: numbers such as 0.0 and -0.0.
            return self._append(op, inputs, types, path).outputs
        return found.outputs

    def _append(
        self,
        op: Operation,
        inputs: tuple[Value, ...],
        types: tuple[TensorType, ...] | None,
        path: str,
    ) -> Node:
        if types is None:
            types = op.infer([value.type for value in inputs])
        node = Node(op, inputs, types, path)
        self._nodes.append(node)
        return node

    def build(
        self, outputs: Sequence[Value], updates: Sequence[tuple[Source, Value]] = ()
    ) -> Graph:
        """The graph of what `outputs` and `updates` need; nodes nobody needs are left out."""
        live: set[Value] = set(outputs)
        live.update(value for _, value in updates)
        kept: list[Node] = []
        for node in reversed(self._nodes):
            if not live.isdisjoint(node.outputs):
                live.update(node.inputs)
                kept.append(node)
        kept.reverse()
        return Graph(
            tuple(self._inputs),
            tuple(outputs),
            tuple(kept),
            tuple(updates),
            self.random,
            self.extents,
        )
