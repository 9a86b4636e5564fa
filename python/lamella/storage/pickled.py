# SPDX-License-Identifier: Apache-2.0
"""What the names in a checkpoint's pickle stand for: tensors, arrays of NumPy, all else inert.

The functions listed here are the only ones that mean something: those that torch.save and NumPy
write around numbers. Nothing is imported; any other class or function is an `Inert`, which knows
its name, takes whatever the pickle gives it and keeps nothing.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np

from lamella.storage.elements import ELEMENTS, Array, Element, fault_of_shape
from lamella.storage.opcodes import Inert
from lamella.storage.source import Budget, Source, quoted

__all__ = ["Foreign", "Names", "Numbers", "Storage", "Tensor", "kind_of"]

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
# Storages whose elements no array here has; how long one is, to find what lies behind it.
_FOREIGN = {
    "ComplexFloatStorage": 8,
    "ComplexDoubleStorage": 16,
    "QInt8Storage": 1,
    "QUInt8Storage": 1,
    "QInt32Storage": 4,
    "QUInt4x2Storage": 1,
    "QUInt2x4Storage": 1,
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
    "collections.defaultdict",
    "torch.Size",
    "torch._tensor._rebuild_from_type",
    "torch._tensor._rebuild_from_type_v2",
    "torch._utils._rebuild_parameter",
    "torch._utils._rebuild_parameter_with_state",
    "torch._utils._rebuild_tensor",
    "torch._utils._rebuild_tensor_v2",
    "torch._utils._rebuild_tensor_v3",
    "_codecs.encode",
    "__builtin__.bytes",
    "builtins.bytes",
    "numpy.dtype",
    "numpy.ndarray",
    "numpy.core.multiarray._reconstruct",
    "numpy.core.multiarray.scalar",
    "numpy.core.numeric._frombuffer",
}


@dataclass(frozen=True, slots=True)
class _Global(Inert):
    """A global that means something; `element` for the classes of storages and the dtypes."""

    element: Element | None = None


@dataclass(frozen=True, slots=True)
class Foreign(Inert):
    """A tensor of a kind that is not read: sparse, quantised, complex."""


@dataclass(frozen=True, slots=True)
class Storage:
    """A storage: its key in the file, its elements and their number; views begin behind 0.

    element: None where the tensors on it say what it holds; itemsize: bytes of one of `count`.
    """

    key: str
    element: Element | None
    count: int
    itemsize: int
    begin: int = 0
    foreign: str = ""


@dataclass(frozen=True, slots=True)
class Tensor:
    """A tensor: a view of a storage of `count` elements."""

    key: str
    element: Element
    count: int
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class _NumPyType:
    """A dtype of NumPy while its description is read; an element once it is known."""

    __slots__ = ("code", "element")

    def __init__(self, code: str) -> None:
        self.code = code
        self.element = _element("<", code)


class Numbers:
    """An array of NumPy, whose bytes lie in the pickle itself; `fault`, why it cannot be had."""

    __slots__ = ("data", "element", "fault", "fortran", "shape")

    def __init__(self) -> None:
        self.shape: tuple[int, ...] = ()
        self.element: Element | None = None
        self.fortran = False
        self.data = b""
        self.fault = "without contents"

    def array(self, budget: Budget, name: str) -> Array:
        """The array, in memory of its own."""
        assert self.element is not None
        budget.spend(2 * len(self.data), name)
        flat = np.frombuffer(self.data, self.element.stored).astype(self.element.loaded)
        if self.fortran:
            return np.ascontiguousarray(flat.reshape(self.shape[::-1]).T)
        return flat.reshape(self.shape)


def kind_of(value: object) -> str:
    """What a value out of a pickle is, in a word, for messages.

    >>> kind_of(Inert("argparse.Namespace")), kind_of({}), kind_of(3)
    ('argparse.Namespace', 'dict', 'int')
    """
    if isinstance(value, Inert):
        return value.name
    if isinstance(value, Numbers):
        return f"numpy.ndarray {value.fault}" if value.fault else "numpy.ndarray"
    if isinstance(value, Tensor | Storage):
        return type(value).__name__.lower()
    return type(value).__name__


def _element(order: str, code: str) -> Element | None:
    """The element of NumPy's code ("f4"), None for text, objects and what files do not hold."""
    kinds = {"f": "F", "i": "I", "u": "U"}
    found = None
    if code == "b1":
        found = ELEMENTS["BOOL"]
    elif code[:1] in kinds and code[1:] in ("1", "2", "4", "8"):
        found = ELEMENTS.get(f"{kinds[code[0]]}{8 * int(code[1:])}")
    return found.swapped() if found is not None and order == ">" else found


def _raw(value: object) -> object:
    """Bytes, as they are or as the text that Python 2 makes of them."""
    return value.encode() if isinstance(value, str) and value.isascii() else value


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


class Names:
    """The meaning of a pickle's outside names; `storages`: those that it names, by key."""

    def __init__(self, source: Source, budget: Budget) -> None:
        self._source = source
        self._budget = budget
        self.storages: dict[str, Storage] = {}

    def named(self, name: str) -> object:
        """What a global stands for."""
        # NumPy has moved its core, and reads the old name too.
        known = _GLOBALS.get(name.replace("numpy._core.", "numpy.core.", 1))
        return Inert(name) if known is None else known

    def persistent(self, arguments: object) -> object:
        """The storage, or in files before 1.6 the class, of a persistent id."""
        match arguments:
            case ("storage", Inert() as kind, str(key), str(), int(count), *view):
                storage = self._storage(kind, key, count, view)
                if storage is not None:
                    self._budget.spend(200, "storage")
                    self.storages.setdefault(key, storage)
                    return storage
            case ("module", Inert() as kind, _, _):
                return kind
        return self._source.fail("a persistent id is no storage of numbers")

    def _storage(self, kind: Inert, key: str, count: int, view: list[Any]) -> Storage | None:
        """The storage of a persistent id, or the part of one that files before 1.6 may name."""
        name = kind.name.rpartition(".")[2]
        known = isinstance(kind, _Global)
        if not _whole(count) or (known and not name.endswith("Storage")):
            return None
        element = kind.element if isinstance(kind, _Global) else None
        itemsize = element.stored.itemsize if element else 1 if known else _FOREIGN.get(name, 0)
        foreign = "" if known else kind.name
        begin = 0
        match view:
            case [] | [None]:
                pass
            case [(_, int(begin), int(size))] if _whole(begin, size) and begin + size <= count:
                pass
            case _:
                return None
        return Storage(key, element, count, itemsize, begin, foreign)

    def call(self, function: object, arguments: tuple[Any, ...]) -> object:
        """What a function or class of that name would give; inert where it is not known."""
        if isinstance(function, Inert) and not isinstance(function, _Global):
            tensor = function.name.startswith("torch.") and "._rebuild_" in function.name
            return (Foreign if tensor else Inert)(function.name)
        name = function.name if isinstance(function, _Global) else ""
        match (name, arguments):
            case ("collections.OrderedDict", ()):
                return OrderedDict()
            case ("collections.defaultdict", () | (None | Inert(),)):
                return {}
            case ("torch.Size", (tuple() as sizes,)):
                return sizes
            case ("torch._utils._rebuild_parameter", (value, bool(), dict())):
                return self._wrapped(value)
            case ("torch._utils._rebuild_parameter_with_state", (value, bool(), dict(), _)):
                return self._wrapped(value)
            case (
                "torch._tensor._rebuild_from_type" | "torch._tensor._rebuild_from_type_v2",
                (Inert() as inner, Inert(), tuple() as given, _),
            ) if not inner.name.startswith("torch._tensor."):
                return self._wrapped(self.call(inner, given))
            case ("torch._utils._rebuild_tensor", (storage, *rest)) if len(rest) == 3:
                return self._tensor(storage, None, [*rest, False, OrderedDict()], [])
            case ("torch._utils._rebuild_tensor_v2", (storage, *rest)) if len(rest) in (5, 6):
                return self._tensor(storage, None, rest[:5], rest[5:])
            case ("torch._utils._rebuild_tensor_v3", (storage, *rest)) if len(rest) in (6, 7):
                return self._tensor(storage, rest[5], rest[:5], rest[6:])
        return self._numpy(name, function, arguments)

    def _numpy(self, name: str, function: object, arguments: tuple[Any, ...]) -> object:
        match (name, arguments):
            case ("_codecs.encode", (str(text), "latin1" | "latin-1")):
                # How pickles that Python 2 can read write bytes.
                self._budget.spend(len(text), "bytes")
                try:
                    return text.encode("latin-1")
                except UnicodeEncodeError:
                    self._source.fail("a text that stands for bytes has wider signs")
            case ("__builtin__.bytes" | "builtins.bytes", ()):
                return b""
            case ("numpy.dtype", (str(code), *_)) if len(code) < 100:
                return _NumPyType(code)
            case ("numpy.core.multiarray._reconstruct", (Inert(name=kind), tuple(), _)):
                return Numbers() if kind == "numpy.ndarray" else Inert(kind)
            case ("numpy.core.multiarray.scalar", (_NumPyType() as kind, value)):
                return self._scalar(kind, value)
            case (
                "numpy.core.numeric._frombuffer",
                (bytes(data), _NumPyType() as kind, tuple() as shape, "C" | "F" as order),
            ):
                found = Numbers()
                self._fill(found, shape, kind, order == "F", data)
                return found
        shown = function.name if isinstance(function, Inert) else kind_of(function)
        return self._source.fail("a call with arguments not known", {"global": quoted(shown)})

    def attributes(self, value: object, state: object) -> None:
        """Contents of arrays and dtypes of NumPy; attributes of objects are dropped."""
        match (value, state):
            case (OrderedDict(), dict()) | (Inert(), _):
                return  # a state dict's `_metadata`, and what nobody asks for
            case (_NumPyType() as kind, (int(), str(order), *_)):
                kind.element = _element(order, kind.code)
                return
            case (
                Numbers() as found,
                (tuple() as shape, _NumPyType() as kind, bool(fortran), data)
                | (int(), tuple() as shape, _NumPyType() as kind, bool(fortran), data),
            ):
                self._fill(found, shape, kind, fortran, _raw(data))
                return
        self._source.fail("attributes for what has none", {"value": quoted(kind_of(value))})

    def _fill(
        self, found: Numbers, shape: tuple[Any, ...], kind: _NumPyType, fortran: bool, data: object
    ) -> None:
        if kind.element is None or not isinstance(data, bytes):
            found.fault = f"of {kind.code!a}"
            return
        itemsize = kind.element.stored.itemsize
        if not _whole(*shape) or fault_of_shape(shape, itemsize):
            self._source.fail("an array's shape is not one")
        if math.prod(shape) * itemsize != len(data):
            self._source.fail(
                "an array's shape and dtype do not fit its bytes",
                {"shape": shape, "dtype": quoted(kind.code), "bytes": len(data)},
            )
        if kind.element.name == "BOOL" and data.translate(None, b"\0\1"):
            self._source.fail("a truth value is neither 0 nor 1")
        found.shape, found.element, found.fortran = shape, kind.element, fortran
        found.data, found.fault = data, ""

    def _scalar(self, kind: _NumPyType, value: object) -> object:
        """A number, where it is one."""
        raw, element = _raw(value), kind.element
        if element is None or not isinstance(raw, bytes):
            return Inert(f"numpy scalar of {kind.code!a}")
        if len(raw) != element.stored.itemsize:
            self._source.fail(
                "a number's dtype does not fit its bytes", {"dtype": quoted(kind.code)}
            )
        if element.name == "BOOL":
            return raw != b"\0"
        return np.frombuffer(raw, element.stored)[0].item()

    def _wrapped(self, value: object) -> object:
        """What a parameter or a tensor with attributes is around."""
        if isinstance(value, Tensor | Inert):
            return value
        return self._not_one()

    def _not_one(self) -> NoReturn:
        self._source.fail("a tensor's description is not one")

    def _tensor(
        self, storage: object, dtype: object, place: list[Any], metadata: list[Any]
    ) -> Tensor | Inert:
        offset, shape, strides, _, hooks = place
        if (
            not isinstance(storage, Storage)
            or not isinstance(dtype, Inert | None)
            or type(shape) is not tuple
            or type(strides) is not tuple
            or len(shape) != len(strides)
            or not _whole(offset, *shape, *strides)
            or type(hooks) is not OrderedDict
        ):
            self._not_one()
        element = storage.element
        if isinstance(dtype, _Global):
            element = dtype.element
        elif dtype is not None:
            return Foreign(dtype.name)
        if storage.foreign:
            return Foreign(storage.foreign)
        if element is None:
            self._not_one()
        if metadata not in ([], [None], [{}]):
            # The conjugate and negative bits would change its values.
            return Foreign("a tensor with metadata")
        at: dict[str, object] = {"storage": quoted(storage.key), "shape": shape}
        itemsize = element.stored.itemsize
        if fault := fault_of_shape(shape, itemsize):
            self._source.fail(fault, at if len(shape) < 100 else None)
        count, left = storage.count, 0
        if storage.element is None:
            count, left = divmod(count, itemsize)
        elif storage.element is not element:
            self._source.fail("a tensor's dtype is not that of its storage", at)
        offset += storage.begin
        last = offset + sum((n - 1) * step for n, step in zip(shape, strides, strict=True))
        if left or (0 not in shape and last >= count):
            self._source.fail(
                "a tensor reaches beyond its storage",
                {**at, "strides": strides, "offset": offset},
                f"at most {count} elements",
            )
        return Tensor(storage.key, element, count, offset, shape, strides)
