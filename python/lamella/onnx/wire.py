# SPDX-License-Identifier: Apache-2.0
"""The protobuf wire format: fields of a message, bounded in depth, work and memory.

A message is a sequence of (key, value); the key holds the field's number and one of four wire
types. Nothing is copied: values of bytes are views of the file. Every length is checked against
what is left before anything is made of it, and a Reader counts what it hands out, so that a file
of nothing but tiny fields ends too. Groups, removed from the format, are refused. What is malformed
raises FormatError, what is more than a model of its size has UnsupportedError.
Source: protobuf.dev, "Encoding".
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import TypeAlias

import numpy as np

from lamella.errors import FormatError, UnsupportedError, message

__all__ = [
    "FIXED32",
    "FIXED64",
    "LENGTH",
    "RUN",
    "VARINT",
    "Field",
    "Reader",
    "excess",
    "fault",
    "signed",
    "varint",
]

VARINT, FIXED64, LENGTH, FIXED32 = 0, 1, 2, 5
# Added to a wire type: a field again and again, keys included, as one view.
RUN = 8

# number, wire type, value: an int for numbers (fixed ones as their bits), a view for bytes.
Field: TypeAlias = tuple[int, int, "int | memoryview"]

# Nesting: graphs in attributes of graphs are what nests; real models stay below ten.
MAX_DEPTH = 64
# Messages cost some 600 bytes and 12 us each once they are nodes of a plan, fields some 0.5 us,
# numbers 8 bytes and some 0.05 us. A graph may have this many of them whatever its size, half a
# second's worth; more only with its bytes, so that reading stays within three times the file and
# 64 MiB, and 20 ns a byte and a second.
_MESSAGES, _FIELDS, _NUMBERS = 33_000, 400_000, 2_000_000
# Texts of a run, some 0.2 us each.
_TEXTS = 2_000_000
# Bytes looked at together where numbers follow each other, at first and at most.
_LOOK, _LOOK_MOST = 256, 1 << 15


class Reader:
    """What is left of one file's allowance; the methods take messages apart."""

    __slots__ = ("_fields", "_messages", "_numbers", "_texts")

    def __init__(self, size: int) -> None:
        self._messages = _MESSAGES + size // 1600
        self._fields = _FIELDS + size // 256
        self._numbers = _NUMBERS + size // 8
        self._texts = _TEXTS + size // 16

    def fields(
        self, view: memoryview, what: str, depth: int, runs: Collection[int] = ()
    ) -> Iterator[Field]:
        """The fields of the message in `view`, in order; what: its name in messages.

        runs: numbers of fields that come as one where they follow each other.
        """
        if depth > MAX_DEPTH:
            raise fault(what, f"nested more than {MAX_DEPTH} deep")
        self._messages -= 1
        if self._messages < 0:
            raise excess(what, "messages")
        position, end = 0, len(view)
        while position < end:
            self._fields -= 1
            if self._fields < 0:
                raise excess(what, "fields")
            start, key = position, view[position]
            position += 1
            if key >= 0x80:
                key, position = varint(view, position - 1, what)
            number, kind = key >> 3, key & 7
            if number == 0 or number >= 1 << 29:
                raise fault(what, "no such field number", number)
            value: int | memoryview
            if kind == VARINT:
                value, position = varint(view, position, what)
            elif kind == LENGTH:
                size, position = varint(view, position, what)
                if size > end - position:
                    raise fault(what, "a field is longer than its message", size, end - position)
                value = view[position : position + size]
                position += size
            elif kind in (FIXED32, FIXED64):
                size = 4 if kind == FIXED32 else 8
                if size > end - position:
                    raise fault(what, "ends within a number")
                value = int.from_bytes(view[position : position + size], "little")
                position += size
            else:
                raise fault(what, "no such wire type (groups are refused)", kind)
            if number in runs and key < 0x80 and position < end and view[position] == key:
                position = self._run_end(view, start, what)
                kind, value = RUN + kind, view[start:position]
            yield number, kind, value

    def _run_end(self, view: memoryview, start: int, what: str) -> int:
        """Where the fields end that follow each other from `start` on with one key of a byte."""
        key, end = view[start], len(view)
        if key & 7 == LENGTH:
            position = start
            while position < end and view[position] == key:
                self._texts -= 1
                if self._texts < 0:
                    raise excess(what, "texts")
                size, position = varint(view, position + 1, what)
                if size > end - position:
                    raise fault(what, "a field is longer than its message", size, end - position)
                position += size
            return position
        span = {FIXED32: 5, FIXED64: 9}.get(key & 7, 0)
        look, position = _LOOK, start
        while position < end:
            data = np.frombuffer(view[position : position + look], np.uint8)
            if span:
                whole = data.size // span
                wrong = np.flatnonzero(data[: whole * span : span] != key)
                same = int(wrong[0]) if wrong.size else whole
                position += same * span
            else:
                ends = np.flatnonzero(data < 0x80)
                whole = ends.size // 2
                keys, lasts = ends[: 2 * whole : 2], ends[1 : 2 * whole : 2]
                right = data[keys] == key
                right[1:] &= keys[1:] == lasts[:-1] + 1
                right &= (keys[:1] == 0).all()
                wrong = np.flatnonzero(~right)
                same = int(wrong[0]) if wrong.size else whole
                position += int(lasts[same - 1]) + 1 if same else 0
            if same < whole or not same:
                break
            look = min(2 * look, _LOOK_MOST)
        return position

    def spend(self, numbers: int, what: str) -> None:
        """Takes `numbers` from the allowance of numbers that are stored one by one."""
        self._numbers -= numbers
        if self._numbers < 0:
            raise excess(what, "numbers outside raw data")


def varint(view: memoryview, position: int, what: str) -> tuple[int, int]:
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


def excess(what: str, things: str) -> UnsupportedError:
    """The error of a file that would cost more than reading one may."""
    return UnsupportedError(message(what, f"more {things} than a model of this size has"))


def fault(what: str, rule: str, got: object = None, limit: object = None) -> FormatError:
    """The error of a malformed file."""
    found = {} if got is None else {"value": got}
    return FormatError(message(what, rule, found, "" if limit is None else f"at most {limit}"))
