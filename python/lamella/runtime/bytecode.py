# SPDX-License-Identifier: Apache-2.0
"""What the code of a function names: globals, attributes, imported modules.

Read from the bytecode, nested functions and comprehensions included. A `getattr` with a literal is
an attribute like any other; with anything else, every attribute may be meant.
"""

from __future__ import annotations

import dis
from collections import OrderedDict
from types import CodeType
from typing import NamedTuple

__all__ = ["Named", "named"]

_CACHE_SIZE = 512
# What reads attributes whose names are not in the code.
_READERS = frozenset({"getattr", "hasattr", "attrgetter"})
_WHOLE = frozenset({"vars", "__dict__", "__getattribute__"})


class Named(NamedTuple):
    """Names in a code object. dynamic: it may read attributes that are not among them."""

    globals: frozenset[str]
    attributes: frozenset[str]
    imports: frozenset[str]
    dynamic: bool


# By identity, since code objects compare by content; each is kept with its names.
_cache: OrderedDict[int, tuple[CodeType, Named]] = OrderedDict()


def named(code: CodeType) -> Named:
    """The names in `code`."""
    found = _cache.get(id(code))
    if found is None:
        found = _cache[id(code)] = code, _read(code)
        if len(_cache) > _CACHE_SIZE:
            _cache.popitem(last=False)
    return found[1]


def _read(code: CodeType) -> Named:
    names: set[str] = set()
    attributes: set[str] = set()
    imports: set[str] = set()
    dynamic = False
    # The texts since `getattr` was loaded, and whether one of them is put together.
    pending: list[str] | None = None
    built = False
    for instruction in dis.get_instructions(code):
        operation, value = instruction.opname, instruction.argval
        if operation in ("LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS"):
            names.add(value)
        elif operation in ("LOAD_ATTR", "LOAD_METHOD", "LOAD_SUPER_ATTR", "IMPORT_FROM"):
            attributes.add(value)
        elif operation == "IMPORT_NAME":
            imports.add(value)
        elif operation == "LOAD_CONST" and pending is not None and isinstance(value, str):
            pending.append(value)
        elif operation.startswith(("BUILD_STRING", "FORMAT_", "BINARY_OP")):
            built = True
        elif operation.startswith("CALL") and pending is not None:
            dynamic = dynamic or built or not pending
            attributes.update(part for text in pending for part in text.split("."))
            pending = None
        if operation.startswith("LOAD_") and value in _READERS:
            pending, built = [], False
        dynamic = dynamic or (operation.startswith("LOAD_") and value in _WHOLE)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            inner = named(constant)
            names |= inner.globals
            attributes |= inner.attributes
            imports |= inner.imports
            dynamic = dynamic or inner.dynamic
    return Named(frozenset(names), frozenset(attributes), frozenset(imports), dynamic)
