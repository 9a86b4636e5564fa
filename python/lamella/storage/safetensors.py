# SPDX-License-Identifier: Apache-2.0
"""The safetensors format: eight bytes of length, a JSON header, the tensors' bytes without gaps.

Own reader and writer, after the description at https://github.com/huggingface/safetensors. The
header's grammar has a fixed depth, so it is read by tokens, without recursion and without trees of
Python objects in between. Stricter than the format: header at most 8 MiB (not 100 MB), at most
65,536 tensors, no name twice (the original keeps the last).
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from lamella.errors import DTypeError, FormatError, message
from lamella.storage.durable import replacing
from lamella.storage.elements import ELEMENTS, Array, element_of, fault_of_shape, fill, little
from lamella.storage.source import MAX_NAMES, Budget, Source, opened, quoted

__all__ = ["Entry", "encode", "parse", "read", "read_header", "tensors", "write"]

MAX_HEADER = 8 << 20
_METADATA = "__metadata__"

_TOKEN = re.compile(
    rb"[ \t\n\r]*+(?:([{}\[\],:])|(0|[1-9][0-9]{0,18}+)|\"([^\"\\\x00-\x1f]*+)(\")?)"
)
# A thousand units at a time: what decoding remembers of a string is bounded by that. A unit never
# ends inside a character or between surrogates.
_PIECE = re.compile(
    rb"(?:[^\"\\\x00-\x1f\x80-\xff]{1,4096}|[\x80-\xff]++|\\[\"\\/bfnrt]"
    rb"|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|\\u[0-9a-fA-F]{4}){0,1024}"
)


@dataclass(frozen=True, slots=True)
class Entry:
    """One tensor of a header; its bytes are [begin, end) after the header."""

    name: str
    element: str
    shape: tuple[int, ...]
    begin: int
    end: int


class _Tokens:
    """The header's tokens: str for punctuation and strings (as pairs), int for numbers."""

    __slots__ = ("at", "source", "text")

    def __init__(self, source: Source, text: bytes) -> None:
        self.source = source
        self.text = text
        self.at = 0

    def fail(self, what: str) -> NoReturn:
        self.source.fail(f"bad header: {what}", {"byte": 8 + self.at})

    def _next(self) -> tuple[str, Any]:
        match = _TOKEN.match(self.text, self.at)
        if match is None:
            self.fail("not JSON of a safetensors header")
        sign, number, plain, closed = match.groups()
        if sign is not None:
            self.at = match.end()
            return "sign", sign
        if number is not None:
            self.at = match.end()
            return "number", int(number)
        if closed is not None:
            self.at = match.end()
            return "string", self._decoded(plain)
        self.at = match.start(3)
        return "string", self._escaped()

    def _decoded(self, data: bytes | bytearray) -> str:
        try:
            return data.decode("utf-8")
        except UnicodeDecodeError:
            self.fail("a string is not Unicode")

    def _escaped(self) -> str:
        """The rest of a string with escapes in it, from the cursor to behind its closing quote."""
        found = bytearray()
        while self.text[self.at : self.at + 1] != b'"':
            piece = _PIECE.match(self.text, self.at)
            if piece is None or piece.end() == self.at:
                self.fail("a string does not end")
            # A lone surrogate becomes bytes that are no UTF-8, which the end refuses.
            part = json.loads(f'"{self._decoded(piece[0])}"')
            found += part.encode("utf-8", "surrogatepass")
            self.at = piece.end()
        self.at += 1
        return self._decoded(found)

    def sign(self, *expected: bytes) -> bytes:
        kind, value = self._next()
        if kind != "sign" or value not in expected:
            self.fail("expected " + " or ".join(sign.decode() for sign in expected))
        return bytes(value)

    def string(self) -> str:
        kind, value = self._next()
        if kind != "string":
            self.fail("expected a string")
        return str(value)

    def numbers(self, most: int) -> tuple[int, ...]:
        """An array of integers."""
        self.sign(b"[")
        kind, value = self._next()
        if value == b"]":
            return ()
        found: list[int] = []
        while True:
            if kind != "number":
                self.fail("expected an integer of at most 19 digits, not negative")
            if len(found) == most:
                self.fail(f"more than {most} numbers in an array")
            found.append(value)
            if self.sign(b",", b"]") == b"]":
                return tuple(found)
            kind, value = self._next()

    def members(self) -> Iterator[str]:
        """The keys of an object; the caller takes each value before the next key."""
        self.sign(b"{")
        kind, key = self._next()
        if key == b"}":
            return
        while True:
            if kind != "string":
                self.fail("expected a string")
            self.sign(b":")
            yield key
            if self.sign(b",", b"}") == b"}":
                return
            kind, key = self._next()


def _entry(tokens: _Tokens, name: str) -> Entry:
    found: dict[str, Any] = {}
    for key in tokens.members():
        if key in found:
            tokens.fail(f"{quoted(key)} twice in the entry of {quoted(name)}")
        if key == "dtype":
            found[key] = tokens.string()
        elif key == "shape":
            found[key] = tokens.numbers(64)
        elif key == "data_offsets":
            found[key] = tokens.numbers(2)
        else:
            tokens.fail(f"unknown key {quoted(key)} in the entry of {quoted(name)}")
    if len(found) != 3 or len(found["data_offsets"]) != 2:
        tokens.fail(f"the entry of {quoted(name)} needs dtype, shape and two data_offsets")
    return Entry(name, found["dtype"], found["shape"], *found["data_offsets"])


def read_header(source: Source) -> bytes:
    """The header as it stands in the file, padding included."""
    if source.size < 10:
        source.fail("too short for a safetensors file", {"bytes": source.size})
    length = int.from_bytes(source.take(0, 8), "little")
    if length > min(MAX_HEADER, source.size - 8):
        source.fail(
            "the header is longer than the file or than allowed",
            {"header": length, "file": source.size},
            f"at most {MAX_HEADER} bytes",
        )
    header = source.take(8, length)
    if not header.startswith(b"{"):
        source.fail("bad header: it does not begin with {")
    return header


def parse(source: Source, header: bytes) -> tuple[list[Entry], dict[str, str]]:
    """The entries in the order of the header, and the metadata; every rule of the format holds."""
    tokens = _Tokens(source, header)
    entries: dict[str, Entry] = {}
    metadata: dict[str, str] | None = None
    for name in tokens.members():
        if name in entries or (name == _METADATA and metadata is not None):
            tokens.fail(f"{quoted(name)} twice")
        if name == _METADATA:
            metadata = {}
            for key in tokens.members():
                if key in metadata:
                    tokens.fail(f"{quoted(key)} twice in the metadata")
                metadata[key] = tokens.string()
                if len(metadata) > MAX_NAMES:
                    tokens.fail(f"more than {MAX_NAMES} entries of metadata")
        else:
            entries[name] = _entry(tokens, name)
            if len(entries) > MAX_NAMES:
                tokens.fail(f"more than {MAX_NAMES} tensors")
    if header[tokens.at :].strip(b" \t\n\r"):
        tokens.fail("something follows the closing brace")
    found = list(entries.values())
    _check(source, found, source.size - 8 - len(header))
    return found, metadata or {}


def _check(source: Source, entries: list[Entry], size: int) -> None:
    """Known element types, sizes that fit, and ranges that tile the data exactly."""
    for entry in entries:
        at: dict[str, object] = {"entry": quoted(entry.name)}
        element = ELEMENTS.get(entry.element)
        if element is None:
            source.fail("unknown element type", {**at, "dtype": quoted(entry.element)})
        if fault := fault_of_shape(entry.shape, element.stored.itemsize):
            source.fail(fault, {**at, "shape": entry.shape})
        if math.prod(entry.shape) * element.stored.itemsize != entry.end - entry.begin:
            source.fail(
                "shape and dtype do not fit the bytes",
                {**at, "shape": entry.shape, "dtype": entry.element}
                | {"data_offsets": (entry.begin, entry.end)},
            )
    position = 0
    for entry in sorted(entries, key=lambda entry: (entry.begin, entry.end)):
        if entry.begin != position:
            source.fail(
                "tensors overlap or leave a hole",
                {"entry": quoted(entry.name), "begin": entry.begin},
                f"begin={position}",
            )
        position = entry.end
    if position != size:
        source.fail("the data does not end with the file", {"data": size}, f"{position} bytes")


def tensors(
    source: Source, header: bytes, entries: list[Entry], budget: Budget
) -> Iterator[tuple[str, Array]]:
    """The arrays one after the other, read into their own memory."""
    for entry in entries:
        element, position = ELEMENTS[entry.element], 8 + len(header) + entry.begin

        def take(view: memoryview) -> None:
            nonlocal position
            source.into(position, view)
            position += len(view)

        count = math.prod(entry.shape)
        yield entry.name, fill(take, element, count, entry.name, budget).reshape(entry.shape)


def read(
    path: str | os.PathLike[str], *, max_bytes: int | None = None
) -> tuple[dict[str, Array], dict[str, str]]:
    """Reads a safetensors file: (name -> array in the order of the header, metadata).

    Raises: FormatError naming the broken rule; OSError.
    """
    with opened(path) as source:
        header = read_header(source)
        entries, metadata = parse(source, header)
        budget = Budget(source, max_bytes)
        return dict(tensors(source, header, entries, budget)), metadata


def encode(
    op: str, arrays: Mapping[str, Array], metadata: Mapping[Any, Any] | None = None
) -> tuple[bytes, list[str]]:
    """Length and header as bytes, and the names in the order in which their data has to follow.

    Large elements come first, so that every tensor lies at a multiple of its element's size.
    """
    header: dict[str, Any] = {}
    if metadata:
        for key, value in metadata.items():
            if not isinstance(key, str) or not isinstance(value, str):
                raise DTypeError(
                    message(op, "metadata maps str to str", {quoted(key): type(value).__name__})
                )
        header[_METADATA] = dict(metadata)
    elements = {name: element_of(op, name, array) for name, array in arrays.items()}
    order = sorted(arrays, key=lambda name: -elements[name].stored.itemsize)
    position, offsets = 0, {}
    for name in order:
        nbytes = arrays[name].size * elements[name].stored.itemsize
        offsets[name] = [position, position + nbytes]
        position += nbytes
    for name, array in arrays.items():
        if name == _METADATA:
            raise FormatError(message(op, "the format keeps this name", {"name": quoted(name)}))
        header[name] = {
            "dtype": elements[name].name,
            "shape": list(array.shape),
            "data_offsets": offsets[name],
        }
    try:
        text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise FormatError(message(op, "a text is not Unicode")) from None
    text += b" " * (-len(text) % 8)
    if len(text) > MAX_HEADER or len(arrays) > MAX_NAMES or len(metadata or ()) > MAX_NAMES:
        raise FormatError(
            message(
                op,
                "too many names or too much metadata",
                {"header": len(text), "tensors": len(arrays)},
                f"{MAX_HEADER} bytes, {MAX_NAMES} tensors",
            )
        )
    return len(text).to_bytes(8, "little") + text, order


def write(
    path: str | os.PathLike[str],
    arrays: Mapping[str, Array],
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Writes a safetensors file, as a whole or not at all.

    Raises: DTypeError for elements that the format does not have; OSError.

    >>> import tempfile
    >>> import numpy as np
    >>> name = os.path.join(tempfile.mkdtemp(), "w.safetensors")
    >>> write(name, {"w": np.ones((2, 3), np.float32)}, {"by": "me"})
    >>> found, metadata = read(name)
    >>> found["w"].shape, metadata
    ((2, 3), {'by': 'me'})
    """
    header, order = encode("save", arrays, metadata)
    with replacing(path) as file:
        file.write(header)
        for name in order:
            file.write(little(arrays[name]))
