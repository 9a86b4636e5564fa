# SPDX-License-Identifier: Apache-2.0
"""Mutations of ONNX models that keep the protobuf structure: whole fields, with right lengths.

Raw bytes seldom survive a change of length; a tree of fields does. A message is a list of (number,
wire type, value); which fields are messages is the schema below, the part of onnx.proto that the
reader knows. What is no protobuf is left to the fuzzer's own mutations.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import TypeAlias

from lamella.onnx.rules import RULES

__all__ = ["mutate"]

Message: TypeAlias = "list[list[object]]"

# Message kinds by (kind, field number).
_SCHEMA = {
    ("model", 7): "graph", ("model", 8): "opset", ("model", 25): "function",
    ("graph", 1): "node", ("graph", 5): "tensor", ("graph", 11): "info", ("graph", 12): "info",
    ("node", 5): "attribute",
    ("attribute", 5): "tensor", ("attribute", 6): "graph", ("attribute", 10): "tensor",
    ("attribute", 11): "graph",
    ("tensor", 13): "entry",
    ("info", 2): "type", ("type", 1): "array", ("array", 2): "shape", ("shape", 1): "extent",
    ("function", 7): "node", ("function", 9): "opset", ("function", 11): "attribute",
}  # fmt: skip
# Fields that name values: they are exchanged for one another, so that graphs are rewired.
_NAMES = {("node", 1), ("node", 2), ("tensor", 8), ("info", 1), ("function", 4), ("function", 5)}
_PACKED = {("attribute", 8), ("tensor", 1), ("tensor", 5), ("tensor", 7), ("tensor", 11)}
_NUMBERS = [0, 1, 2, 3, 4, 7, 8, 13, 16, 63, 64, 65, 127, 128, 255, 1 << 15, 1 << 16, 1 << 20,
            1 << 31, 1 << 32, 1 << 40, (1 << 59) - 1, (1 << 63) - 1, 1 << 63,
            *(-n & (1 << 64) - 1 for n in (1, 2, 3, 4, 64, 1 << 31))]  # fmt: skip
_OPERATORS = sorted({op.rpartition(":")[2] for op, _ in RULES})
_MAX_DEPTH = 20


def varint(number: int) -> bytes:
    """A number in the wire format."""
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


def _number(data: bytes, position: int) -> tuple[int, int]:
    result = shift = 0
    while shift < 70:
        byte = data[position]
        position += 1
        result |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return result & (1 << 64) - 1, position
    raise IndexError


def _parse(data: bytes, kind: str, depth: int = 0) -> Message:
    """The fields of a message; IndexError where the bytes are none."""
    fields: Message = []
    position = 0
    while position < len(data):
        key, position = _number(data, position)
        number, wire = key >> 3, key & 7
        if wire == 0:
            value: object
            value, position = _number(data, position)
        elif wire == 2:
            size, position = _number(data, position)
            if size > len(data) - position:
                raise IndexError
            value = data[position : position + size]
            position += size
            inner = _SCHEMA.get((kind, number))
            if inner and depth < _MAX_DEPTH:
                value = _parse(value, inner, depth + 1)
        elif wire in (1, 5):
            size = 8 if wire == 1 else 4
            value = data[position : position + size]
            position += size
        else:
            raise IndexError
        fields.append([number, wire, value])
    return fields


def _encode(fields: Message) -> bytes:
    out = bytearray()
    for number, wire, value in fields:
        assert isinstance(number, int)
        assert isinstance(wire, int)
        out += varint(number << 3 | wire)
        if isinstance(value, int):
            out += varint(value)
        else:
            data = _encode(value) if isinstance(value, list) else bytes(value)  # type: ignore[call-overload]
            out += varint(len(data)) + data if wire == 2 else data
    return bytes(out)


def _messages(fields: Message, kind: str) -> Iterator[tuple[str, Message]]:
    yield kind, fields
    for number, _, value in fields:
        if isinstance(value, list):
            yield from _messages(value, _SCHEMA[kind, int(number)])  # type: ignore[call-overload]


def mutate(
    data: bytes, size: int, seed: int, bytewise: Callable[[bytes, int], bytes], other: bytes = b""
) -> bytes:
    """A changed model of at most `size` bytes; other: one more, of which parts may be taken.

    bytewise: the fuzzer's own mutation of some bytes, for the contents of a field and for what is
    no model.
    """
    draw = random.Random(seed)
    try:
        model = _parse(data, "model")
    except IndexError:
        return bytewise(data, size)
    if draw.random() < 0.15:
        return bytewise(data, size)
    try:
        donor = _parse(other, "model") if other else model
    except IndexError:
        donor = model
    for _ in range(draw.choice((1, 1, 1, 2, 3, 5))):
        _change(model, donor, draw, bytewise)
    found = _encode(model)
    return found if len(found) <= size else bytewise(data, size)


def _change(
    model: Message, donor: Message, draw: random.Random, bytewise: Callable[[bytes, int], bytes]
) -> None:
    messages = [(kind, fields) for kind, fields in _messages(model, "model") if fields]
    if not messages:
        return
    kind, fields = draw.choice(messages)
    position = draw.randrange(len(fields))
    field = fields[position]
    what = draw.randrange(8)
    if what == 0:
        del fields[position]
    elif what == 1:
        fields.insert(draw.randrange(len(fields) + 1), _copy(field))
    elif what == 2:
        other = draw.randrange(len(fields))
        fields[position], fields[other] = fields[other], fields[position]
    elif what == 3:
        # A field of the same message of the other model.
        offered = [one for name, part in _messages(donor, "model") if name == kind for one in part]
        if offered:
            fields.insert(draw.randrange(len(fields) + 1), _copy(draw.choice(offered)))
    else:
        _content(kind, field, model, draw, bytewise)


def _content(
    kind: str,
    field: list[object],
    model: Message,
    draw: random.Random,
    bytewise: Callable[[bytes, int], bytes],
) -> None:
    number, wire, value = field
    assert isinstance(number, int)
    if isinstance(value, list):
        if value:
            _content(_SCHEMA[kind, number], draw.choice(value), model, draw, bytewise)
    elif wire == 0:
        assert isinstance(value, int)
        near = (value + draw.choice((-1, 1))) & (1 << 64) - 1
        field[2] = draw.choice((near, draw.choice(_NUMBERS), value ^ 1 << draw.randrange(64)))
    elif (kind, number) == ("node", 4):
        field[2] = draw.choice(_OPERATORS).encode()
    elif (kind, number) in _NAMES:
        names = [
            one[2]
            for name, part in _messages(model, "model")
            for one in part
            if (name, one[0]) in _NAMES
        ]
        field[2] = draw.choice((draw.choice(names), b""))
    elif wire == 2 and (kind, number) in _PACKED and draw.random() < 0.7:
        count = draw.randrange(5)
        field[2] = b"".join(varint(draw.choice(_NUMBERS)) for _ in range(count))
    elif wire == 2 and (kind, number) == ("tensor", 9) and draw.random() < 0.5:
        count = draw.randrange(4)
        field[2] = b"".join(draw.choice(_NUMBERS).to_bytes(8, "little") for _ in range(count))
    else:
        assert isinstance(value, bytes)
        found = bytewise(value, len(value) + 8) if value else bytes([draw.randrange(256)])
        field[2] = found if wire == 2 else found[: len(value)].ljust(len(value), b"\0")


def _copy(field: list[object]) -> list[object]:
    value = field[2]
    return [field[0], field[1], [_copy(one) for one in value] if isinstance(value, list) else value]
