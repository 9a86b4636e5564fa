# SPDX-License-Identifier: Apache-2.0
"""What `load` gives: arrays by name, and the names of what else the file held.

A checkpoint keeps its state dict among other things. `chosen` finds it: under a name that trainers
use, the only dict of tensors there is, or the one that the caller names. What lies beside it is
skipped by name; an object among the tensors, where only weights should be, is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NoReturn

from lamella.storage.elements import Array
from lamella.storage.opcodes import Inert
from lamella.storage.pickled import Foreign, Numbers, Storage, Tensor, kind_of
from lamella.storage.source import MAX_NAMES, Source, quoted

__all__ = ["Given", "Weights", "chosen"]

# Where trainers put the state dict among their own things, first choice first.
_USUAL = ("state_dict", "model_state_dict", "model", "model_state", "net", "network", "module")
# How deep a state dict may lie.
_DEPTH = 4

Given = Tensor | Numbers


class Weights(dict[str, Array]):
    """Arrays by name. `skipped`: name -> kind, of what the file held beside them.

    Classes that a pickle names are never imported: of an object only its class is known.

    >>> found = Weights({}, {"args": "argparse.Namespace"})
    >>> found, found.skipped
    ({}, {'args': 'argparse.Namespace'})
    """

    __slots__ = ("skipped",)

    def __init__(
        self, arrays: Mapping[str, Array], skipped: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(arrays)
        self.skipped = dict(skipped or {})


def chosen(
    source: Source, value: object, key: str | None
) -> tuple[dict[str, Given], dict[str, str]]:
    """The descriptions of the state dict's arrays, and the kinds of what is skipped, by name."""
    tree = _named(value)
    if tree is None:
        source.fail(
            "it holds no dict of tensors",
            {"value": quoted(kind_of(value))},
            "tensors, or a dict of them",
            "An object would be code: save net.state_dict(), or as safetensors",
        )
    skipped: dict[str, str] = {}
    found: dict[str, Given] = {}
    before = ""
    for name in _path(source, tree, key):
        for other, beside in tree.items():
            if other != name:
                skipped[before + _text(other)] = kind_of(beside)
        inner = _named(tree[name], name)
        if inner is None:
            _refuse(source, before + name, tree[name])
        tree, before = inner, f"{before}{name}."
    settled: set[int] = set()
    for name, entry in tree.items():
        if isinstance(name, str) and isinstance(entry, Given) and _sound(entry):
            found[name] = entry
        elif (
            (isinstance(name, str) and name.endswith("_extra_state"))
            or (key is not None and not isinstance(entry, Foreign))
            or (isinstance(name, str) and _idle(entry, settled))
        ):
            skipped[before + _text(name)] = kind_of(entry)
        else:
            _refuse(source, name, entry)
    if tree and not found:
        _refuse(source, *next(iter(tree.items())))
    if len(found) > MAX_NAMES:
        source.fail(f"more than {MAX_NAMES} tensors")
    return found, skipped


def _named(value: object, name: str = "arr_0") -> dict[Any, Any] | None:
    """A dict, or what has no names with names as np.savez gives them; None for all else."""
    if isinstance(value, dict):
        return value
    if isinstance(value, list | tuple):
        return {f"arr_{i}": entry for i, entry in enumerate(value)}
    return {name: value} if isinstance(value, Given) else None


def _path(source: Source, tree: dict[Any, Any], key: str | None) -> list[str]:
    """The names that lead to the state dict."""
    if key is not None:
        return _path_of(source, tree, key)
    for name in _USUAL:
        inner = tree.get(name)
        if isinstance(inner, dict) and any(isinstance(entry, Given) for entry in inner.values()):
            return [name]
    found = _nested(tree, Tensor) or _nested(tree, Numbers)
    # A best loss or the state of a generator may be a tensor too, beside the state dict.
    own = any(
        isinstance(entry, Tensor)
        and entry.element.loaded.kind == "f"
        and entry.shape not in ((), (1,))
        for entry in tree.values()
    )
    if len(found) + own > 1:
        source.fail(
            "it holds several state dicts",
            {"keys": _listed([*[""] * own, *(".".join(path) for path in found)])},
            "one",
            "Say which by key=, '' for the file's own entries" if own else "Say which by key=",
        )
    if found:
        return found[0]
    for name in _USUAL:
        if isinstance(tree.get(name), Inert):
            _refuse(source, name, tree[name])
    return []


def _path_of(source: Source, tree: dict[Any, Any], key: str) -> list[str]:
    """The names that `key` joins with dots, each of which may have dots itself."""
    path: list[str] = []
    parts = key.split(".") if key else []
    while parts:
        fits = [n for n in range(len(parts), 0, -1) if ".".join(parts[:n]) in tree]
        if not fits:
            names = _listed([name for name in tree if isinstance(name, str)])
            source.fail("no such key", {"key": ascii(key)}, names or "a dict there")
        name = ".".join(parts[: fits[0]])
        path.append(name)
        del parts[: fits[0]]
        inner = _named(tree[name], name)
        tree = {} if inner is None else inner
    return path


def _nested(tree: dict[Any, Any], kind: type[Tensor] | type[Numbers]) -> list[list[str]]:
    """The paths to all dicts below that hold nothing but arrays, of this kind, and plain values."""
    found: list[list[str]] = []
    seen = {id(tree)}
    level: list[tuple[list[str], dict[Any, Any]]] = [([], tree)]
    for _ in range(_DEPTH):
        below = []
        for path, holder in level:
            for name, value in holder.items():
                # Optimisers keep tensors by the numbers of parameters.
                if not isinstance(name, str) or not isinstance(value, dict) or id(value) in seen:
                    continue
                seen.add(id(value))
                if _weighty(value, kind):
                    found.append([*path, name])
                elif "param_groups" not in value:
                    below.append(([*path, name], value))
        level = below
    return found


def _weighty(value: dict[Any, Any], kind: type[Tensor] | type[Numbers]) -> bool:
    """Whether these are arrays by name, of this kind and no mere numbers, and plain values."""
    return all(
        isinstance(name, str)
        and (isinstance(entry, Given) or _plain(entry) or name.endswith("_extra_state"))
        for name, entry in value.items()
    ) and any(isinstance(entry, kind) and entry.shape != () for entry in value.values())


def _idle(value: object, settled: set[int]) -> bool:
    """Settings, counts, an optimiser's state: no weights and no object that should be some.

    settled: what has been looked into before, which many entries may share.
    """
    if isinstance(value, Inert):
        return False
    if isinstance(value, dict) and "param_groups" in value:
        return True
    waiting = [value]
    while waiting:
        part = waiting.pop()
        if isinstance(part, Tensor | Numbers | Storage | Foreign):
            return False
        if isinstance(part, dict | list | tuple) and id(part) not in settled:
            settled.add(id(part))
            waiting += part.values() if isinstance(part, dict) else part
    return True


def _refuse(source: Source, name: object, entry: object) -> NoReturn:
    kind = kind_of(entry)
    source.fail(
        "an entry of the state dict is no tensor",
        {
            "entry": quoted(_text(name)),
            "value": quoted(kind) if isinstance(entry, Inert | Numbers) else kind,
        },
        f"a dict of tensors, or a dict that holds one, as {' or '.join(_USUAL[:3])} or key=",
        "Objects would be code; a key= says that what is no tensor there may be skipped",
    )


def _listed(names: list[str]) -> str:
    shown = ", ".join(quoted(name, most=80) for name in names[:6])
    return shown + (", ..." if len(names) > 6 else "")


def _text(name: object) -> str:
    return name if isinstance(name, str) else str(name) if type(name) is int else "?"


def _sound(entry: Given) -> bool:
    return isinstance(entry, Tensor) or not entry.fault


def _plain(value: object) -> bool:
    return value is None or isinstance(value, bool | int | float | str | bytes)
