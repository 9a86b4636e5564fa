# SPDX-License-Identifier: Apache-2.0
"""The protobuf wire format: fields of a message, bounded in depth, work and memory.

A message is a sequence of (key, value); the key holds the field's number and one of four wire
types. Nothing is copied: values of bytes are views of the file. Every length is checked against
what is left before anything is made of it, and a Reader counts what it hands out, so that a file
of nothing but tiny fields ends with an error too. Groups, removed from the format, are refused.
Source: protobuf.dev, "Encoding".
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import TypeAlias

import numpy as np

from lamella.errors import FormatError, message
from lamella.ir.types import Array

__all__ = ["FIXED32", "FIXED64", "LENGTH", "VARINT", "Field", "Reader", "signed"]

VARINT, FIXED64, LENGTH, FIXED32 = 0, 1, 2, 5

# number, wire type, value: an int for numbers (fixed ones as their bits), a view for bytes.
Field: TypeAlias = tuple[int, int, "int | memoryview"]

# Nesting: graphs in attributes of graphs are what nests; real models stay below ten.
MAX_DEPTH = 64
# Messages cost some 600 bytes and 12 us each once they are nodes of a plan, fields some 0.5 us,
# numbers up to 1.5 us. A graph may have this many of them whatever its size, half a second's worth;
# more only with the bytes of its weights, so that reading stays within three times the file and
# 64 MiB, and 20 ns a byte and a second.
_MESSAGES, _FIELDS, _NUMBERS = 33_000, 400_000, 270_000


class Reader:
    """What is left of one file's allowance; the methods take messages apart."""

    __slots__ = ("_fields", "_messages", "_numbers")

    def __init__(self, size: int) -> None:
        self._messages = _MESSAGES + size // 1600
        self._fields = _FIELDS + size // 256
        self._numbers = _NUMBERS + size // 192

    def fields(self, view: memoryview, what: str, depth: int) -> Iterator[Field]:
        """The fields of the message in `view`, in order; what: its name in messages."""
        if depth > MAX_DEPTH:
            raise fault(what, f"nested more than {MAX_DEPTH} deep")
        self._messages -= 1
        if self._messages < 0:
            raise fault(what, "more messages than a model of this size has")
        position, end = 0, len(view)
        while position < end:
            self._fields -= 1
            if self._fields < 0:
                raise fault(what, "more fields than a model of this size has")
            key = view[position]
            position += 1
            if key >= 0x80:
                key, position = _varint(view, position - 1, what)
            number, kind = key >> 3, key & 7
            if number == 0 or number >= 1 << 29:
                raise fault(what, "no such field number", number)
            if kind == VARINT:
                value, position = _varint(view, position, what)
                yield number, kind, value
            elif kind == LENGTH:
                size, position = _varint(view, position, what)
                if size > end - position:
                    raise fault(what, "a field is longer than its message", size, end - position)
                yield number, kind, view[position : position + size]
                position += size
            elif kind in (FIXED32, FIXED64):
                size = 4 if kind == FIXED32 else 8
                if size > end - position:
                    raise fault(what, "ends within a number")
                yield number, kind, int.from_bytes(view[position : position + size], "little")
                position += size
            else:
                raise fault(what, "no such wire type (groups are refused)", kind)

    def spend(self, numbers: int, what: str) -> None:
        """Takes `numbers` from the allowance of numbers that are stored one by one."""
        self._numbers -= numbers
        if self._numbers < 0:
            raise fault(what, "more numbers outside raw data than a model of this size has")

    def varints(self, value: int | memoryview, what: str) -> list[int]:
        """One number, or a packed list of them, as signed 64-bit integers."""
        if isinstance(value, int):
            self.spend(1, what)
            return [signed(value)]
        data = np.frombuffer(value, np.uint8)
        ends = np.flatnonzero(data < 0x80)
        if data.size and (not ends.size or ends[-1] != data.size - 1):
            raise fault(what, "ends within a number")
        self.spend(len(ends), what)
        if len(ends) == data.size:
            return [int(byte) for byte in value]
        numbers: list[int] = []
        position = 0
        while position < len(value):
            number, position = _varint(value, position, what)
            numbers.append(signed(number))
        return numbers

    def floats(self, field: Field, what: str, wide: bool = False) -> list[float]:
        """One fixed number of 4 (wide: 8) bytes, or a packed list of them."""
        _, kind, value = field
        size, code = (8, "d") if wide else (4, "f")
        if isinstance(value, int):
            if kind != (FIXED64 if wide else FIXED32):
                raise fault(what, "a number of another kind", kind)
            self.spend(1, what)
            return [struct.unpack(f"<{code}", value.to_bytes(size, "little"))[0]]
        if len(value) % size:
            raise fault(what, "ends within a number")
        self.spend(len(value) // size, what)
        return [number for (number,) in struct.iter_unpack(f"<{code}", value)]

    def packed(self, field: Field, what: str, wide: bool = False) -> Array:
        """The same numbers as an array; a packed list is a view of the file and costs nothing."""
        dtype = np.dtype("<f8" if wide else "<f4")
        if isinstance(field[2], int):
            # An array each: no writer leaves them unpacked.
            self.spend(7, what)
            return np.array(self.floats(field, what, wide), dtype)
        if len(field[2]) % dtype.itemsize:
            raise fault(what, "ends within a number")
        return np.frombuffer(field[2], dtype)


def _varint(view: memoryview, position: int, what: str) -> tuple[int, int]:
    """The number at `position` and where it ends; at most ten bytes and 64 bits."""
    result = shift = 0
    end = len(view)
    while position < end:
        byte = view[position]
        position += 1
        result |= (byte & 0x7F) << shift
        if byte < 0x80:
            if result >= 1 << 64:
                raise fault(what, "a number of more than 64 bits")
            return result, position
        shift += 7
        if shift > 63:
            raise fault(what, "a number of more than ten bytes")
    raise fault(what, "ends within a number")


def signed(number: int) -> int:
    """64 bits read as two's complement."""
    return number - (1 << 64) if number >= 1 << 63 else number


def fault(what: str, rule: str, got: object = None, limit: object = None) -> FormatError:
    """The error of a malformed file."""
    found = {} if got is None else {"value": got}
    return FormatError(message(what, rule, found, "" if limit is None else f"at most {limit}"))
