# SPDX-License-Identifier: Apache-2.0
"""The structure of a module: all that its forward can depend on, apart from values.

The tree, every attribute, which storage each parameter has and whether it is trained. What can
change in place is no part of it: the core compares that at every call (`lamella.runtime.taken`).
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from lamella import _core
from lamella.ir.types import DType
from lamella.nn.parameter import Counter, Stored
from lamella.runtime.key import static_key
from lamella.runtime.reads import is_library

if TYPE_CHECKING:
    from lamella.nn.module import Module

__all__ = ["Fingerprint", "difference", "dtype_of", "fingerprint"]


class Fingerprint(NamedTuple):
    """All that a forward can depend on, at one moment.

    key: hashable, equal for what is the same; keep: the objects whose identity it contains;
    followed: what has to stay in `states` for it to stay the same.
    """

    key: tuple[Hashable, ...]
    keep: list[Any]
    followed: tuple[_core.Structure | _core.Callable, ...]
    states: tuple[int, ...]


def dtype_of(module: Module) -> DType | None:
    """The one dtype of a module's floating parameters (or buffers); None if mixed or absent.

    What is stored as bfloat16 or float16 is float32 to all who read it.
    """
    for stored in (module.parameters(), module.buffers()):
        found = {
            one._type.dtype
            for one in stored
            if one._type.dtype.is_floating and not isinstance(one, Counter)
        }
        if found:
            return found.pop() if len(found) == 1 else None
    return None


def fingerprint(module: Module, reached: Sequence[Module] = ()) -> Fingerprint:
    """All that the forward of `module` can depend on. reached: modules outside of its tree.

    Each state is read before what it stands for, so that who follows is told what changes
    meanwhile.
    """
    beside: tuple[_core.Structure, ...] = ()
    states: list[int] = []
    while beside != (found := (_core.selection, *module._beside())):
        beside, states = found, list(_core.states_of(found))
    followed: list[_core.Structure | _core.Callable] = list(beside)
    parts: list[Hashable] = [_core.isa(), module._outside()]
    keep: list[Any] = []
    seen: set[int] = set()
    pending = [*reversed(reached), module]
    while pending:
        one = pending.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        keep.append(one)
        followed.append(one)
        states.append(_core.state_of(one))
        parts.append((type(one), id(one)))
        for name, value in list(one.__dict__.items()):
            if name == "_modules":
                children = list(value.items())
                parts.extend((key, id(child)) for key, child in children)
                pending.extend(child for _, child in children if child is not None)
            elif name in ("_parameters", "_buffers"):
                for key, stored in list(value.items()):
                    if stored is not None and id(stored) not in seen:
                        seen.add(id(stored))
                        followed.append(stored.structure)
                        states.append(_core.state_of(stored.structure))
                    parts.append((key, _stored_key(stored, keep)))
            elif name != "_compiled":
                # What the user's forward reads of those is compared by the core, wherever it is.
                own = isinstance(value, list | dict | set) and not is_library(type(one).__module__)
                parts.append((name, type(value) if own else static_key(value, keep)))
    return Fingerprint(tuple(parts), keep, tuple(followed), tuple(states))


def difference(before: Sequence[Any], after: Sequence[Any]) -> list[str]:
    """The first attribute in which two keys of a module differ; nothing for other trees."""
    for one, other in zip(before, after, strict=False):
        if one != other:
            named = isinstance(one, tuple) and isinstance(other, tuple) and one[0] == other[0]
            return [f"attribute {one[0]}"] if named and isinstance(one[0], str) else []
    return []


def _stored_key(stored: Stored | None, keep: list[Any]) -> Hashable:
    if stored is None:
        return None
    array = stored.memory
    keep += [stored, array]
    return id(stored), id(array), getattr(stored, "requires_grad", False)
