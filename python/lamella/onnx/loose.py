# SPDX-License-Identifier: Apache-2.0
"""Numbers and texts that a file stores one by one: lists of an attribute, or outside raw data.

A list of a million entries is valid, so its bytes are scanned and decoded by NumPy, a chunk at a
time; Python's objects are made of short lists only. A list in an attribute stays bytes until a rule
wants it: trees of a gradient boosting are read past, and refused for what they are.
Source: protobuf.dev, "Encoding", packed repeated fields.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from lamella.ir.types import Array
from lamella.onnx.wire import (
    FIXED32,
    FIXED64,
    LENGTH,
    RUN,
    VARINT,
    Field,
    Reader,
    fault,
    signed,
    varint,
)

__all__ = ["Loose", "floats", "integers", "texts"]

# Bytes that are decoded at once: temporaries of a few times this.
_CHUNK = 1 << 15
# Up to so many numbers a list is a tuple of Python's numbers.
_SHORT = 256


@dataclass(frozen=True, slots=True, eq=False)
class Loose:
    """A long list of an attribute, still as bytes; kind: its AttributeType, 6 to 8."""

    reader: Reader
    kind: int
    parts: tuple[Field, ...]

    def decode(self) -> Any:
        """A tuple where it is short or of texts, an array of float32 or int64 otherwise."""
        what = "AttributeProto"
        if self.kind == 8:
            return texts(self.reader, self.parts, what)
        if self.kind == 7:
            numbers = integers(self.reader, self.parts, what)
        else:
            numbers = floats(self.reader, self.parts, what, False)
        if numbers.size <= _SHORT:
            return tuple(numbers.tolist())
        numbers.flags.writeable = False
        return numbers


def integers(reader: Reader, parts: Iterable[Field], what: str) -> Array:
    """Varints, alone, packed or in runs, as signed 64-bit integers."""
    pieces: list[Array] = []
    for _, kind, value in parts:
        if isinstance(value, int) and kind == VARINT:
            pieces.append(np.array([signed(value)], np.int64))
        elif isinstance(value, int):
            raise fault(what, "not integers; the wire type is", kind)
        elif kind in (LENGTH, RUN + VARINT):
            pieces.append(_packed(reader, value, kind != LENGTH, what))
        else:
            raise fault(what, "not integers; the wire type is", kind & 7)
    return _joined(pieces, np.dtype(np.int64))


def _packed(reader: Reader, view: memoryview, keyed: bool, what: str) -> Array:
    """The varints of a packed list; keyed: with a key of one byte in front of each."""
    data = np.frombuffer(view, np.uint8)
    chunks = range(0, data.size, _CHUNK)
    count = sum(int(np.count_nonzero(data[i : i + _CHUNK] < 0x80)) for i in chunks)
    if data.size and data[-1] >= 0x80:
        raise fault(what, "ends within a number")
    count >>= keyed
    reader.spend(count, what)
    result = np.empty(count, np.int64)
    done = position = 0
    while position < data.size:
        chunk = data[position : position + _CHUNK]
        ends = np.flatnonzero(chunk < 0x80)
        ends = ends[: ends.size // 2 * 2] if keyed else ends
        if not ends.size:
            raise fault(what, "a number of more than ten bytes")
        starts = ends[0::2] + 1 if keyed else np.concatenate(([0], ends[:-1] + 1))
        lasts = ends[1::2] if keyed else ends
        result[done : done + lasts.size] = _numbers(chunk, starts, lasts, what)
        done += lasts.size
        position += int(ends[-1]) + 1
    return result


def _numbers(data: Array, starts: Array, lasts: Array, what: str) -> Array:
    """The varints from `starts` to `lasts`, both included."""
    lengths = lasts - starts + 1
    longest = int(lengths.max())
    if longest > 10:
        raise fault(what, "a number of more than ten bytes")
    numbers = np.zeros(starts.size, np.uint64)
    for place in range(longest):
        reaches = lengths > place
        bits = (data[starts[reaches] + place] & 0x7F).astype(np.uint64)
        if place == 9 and np.any(bits > 1):
            raise fault(what, "a number of more than 64 bits")
        numbers[reaches] |= bits << np.uint64(7 * place)
    return numbers.view(np.int64)


def floats(reader: Reader, parts: Iterable[Field], what: str, wide: bool) -> Array:
    """Fixed numbers of 4 (wide: 8) bytes, alone, packed or in runs; packed ones where they lie."""
    dtype = np.dtype("<f8" if wide else "<f4")
    alone = FIXED64 if wide else FIXED32
    pieces: list[Array] = []
    for _, kind, value in parts:
        if isinstance(value, int):
            if kind != alone:
                raise fault(what, "a number of another kind", kind)
            pieces.append(np.frombuffer(value.to_bytes(dtype.itemsize, "little"), dtype))
        elif kind == LENGTH:
            if len(value) % dtype.itemsize:
                raise fault(what, "ends within a number")
            pieces.append(np.frombuffer(value, dtype))
        elif kind == RUN + alone:
            record = np.dtype([("key", "u1"), ("number", dtype)])
            pieces.append(np.frombuffer(value, record)["number"].copy())
        else:
            raise fault(what, "a number of another kind", kind & 7)
    return _joined(pieces, dtype)


def texts(reader: Reader, parts: Iterable[Field], what: str) -> tuple[bytes, ...]:
    """Texts, alone or in runs, as bytes."""

    def each() -> Iterator[bytes]:
        for _, kind, value in parts:
            if isinstance(value, int) or kind not in (LENGTH, RUN + LENGTH):
                raise fault(what, "not a field of bytes; its wire type is", kind & 7)
            if kind == LENGTH:
                yield bytes(value)
                continue
            position = 0
            while position < len(value):
                # An object of some 50 bytes each.
                reader.spend(8, what)
                size, position = varint(value, position + 1, what)
                yield bytes(value[position : position + size])
                position += size

    return tuple(each())


def _joined(pieces: list[Array], dtype: np.dtype[Any]) -> Array:
    if len(pieces) == 1:
        return pieces[0]
    return np.concatenate(pieces) if pieces else np.empty(0, dtype)
