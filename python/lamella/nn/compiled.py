# SPDX-License-Identifier: Apache-2.0
"""From a module's call to a program: what `Module._dispatch` does.

Inside a trace a call runs forward in place, under the module's name. Outside, it finds or compiles
the program of this input signature and of this structure, and teaches it to the C++ base class,
which answers the next such call alone. The structure of a module is everything that its forward can
depend on: the tree, every attribute, which storage each parameter has and whether it is trained;
values are not part.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections import OrderedDict
from collections.abc import Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from lamella import _core
from lamella.errors import DTypeError, ShapeError, UnsupportedError, locate, message
from lamella.ir.graph import Graph, Node
from lamella.ir.types import Array, DType, TensorType
from lamella.nn.parameter import Counter, Parameter, Stored
from lamella.runtime.session import Compiled, compile_call, trace
from lamella.runtime.signature import Structure, as_array, flatten, is_ready, normalize, unflatten
from lamella.runtime.tensor import Operand, Tensor
from lamella.runtime.trace import Trace, current, current_trace

if TYPE_CHECKING:
    from lamella.nn.module import Module

__all__ = ["Cache", "Call", "clear", "dispatch", "dtype_of", "trace_module"]

# Structures kept for a module (training and inference, and what is tried out), and signatures for
# each: more than these in turn are compiled again and again.
_STRUCTURES = 4
_SIGNATURES = 32

_owners: weakref.WeakSet[Any] = weakref.WeakSet()


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


def dispatch(module: Module, inputs: tuple[Any, ...], named: dict[str, Any]) -> Any:
    """Answers a call that the C++ base class does not know."""
    if current_trace() is not None:
        return _inline(module, inputs, named)
    return module._compiled.call(module, inputs, named)


# In a trace


def _inline(module: Module, inputs: tuple[Any, ...], named: dict[str, Any]) -> Any:
    """Runs forward in the current trace, under the module's name."""
    context = current()
    with _frame(context, module) as outermost:
        if outermost:
            inputs, named = _cast_inputs(module, inputs, named)
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


def _cast_inputs(
    module: Module, inputs: tuple[Any, ...], named: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
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
    module: Module, args: Sequence[Any], named: Mapping[str, Any], calls: list[Call]
) -> Graph:
    """The graph of one call, not optimised; notes the module calls in it."""
    before, _running.calls = _running.calls, calls
    try:
        return trace(module, args, named)[0]
    finally:
        _running.calls = before


# Outside


def dtype_of(module: Module) -> DType | None:
    """The one dtype of a module's floating parameters (or buffers); None if mixed or absent."""
    for stored in (module.parameters(), module.buffers()):
        found = {
            one.array.dtype
            for one in stored
            if one.array.dtype.kind == "f" and not isinstance(one, Counter)
        }
        if found:
            return DType.of(found.pop()) if len(found) == 1 else None
    return None


def _prepare(tree: Any) -> Any:
    """Nested lists of numbers as arrays, float32 where they are floating; all else as it is."""
    if isinstance(tree, list):
        array = np.asarray(tree) if tree and not _holds_arrays(tree) else None
        if array is not None and array.dtype.kind in "fiub":
            return array.astype(np.float32) if array.dtype.kind == "f" else array
        return [_prepare(item) for item in tree]
    if type(tree) is tuple:
        return tuple(_prepare(item) for item in tree)
    if isinstance(tree, dict):
        return {name: _prepare(item) for name, item in tree.items()}
    return tree


def _holds_arrays(tree: Any) -> bool:
    if isinstance(tree, list | tuple):
        return any(_holds_arrays(item) for item in tree)
    return not isinstance(tree, int | float)


def _is_array(leaf: Any) -> bool:
    return isinstance(leaf, np.ndarray | np.generic) or hasattr(leaf, "__array__")


def _array(module: Module, leaf: Any, number: int, dtype: DType | None) -> Array:
    """An input array as programs take it: float32 and float64 as they are, the rest converted."""
    array = as_array(leaf, type(module).__name__, f"input {number}")
    odd = array.dtype.kind == "f" and array.dtype.itemsize not in (4, 8)
    return normalize(
        array,
        op=type(module).__name__,
        name=f"input {number}",
        floating=(dtype or DType.float32) if odd else None,
    )


class _Signature(NamedTuple):
    """A call's arguments: the arrays for the program, and the key of everything about them.

    leaves: the arguments one by one, around which `form` puts the containers back; keep: the
    objects whose identity the key contains; direct: the C++ base class can answer such calls.
    """

    arrays: list[Array]
    leaves: list[Any]
    form: Structure | tuple[int, tuple[str, ...]]
    key: Hashable
    keep: list[Any]
    direct: bool

    def arguments(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Positional and named arguments, arrays made fit for the program."""
        if isinstance(self.form, tuple):
            count, names = self.form
            return tuple(self.leaves[:count]), dict(zip(names, self.leaves[count:], strict=True))
        arguments: tuple[tuple[Any, ...], dict[str, Any]] = unflatten(self.form, self.leaves)
        return arguments


def _signature(
    module: Module, inputs: tuple[Any, ...], named: dict[str, Any], dtype: DType | None
) -> _Signature:
    leaves: list[Any] = [*inputs, *named.values()]
    form: Structure | tuple[int, tuple[str, ...]] = (len(inputs), tuple(named))
    direct = all(is_ready(leaf) or _is_static(leaf) for leaf in leaves)
    if not direct and any(isinstance(leaf, list | tuple | dict) for leaf in leaves):
        leaves, form = flatten(_prepare((inputs, named)))
    arrays: list[Array] = []
    parts: list[Hashable] = [form]
    keep: list[Any] = []
    for i, leaf in enumerate(leaves):
        if isinstance(leaf, np.ndarray) or _is_array(leaf):
            array = leaves[i] = leaf if direct else _array(module, leaf, i, dtype)
            arrays.append(array)
            parts.append((array.dtype.char, array.shape))
        else:
            _judge_static(module, leaf, i)
            parts.append(_static_key(leaf, keep))
    return _Signature(arrays, leaves, form, tuple(parts), keep, direct)


def _is_static(leaf: Any) -> bool:
    return leaf is None or type(leaf) in (int, float, bool, str)


def _judge_static(module: Module, leaf: Any, number: int) -> None:
    if isinstance(leaf, int) and not -(2**63) <= leaf < 2**63:
        raise DTypeError(
            message(
                type(module).__name__,
                "an integer that no array holds",
                {f"input {number}": leaf},
                "-2**63 <= integer < 2**63",
            )
        )


class _Programs:
    """The programs of one structure of a module, by input signature, the latest last.

    dtype: what floating inputs are cast to; keep: the objects whose identity the structure's key
    contains, so that no other object can take their place.
    """

    __slots__ = ("by_signature", "dtype", "keep")

    def __init__(self, dtype: DType | None, keep: list[Any]) -> None:
        self.dtype = dtype
        self.keep = keep
        self.by_signature: OrderedDict[Hashable, tuple[Compiled, list[Any]]] = OrderedDict()


class Cache:
    """The programs of one module, by structure and input signature."""

    __slots__ = ("current", "epoch", "lock", "structures")

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.structures: OrderedDict[Hashable, _Programs] = OrderedDict()
        self.current = _Programs(None, [])
        self.epoch = -1

    def call(self, module: Module, inputs: tuple[Any, ...], named: dict[str, Any]) -> Any:
        """Runs the program of this call, compiling it first if need be."""
        out = named.pop("out", None)
        with self.lock:
            compiled, signature = self._prepare(module, inputs, named)
            if signature.direct:
                module._remember(
                    (*inputs, *named.values()), tuple(named), compiled.program, compiled.returns
                )
        return compiled.run(signature.arrays, op=type(module).__name__, out=out)

    def find(self, module: Module, *inputs: Any) -> tuple[Compiled, list[Array]]:
        """The program of a call, compiled if need be, and the arrays that it would run on."""
        with self.lock:
            compiled, signature = self._prepare(module, inputs, {})
        return compiled, signature.arrays

    def _prepare(
        self, module: Module, inputs: tuple[Any, ...], named: dict[str, Any]
    ) -> tuple[Compiled, _Signature]:
        self._refresh(module)
        signature = _signature(module, inputs, named, self.current.dtype)
        return self._find(module, signature), signature

    def _refresh(self, module: Module) -> None:
        """Finds the programs of the structure that the module has now."""
        epoch = _core.structure_epoch()
        if epoch == self.epoch:
            return
        structure, keep = fingerprint(module)
        programs = self.structures.get(structure)
        if programs is None:
            programs = self.structures[structure] = _Programs(dtype_of(module), keep)
            if len(self.structures) > _STRUCTURES:
                self.structures.popitem(last=False)
        self.structures.move_to_end(structure)
        if programs is not self.current:
            module._forget()
            self.current = programs
        module._validate()
        self.epoch = epoch if _core.structure_epoch() == epoch else -1

    def _find(self, module: Module, signature: _Signature) -> Compiled:
        found = self.current.by_signature.get(signature.key)
        if found is None:
            _owners.add(module)
            # Until the trace is over, no call of a module may be answered without coming here.
            _core.touch_structure()
            positional, keywords = signature.arguments()
            found = compile_call(module, positional, keywords), signature.keep
            # forward may have set attributes: the program belongs to the structure behind it.
            self._refresh(module)
            self.current.by_signature[signature.key] = found
            if len(self.current.by_signature) > _SIGNATURES:
                self.current.by_signature.popitem(last=False)
        self.current.by_signature.move_to_end(signature.key)
        return found[0]

    def clear(self) -> None:
        """Forgets every program."""
        with self.lock:
            self.structures.clear()
            self.current, self.epoch = _Programs(None, []), -1


def clear() -> None:
    """Forgets the programs of all modules."""
    for module in list(_owners):
        module._forget()
        module._compiled.clear()


def _renew_locks() -> None:
    # In a forked child nobody is left to release a lock that another thread held.
    for module in list(_owners):
        module._compiled.lock = threading.RLock()


os.register_at_fork(after_in_child=_renew_locks)


# The structure


def fingerprint(module: Module) -> tuple[Hashable, list[Any]]:
    """A key of all that a forward can depend on, and the objects whose identity it contains."""
    parts: list[Hashable] = [_core.isa()]
    keep: list[Any] = []
    seen: set[int] = set()
    pending = [module]
    while pending:
        one = pending.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        keep.append(one)
        parts.append((type(one), id(one)))
        for name, value in one.__dict__.items():
            if name == "_modules":
                parts.extend((key, id(child)) for key, child in value.items())
                pending.extend(child for child in value.values() if child is not None)
            elif name in ("_parameters", "_buffers"):
                for key, stored in value.items():
                    parts.append((key, _stored_key(stored)))
                    keep.append(stored)
            elif name != "_compiled":
                parts.append((name, _static_key(value, keep)))
    return tuple(parts), keep


def _stored_key(stored: Stored | None) -> Hashable:
    if stored is None:
        return None
    return id(stored), id(stored.array), getattr(stored, "requires_grad", False)


def _static_key(value: Any, keep: list[Any]) -> Hashable:
    """A key that tells apart what a program would: 1, 1.0 and True, 0.0 and -0.0."""
    kind = type(value)
    if kind in (int, bool, str, bytes, type(None)):
        return kind, value
    if kind is float:
        return kind, value.hex()
    if kind in (tuple, list):
        return kind, tuple(_static_key(item, keep) for item in value)
    if kind is dict:
        return kind, tuple((str(key), _static_key(item, keep)) for key, item in value.items())
    keep.append(value)
    return kind, id(value)
