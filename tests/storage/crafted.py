# SPDX-License-Identifier: Apache-2.0
"""Files made by hand, byte by byte, right or wrong; what the reading of one may cost.

`cost_of` reads a file and holds the reader to the law of lamella/storage/source.py: only
FormatError and OSError may come out of it, and the peak of memory is at most three times the file
and 64 MiB.
"""

from __future__ import annotations

import io
import json
import pickle
import struct
import tracemalloc
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from lamella.errors import FormatError
from lamella.storage import files


def safetensors_bytes(header: str | bytes | Mapping[str, Any], data: bytes = b"") -> bytes:
    """A file with this header, however wrong it may be."""
    if isinstance(header, Mapping):
        header = json.dumps(header)
    text = header.encode() if isinstance(header, str) else header
    return struct.pack("<Q", len(text)) + text + data


def entry(dtype: object = "F32", shape: object = (1,), offsets: object = (0, 4)) -> dict[str, Any]:
    """A tensor's entry in a safetensors header."""
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


def npy_bytes(header: str, data: bytes = b"", version: int = 1) -> bytes:
    """A .npy file with this header."""
    text = (header + "\n").encode("latin-1")
    return b"\x93NUMPY" + bytes([version, 0]) + struct.pack("<H", len(text)) + text + data


def zip_bytes(entries: Mapping[str, bytes], *, deflated: bool = False) -> bytes:
    """An archive of these members."""
    file = io.BytesIO()
    method = zipfile.ZIP_DEFLATED if deflated else zipfile.ZIP_STORED
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, data in entries.items():
            archive.writestr(zipfile.ZipInfo(name), data, method)
    return file.getvalue()


def text(value: str) -> bytes:
    """The pickle instruction for a text."""
    return b"X" + struct.pack("<I", len(value.encode())) + value.encode()


def number(value: int) -> bytes:
    """The pickle instruction for an integer."""
    return pickle.dumps(value, 2)[2:-1]


def tuple_of(*parts: bytes) -> bytes:
    """The pickle instructions for a tuple."""
    return b"(" + b"".join(parts) + b"t"


def named(module: str, name: str) -> bytes:
    """The pickle instruction for a global."""
    return f"c{module}\n{name}\n".encode()


HOOKS = named("collections", "OrderedDict") + b")R"


def tensor(
    shape: tuple[int, ...],
    strides: tuple[int, ...],
    *,
    offset: int = 0,
    count: int = 6,
    key: str = "0",
    kind: str = "FloatStorage",
    more: tuple[bytes, ...] = (),
    view: tuple[bytes, ...] = (),
) -> bytes:
    """The pickle instructions for a tensor on a storage; view: the sixth part of its id."""
    name, place = named("torch", kind), text("cpu")
    storage = tuple_of(text("storage"), name, text(key), place, number(count), *view)
    return (
        named("torch._utils", "_rebuild_tensor_v2")
        + tuple_of(
            storage + b"Q",
            number(offset),
            tuple_of(*map(number, shape)),
            tuple_of(*map(number, strides)),
            b"\x89",
            HOOKS,
            *more,
        )
        + b"R"
    )


def dict_of(**entries: bytes) -> bytes:
    """The pickle instructions for a dict."""
    return b"}(" + b"".join(text(name) + value for name, value in entries.items()) + b"u"


SIX = np.arange(6, dtype="<f4").tobytes()


def torch_bytes(pickled: bytes, storages: Mapping[str, bytes] | None = None) -> bytes:
    """An archive as torch.save makes them, around this pickle."""
    members = {"net/data.pkl": b"\x80\x02" + pickled + b"."}
    for key, data in ({"0": SIX} if storages is None else storages).items():
        members[f"net/data/{key}"] = data
    return zip_bytes(members)


LEGACY = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."


def legacy_bytes(
    pickled: bytes,
    storages: Mapping[str, tuple[int, bytes]] | None = None,
    *,
    version: int = 1001,
    keys: bytes | None = None,
) -> bytes:
    """A file as torch.save made them before 1.6; storages: key -> (number of elements, bytes)."""
    found = {"0": (6, SIX)} if storages is None else storages
    machine = {"protocol_version": 1001, "little_endian": True, "type_sizes": {"int": 4}}
    listed = pickle.dumps(list(found), 2) if keys is None else b"\x80\x02" + keys + b"."
    parts = [LEGACY, pickle.dumps(version, 2), pickle.dumps(machine, 2)]
    parts += [b"\x80\x02" + pickled + b".", listed]
    parts += [struct.pack("<q", count) + data for count, data in found.values()]
    return b"".join(parts)


def cost_of(path: Path, data: bytes, **named: Any) -> dict[str, np.ndarray] | FormatError:
    """What `load` makes of these bytes, or its refusal; fails when the law is broken."""
    path.write_bytes(data)
    tracemalloc.start()
    try:
        found: dict[str, np.ndarray] | FormatError = files.load(path, **named)
    except FormatError as error:
        found = error
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak <= 3 * len(data) + (64 << 20), peak
    if isinstance(found, FormatError):
        assert "load '" in str(found), found
        assert str(found).isascii(), found
        assert str(found).isprintable(), found
        assert len(str(found)) < 1000, len(str(found))
    return found


def refusal(path: Path, data: bytes, part: str, **named: Any) -> None:
    """The bytes are refused, by an error that says `part`."""
    found = cost_of(path, data, **named)
    assert isinstance(found, FormatError), found
    assert part in str(found), found
