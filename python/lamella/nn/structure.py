# SPDX-License-Identifier: Apache-2.0
"""The structure of a module: all that its forward can depend on, apart from values.

The tree, every attribute, which storage each parameter has and whether it is trained. What can
change in place is no part of it: the core compares that at every call (`lamella.runtime.taken`).
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING, Any

from lamella import _core
from lamella.ir.types import DType
from lamella.nn.parameter import Counter, Stored
from lamella.runtime.key import static_key
from lamella.runtime.reads import is_library

if TYPE_CHECKING:
    from lamella.nn.module import Module

__all__ = ["difference", "dtype_of", "fingerprint"]


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


def fingerprint(modules: Sequence[Module]) -> tuple[tuple[Hashable, ...], list[Any]]:
    """A key of all that a forward can depend on, and the objects whose identity it contains.

    modules: the roots of the trees.
    """
    parts: list[Hashable] = [_core.isa()]
    keep: list[Any] = []
    seen: set[int] = set()
    pending = list(reversed(modules))
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
                # What the user's forward reads of those is compared by the core, wherever it is.
                own = isinstance(value, list | dict | set) and not is_library(type(one).__module__)
                parts.append((name, type(value) if own else static_key(value, keep)))
    return tuple(parts), keep


def difference(before: Sequence[Any], after: Sequence[Any]) -> list[str]:
    """The first attribute in which two keys of a module differ; nothing for other trees."""
    for one, other in zip(before, after, strict=False):
        if one != other:
            named = isinstance(one, tuple) and isinstance(other, tuple) and one[0] == other[0]
            return [f"attribute {one[0]}"] if named and isinstance(one[0], str) else []
    return []


def _stored_key(stored: Stored | None) -> Hashable:
    if stored is None:
        return None
    return id(stored), id(stored.array), getattr(stored, "requires_grad", False)
