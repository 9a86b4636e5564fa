# SPDX-License-Identifier: Apache-2.0
"""Compiling: a traced function, its optimised graph and its program as one callable.

`compile_call` is the common way from a body and example arguments to a Compiled; functions and
modules cache its results per signature. `compile` wraps one Compiled into a Session for users.
A Session holds its program and is not picklable; what it was made from may be.
"""

from __future__ import annotations

import copy
import inspect
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from lamella import _core
from lamella.errors import DTypeError, ShapeError, message
from lamella.ir.digest import digest
from lamella.ir.extent import LEAST, Extent, Extents
from lamella.ir.graph import Constant, Graph, Node, Value
from lamella.ir.show import show
from lamella.ir.types import Array, DType, TensorType
from lamella.ops.base import Meeting
from lamella.passes import Simplified, finish, prepare
from lamella.runtime.debug import Checker
from lamella.runtime.emit import emit
from lamella.runtime.narrow import Narrow
from lamella.runtime.out import check_out, disjoint, is_direct
from lamella.runtime.promotion import place_number, place_values
from lamella.runtime.signature import (
    LEAF,
    Branch,
    Structure,
    Widened,
    dtypes_of,
    flatten,
    handed_back,
    normalize,
    source_of,
    unflatten,
)
from lamella.runtime.taken import NOTHING_TAKEN, Taken, Watched, identity
from lamella.runtime.tensor import Tensor
from lamella.runtime.trace import Trace, begin, user_line

__all__ = ["Compiled", "Free", "Session", "compile", "compile_call", "trace"]

# Groups of (input number, axis) that are of one size, whichever that is.
Free: TypeAlias = Sequence[Sequence[tuple[int, int]]]

# What a node of a graph and a place that is watched take, in bytes: transformers and small nets,
# measured with tracemalloc.
_NODE_BYTES, _PLACE_BYTES = 600, 120


def trace(
    body: Callable[..., Any],
    args: Sequence[Any],
    kwargs: Mapping[str, Any] | None = None,
    names: Sequence[str] = (),
    taken: Taken | None = None,
    free: Free = (),
) -> tuple[Graph, Structure]:
    """Runs `body` on symbols; gives its graph and the structure of what it returned.

    NumPy arrays and TensorTypes anywhere in `args` and `kwargs` become inputs, in order (positional
    first); everything else is handed over as it is. names: what messages call the inputs; taken:
    what the body may read of Python, arrays in which become leaves; without it they are constants;
    free: groups of (input, axis) whose extent, equal within a group, is free: the graph's `extents`
    then know what the body took for granted of them.
    Raises: UnsupportedError for what no program can do, and for random numbers drawn on the way.
    """
    leaves, structure = flatten((tuple(args), dict(kwargs or {})))
    taken = taken or Taken(body, leaves=False)
    with taken.watching_draws(), begin(taken.storage_of) as context:
        context.numbers = _dtype_of_numbers(leaves)
        freed = _freed(leaves, free)
        if freed:
            context.builder.extents = next(iter(freed.values())).extents
        count = 0
        for position, leaf in enumerate(leaves):
            if isinstance(leaf, np.ndarray):
                leaf = TensorType(leaf.shape, DType.of(leaf.dtype))
            if isinstance(leaf, TensorType):
                source = leaf.source if isinstance(leaf, Widened) else None
                if freed:
                    shape = [freed.get((count, axis), n) for axis, n in enumerate(leaf.shape)]
                    leaf = TensorType(tuple(shape), leaf.dtype)
                name = names[count] if count < len(names) else f"input{count}"
                tensor = Tensor(context.computed(context.builder.input(leaf, name)), context)
                leaves[position] = tensor if source is None else Narrow(tensor, source)
                count += 1
        symbols, named = unflatten(structure, leaves)
        results, returned = flatten(body(*symbols, **named))
        if any(isinstance(result, Narrow) for result in results):
            returned = handed_back(returned, (getattr(one, "element", None) for one in results))
        return context.build([_result(context, result) for result in results]), returned


def _dtype_of_numbers(leaves: Sequence[Any]) -> DType:
    """float64 where all floating inputs are; else float32, as in torch."""
    found = {DType.of(x.dtype) for x in leaves if isinstance(x, np.ndarray | TensorType)}
    floating = {dtype for dtype in found if dtype.is_floating or dtype.is_storage}
    return DType.float64 if floating == {DType.float64} else DType.float32


def _freed(leaves: Sequence[Any], free: Free) -> dict[tuple[int, int], Extent]:
    """The extent of each axis that is free; ShapeError where those of a group differ."""
    if not free:
        return {}
    shapes = [leaf.shape for leaf in leaves if isinstance(leaf, np.ndarray | TensorType)]
    extents = Extents(user_line)
    found: dict[tuple[int, int], Extent] = {}
    for group in free:
        sizes = {shapes[number][axis] for number, axis in group}
        if len(sizes) != 1 or min(sizes) < LEAST:
            raise ShapeError(
                message(
                    "trace",
                    "no free extent",
                    {"sizes": sorted(sizes)},
                    f"one size, at least {LEAST}",
                )
            )
        found.update(dict.fromkeys(group, extents.symbol(int(sizes.pop()))))
    return found


def _result(context: Trace, result: Any) -> Value:
    if isinstance(result, int | float) and not isinstance(result, bool):
        # A plain number that is handed out has met nothing: it keeps its digits.
        return place_number(context, result, DType.float64)
    return place_values(context, [result], Meeting.FLOATING)[0]


class Compiled:
    """The program of one signature, and how its outputs are handed back.

    graph: what the body left, optimised; origins: the node of each step of the program, None for
    copies behind the nodes; outputs: the structure of the result; watched: what it has taken of
    Python, which has to hold before every run; extents: the free extents of the trace, None where
    all sizes are the program's own; free: the axes that they are of; text: what makes it for other
    sizes, once that is believed; is_sized: whether the program is of another size than the graph,
    made by the text.
    """

    __slots__ = (
        "_check",
        "_leaves",
        "_simplified",
        "_traced",
        "extents",
        "free",
        "graph",
        "is_sized",
        "origins",
        "outputs",
        "program",
        "text",
        "watched",
    )

    def __init__(
        self,
        traced: Graph,
        outputs: Structure,
        check: bool = False,
        watched: Watched = NOTHING_TAKEN,
        free: Free = (),
    ) -> None:
        self.watched = watched
        self.free = free
        self.text: _core.Text | None = None
        self.is_sized = False
        # What tells whether a later trace gave the same; none is made where nothing can change.
        changing = watched.native is not None
        self._traced = digest(traced, identity) if changing else b""
        self._leaves = traced.parameters() if changing else ()
        # LAMELLA_VERIFY=1 (the tests set it) checks the graph after every pass, as debug does.
        self._check = check or os.environ.get("LAMELLA_VERIFY") == "1"
        simplified = prepare(traced, self._check)
        self.graph = self._finish(simplified)
        self._simplified = simplified.kept
        self.extents = traced.extents
        self.outputs = outputs
        self.origins: list[Node | None] = []
        if self.extents is not None:
            self.extents.lowering = True
        self.program = emit(self.graph, self.origins)
        if self.extents is not None:
            self.extents.closed = True

    def _finish(self, simplified: Simplified) -> Graph:
        registers: int = _core.ProgramBuilder.elementwise_registers
        return finish(simplified, registers, self._check)

    def program_like(self, other: Compiled) -> _core.Program:
        """Its program if only that is folded which the other one, of any size, folds as well."""
        less = self._simplified.like(other._simplified)
        return self.program if less is self._simplified else emit(self._finish(less))

    def is_of(self, traced: bytes, outputs: Structure) -> bool:
        """Whether it is the program of a trace of this digest."""
        return self.outputs == outputs and self._traced == traced

    def again(self, watched: Watched) -> Compiled:
        """The same program for other values of Python, which make no difference to it."""
        other = copy.copy(self)
        other.watched = watched
        return other

    def sized(self, program: _core.Program) -> Compiled:
        """The same for the sizes of a program that a text has made."""
        other = copy.copy(self)
        other.program = program
        other.is_sized = True
        return other

    @property
    def nbytes(self) -> int:
        """What it takes, in bytes: an estimate, apart from weights, packed or not, and arenas."""
        if self.is_sized:
            return self.program.nbytes
        nodes = [*self.graph.nodes, *self._simplified.graph.nodes]
        constants = [one for node in nodes for one in node.inputs]
        arrays = {id(one): one.array.nbytes for one in constants if isinstance(one, Constant)}
        return (
            self.program.nbytes
            + _NODE_BYTES * len(nodes)
            + _PLACE_BYTES * len(self.watched.places)
            + sum(arrays.values())
        )

    @property
    def returns(self) -> Any:
        """How the C++ base class shall hand the outputs back: see `Callable._remember`."""
        if any(dtypes_of(self.outputs)):
            return self.restore
        if self.outputs == LEAF:
            return None
        if isinstance(self.outputs, Branch) and self.outputs.type is tuple:
            if all(child == LEAF for child in self.outputs.children):
                return "tuple"
        return self.restore

    def restore(self, arrays: Sequence[Array]) -> Any:
        """The outputs in the structure that the body returned."""
        return unflatten(self.outputs, arrays)

    def run(self, inputs: Sequence[Array], *, op: str = "call", out: Any = None) -> Any:
        """Runs the program on arrays of its signature (see `signature.normalize`).

        out: receives the result and is returned: an array, or the result's structure of arrays. It
        may overlap the inputs.
        """
        if out is None:
            return self.restore(self.program.run(inputs))
        targets, structure = flatten(out)
        if structure != self.outputs:
            raise TypeError(
                message(op, "out has another structure than the result", {"out": type(out)})
            )
        dtypes = dtypes_of(self.outputs)
        for target, (own, shape), dtype in zip(targets, self.program.outputs, dtypes, strict=True):
            check_out(op, target, shape, dtype or np.dtype(own))
        read = [*inputs, *(parameter.source.memory for parameter in self.graph.parameters())]
        direct = not any(dtypes) and all(map(is_direct, targets))
        if direct and disjoint(targets, read):
            self.program.run(inputs, targets)
        else:
            for target, array in zip(targets, self.program.run(inputs), strict=True):
                np.copyto(target, array, casting="unsafe")
        return out


def compile_call(
    body: Callable[..., Any],
    args: Sequence[Any],
    kwargs: Mapping[str, Any] | None = None,
    names: Sequence[str] = (),
    root: Any = None,
    check: bool = False,
    structured: bool = False,
    earlier: Sequence[Compiled] = (),
    free: Free = (),
    taken: Taken | None = None,
) -> Compiled:
    """Traces and compiles `body` for arguments like these: see `trace`.

    root: the user's function where `body` is one around it; check: see Compiled; structured:
    whether the caller notices attributes assigned to modules; earlier: programs of this signature
    that no longer hold, one of which may turn out to be what is wanted all the same; free: the axes
    whose extents are free; taken: what the body can read, looked at before.
    """
    taken = taken or Taken(body if root is None else root)
    traced, outputs = trace(body, args, kwargs, names, taken, free)
    found = digest(traced, identity) if earlier else b""
    # Who notices attributes of modules notices which arrays their parameters have.
    stored = () if structured else [leaf.source for leaf in traced.parameters()]
    for one in reversed(earlier):
        if one.is_of(found, outputs):
            return one.again(taken.settle(structured, one.watched, stored))
    return Compiled(traced, outputs, check, taken.settle(structured, stored=stored), free)


def _example(array: Array, op: str, name: str) -> TensorType:
    """As what programs take an array, a storage type as float32, which takes any floating one."""
    dtype = DType.of(normalize(array, op=op, name=name).dtype)
    source = source_of(array)
    if source is not None:
        return Widened(array.shape, dtype, source)
    return TensorType(array.shape, DType.float32 if dtype.is_storage else dtype)


class Session:
    """A function or module compiled for one signature: `session(*arrays)`.

    graph: what is run, optimised; program: its steps; show(): the graph as text. Keyword and
    nested arguments are taken as in the examples it was compiled for; floating arrays are cast to
    the examples' dtypes.
    """

    def __init__(
        self,
        body: Callable[..., Any],
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        debug: bool = False,
    ) -> None:
        self._name = getattr(body, "__name__", type(body).__name__)
        leaves, structure = flatten((tuple(args), dict(kwargs)))
        prepared = [
            _example(leaf, self._name, f"argument {number}")
            if isinstance(leaf, np.ndarray)
            else leaf
            for number, leaf in enumerate(leaves)
        ]
        self._structure = structure
        self._static = [None if isinstance(leaf, TensorType) else leaf for leaf in prepared]
        self._arguments: tuple[Any, Any] = unflatten(structure, prepared)
        self._body = body
        self._debug = debug
        self._compile(())

    def _compile(self, earlier: Sequence[Compiled]) -> None:
        positional, named = self._arguments
        self._compiled = compile_call(
            self._body, positional, named, check=self._debug, earlier=earlier
        )
        self._checker = Checker(self._compiled.graph) if self._debug else None

    @property
    def name(self) -> str:
        """What messages call it: the function's name, or the module's class."""
        return self._name

    @property
    def graph(self) -> Graph:
        """The optimised graph."""
        return self._compiled.graph

    @property
    def program(self) -> _core.Program:
        """The program of the C++ core."""
        return self._compiled.program

    @property
    def compiled(self) -> Compiled:
        """Graph, program, and which step belongs to which node."""
        return self._compiled

    def show(self) -> str:
        """The optimised graph as text, one node per line."""
        return show(self._compiled.graph)

    def __call__(self, *args: Any, out: Any = None, **kwargs: Any) -> Any:
        """Runs on arrays of the signature it was compiled for.

        Raises: ShapeError, DTypeError or TypeError for another signature; with debug,
        ArithmeticError or FloatingPointError naming the node at fault.
        """
        inputs = self.inputs(args, kwargs)
        if not self._compiled.watched.holds():
            self._compile((self._compiled,))
        compiled, checker = self._compiled, self._checker
        if checker is None:
            return compiled.run(inputs, op=self._name, out=out)
        stepwise = checker.run(inputs)
        result = compiled.run(inputs, op=self._name, out=out)
        checker.compare(stepwise, flatten(result)[0])
        return result

    def inputs(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> list[Array]:
        """The arrays of a call as the program takes them; raises as a call does."""
        leaves, structure = flatten((tuple(args), dict(kwargs)))
        if structure != self._structure:
            raise TypeError(
                message(
                    self._name,
                    "arguments have another structure than the examples",
                    {"arguments": len(leaves)},
                    f"{len(self._static)} arranged as in the examples",
                )
            )
        types = iter(self._compiled.graph.inputs)
        inputs: list[Array] = []
        for number, (leaf, static) in enumerate(zip(leaves, self._static, strict=True)):
            if static is not None:
                if leaf is not static and leaf != static:
                    raise TypeError(
                        message(
                            self._name,
                            "a constant argument has changed",
                            {f"argument {number}": leaf},
                            f"{static!r}, or a session compiled for the new value",
                        )
                    )
                continue
            inputs.append(self._input(leaf, next(types).type, number))
        return inputs

    def _input(self, leaf: Any, type: TensorType, number: int) -> Array:
        name = f"argument {number}"
        floating = type.dtype if type.dtype.is_floating else None
        array = normalize(leaf, op=self._name, name=name, floating=floating)
        if array.dtype != type.dtype.numpy:
            raise DTypeError(
                message(self._name, "element types differ", {name: array.dtype}, f"{type.dtype}")
            )
        if array.shape != type.shape:
            raise ShapeError(
                message(
                    self._name,
                    "compiled for another shape",
                    {name: array.shape},
                    f"{type.shape}",
                )
            )
        return array

    def __reduce__(self) -> Any:
        raise TypeError(
            message("session", "a compiled program cannot be pickled", None, "the module itself")
        )


def compile(
    target: Callable[..., Any], *examples: Any, debug: bool = False, **named: Any
) -> Session:
    """Compiles a function or module for arguments like the examples.

    Parameters: target, a function on tensors or a module; examples, arrays (or TensorTypes) like
    those it will be called with, in any nesting of tuples, lists and dicts; other values are
    constants; debug, whether each call checks every node against its reference.
    Returns: a Session.
    Raises: ShapeError, DTypeError, UnsupportedError where the target does not fit.
    """
    if not examples and not named and _takes_arguments(getattr(target, "forward", target)):
        raise TypeError(
            message(
                "compile",
                "no examples of the arguments",
                {"target": type(target).__name__},
                "compile(net, x)",
                "A module compiles itself when it is called.",
            )
        )
    return Session(target, examples, named, debug)


def _takes_arguments(body: Callable[..., Any]) -> bool:
    try:
        inspect.signature(body).bind()
    except TypeError:
        return True
    except ValueError:  # a builtin that does not tell
        pass
    return False
