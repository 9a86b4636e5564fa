# SPDX-License-Identifier: Apache-2.0
"""Reads state dicts that torch.save wrote, without PyTorch and without running anything.

A file is a zip archive of `<root>/data.pkl`, a pickle whose tensors name storages, and one member
`<root>/data/<key>` per storage (torch/serialization.py). The pickle goes through `opcodes.py`; the
globals that it may name are listed here, the state dict's own and no others. Files from before
PyTorch 1.6 and TorchScript archives are other formats and are refused by name.
"""

from __future__ import annotations

import math
import os
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import numpy as np

from lamella.storage.archive import Member, Stream, members
from lamella.storage.elements import ELEMENTS, Array, Element, fault_of_shape, fill
from lamella.storage.opcodes import evaluate
from lamella.storage.source import MAX_NAMES, MIB, Budget, Source, opened, quoted

__all__ = ["is_torch", "read"]

_MAX_PICKLE = 64 << 20

_STORAGES = {
    "DoubleStorage": "F64",
    "FloatStorage": "F32",
    "HalfStorage": "F16",
    "BFloat16Storage": "BF16",
    "LongStorage": "I64",
    "IntStorage": "I32",
    "ShortStorage": "I16",
    "CharStorage": "I8",
    "ByteStorage": "U8",
    "BoolStorage": "BOOL",
}
_DTYPES = {
    "float64": "F64",
    "float32": "F32",
    "float16": "F16",
    "bfloat16": "BF16",
    "int64": "I64",
    "int32": "I32",
    "int16": "I16",
    "int8": "I8",
    "uint64": "U64",
    "uint32": "U32",
    "uint16": "U16",
    "uint8": "U8",
    "bool": "BOOL",
}
_FUNCTIONS = {
    "collections.OrderedDict",
    "torch.Size",
    "torch._utils._rebuild_parameter",
    "torch._utils._rebuild_tensor_v2",
    "torch._utils._rebuild_tensor_v3",
}
# Where trainers put the state dict among their own things.
_NESTED = ("state_dict", "model_state_dict", "model")


@dataclass(frozen=True, slots=True)
class _Global:
    """A global's name; `element` for the classes of storages and the dtypes."""

    name: str
    element: Element | None = None


@dataclass(frozen=True, slots=True)
class _Storage:
    key: str
    element: Element | None
    count: int


@dataclass(frozen=True, slots=True)
class _Tensor:
    key: str
    element: Element
    count: int
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def _globals() -> dict[str, _Global]:
    known = {name: _Global(name) for name in _FUNCTIONS}
    for kinds in (_STORAGES, _DTYPES):
        for name, element in kinds.items():
            known[f"torch.{name}"] = _Global(f"torch.{name}", ELEMENTS[element])
    known["torch.storage.UntypedStorage"] = _Global("torch.storage.UntypedStorage")
    return known


_GLOBALS = _globals()


def _whole(*values: object) -> bool:
    """Whether all are integers that an array's sizes and offsets could be."""
    return all(type(value) is int and 0 <= value < 2**63 for value in values)


class _StateDict:
    """The meaning of the pickle's outside names; tensors stay descriptions until they are read."""

    def __init__(self, source: Source) -> None:
        self._source = source

    def named(self, name: str) -> object:
        if name not in _GLOBALS:
            self._source.fail(
                "the pickle names a global that a state dict does not need, so it is not loaded",
                {"global": quoted(name)},
                "tensors, parameters, dicts, lists, text and numbers",
                "Save the state dict alone, or as safetensors",
            )
        return _GLOBALS[name]

    def persistent(self, arguments: object) -> object:
        match arguments:
            case ("storage", _Global(name=name, element=element), str(key), str(), int(count)):
                if _whole(count) and name.endswith("Storage"):
                    return _Storage(key, element, count)
        return self._source.fail("a persistent id is no storage of numbers")

    def call(self, function: object, arguments: tuple[Any, ...]) -> object:
        match (function.name if isinstance(function, _Global) else "", arguments):
            case ("collections.OrderedDict", ()):
                return OrderedDict()
            case ("torch.Size", (tuple() as sizes,)):
                return sizes
            case ("torch._utils._rebuild_parameter", (_Tensor() as tensor, bool(), dict())):
                return tensor
            case ("torch._utils._rebuild_tensor_v2", (storage, *rest)) if len(rest) in (5, 6):
                element = storage.element if isinstance(storage, _Storage) else None
                return self._tensor(storage, element, rest[:5], rest[5:])
            case ("torch._utils._rebuild_tensor_v3", (storage, *rest)) if len(rest) in (6, 7):
                dtype = rest[5]
                element = dtype.element if isinstance(dtype, _Global) else None
                return self._tensor(storage, element, rest[:5], rest[6:])
        name = function.name if isinstance(function, _Global) else type(function).__name__
        return self._source.fail("a call with arguments not known", {"global": quoted(name)})

    def _tensor(
        self, storage: object, element: Element | None, place: list[Any], metadata: list[Any]
    ) -> _Tensor:
        offset, shape, strides, _, hooks = place
        if (
            not isinstance(storage, _Storage)
            or element is None
            or type(shape) is not tuple
            or type(strides) is not tuple
            or len(shape) != len(strides)
            or not _whole(offset, *shape, *strides)
            or type(hooks) is not OrderedDict
        ):
            self._source.fail("a tensor's description is not one")
        if metadata not in ([], [{}]):
            # The conjugate and negative bits would change its values.
            self._source.fail("a tensor with metadata")
        at: dict[str, object] = {"storage": quoted(storage.key), "shape": shape}
        itemsize = element.stored.itemsize
        if fault := fault_of_shape(shape, itemsize):
            self._source.fail(fault, at)
        count, left = storage.count, 0
        if storage.element is None:
            count, left = divmod(count, itemsize)
        elif storage.element is not element:
            self._source.fail("a tensor's dtype is not that of its storage", at)
        last = offset + sum((n - 1) * step for n, step in zip(shape, strides, strict=True))
        if left or (0 not in shape and last >= count):
            self._source.fail(
                "a tensor reaches beyond its storage",
                {**at, "strides": strides, "offset": offset},
                f"at most {count} elements",
            )
        return _Tensor(storage.key, element, count, offset, shape, strides)


def is_torch(found: dict[str, Member]) -> bool:
    """Whether an archive with these members is one of PyTorch's."""
    return any(name.count("/") == 1 and name.endswith("/data.pkl") for name in found)


def _chosen(source: Source, value: object) -> dict[str, _Tensor]:
    """The state dict itself, or the one that a checkpoint holds among other things."""
    if isinstance(value, dict) and not any(isinstance(v, _Tensor) for v in value.values()):
        inner = next((value[key] for key in _NESTED if isinstance(value.get(key), dict)), None)
        value = value if inner is None else inner
    if not isinstance(value, dict):
        source.fail("it holds no dict of tensors", {"value": type(value).__name__})
    if len(value) > MAX_NAMES:
        source.fail(f"more than {MAX_NAMES} tensors")
    found = {}
    for name, tensor in value.items():
        if not isinstance(name, str) or not isinstance(tensor, _Tensor):
            source.fail(
                "an entry of the state dict is no tensor",
                {"entry": quoted(name), "value": type(tensor).__name__.strip("_")},
                f"a dict of tensors, or a dict that holds one as {' or '.join(_NESTED)}",
            )
        found[name] = tensor
    return found


def _copies(storage: Array, tensors: dict[str, _Tensor], budget: Budget) -> dict[str, Array]:
    """A C-contiguous array for each tensor; the storage itself where one tensor is all of it."""
    found = {}
    for name, tensor in tensors.items():
        if math.prod(tensor.shape) == 0:
            found[name] = np.empty(tensor.shape, storage.dtype)
            continue
        size = storage.itemsize
        # The step along an axis of one element means nothing, and may be anything.
        steps = tuple(
            step * size if n > 1 else 0
            for n, step in zip(tensor.shape, tensor.strides, strict=True)
        )
        view = np.ndarray(tensor.shape, storage.dtype, storage.data, tensor.offset * size, steps)
        if len(tensors) == 1 and view.size == storage.size and view.flags.c_contiguous:
            found[name] = storage.reshape(tensor.shape)
        else:
            budget.spend(view.size * size, name)
            found[name] = view.copy(order="C")
    return found


def read(path: str | os.PathLike[str], *, max_bytes: int | None = None) -> dict[str, Array]:
    """Reads the state dict of a .pt or .pth file: name -> array, bfloat16 widened to float32.

    Of a checkpoint that keeps it as `state_dict`, `model_state_dict` or `model` among other things,
    that dict. Tensors that share a storage become arrays of their own.

    Raises: FormatError naming the broken rule or the global that is not allowed; OSError.
    """
    with opened(path) as source:
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
        tensors = _chosen(source, evaluate(data, _StateDict(source), objects))
        del data
        order = b"little"
        if f"{root}byteorder" in found:
            order = _member(source, found, f"{root}byteorder", 16, objects)
        if order not in (b"little", b"big"):
            source.fail("unknown byte order", {"byteorder": quoted(order.decode("latin-1"))})
        return _arrays(source, found, f"{root}data/", tensors, order == b"big", max_bytes)


def _member(
    source: Source, found: dict[str, Member], name: str, most: int, budget: Budget
) -> bytes:
    member = found[name]
    if member.size > most:
        source.fail("too large", {"entry": quoted(name), "bytes": member.size}, f"at most {most}")
    budget.spend(2 * member.size, name)  # for a moment it is there twice
    stream = Stream(source, member)
    data = stream.take(member.size)
    stream.finish()
    return data


def _arrays(
    source: Source,
    found: dict[str, Member],
    folder: str,
    tensors: dict[str, _Tensor],
    big: bool,
    max_bytes: int | None,
) -> dict[str, Array]:
    """The tensors as arrays, in the order of the state dict; each storage is read once."""
    users: dict[str, dict[str, _Tensor]] = {}
    for name, tensor in tensors.items():
        users.setdefault(tensor.key, {})[name] = tensor
    budget = Budget(source, max_bytes)
    arrays = {}
    for key, sharing in users.items():
        first = next(iter(sharing.values()))
        if any((t.element, t.count) != (first.element, first.count) for t in sharing.values()):
            source.fail("a storage of two kinds", {"storage": quoted(key)})
        member = found.get(folder + key)
        if member is None or member.size != first.count * first.element.stored.itemsize:
            source.fail(
                "a storage is missing or has another size",
                {"storage": quoted(key), "bytes": "none" if member is None else member.size},
                f"{first.count * first.element.stored.itemsize} bytes",
            )
        stream = Stream(source, member)
        element = first.element.swapped() if big else first.element
        storage = fill(stream.into, element, first.count, next(iter(sharing)), budget)
        stream.finish()
        arrays.update(_copies(storage, sharing, budget))
    return {name: arrays[name] for name in tensors}
