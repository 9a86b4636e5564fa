# SPDX-License-Identifier: Apache-2.0
"""What a function or module reads of Python: the places, the arrays, the random generators.

The walk starts at the function, follows what its code names (globals, closures, defaults, and
attributes of the objects that it can reach) into other functions of the user's, and so on. It does
not follow lamella, NumPy and the standard library. It reads names, not data flow: an attribute
counts when any of the code names it. Nothing is called and nothing is changed.
"""

from __future__ import annotations

import _random
import array
import functools
import sys
from collections import ChainMap, UserDict, UserList, deque
from collections.abc import Iterable, Iterator
from enum import Enum
from types import (
    BuiltinFunctionType,
    FunctionType,
    MemberDescriptorType,
    MethodType,
    ModuleType,
)
from typing import Any, NamedTuple

import numpy as np

from lamella import _core
from lamella.ir.types import Array
from lamella.runtime.bytecode import Named, named
from lamella.runtime.trace import Symbol

__all__ = ["Place", "Reads", "children", "is_library", "read"]

# Longer containers are not looked into, as the core does not compare them item by item.
MOST_ITEMS = 1024
_LIBRARY = frozenset(
    {"lamella", "numpy", "builtins", "_frozen_importlib", *sys.stdlib_module_names}
)
_PLAIN = (int, float, complex, str, bytes, type(None), np.generic, np.dtype, Symbol, Enum)
# Objects of the standard library whose attributes, or contents, are the user's.
_OPEN = ("Namespace", "SimpleNamespace")
_CONTENTS: dict[Any, str] = {UserDict: "data", UserList: "data", ChainMap: "maps"}
# Of a module: what its structure covers, and what is no part of forward.
_TABLES = ("_parameters", "_buffers", "_modules")
# Methods that only run when an object is made or shown.
_UNCALLED = frozenset({"__init__", "__new__", "__init_subclass__", "__repr__", "__str__", "__del__",
                       "__reduce__", "__getstate__", "__setstate__"})  # fmt: skip
# What forward calls of a library that is not known as one is not followed for ever.
_MOST_FUNCTIONS = 1000
_CHANGING = (list, dict, set, deque, bytearray, array.array)
_CONTAINERS = (list, tuple, dict, set, frozenset, deque)


class Place(NamedTuple):
    """Where a value was found.

    name: what explanations call it, nothing for the tables of a module; kind, holder, key: see
    `_core.Watch`; watched: whether the core compares it at every call, which an attribute assigned
    to a module does not need.
    """

    name: str
    kind: str
    holder: Any
    key: Any
    watched: bool

    def value(self) -> Any:
        """What is there now; None where nothing is."""
        if self.kind == "entry":
            return self.holder.get(self.key)
        if self.kind == "cell":
            return _contents(self.holder)
        if self.kind == "object":
            return self.holder
        if self.kind == "class":
            return vars(self.holder).get(self.key)
        return getattr(self.holder, self.key, None)


class Reads(NamedTuple):
    """What the walk has found.

    arrays: name and array by identity; generators: those of NumPy's and Python's random numbers;
    modules: every module, in the order in which it was met.
    """

    places: list[Place]
    arrays: dict[int, tuple[str, Array]]
    generators: list[Any]
    modules: list[Any]


def read(root: Any) -> Reads:
    """What `root`, a function or module, can read when it is called."""
    if isinstance(root, FunctionType) and is_library(root.__globals__.get("__name__")):
        return Reads([], {}, [], [])
    walk = _Walk()
    walk.value(root, "self" if children(root) is not None else "")
    walk.finish()
    return Reads(list(walk.places.values()), walk.arrays, walk.generators, walk.modules)


def is_library(module: Any) -> bool:
    """Whether code of a module of this name is lamella's, NumPy's or the standard library's."""
    return isinstance(module, str) and module.partition(".")[0] in _LIBRARY


def children(value: Any) -> dict[str, Any] | None:
    """The child modules of a module by name; None for what is no module."""
    return value.__dict__.get("_modules") if isinstance(value, _core.Callable) else None


def _contents(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:
        return None


def _attributes(value: Any) -> dict[str, Any]:
    """The attributes of an object itself; no code of its class runs."""
    try:
        found = object.__getattribute__(value, "__dict__")
    except AttributeError:
        return {}
    return found if isinstance(found, dict) else {}


def _is_fixed(value: Any) -> bool:
    """Whether nothing in it can change while it stays the same object."""
    if isinstance(value, tuple):
        return all(map(_is_fixed, value))
    return not isinstance(value, _CHANGING)


@functools.cache
def _named_by(kind: type[Any]) -> frozenset[str]:
    """The public attributes that forward of one of lamella's own modules names."""
    members = {name: value for base in reversed(kind.__mro__) for name, value in vars(base).items()}
    found: set[str] = set()
    pending = ["forward"]
    while pending:
        name = pending.pop()
        method = members.get(name)
        method = method.fget if isinstance(method, property) else method
        if isinstance(method, FunctionType) and name not in found:
            pending += named(method.__code__).attributes - found
        found.add(name)
    return frozenset(name for name in found if not name.startswith("_"))


class _Walk:
    def __init__(self) -> None:
        self.places: dict[tuple[str, int, Any], Place] = {}
        self.arrays: dict[int, tuple[str, Array]] = {}
        self.generators: list[Any] = []
        self.modules: list[Any] = []
        self._attributes = {"forward"}
        self._dynamic = self._numpy = False
        self._functions = 0
        # What was met, by identity and kept; objects are opened again when more names are known.
        self._met: dict[int, Any] = {}
        self._objects: dict[int, tuple[Any, str]] = {}

    def finish(self) -> None:
        """Opens every object for all the names found since."""
        before = (-1, False, -1)
        while before != (now := (len(self._attributes), self._dynamic, len(self._objects))):
            before = now
            for value, name in list(self._objects.values()):
                self._open(value, name)
        if self._numpy and ("random" in self._attributes or self._dynamic):
            self._generator(np.random.mtrand._rand)

    def value(self, value: Any, name: str) -> None:
        """Notes a value that the code can reach, and follows it."""
        if isinstance(value, _PLAIN) or id(value) in self._met:
            return
        self._met[id(value)] = value
        if isinstance(value, np.ndarray):
            self.arrays[id(value)] = name, value
        elif isinstance(value, _CONTAINERS):
            self._items(value, name)
        elif isinstance(value, FunctionType):
            self._function(value, name)
        elif isinstance(value, MethodType | BuiltinFunctionType):
            owner = value.__self__
            if owner is not None and not isinstance(owner, ModuleType):
                self.value(owner, name)
            if isinstance(value, MethodType):
                self.value(value.__func__, name)
        elif isinstance(value, functools.partial):
            self.value(value.func, name)
            self._place(name, "object", value.args, None, not _is_fixed(value.args))
            self._place(name, "object", value.keywords, None, True)
        elif isinstance(
            value,
            _random.Random | np.random.Generator | np.random.RandomState | np.random.BitGenerator,
        ):
            self._generator(value)
        elif isinstance(value, ModuleType):
            self._module(value, name)
        elif isinstance(value, type):
            self._class(value)
            # The code may make one.
            self._members(value, ("__init__", "__new__"))
        elif isinstance(_attributes(value).get("__wrapped__"), FunctionType):
            self.value(_attributes(value)["__wrapped__"], name)
        else:
            self._object(value, name)

    def _module(self, value: ModuleType, name: str) -> None:
        if value is sys.modules.get("random"):
            self._generator(value._inst)
        elif value is np.random:
            self._generator(np.random.mtrand._rand)
        elif value is np:
            self._numpy = True
        elif not is_library(value.__name__):
            self._objects[id(value)] = value, name
            self._open(value, name)

    def _generator(self, value: Any) -> None:
        known = any(value is other for other in self.generators)
        # SystemRandom has no state to be seen in.
        stateless = "random" in sys.modules and isinstance(
            value, sys.modules["random"].SystemRandom
        )
        if not known and not stateless:
            self.generators.append(value)

    def _object(self, value: Any, name: str) -> None:
        kind = type(value)
        below = children(value)
        body = value.__dict__.get("_body") if isinstance(value, _core.Callable) else None
        if body is not None:
            self.value(body, name)
        elif below is not None and is_library(kind.__module__):
            self.modules.append(value)
            for attribute in _named_by(kind) & value.__dict__.keys():  # type: ignore[arg-type]
                self._attribute(value, attribute, name)
        elif not is_library(kind.__module__) or kind.__name__ in _OPEN:
            if below is not None:
                self.modules.append(value)
            self._objects[id(value)] = value, name
            self._open(value, name)
        for base, attribute in _CONTENTS.items():
            if isinstance(value, base):
                self._attribute(value, attribute, name)
        for table in _TABLES if below is not None else ():
            self.places[table, id(value), ""] = Place("", "entry", value.__dict__, table, False)
        for key, child in list((below or {}).items()):
            self.value(child, f"{name}.{key}")

    def _items(self, value: Any, name: str) -> None:
        if len(value) > MOST_ITEMS:
            return
        if isinstance(value, dict):
            for key, item in list(value.items()):
                self.value(item, f"{name}[{key!r}]")
        else:
            for position, item in enumerate(list(value)):
                self.value(item, f"{name}[{position}]")

    def _place(self, name: str, kind: str, holder: Any, key: Any, watched: bool) -> None:
        self.places.setdefault((kind, id(holder), key), Place(name, kind, holder, key, watched))
        self.value(self.places[kind, id(holder), key].value(), name)

    def _function(self, function: FunctionType, name: str) -> None:
        scope = function.__globals__
        if is_library(scope.get("__name__")) or self._functions == _MOST_FUNCTIONS:
            return
        self._functions += 1
        found = named(function.__code__)
        self._attributes |= found.attributes
        self._dynamic = self._dynamic or found.dynamic
        for variable, cell in zip(
            function.__code__.co_freevars, function.__closure__ or (), strict=True
        ):
            watched = not isinstance(_contents(cell), type | ModuleType)
            self._place(f"closure {variable}", "cell", cell, None, watched)
        for variable in found.globals:
            if variable in scope:
                self._global(scope, variable)
        self._imports(found, scope)
        title = function.__name__ if function.__name__ != "<lambda>" else name or "lambda"
        for defaults in (function.__defaults__, function.__kwdefaults__):
            if defaults:
                watched = not _is_fixed(defaults)
                self._place(f"default of {title}", "object", defaults, None, watched)
        for attribute in set(function.__dict__) & (self._attributes | {"__wrapped__"}):
            self._place(f"{title}.{attribute}", "entry", function.__dict__, attribute, True)

    def _global(self, scope: dict[str, Any], variable: str) -> None:
        value = scope[variable]
        if isinstance(value, ModuleType | type):
            self.value(value, variable)
            return
        # A library's own function under its own name is not replaced.
        own = getattr(value, "__name__", None) == variable
        watched = not (own and is_library(getattr(value, "__module__", None)))
        self._place(f"global {variable}", "entry", scope, variable, watched)

    def _imports(self, found: Named, scope: dict[str, Any]) -> None:
        package = scope.get("__package__") or ""
        for path in found.imports:
            for full in (path, path.partition(".")[0], f"{package}.{path}"):
                if full in sys.modules:
                    self.value(sys.modules[full], full)

    def _open(self, value: Any, name: str) -> None:
        """Follows those attributes of an object, class or module of Python that the code names."""
        if isinstance(value, type):
            self._members(value, self._wanted(vars(value)))
            return
        for attribute in self._wanted(_attributes(value)):
            if children(value) is None or attribute not in (*_TABLES, "_compiled"):
                self._attribute(value, attribute, name)
        for base in type(value).__mro__:
            self._class(base)
            for attribute in self._wanted(vars(base)):
                if isinstance(vars(base)[attribute], MemberDescriptorType):
                    self._place(f"{name}.{attribute}", "slot", value, attribute, True)

    def _wanted(self, attributes: Any) -> Iterator[str]:
        if self._dynamic:
            return iter([one for one in attributes if not one.startswith("__")])
        return iter(self._attributes & attributes.keys())

    def _attribute(self, value: Any, attribute: str, name: str) -> None:
        attributes = _attributes(value)
        held = attributes[attribute]
        # Assigning to a module's attribute changes its structure, which is looked at anyway.
        watched = not _is_fixed(held) if children(value) is not None else (
            not isinstance(held, type | ModuleType)
        )  # fmt: skip
        self._place(f"{name}.{attribute}", "entry", attributes, attribute, watched)

    def _class(self, kind: type) -> None:
        """The methods that the code names, or Python calls by itself."""
        if is_library(kind.__module__) or id(kind) in self._objects:
            return
        self._objects[id(kind)] = kind, kind.__name__
        implied = [one for one in vars(kind) if one.startswith("__") and one not in _UNCALLED]
        self._members(kind, [one for one in implied if isinstance(vars(kind)[one], FunctionType)])
        self._open(kind, kind.__name__)

    def _members(self, kind: type, names: Iterable[str]) -> None:
        """Attributes of a class: the code of methods, and values."""
        if is_library(kind.__module__):
            return
        for name in names:
            member = vars(kind).get(name)
            if isinstance(member, staticmethod | classmethod):
                member = member.__func__
            elif isinstance(member, property):
                member = member.fget
            elif isinstance(member, functools.cached_property):
                member = member.func
            if member is None or isinstance(member, FunctionType | type | MemberDescriptorType):
                self.value(member, f"{kind.__name__}.{name}")
            else:
                self._place(f"{kind.__name__}.{name}", "class", kind, name, True)
