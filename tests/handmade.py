# SPDX-License-Identifier: Apache-2.0
"""ONNX models written byte by byte, as no writer would: what tests of the reader are made of."""

from __future__ import annotations

import numpy as np

from fuzz.mutator import varint


def field(number: int, data: bytes | int) -> bytes:
    if isinstance(data, int):
        return varint(number << 3) + varint(data & (1 << 64) - 1)
    return varint(number << 3 | 2) + varint(len(data)) + data


def info(name: str, shape: tuple[int, ...] | None = None) -> bytes:
    dims = b"" if shape is None else field(2, b"".join(field(1, field(1, n)) for n in shape))
    return field(1, name.encode()) + field(2, field(1, field(1, 1) + dims))


def node(op: str, inputs: list[str], outputs: list[str], *attributes: bytes, domain="") -> bytes:
    parts = [field(1, name.encode()) for name in inputs]
    parts += [field(2, name.encode()) for name in outputs]
    parts += [field(4, op.encode()), field(7, domain.encode())]
    return b"".join([*parts, *(field(5, one) for one in attributes)])


def model(
    *nodes: bytes, initializers=(), inputs=("x",), outputs=("y",), extra: bytes = b""
) -> bytes:
    graph = b"".join(field(1, one) for one in nodes)
    graph += b"".join(field(5, one) for one in initializers)
    graph += b"".join(field(11, info(name)) for name in inputs)
    graph += b"".join(field(12, info(name)) for name in outputs)
    opsets = b"".join(field(8, field(1, d) + field(2, 20)) for d in (b"", b"f"))
    return field(1, 10) + field(7, graph) + opsets + extra


def external(*entries: tuple[str, str], dims: tuple[int, ...] = (2,)) -> bytes:
    parts = [field(1, n) for n in dims] + [field(2, 1), field(8, b"w"), field(14, 1)]
    parts += [field(13, field(1, k.encode()) + field(2, v.encode())) for k, v in entries]
    return model(node("Add", ["x", "w"], ["y"]), initializers=[b"".join(parts)])


def packed(numbers: np.ndarray) -> bytes:
    """Integers as the content of a packed list."""
    return b"".join(varint(int(number) & (1 << 64) - 1) for number in numbers)
