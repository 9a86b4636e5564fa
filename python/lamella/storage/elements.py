# SPDX-License-Identifier: Apache-2.0
"""Element types as files store them, and arrays filled from files without a second copy.

Stored little-endian unless the file says otherwise, loaded in the machine's order; bfloat16, which
NumPy does not have, is loaded as float32 with the same values, and written from a Widened array.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from lamella.errors import DTypeError, FormatError, message
from lamella.storage.source import CHUNK, Budget, quoted

__all__ = [
    "ELEMENTS",
    "Array",
    "Element",
    "Widened",
    "checked",
    "element_of",
    "fault_of_shape",
    "fill",
    "little",
]

Array = np.ndarray[Any, np.dtype[Any]]


class Widened(np.ndarray[Any, np.dtype[Any]]):
    """float32 values that bfloat16 holds, so that files may have them as such.

    What is computed of them is a plain array.

    >>> type(np.ones(2, np.float32).view(Widened) + 1).__name__
    'ndarray'
    """

    def __array_wrap__(self, array: Any, context: Any = None, return_scalar: Any = False) -> Any:
        plain = np.asarray(array)
        return plain[()] if return_scalar else plain


def _words(array: Array) -> Array:
    return np.ascontiguousarray(array, np.float32).reshape(-1).view(np.uint32)


# NumPy before 2.0 knows no more axes.
MAX_RANK = 32


@dataclass(frozen=True, slots=True)
class Element:
    """One element type: its name in safetensors files, its bytes there, its dtype here."""

    name: str
    stored: np.dtype[Any]
    loaded: np.dtype[Any]

    def swapped(self) -> Element:
        """The same element, stored big-endian."""
        return Element(self.name, self.stored.newbyteorder(">"), self.loaded)


def _rows() -> dict[str, Element]:
    kinds = {"F": "f", "I": "i", "U": "u"}
    names = ["F64", "F32", "F16", "I64", "I32", "I16", "I8", "U64", "U32", "U16", "U8"]
    rows = {}
    for name in names:
        code = f"{kinds[name[0]]}{int(name[1:]) // 8}"
        rows[name] = Element(name, np.dtype("<" + code), np.dtype(code))
    rows["BF16"] = Element("BF16", np.dtype("<u2"), np.dtype(np.float32))
    rows["BOOL"] = Element("BOOL", np.dtype(np.bool_), np.dtype(np.bool_))
    return rows


ELEMENTS = _rows()
_BY_DTYPE = {e.loaded: e for e in ELEMENTS.values() if e.name != "BF16"}


def element_of(op: str, name: str, array: Array) -> Element:
    """The element that an array is written as; DTypeError where there is none.

    >>> element_of("save", "w", np.zeros(3, ">f4")).name
    'F32'
    """
    if isinstance(array, Widened):
        return ELEMENTS["BF16"]
    found = _BY_DTYPE.get(array.dtype.newbyteorder("="))
    if found is None:
        raise DTypeError(
            message(
                op,
                "no such element type in files",
                {quoted(name): array.dtype},
                "float16 to float64, int8 to int64, uint8 to uint64 or bool",
            )
        )
    return found


def little(array: Array) -> memoryview:
    """The array's elements in C order, little-endian, as bytes; a copy only where needed.

    >>> little(np.array([[1, 2]], ">i2")).tobytes()
    b'\\x01\\x00\\x02\\x00'
    """
    if isinstance(array, Widened):
        return (_words(array) >> np.uint32(16)).astype("<u2").view(np.uint8).data
    stored = array.dtype.newbyteorder("<")
    return np.asarray(array, stored, order="C").reshape(-1).view(np.uint8).data


def checked(op: str, state: Mapping[Any, Any]) -> dict[str, Array]:
    """What is to be written: names and arrays that every format here can hold.

    Raises: DTypeError for names that are no str and values that are no arrays of numbers;
    FormatError for names that a reader would refuse.

    >>> checked("save", {"w": [1.0]})
    {'w': array([1.])}
    """
    arrays = {}
    for name, value in state.items():
        if not isinstance(name, str):
            raise DTypeError(message(op, "names are text", {"name": quoted(name)}, "str"))
        try:
            name.encode()
        except UnicodeEncodeError:
            raise FormatError(message(op, "not Unicode", {"name": quoted(name)})) from None
        try:
            array = np.asarray(value)
        except (TypeError, ValueError, RuntimeError) as error:
            raise DTypeError(message(op, f"no array: {error}", {"entry": quoted(name)})) from None
        # One that was written to is a plain array again.
        if isinstance(value, Widened) and array.dtype == np.float32:
            array = array if (_words(array) & np.uint32(0xFFFF)).any() else array.view(Widened)
        element_of(op, name, array)
        arrays[name] = array
    return arrays


def fault_of_shape(shape: tuple[int, ...], itemsize: int) -> str:
    """What is wrong with a shape out of a file, "" for nothing.

    >>> fault_of_shape((2**40, 0, 2**40), 4)
    'the shape is too large'
    """
    if len(shape) > MAX_RANK:
        return f"more than {MAX_RANK} axes"
    if any(size < 0 for size in shape):
        return "negative size"
    # NumPy multiplies the sizes without the zeros, and so refuses what has no elements at all.
    if math.prod(size for size in shape if size) * itemsize >= 2**63:
        return "the shape is too large"
    return ""


def fill(
    read: Callable[[memoryview], None], element: Element, count: int, name: str, budget: Budget
) -> Array:
    """A new flat array of `count` elements; `read` fills the next bytes that it is given.

    Raises: FormatError for a truth value other than 0 and 1, which NumPy would not survive.
    """
    budget.spend(count * element.loaded.itemsize, name)
    result = np.empty(count, element.loaded)
    if element.name == "BF16":
        words = result.view(np.uint32)
        for start in range(0, count, CHUNK):
            half = np.empty(min(CHUNK, count - start), element.stored)
            read(half.view(np.uint8).data)
            np.left_shift(half, np.uint32(16), out=words[start : start + len(half)], dtype="u4")
        return result
    if count == 0:
        return result
    data = result.view(np.uint8)
    whole = data.data
    # In pieces, so that checksums and checks of values find them in the cache.
    for start in range(0, len(whole), CHUNK):
        read(whole[start : start + CHUNK])
        if element.name == "BOOL" and data[start : start + CHUNK].max() > 1:
            budget.source.fail("a truth value is neither 0 nor 1", {"entry": quoted(name)})
    if not element.stored.isnative:
        result.byteswap(inplace=True)
    return result
