# SPDX-License-Identifier: Apache-2.0
"""The protobuf wire format written: the messages of onnx.proto as bytes, the mirror of model.py.

Each function gives the bytes of one message; field numbers are onnx.proto's. Arrays are written as
raw little-endian data.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lamella.ir.types import Array, DType

__all__ = ["ELEMENT_TYPES", "graph", "model", "node", "tensor", "value_info"]

ELEMENT_TYPES = {
    DType.float32: 1,
    DType.float64: 11,
    DType.int64: 7,
    DType.int32: 6,
    DType.uint8: 2,
    DType.int8: 3,
    DType.bool: 9,
    DType.bfloat16: 16,
    DType.float16: 10,
}

_FLOAT, _INT, _STRING, _FLOATS, _INTS = 1, 2, 3, 6, 7


def _varint(number: int) -> bytes:
    number &= (1 << 64) - 1
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def _int(field: int, number: int) -> bytes:
    return _varint(field << 3) + _varint(number)


def _bytes(field: int, data: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(data)) + data


def _text(field: int, text: str) -> bytes:
    return _bytes(field, text.encode())


def tensor(name: str, array: Array) -> bytes:
    """A TensorProto of one of our element types, of which uint16 is bfloat16."""
    little = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
    parts = [_int(1, extent) for extent in array.shape]
    parts.append(_int(2, ELEMENT_TYPES[DType.stored(array.dtype)]))
    parts.append(_text(8, name))
    parts.append(_bytes(9, little.tobytes()))
    return b"".join(parts)


def _attribute(name: str, value: Any) -> bytes:
    head = _text(1, name)
    if isinstance(value, str):
        return head + _bytes(4, value.encode()) + _int(20, _STRING)
    if isinstance(value, float):
        bits = struct.pack("<f", value)
        return head + _varint(2 << 3 | 5) + bits + _int(20, _FLOAT)
    if isinstance(value, int):
        return head + _int(3, value) + _int(20, _INT)
    return head + b"".join(_int(8, number) for number in value) + _int(20, _INTS)


def node(
    op_type: str,
    name: str,
    inputs: Sequence[str],
    outputs: Sequence[str],
    attributes: Mapping[str, Any],
) -> bytes:
    """A NodeProto; attributes are texts, floats, ints and sequences of ints."""
    parts = [_text(1, value) for value in inputs]
    parts += [_text(2, value) for value in outputs]
    parts += [_text(3, name), _text(4, op_type)]
    parts += [_bytes(5, _attribute(key, value)) for key, value in attributes.items()]
    return b"".join(parts)


def value_info(name: str, dtype: DType, shape: Sequence[int | str]) -> bytes:
    """A ValueInfoProto of a dense tensor; texts in the shape are names of free extents."""
    dims = b"".join(
        _bytes(1, _text(2, extent) if isinstance(extent, str) else _int(1, extent))
        for extent in shape
    )
    kind = _int(1, ELEMENT_TYPES[dtype]) + _bytes(2, dims)
    return _text(1, name) + _bytes(2, _bytes(1, kind))


def graph(
    name: str,
    nodes: Sequence[bytes],
    initializers: Sequence[bytes],
    inputs: Sequence[bytes],
    outputs: Sequence[bytes],
) -> bytes:
    """A GraphProto of encoded parts."""
    parts = [_bytes(1, data) for data in nodes]
    parts.append(_text(2, name))
    parts += [_bytes(5, data) for data in initializers]
    parts += [_bytes(11, data) for data in inputs]
    parts += [_bytes(12, data) for data in outputs]
    return b"".join(parts)


def model(
    graph_data: bytes, opset: int, ir_version: int, producer: str, metadata: Mapping[str, str]
) -> bytes:
    """A ModelProto."""
    return (
        _int(1, ir_version)
        + _text(2, producer)
        + _bytes(7, graph_data)
        + _bytes(8, _text(1, "") + _int(2, opset))
        + b"".join(_bytes(14, _text(1, key) + _text(2, text)) for key, text in metadata.items())
    )
