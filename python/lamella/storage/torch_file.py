# SPDX-License-Identifier: Apache-2.0
"""Reads what torch.save wrote, without PyTorch and without running anything.

Since 1.6 a file is a zip archive of `<root>/data.pkl`, a pickle whose tensors name storages, and
one member `<root>/data/<key>` per storage; before, five pickles (a magic number, a version, the
writer's machine, the object, the keys) and then the storages, each behind its length
(torch/serialization.py). TorchScript archives and the tar files of 0.1 are refused by name.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from typing import Protocol

import numpy as np

from lamella.storage.archive import Member, Stream, members
from lamella.storage.elements import Array, fill
from lamella.storage.opcodes import Pickles, evaluate
from lamella.storage.pickled import Names, Numbers, Tensor
from lamella.storage.source import MAX_NAMES, MIB, Budget, Source, opened, quoted
from lamella.storage.weights import Given, Weights, chosen

__all__ = ["is_legacy", "is_torch", "read"]

_MAX_PICKLE = 64 << 20

_MAGIC = 0x1950A86A20F9469CFC6C
_VERSION = 1001
# The magic number as every protocol writes it, behind a head of at most two instructions.
_MAGIC_PICKLE = b"\x8a\x0a" + _MAGIC.to_bytes(10, "little") + b"."


def is_torch(found: dict[str, Member]) -> bool:
    """Whether an archive with these members is one of PyTorch's."""
    return any(name.count("/") == 1 and name.endswith("/data.pkl") for name in found)


def is_legacy(start: bytes) -> bool:
    """Whether a file that begins so is one of PyTorch's from before 1.6."""
    return start[:1] == b"\x80" and 0 < start.find(_MAGIC_PICKLE) <= 11


class _Bytes(Protocol):
    """A storage's bytes, from first to last."""

    def into(self, view: memoryview) -> None: ...

    def finish(self) -> None: ...


class _Stretch:
    """The bytes of a file from a place on."""

    __slots__ = ("_position", "_source")

    def __init__(self, source: Source, position: int) -> None:
        self._source = source
        self._position = position

    def into(self, view: memoryview) -> None:
        self._source.into(self._position, view)
        self._position += len(view)

    def finish(self) -> None:
        """Nothing is left to be judged: the places have been."""


# The bytes of the storage with this key and this size.
_Opener = Callable[[str, int], _Bytes]


def _copies(storage: Array, tensors: dict[str, Tensor], budget: Budget) -> dict[str, Array]:
    """A C-contiguous array for each tensor: a stretch of the storage of its own, or a copy."""
    found = {}
    own = _stretches(storage, tensors)
    for name, tensor in tensors.items():
        if math.prod(tensor.shape) == 0:
            found[name] = np.empty(tensor.shape, storage.dtype)
            continue
        view = _view(storage, tensor)
        if name not in own:
            budget.spend(view.nbytes, name)
            view = view.copy(order="C")
        found[name] = view
    return found


def _view(storage: Array, tensor: Tensor) -> Array:
    if _contiguous(tensor):
        size = math.prod(tensor.shape)
        return storage[tensor.offset : tensor.offset + size].reshape(tensor.shape)
    # The step along an axis of one element means nothing, and may be anything.
    steps = tuple(
        step * storage.itemsize if n > 1 else 0
        for n, step in zip(tensor.shape, tensor.strides, strict=True)
    )
    offset = tensor.offset * storage.itemsize
    return np.ndarray(tensor.shape, storage.dtype, storage.data, offset, steps)


def _contiguous(tensor: Tensor) -> bool:
    step = 1
    for n, given in zip(reversed(tensor.shape), reversed(tensor.strides), strict=True):
        if n > 1 and given != step:
            return False
        step *= n
    return True


def _stretches(storage: Array, tensors: dict[str, Tensor]) -> set[str]:
    """Tensors that lie side by side and may stay where they are; none if that wastes memory."""
    own, end, used = set(), 0, 0
    for name, tensor in sorted(tensors.items(), key=lambda item: item[1].offset):
        size = math.prod(tensor.shape)
        if size and tensor.offset >= end and _contiguous(tensor):
            own.add(name)
            end = tensor.offset + size
            used += size
    return own if 2 * used >= storage.size else set()


def read(
    path: str | os.PathLike[str], *, max_bytes: int | None = None, key: str | None = None
) -> Weights:
    """Reads the state dict of a .pt or .pth file: name -> array, bfloat16 widened to float32.

    Of a checkpoint that keeps it among other things, that dict; key, its name there, for one that
    keeps several. Tensors that share a storage become arrays of their own.

    Raises: FormatError naming the broken rule, or the object where weights should be; OSError.
    """
    with opened(path) as source:
        start = source.take(0, min(30, source.size))
        if is_legacy(start):
            return _read_legacy(source, max_bytes, key)
        found = members(source)
        pickles = [name for name in found if name.count("/") == 1 and name.endswith("/data.pkl")]
        if len(pickles) != 1:
            source.fail("no archive of torch.save: it holds no data.pkl, or several")
        root = pickles[0].removesuffix("data.pkl")
        if f"{root}constants.pkl" in found or any(n.startswith(f"{root}code/") for n in found):
            source.fail(
                "a TorchScript archive, which holds code", advice="Save net.state_dict() instead"
            )
        # All that the law allows beside the list of members: what is built here is freed, but for
        # the tensors' descriptions, before the arrays are read.
        objects = Budget(source, 3 * source.size + 60 * MIB - 450 * len(found), "its pickle")
        data = _member(source, found, pickles[0], _MAX_PICKLE, objects)
        tree = evaluate(data, Names(source, objects), objects)
        given, skipped = chosen(source, tree, key)
        del data, tree
        order = b"little"
        if f"{root}byteorder" in found:
            order = bytes(_member(source, found, f"{root}byteorder", 16, objects))
        if order not in (b"little", b"big"):
            source.fail("unknown byte order", {"byteorder": quoted(order.decode("latin-1"))})

        def storage(key: str, size: int) -> _Bytes:
            member = found.get(f"{root}data/{key}")
            if member is None or member.size != size:
                source.fail(
                    "a storage is missing or has another size",
                    {"storage": quoted(key), "bytes": "none" if member is None else member.size},
                    f"{size} bytes",
                )
            return Stream(source, member)

        arrays = _arrays(source, storage, given, order == b"big", Budget(source, max_bytes))
        return Weights(arrays, skipped)


def _member(
    source: Source, found: dict[str, Member], name: str, most: int, budget: Budget
) -> bytearray:
    member = found[name]
    if member.size > most:
        source.fail("too large", {"entry": quoted(name), "bytes": member.size}, f"at most {most}")
    budget.spend(member.size, name)
    stream, data = Stream(source, member), bytearray(member.size)
    stream.into(memoryview(data))
    stream.finish()
    return data


def _read_legacy(source: Source, max_bytes: int | None, key: str | None) -> Weights:
    """A file from before 1.6; its numbers are little-endian, whatever machine wrote them."""
    objects = Budget(source, 3 * source.size + 60 * MIB, "its pickles")
    pickles, names = Pickles(source, objects), Names(source, objects)
    version = [pickles.next(names), pickles.next(names)]
    if version != [_MAGIC, _VERSION]:
        source.fail("another version of the format from before PyTorch 1.6", None, str(_VERSION))
    pickles.next(names)  # the sizes of the writer's types
    given, skipped = chosen(source, pickles.next(names), key)
    places = _places(source, names, pickles.next(names), pickles.at)
    del pickles

    def storage(key: str, size: int) -> _Bytes:
        position, there = places.get(key, (0, None))
        if there != size:
            source.fail(
                "a storage is missing or has another size",
                {"storage": quoted(key), "bytes": "none" if there is None else there},
                f"{size} bytes",
            )
        return _Stretch(source, position)

    return Weights(_arrays(source, storage, given, False, Budget(source, max_bytes)), skipped)


def _places(
    source: Source, names: Names, keys: object, position: int
) -> dict[str, tuple[int, int]]:
    """Where each storage begins and how many bytes it has, each behind its number of elements."""
    places: dict[str, tuple[int, int]] = {}
    if not isinstance(keys, list) or len(keys) > MAX_NAMES:
        source.fail("no list of storages behind the object")
    for key in keys:
        storage = names.storages.get(key) if isinstance(key, str) else None
        if storage is None or not storage.itemsize or key in places:
            source.fail("a storage that no tensor names, or of unknown elements")
        size = storage.itemsize * int.from_bytes(source.take(position, 8), "little")
        if size > source.size - position - 8:
            source.fail(
                "a storage reaches beyond the file", {"storage": quoted(key), "bytes": size}
            )
        places[key] = position + 8, size
        position += 8 + size
    if position != source.size:
        source.fail("the storages do not end with the file", {"end": position})
    return places


def _arrays(
    source: Source, opener: _Opener, given: dict[str, Given], big: bool, budget: Budget
) -> dict[str, Array]:
    """The arrays in the order of the state dict; each storage is read once."""
    users: dict[str, dict[str, Tensor]] = {}
    arrays = {}
    for name, one in given.items():
        if isinstance(one, Numbers):
            arrays[name] = one.array(budget, name)
        else:
            users.setdefault(one.key, {})[name] = one
    for key, sharing in users.items():
        first = next(iter(sharing.values()))
        if any((t.element, t.count) != (first.element, first.count) for t in sharing.values()):
            source.fail("a storage of two kinds", {"storage": quoted(key)})
        stream = opener(key, first.count * first.element.stored.itemsize)
        element = first.element.swapped() if big else first.element
        storage = fill(stream.into, element, first.count, next(iter(sharing)), budget)
        stream.finish()
        arrays.update(_copies(storage, sharing, budget))
    return {name: arrays[name] for name in given}
