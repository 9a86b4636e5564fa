# SPDX-License-Identifier: Apache-2.0
"""Containers: modules in sequence, in a list, in a dictionary; parameters in a list.

Children are named by position or key, as in torch: state_dict names carry over.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeVar, overload

from lamella.errors import UnsupportedError, message
from lamella.nn.module import Module
from lamella.nn.parameter import Parameter

__all__ = ["ModuleDict", "ModuleList", "ParameterList", "Sequential"]

T = TypeVar("T", bound="_Ordered")


def _require_module(owner: object, value: object) -> Module:
    if not isinstance(value, Module):
        raise TypeError(
            message(
                type(owner).__name__,
                "another kind of object",
                {"module": type(value).__name__},
                "nn.Module",
            )
        )
    return value


class _Ordered(Module):
    """Children in an order, with the list methods that torch's containers have."""

    def _children_list(self) -> list[Module]:
        return [child for child in self._modules.values() if child is not None]

    def _renumber(self, children: Iterable[Module]) -> None:
        self._modules.clear()
        self._modules.update((str(i), child) for i, child in enumerate(children))
        self._touch()

    def _key(self, index: int) -> str:
        keys = list(self._modules)
        try:
            return keys[index]
        except IndexError:
            raise IndexError(
                message(
                    type(self).__name__,
                    "no such child",
                    {"index": index},
                    f"{-len(keys)} <= index < {len(keys)}",
                )
            ) from None

    def __len__(self) -> int:
        return len(self._modules)

    # A container without children is still a module: `if self.layer:` must not lose it.
    def __bool__(self) -> bool:
        return True

    def __iter__(self) -> Iterator[Module]:
        return iter(self._children_list())

    @overload
    def __getitem__(self, index: int) -> Any: ...
    @overload
    def __getitem__(self: T, index: slice) -> T: ...
    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            part = type(self).__new__(type(self))
            Module.__init__(part)
            part._modules.update(list(self._modules.items())[index])
            if not isinstance(self, Sequential):
                part._renumber(part._children_list())
            part.training = self.training
            return part
        return self._modules[self._key(index)]

    def __setitem__(self, index: int, module: Module) -> None:
        setattr(self, self._key(index), _require_module(self, module))

    def __delitem__(self, index: int | slice) -> None:
        positions = range(len(self))[index]
        gone = {positions} if isinstance(positions, int) else set(positions)
        self._renumber(child for i, child in enumerate(self._children_list()) if i not in gone)

    def append(self: T, module: Module) -> T:
        """Adds a module at the end; returns self."""
        self.add_module(str(len(self)), _require_module(self, module))
        return self

    def insert(self: T, index: int, module: Module) -> T:
        """Adds a module before position `index`; returns self."""
        children = self._children_list()
        children.insert(index, _require_module(self, module))
        self._renumber(children)
        return self

    def extend(self: T, modules: Iterable[Module]) -> T:
        """Adds modules at the end; returns self."""
        for module in list(modules):
            self.append(module)
        return self

    def pop(self, index: int = -1) -> Module:
        """Takes a module out; returns it."""
        module: Module = self[index]
        del self[index]
        return module


class Sequential(_Ordered):
    """Modules one after the other: y = last(... second(first(x))).

    Parameters: modules, in order, or one dict of named modules. Indexing gives a module, slicing a
    Sequential of the same modules; append, insert, extend, pop and `+` work as for lists.
    Input and output: what the first module takes and the last one gives.
    Source: torch.nn.Sequential.

    >>> from lamella import nn
    >>> net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    >>> len(net), net[:2][1]
    (3, ReLU())
    """

    def __init__(self, *modules: Any) -> None:
        super().__init__()
        named: Iterable[tuple[str, Any]] = ((str(i), one) for i, one in enumerate(modules))
        if len(modules) == 1 and isinstance(modules[0], Mapping):
            named = modules[0].items()
        for name, module in named:
            self.add_module(name, _require_module(self, module))

    def forward(self, x: Any) -> Any:
        for module in self._children_list():
            x = module(x)
        return x

    def __add__(self, other: Sequential) -> Sequential:
        return Sequential(*self, *other)


class ModuleList(_Ordered):
    """A list of modules that their owner sees: for loops in a forward of your own.

    Parameters: modules, an iterable. Indexing, slicing, append, insert, extend and pop work as for
    lists. Source: torch.nn.ModuleList.

    >>> from lamella import nn
    >>> layers = nn.ModuleList([nn.Linear(4, 4), nn.Linear(4, 4)])
    >>> [name for name, _ in layers.named_parameters()]
    ['0.weight', '0.bias', '1.weight', '1.bias']
    """

    def __init__(self, modules: Iterable[Module] | None = None) -> None:
        super().__init__()
        self.extend(modules or ())

    def forward(self, *inputs: Any, **named: Any) -> Any:
        raise UnsupportedError(
            message("ModuleList", "a list has no forward", expected="calls of its modules")
        )

    def __add__(self, other: Iterable[Module]) -> ModuleList:
        return ModuleList([*self, *other])

    def __iadd__(self, modules: Iterable[Module]) -> ModuleList:
        return self.extend(modules)


class ModuleDict(Module):
    """Modules by name that their owner sees.

    Parameters: modules, a mapping or pairs. Keys are attribute names without dots.
    Source: torch.nn.ModuleDict.

    >>> from lamella import nn
    >>> heads = nn.ModuleDict({"value": nn.Linear(4, 1), "policy": nn.Linear(4, 2)})
    >>> list(heads)
    ['value', 'policy']
    """

    def __init__(
        self, modules: Mapping[str, Module] | Iterable[tuple[str, Module]] | None = None
    ) -> None:
        super().__init__()
        self.update(modules or {})

    def update(self, modules: Mapping[str, Module] | Iterable[tuple[str, Module]]) -> None:
        """Adds or replaces modules from a mapping or from pairs."""
        for name, module in dict(modules).items():
            self[name] = module

    def forward(self, *inputs: Any, **named: Any) -> Any:
        raise UnsupportedError(
            message("ModuleDict", "a dictionary has no forward", expected="calls of its modules")
        )

    def __getitem__(self, name: str) -> Any:
        return self._modules[name]

    def __setitem__(self, name: str, module: Module) -> None:
        if name in self._modules:
            setattr(self, name, _require_module(self, module))
        else:
            self.add_module(name, _require_module(self, module))

    def __delitem__(self, name: str) -> None:
        del self._modules[name]
        self._touch()

    def __len__(self) -> int:
        return len(self._modules)

    def __bool__(self) -> bool:
        return True

    def __iter__(self) -> Iterator[str]:
        return iter(self._modules)

    def __contains__(self, name: object) -> bool:
        return name in self._modules

    def keys(self) -> Iterable[str]:
        """The names, in order."""
        return self._modules.keys()

    def values(self) -> Iterable[Any]:
        """The modules, in order."""
        return self._modules.values()

    def items(self) -> Iterable[tuple[str, Any]]:
        """(name, module) pairs, in order."""
        return self._modules.items()

    def pop(self, name: str) -> Any:
        """Takes a module out; returns it."""
        module = self[name]
        del self[name]
        return module


class ParameterList(Module):
    """A list of parameters that their owner sees.

    Parameters: values, an iterable of nn.Parameter or of arrays, which become parameters.
    Source: torch.nn.ParameterList.

    >>> from lamella import nn
    >>> scales = nn.ParameterList([[1.0], [2.0]])
    >>> scales[1].shape, list(scales.state_dict())
    ((1,), ['0', '1'])
    """

    def __init__(self, values: Iterable[Any] | None = None) -> None:
        super().__init__()
        for value in values or ():
            self.append(value)

    def append(self, value: Any) -> ParameterList:
        """Adds a parameter at the end; returns self."""
        parameter = value if isinstance(value, Parameter) else Parameter(value)
        self.register_parameter(str(len(self)), parameter)
        return self

    def forward(self, *inputs: Any, **named: Any) -> Any:
        raise UnsupportedError(
            message("ParameterList", "a list has no forward", expected="use of its parameters")
        )

    def __len__(self) -> int:
        return len(self._parameters)

    def __bool__(self) -> bool:
        return True

    def __getitem__(self, index: int) -> Any:
        return list(self._parameters.values())[index]

    def __iter__(self) -> Iterator[Any]:
        return iter(self._parameters.values())
