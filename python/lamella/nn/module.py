# SPDX-License-Identifier: Apache-2.0
"""Module: a tree of parameters, buffers and child modules with a `forward`.

No arithmetic and no compilation live here. A module's call comes from the C type `_core.Callable`:
a signature seen before runs its program at once, anything else arrives at `_dispatch`
(nn/compiled.py). A module that is called follows the modules and parameters below it: whatever
changes one of them sends the next call of those that follow it, and of no other, to `_dispatch`,
which finds the programs of the structure that there is now. Every way to change a module must end
in `_touch`, behind the change.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np

from lamella import _core
from lamella.errors import UnsupportedError, message
from lamella.habits import unknown
from lamella.ir.extent import kept
from lamella.nn import compiled, inline, state
from lamella.nn.conversion import Conversion
from lamella.nn.parameter import Buffer, Parameter, Stored
from lamella.runtime.tensor import Tensor
from lamella.runtime.trace import current_trace

if TYPE_CHECKING:
    from lamella.nn.summary import Summary

__all__ = ["LoadResult", "Module"]

T = TypeVar("T", bound="Module")

_TABLES = ("_parameters", "_buffers", "_modules")


class LoadResult(NamedTuple):
    """What load_state_dict(strict=False) left aside, as torch returns it."""

    missing_keys: list[str]
    unexpected_keys: list[str]


class Module(_core.Callable, Conversion):
    """Base class of every layer and model: subclass it and write `forward`.

    forward is ordinary Python on symbolic tensors: operators, slicing, lamella.functional, other
    modules, any nesting of tuples, lists and dicts in and out. It runs once per input signature and
    per state of the module's attributes; its program then runs on arrays. A Python branch on a
    tensor's value raises UnsupportedError at that line.

    Floating inputs are cast to the parameters' dtype. Calling one module from several threads is
    safe while nobody changes it.

    Source: torch.nn.Module.

    >>> import numpy as np
    >>> from lamella import nn
    >>> class Residual(nn.Module):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.inner = nn.ReLU()
    ...     def forward(self, x):
    ...         return x + self.inner(x)
    >>> Residual()(np.array([-1.0, 2.0], np.float32))
    array([-1.,  4.], dtype=float32)
    """

    training: bool
    _parameters: dict[str, Parameter | None]
    _buffers: dict[str, Buffer | None]
    _modules: dict[str, Module | None]
    _compiled: compiled.Cache

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        self = super().__new__(cls)
        self.__dict__.update(
            training=True, _parameters={}, _buffers={}, _modules={}, _compiled=compiled.Cache()
        )
        return self

    def __init__(self) -> None:
        super().__init__()

    def forward(self, *inputs: Any, **named: Any) -> Any:
        """The computation, to be written by subclasses.

        Raises: UnsupportedError where a subclass has none.

        >>> from lamella import nn
        >>> nn.Identity().forward(3)
        3
        """
        raise UnsupportedError(
            message(type(self).__name__, "this module has no forward", expected="def forward")
        )

    def _dispatch(self, /, *inputs: Any, **named: Any) -> Any:
        return compiled.dispatch(self, inputs, named)

    def _beside(self) -> Sequence[_core.Structure]:
        """What its programs depend on beside its tree and what forward reads of Python."""
        return ()

    def _outside(self) -> Hashable:
        """What there is to tell of that: equal while the programs are the same."""
        return None

    def _cast_inputs(
        self, inputs: tuple[Any, ...], named: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """What the outermost module of a trace makes of its inputs: tensors of its own dtype."""
        return inline.cast_inputs(self, inputs, named)

    # Attributes

    def __setattr__(self, name: str, value: Any) -> None:
        attributes = self.__dict__
        if isinstance(value, Parameter):
            self._place(name, "_parameters", value)
        elif isinstance(value, Buffer):
            self._place(name, "_buffers", value)
        elif isinstance(value, Module):
            self._place(name, "_modules", value)
        else:
            for table in _TABLES:
                if name in attributes[table]:
                    self._replace(name, table, value)
                    return
            self._assign(name, kept(value))

    def _place(self, name: str, table: str, value: Any) -> None:
        entries = self.__dict__[table]
        if name in entries and entries[name] is value:
            return
        for other in _TABLES:
            if other != table:
                self.__dict__[other].pop(name, None)
        self.__dict__.pop(name, None)
        entries[name] = value
        if isinstance(value, Stored) and not value.name:
            value.name = name
        self._touch()

    def _replace(self, name: str, table: str, value: Any) -> None:
        """Assigns something plain to the name of a parameter, buffer or module."""
        entries = self.__dict__[table]
        if value is None:
            if entries[name] is not None:
                entries[name] = None
                self._touch()
        elif table == "_buffers" and isinstance(value, Tensor):
            current = entries[name]
            trace = current_trace()
            if current is None or trace is None:
                raise UnsupportedError(
                    message(
                        f"{type(self).__name__}.{name}",
                        "a buffer is updated inside forward and must exist before",
                        expected="register_buffer with an array of its shape",
                    )
                )
            trace.update(current, value)
        elif table == "_buffers" and entries[name] is not None:
            entries[name].data = value
        elif table == "_buffers":
            entries[name] = Buffer(value)
            self._touch()
        else:
            kind = "nn.Parameter" if table == "_parameters" else "nn.Module"
            raise TypeError(
                message(
                    f"{type(self).__name__}.{name}",
                    "the attribute holds another kind of object",
                    {"value": type(value).__name__},
                    f"{kind} or None",
                    f"Change the values with `.{name}.data = ...`." if "Para" in kind else "",
                )
            )

    def __getattr__(self, name: str) -> Any:
        attributes = self.__dict__
        for table in _TABLES:
            if name in attributes[table]:
                return attributes[table][name]
        raise unknown(type(self).__name__, "module", name)

    def __delattr__(self, name: str) -> None:
        for table in _TABLES:
            if name in self.__dict__[table]:
                del self.__dict__[table][name]
                break
        else:
            object.__delattr__(self, name)
        self._touch()

    def __dir__(self) -> list[str]:
        names = [name for table in _TABLES for name in self.__dict__[table]]
        return sorted({*object.__dir__(self), *names})

    def _register(self, kind: str, name: Any, value: Any, types: type[Any]) -> None:
        if not isinstance(name, str) or not name or "." in name:
            raise ValueError(
                message(kind, "not a name", {"name": repr(name)}, "a str that is not '' nor dotted")
            )
        if value is not None and not isinstance(value, types):
            raise TypeError(
                message(
                    kind,
                    "another kind of object",
                    {name: type(value).__name__},
                    f"nn.{types.__name__} or None",
                )
            )
        table = f"_{kind.split('_')[1]}s"
        if name not in self.__dict__[table] and hasattr(self, name):
            raise ValueError(
                message(kind, "the attribute exists already", {"name": name}, "an unused name")
            )
        self._place(name, table, value)

    def register_parameter(self, name: str, param: Parameter | None) -> None:
        """Adds a parameter under `name`, or with None says that there is none.

        Parameters: name, an attribute's name; param. Raises: TypeError, ValueError.

        >>> from lamella import nn
        >>> layer = nn.Identity()
        >>> layer.register_parameter("scale", nn.Parameter([1.0]))
        >>> layer.scale.shape
        (1,)
        """
        self._register("register_parameter", name, param, Parameter)

    def register_buffer(self, name: str, tensor: Any, persistent: bool = True) -> None:
        """Adds a buffer under `name`: state that is not learnt.

        Parameters: name; tensor, an array, nn.Buffer or None; persistent, whether state_dict holds
        it. Raises: TypeError, ValueError.

        >>> from lamella import nn
        >>> layer = nn.Identity()
        >>> layer.register_buffer("mask", [1.0, 0.0])
        >>> list(layer.state_dict())
        ['mask']
        """
        if tensor is not None and not isinstance(tensor, Buffer):
            tensor = Buffer(tensor, persistent)
        self._register("register_buffer", name, tensor, Buffer)

    def add_module(self, name: str, module: Module | None) -> None:
        """Adds a child module under `name`.

        >>> from lamella import nn
        >>> net = nn.Sequential()
        >>> net.add_module("act", nn.ReLU())
        >>> net.act
        ReLU()
        """
        self._register("register_module", name, module, Module)

    register_module = add_module

    # The tree

    def named_modules(
        self, memo: set[int] | None = None, prefix: str = "", remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Module]]:
        """This module and all below it, each with its dotted name; shared ones once.

        >>> from lamella import nn
        >>> [name for name, _ in nn.Sequential(nn.ReLU()).named_modules()]
        ['', '0']
        """
        memo = set() if memo is None else memo
        if remove_duplicate and id(self) in memo:
            return
        memo.add(id(self))
        yield prefix, self
        for name, child in self._modules.items():
            if child is not None:
                path = f"{prefix}.{name}" if prefix else name
                yield from child.named_modules(memo, path, remove_duplicate)

    def modules(self) -> Iterator[Module]:
        """This module and all below it, each once."""
        return (module for _, module in self.named_modules())

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """The direct children with their names, shared ones once."""
        seen: set[int] = set()
        for name, child in self._modules.items():
            if child is not None and id(child) not in seen:
                seen.add(id(child))
                yield name, child

    def children(self) -> Iterator[Module]:
        """The direct children, each once."""
        return (child for _, child in self.named_children())

    def _named(
        self, table: str, prefix: str, recurse: bool, remove_duplicate: bool
    ) -> Iterator[tuple[str, Any]]:
        seen: set[int] = set()
        owners = self.named_modules(None, prefix, remove_duplicate) if recurse else [(prefix, self)]
        for path, module in owners:
            for name, value in module.__dict__[table].items():
                if value is not None and not (remove_duplicate and id(value) in seen):
                    seen.add(id(value))
                    yield (f"{path}.{name}" if path else name), value

    def named_parameters(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Parameter]]:
        """The parameters with their dotted names, shared ones once.

        >>> from lamella import nn
        >>> [name for name, _ in nn.Sequential(nn.Linear(2, 3)).named_parameters()]
        ['0.weight', '0.bias']
        """
        return self._named("_parameters", prefix, recurse, remove_duplicate)

    def parameters(self, recurse: bool = True) -> Iterator[Parameter]:
        """The parameters, each once."""
        return (parameter for _, parameter in self.named_parameters(recurse=recurse))

    def named_buffers(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Buffer]]:
        """The buffers with their dotted names, shared ones once."""
        return self._named("_buffers", prefix, recurse, remove_duplicate)

    def buffers(self, recurse: bool = True) -> Iterator[Buffer]:
        """The buffers, each once."""
        return (buffer for _, buffer in self.named_buffers(recurse=recurse))

    def _find(self, target: str) -> Any:
        found: Any = self
        for part in target.split(".") if target else ():
            entries = found.__dict__ if isinstance(found, Module) else {}
            for table in _TABLES:
                if part in entries.get(table, {}):
                    found = entries[table][part]
                    break
            else:
                raise AttributeError(f"{type(self).__name__} has no {target!r}: no {part!r} there")
        return found

    def get_submodule(self, target: str) -> Module:
        """The module with this dotted name, '' being this one; AttributeError if there is none."""
        found = self._find(target)
        if not isinstance(found, Module):
            raise AttributeError(f"{type(self).__name__}: {target!r} is not a module")
        return found

    def get_parameter(self, target: str) -> Parameter:
        """The parameter with this dotted name; AttributeError if there is none."""
        found = self._find(target)
        if not isinstance(found, Parameter):
            raise AttributeError(f"{type(self).__name__}: {target!r} is not a parameter")
        return found

    def get_buffer(self, target: str) -> Buffer:
        """The buffer with this dotted name; AttributeError if there is none."""
        found = self._find(target)
        if not isinstance(found, Buffer):
            raise AttributeError(f"{type(self).__name__}: {target!r} is not a buffer")
        return found

    # State

    def state_dict(self, *, prefix: str = "") -> dict[str, np.ndarray[Any, Any]]:
        """A snapshot of all parameters and persistent buffers: dotted name -> array.

        Unlike torch's, the arrays are copies, and read-only: they keep their values while the net
        trains on, and writing to one would not change the net. load_state_dict does.

        >>> from lamella import nn
        >>> {name: a.shape for name, a in nn.Linear(2, 3).state_dict().items()}
        {'weight': (3, 2), 'bias': (3,)}
        """
        return state.collect(self, prefix)

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True) -> LoadResult:
        """Copies the arrays of `state_dict` into the parameters and buffers of the same names.

        Parameters: state_dict, name -> array (anything np.asarray takes; floating values are cast
        to the parameter's dtype); strict, whether missing and unexpected names are errors. Names
        may all have the prefixes `module.` of DataParallel and `_orig_mod.` of torch.compile; one
        name of a tied parameter is enough.
        Returns: (missing_keys, unexpected_keys).
        Raises: FormatError naming every missing, unexpected, mis-shaped and mistyped entry; then
        nothing has changed.

        >>> from lamella import nn
        >>> a, b = nn.Linear(2, 3), nn.Linear(2, 3)
        >>> a.load_state_dict(b.state_dict())
        LoadResult(missing_keys=[], unexpected_keys=[])
        """
        return LoadResult(*state.load(self, state_dict, strict))

    def train(self: T, mode: bool = True) -> T:
        """Sets training mode here and below: dropout drops, batch norm uses the batch's statistics.

        >>> from lamella import nn
        >>> nn.Sequential(nn.Dropout()).train(False)[0].training
        False
        """
        if not isinstance(mode, bool):
            raise TypeError(message("train", "mode is a truth value", {"mode": mode}, "bool"))
        for module in self.modules():
            module.training = mode
        return self

    def eval(self: T) -> T:
        """Sets inference mode here and below: train(False)."""
        return self.train(False)

    def apply(self: T, fn: Callable[[Module], Any]) -> T:
        """Calls fn on every module below and then on this one; usual for initialisation.

        >>> from lamella import nn
        >>> seen = []
        >>> _ = nn.Sequential(nn.ReLU()).apply(lambda m: seen.append(type(m).__name__))
        >>> seen
        ['ReLU', 'Sequential']
        """
        for child in self.children():
            child.apply(fn)
        fn(self)
        return self

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_compiled"}

    def __setstate__(self, saved: dict[str, Any]) -> None:
        state.validate(self, saved, Module)
        # The tables copied: those of a shallow copy would be another module's as well.
        self.__dict__.update(saved, **{table: dict(saved[table]) for table in _TABLES})
        self._touch()

    # Looks

    def summary(self, *inputs: Any, training: bool = False, optimizer: Any = None) -> Summary:
        """A table of layers, output shapes, parameters, MACs and bytes; see lamella.summary().

        Parameters: inputs, one shape or array for each argument of forward; training, whether to
        estimate the memory of training; optimizer, whose state counts then.

        >>> from lamella import nn
        >>> nn.Linear(3, 4).summary((1, 3)).total_params
        16
        """
        from lamella.nn.summary import summary  # opened when first needed

        return summary(self, *inputs, training=training, optimizer=optimizer)

    def extra_repr(self) -> str:
        """What repr() shows between the parentheses, apart from the children."""
        return ""

    def __repr__(self) -> str:
        lines = [self.extra_repr()] if self.extra_repr() else []
        for name, child in self._modules.items():
            lines.append(f"({name}): " + repr(child).replace("\n", "\n  "))
        if not self._modules:
            return f"{type(self).__name__}({', '.join(lines)})"
        body = "".join(f"  {line}\n" for line in lines)
        return f"{type(self).__name__}(\n{body})"
