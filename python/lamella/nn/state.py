# SPDX-License-Identifier: Apache-2.0
"""A module's state as named arrays: collecting it, and copying it back in all or not at all.

Names and layouts are torch's. Nothing is written before every entry has been judged, and one error
names everything that is wrong.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from lamella.errors import DTypeError, FormatError, ShapeError, UnsupportedError, message
from lamella.ir.types import Array, DType
from lamella.nn.parameter import Buffer, Parameter, Stored
from lamella.runtime.signature import as_array

if TYPE_CHECKING:
    from lamella.nn.module import Module

__all__ = ["collect", "load", "validate"]


def _entries(module: Module, prefix: str = "") -> Iterator[tuple[str, Stored]]:
    """Parameters and persistent buffers with their names, in torch's order; shared ones often."""
    for path, owner in module.named_modules(prefix=prefix, remove_duplicate=False):
        dot = f"{path}." if path and not path.endswith(".") else path
        for name, parameter in owner._parameters.items():
            if parameter is not None:
                yield dot + name, parameter
        for name, buffer in owner._buffers.items():
            if buffer is not None and buffer.persistent:
                yield dot + name, buffer


def collect(module: Module, prefix: str) -> dict[str, Array]:
    """Read-only copies of all entries, by name."""
    arrays = {name: _copy(stored) for name, stored in _entries(module, prefix.rstrip("."))}
    for array in arrays.values():
        array.flags.writeable = False
    return arrays


def _copy(stored: Stored) -> Array:
    copy = np.array(stored.data)
    if stored.dtype is not DType.bfloat16:
        return copy
    # Files are opened when first needed.
    from lamella.storage.elements import Widened

    return copy.view(Widened)


def load(module: Module, given: Mapping[str, Any], strict: bool) -> tuple[list[str], list[str]]:
    """Copies `given` into the module; gives the missing and the unexpected names."""
    if not isinstance(given, Mapping):
        raise TypeError(
            message(
                "load_state_dict",
                "not a mapping",
                {"state_dict": type(given).__name__},
                "names and arrays, as state_dict() and lamella.load give them",
            )
        )
    entries = dict(_entries(module))
    given = _unwrapped(given, entries)
    # One that is tied to another has its value from any of its names.
    filled = {id(stored) for name, stored in entries.items() if name in given}
    missing = [name for name, stored in entries.items() if id(stored) not in filled]
    unexpected = [str(name) for name in given if name not in entries]
    wrong: list[str] = []
    arrays: list[tuple[Stored, Array]] = []
    for name, stored in entries.items():
        if name in given:
            try:
                array = as_array(given[name], "load_state_dict", name)
                stored.check(name, array)
                arrays.append((stored, array))
            except (ShapeError, DTypeError, UnsupportedError) as error:
                wrong.append(str(error))
            except (TypeError, ValueError, RuntimeError) as error:
                wrong.append(f"{name}: not an array ({error})")
    faults = [f"missing {name}" for name in missing] if strict else []
    faults += [f"unexpected {name}" for name in unexpected] if strict else []
    faults += wrong
    if faults:
        raise FormatError(
            message(
                "load_state_dict",
                f"the state does not fit this {type(module).__name__}; " + " | ".join(faults),
                None,
                "the names and shapes of state_dict()",
                "Nothing was changed."
                + (" strict=False ignores missing and unexpected names." if strict else ""),
            )
        )
    for stored, array in arrays:
        stored.data = array
    return missing, unexpected


def _unwrapped(given: Mapping[str, Any], entries: Mapping[str, Stored]) -> Mapping[str, Any]:
    """`given` without the prefixes of DataParallel and torch.compile, where more names fit so.

    `module.` is taken off where all names begin with it, `_orig_mod.` anywhere.
    """
    names = list(given)
    if all(name in entries for name in names) or not all(isinstance(name, str) for name in names):
        return given
    short = [".".join(part for part in name.split(".") if part != "_orig_mod") for name in names]
    while short and all(name.startswith("module.") for name in short):
        short = [name.removeprefix("module.") for name in short]
    fits = sum(name in entries for name in short) > sum(name in entries for name in names)
    if not fits or len(set(short)) < len(short):
        return given
    return {new: given[name] for new, name in zip(short, names, strict=True)}


_KINDS: dict[str, type[Any]] = {"_parameters": Parameter, "_buffers": Buffer}


def validate(module: Module, saved: Any, child: type[Module]) -> None:
    """Raises FormatError unless `saved` is what __getstate__ of such a module gives.

    child: the class of what stands among its modules.
    """
    kinds = {**_KINDS, "_modules": child}
    sound = isinstance(saved, dict) and isinstance(saved.get("training"), bool)
    for table, kind in kinds.items():
        entries = saved.get(table) if sound else None
        sound = isinstance(entries, dict) and all(
            isinstance(name, str) and (entry is None or isinstance(entry, kind))
            for name, entry in entries.items()
        )
    if not sound or "_compiled" in saved:
        raise FormatError(
            message(
                type(module).__name__,
                "not the pickled state of a module",
                {"state": type(saved).__name__},
                "training, _parameters, _buffers and _modules as this version writes them",
            )
        )
