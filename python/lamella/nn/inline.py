# SPDX-License-Identifier: Apache-2.0
"""A module's call within a trace: forward runs in place, under the module's name.

The outermost module of a trace casts floating inputs to the parameters' dtype. Names are those by
which the running parent knows its children; messages, profiles and summaries show them.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from lamella.errors import DTypeError, ShapeError, UnsupportedError, locate
from lamella.ir.graph import Graph, Node
from lamella.ir.types import TensorType
from lamella.nn.parameter import Parameter
from lamella.nn.structure import dtype_of
from lamella.runtime.session import Free, trace
from lamella.runtime.signature import flatten, unflatten
from lamella.runtime.tensor import Operand, Tensor
from lamella.runtime.trace import Trace, current

if TYPE_CHECKING:
    from lamella.nn.module import Module

__all__ = ["Call", "cast_inputs", "inline", "note_operator", "trace_module"]


class Call(NamedTuple):
    """One call of a module within a trace, or of one operator of a module that consists of them.

    outputs: the types of what it gave, an operator's without operands that it handed on. Of an
    operator also its kind, the shapes of all that it gave, the parameters that it read, and the
    nodes that it placed.
    """

    path: str
    module: Module
    outputs: list[TensorType]
    operator: str = ""
    shapes: Sequence[tuple[int, ...]] = ()
    parameters: Sequence[Parameter] = ()
    nodes: Sequence[Node] = ()


class _Running(threading.local):
    """The modules whose forward is running in this thread's innermost trace, outermost first."""

    def __init__(self) -> None:
        self.trace: Trace | None = None
        self.stack: list[Module] = []
        self.names: dict[int, dict[int, str]] = {}
        self.calls: list[Call] | None = None


_running = _Running()


def inline(module: Module, inputs: tuple[Any, ...], named: dict[str, Any]) -> Any:
    """Runs forward in the current trace, under the module's name."""
    context = current()
    with _frame(context, module) as outermost:
        if outermost:
            context.numbers = dtype_of(module) or context.numbers
            inputs, named = module._cast_inputs(inputs, named)
        try:
            result = module.forward(*inputs, **named)
        except (ShapeError, DTypeError, UnsupportedError) as error:
            locate(error, context.path)
            raise
        if _running.calls is not None:
            types = [leaf._type for leaf in flatten(result)[0] if isinstance(leaf, Operand)]
            _running.calls.append(Call(context.path, module, types))
        return result


def note_operator(
    name: str, kind: str, operands: Sequence[Any], results: Sequence[Any], start: int
) -> None:
    """Notes what an operator of the running module gave, beside the operands that it handed on.

    start: how many nodes the trace had before.
    """
    if _running.calls is None:
        return
    trace = current()
    types = [
        result._type
        for result in results
        if isinstance(result, Tensor) and not any(result is operand for operand in operands)
    ]
    shapes = [tuple(result.shape) for result in results if result is not None]
    read = [operand for operand in operands if isinstance(operand, Parameter)]
    path = f"{trace.path}.{name}" if trace.path else name
    nodes = trace.builder.since(start)
    _running.calls.append(Call(path, _running.stack[-1], types, kind, shapes, read, nodes))


@contextmanager
def _frame(context: Trace, module: Module) -> Iterator[bool]:
    """Makes `module` the innermost running one; true for the first of its trace."""
    before = (_running.trace, _running.stack, _running.names)
    outermost = _running.trace is not context
    if outermost:
        _running.trace, _running.stack, _running.names = context, [], {}
    name = _name_in(_running.stack[-1], module) if _running.stack else ""
    if name:
        context.enter(name)
    _running.stack.append(module)
    try:
        yield outermost
    finally:
        _running.stack.pop()
        if name:
            context.leave()
        _running.trace, _running.stack, _running.names = before


def _name_in(parent: Module, module: Module) -> str:
    """What the running parent calls a module: a child's name, a dotted one, or its class."""
    names = _running.names.get(id(parent))
    if names is None:
        names = {id(child): name for name, child in parent.named_children()}
        for path, below in parent.named_modules(remove_duplicate=False):
            names.setdefault(id(below), path)
        _running.names[id(parent)] = names
    return names.get(id(module)) or type(module).__name__


def cast_inputs(
    module: Module, inputs: tuple[Any, ...], named: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The inputs with floating tensors as the module's dtype."""
    dtype = dtype_of(module)
    if dtype is None:
        return inputs, named
    leaves, structure = flatten((inputs, named))
    for i, leaf in enumerate(leaves):
        if isinstance(leaf, Tensor) and leaf.dtype.is_floating and leaf.dtype is not dtype:
            leaves[i] = leaf.to(dtype)
    cast: tuple[tuple[Any, ...], dict[str, Any]] = unflatten(structure, leaves)
    return cast


def trace_module(
    module: Module,
    args: Sequence[Any],
    named: Mapping[str, Any],
    calls: list[Call],
    free: Free = (),
) -> Graph:
    """The graph of one call, not optimised; notes the module calls in it. free: see `trace`."""
    before, _running.calls = _running.calls, calls
    try:
        return trace(module, args, named, free=free)[0]
    finally:
        _running.calls = before
