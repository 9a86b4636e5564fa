# SPDX-License-Identifier: Apache-2.0
"""NumPy's files: .npz archives and single .npy arrays, without pickle.

The reader has its own grammar of the .npy header (numpy/lib/format.py describes it), which
evaluates nothing; object arrays, strings and records are refused. The writer goes through NumPy.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
from numpy.lib import format as npy

from lamella.errors import FormatError, message
from lamella.storage.archive import Stream, leads_outside, members
from lamella.storage.durable import replacing
from lamella.storage.elements import Array, Element, element_of, fault_of_shape, fill
from lamella.storage.source import MAX_NAMES, Budget, Source, opened, quoted

__all__ = ["MAGIC", "read", "write"]

MAGIC = b"\x93NUMPY"

# NumPy's own bound.
_MAX_HEADER = 10_000
# Without ways back: time grows with the length only, whatever stands in the header.
_ITEM = re.compile(
    r"\s*+(?:'(\w++)'|\"(\w++)\")\s*+:\s*+"
    r"(?:(True|False)|'([^'\\]*+)'"
    r"|\(((?:\s*+[0-9]{1,19}+L?\s*+,)*+\s*+(?:[0-9]{1,19}+L?\s*+)?)\))\s*+(,|(?=}))"
)
_DTYPE = re.compile(r"([<>|=])([fiub])([1248])")


class _Bytes(Protocol):
    """What an array is read from: a member of an archive, or the file itself."""

    left: int

    def into(self, view: memoryview) -> None: ...

    def take(self, count: int) -> bytes: ...


class _Whole:
    """A file from first to last."""

    __slots__ = ("_source", "left")

    def __init__(self, source: Source) -> None:
        self._source = source
        self.left = source.size

    def into(self, view: memoryview) -> None:
        self._source.into(self._source.size - self.left, view)
        self.left -= len(view)

    def take(self, count: int) -> bytes:
        found = self._source.take(self._source.size - self.left, count)
        self.left -= count
        return found


def _header(source: Source, name: str, text: str) -> tuple[Element, bool, tuple[int, ...]]:
    """Element, whether in Fortran's order, and shape, out of a .npy header."""
    at: dict[str, object] = {"entry": quoted(name)}
    found: dict[str, Any] = {}
    body, position = text.strip(), 1
    while match := _ITEM.match(body, position):
        key = match[1] or match[2]
        if key in found:
            source.fail("a key twice in the header of an array", {**at, "key": quoted(key)})
        truth, word, sizes = match.group(3, 4, 5)
        if sizes is not None:
            found[key] = tuple(
                int(size.strip().rstrip("L")) for size in sizes.split(",") if size.strip()
            )
        else:
            found[key] = word if word is not None else truth == "True"
        position = match.end()
    kinds = {key: type(value) for key, value in found.items()}
    if (
        not body.startswith("{")
        or body[position:].strip() != "}"
        or kinds != {"descr": str, "fortran_order": bool, "shape": tuple}
    ):
        source.fail("the header of an array is not that of plain numbers", at)
    match = _DTYPE.fullmatch(found["descr"])
    if match is None or match[2] + match[3] in ("f1", "b2", "b4", "b8"):
        source.fail("no plain element type", {**at, "descr": quoted(found["descr"])})
    dtype = np.dtype("=" + match[2] + match[3])
    element = element_of("load", name, np.empty(0, dtype))
    if match[1] == ">" and dtype.itemsize > 1:
        element = element.swapped()
    return element, found["fortran_order"], found["shape"]


def _array(source: Source, stream: _Bytes, name: str, budget: Budget) -> Array:
    at: dict[str, object] = {"entry": quoted(name)}
    start = stream.take(min(8, stream.left))
    if len(start) < 8 or not start.startswith(MAGIC) or start[6] not in (1, 2, 3):
        source.fail("no array in NumPy's format", at)
    length = int.from_bytes(stream.take(min(2 if start[6] == 1 else 4, stream.left)), "little")
    if length > min(_MAX_HEADER, stream.left):
        source.fail("the header of an array is too long", {**at, "bytes": length})
    try:
        text = stream.take(length).decode("utf-8" if start[6] == 3 else "latin-1")
    except UnicodeDecodeError:
        source.fail("the header of an array is not Unicode", at)
    element, fortran, shape = _header(source, name, text)
    if fault := fault_of_shape(shape, element.stored.itemsize):
        source.fail(fault, {**at, "shape": shape})
    count = math.prod(shape)
    if count * element.stored.itemsize != stream.left:
        source.fail(
            "shape and dtype do not fit the bytes",
            {**at, "shape": shape, "dtype": element.loaded, "bytes": stream.left},
        )
    flat = fill(stream.into, element, count, name, budget)
    return flat.reshape(shape[::-1]).T if fortran else flat.reshape(shape)


def read(path: str | os.PathLike[str], *, max_bytes: int | None = None) -> dict[str, Array]:
    """Reads a .npz archive (name -> array), or a .npy file, whose array is named arr_0 as by savez.

    Raises: FormatError naming the broken rule; OSError.
    """
    with opened(path) as source:
        budget = Budget(source, max_bytes)
        if source.take(0, min(6, source.size)) == MAGIC:
            return {"arr_0": _array(source, _Whole(source), "arr_0", budget)}
        found: dict[str, Array] = {}
        for member in members(source).values():
            name = member.name.removesuffix(".npy")
            if name == member.name or name in found:
                source.fail("no .npy name, as NumPy's archives have", {"entry": quoted(name)})
            stream = Stream(source, member)
            found[name] = _array(source, stream, name, budget)
            stream.finish()
        return found


def write(path: str | os.PathLike[str], arrays: Mapping[str, Array]) -> None:
    """Writes an uncompressed .npz archive that np.load reads; the same arrays give the same bytes.

    Raises: FormatError for names that no archive may hold; DTypeError; OSError.

    >>> import tempfile
    >>> name = os.path.join(tempfile.mkdtemp(), "w.npz")
    >>> write(name, {"w": np.ones((2, 3), np.float32)})
    >>> read(name)["w"].shape, np.load(name)["w"].shape
    ((2, 3), (2, 3))
    """
    for name in arrays:
        if leads_outside(name) or len(name.encode()) > 0xFFFF - 4 or len(arrays) > MAX_NAMES:
            raise FormatError(
                message(
                    "save",
                    "no name in an archive",
                    {"name": quoted(name)},
                    "",
                    "Save as .safetensors",
                )
            )
        element_of("save", name, arrays[name])
    import zipfile  # 5 ms that importing lamella does not have to pay

    with replacing(path) as file, zipfile.ZipFile(file, "w") as archive:
        for name, array in arrays.items():
            # A ZipInfo's date is fixed; open() by name would write the time.
            with archive.open(zipfile.ZipInfo(name + ".npy"), "w", force_zip64=True) as member:
                npy.write_array(member, array, allow_pickle=False)
