# SPDX-License-Identifier: Apache-2.0
"""Arrays out of TensorProtos, and the files beside a model that hold the larger ones.

Sizes are checked against the bytes that are there before anything is allocated. float16 and
bfloat16 are widened to float32, in which lamella computes. External data are read only when they
were asked for, from a regular file inside the model's folder that no link of any kind leads to:
the path is walked one folder at a time from an open descriptor, and what is judged is what was
opened. Sources: CVE-2022-25882, -2024-27318, -2026-27489, -2026-34445 to -34447.
"""

from __future__ import annotations

import os
import stat
from math import prod
from typing import Any

import numpy as np

from lamella.errors import FormatError, UnsupportedError, message
from lamella.ir.types import Array
from lamella.onnx.model import TensorProto
from lamella.onnx.small import SMALL, decoded, room
from lamella.storage.source import quoted

__all__ = [
    "BFLOAT16",
    "DTYPES",
    "FLOAT16",
    "INT32",
    "INT64",
    "STRING",
    "array",
    "dtype",
    "is_known",
    "stored_dtype",
    "type_name",
]

INT32, INT64, STRING, FLOAT16, BFLOAT16 = 6, 7, 8, 10, 16

# Element types that are computed with; bfloat16 lies as 16 bits and is no NumPy type.
DTYPES: dict[int, np.dtype[Any]] = {
    1: np.dtype("<f4"),
    2: np.dtype("u1"),
    3: np.dtype("i1"),
    4: np.dtype("<u2"),
    5: np.dtype("<i2"),
    6: np.dtype("<i4"),
    7: np.dtype("<i8"),
    9: np.dtype("?"),
    10: np.dtype("<f2"),
    11: np.dtype("<f8"),
    12: np.dtype("<u4"),
    13: np.dtype("<u8"),
    16: np.dtype("<u2"),
}
_NAMES = {
    0: "undefined", 1: "float", 2: "uint8", 3: "int8", 4: "uint16", 5: "int16", 6: "int32",
    7: "int64", 8: "string", 9: "bool", 10: "float16", 11: "double", 12: "uint32", 13: "uint64",
    14: "complex64", 15: "complex128", 16: "bfloat16", 17: "float8e4m3fn", 18: "float8e4m3fnuz",
    19: "float8e5m2", 20: "float8e5m2fnuz", 21: "uint4", 22: "int4", 23: "float4e2m1",
    24: "float8e8m0", 25: "uint2", 26: "int2", 27: "float6e2m3", 28: "float6e3m2",
}  # fmt: skip

_MAX_RANK = 64


def type_name(data_type: int) -> str:
    """ONNX's name of an element type."""
    return _NAMES.get(data_type, f"type {data_type}")


def dtype(data_type: int) -> np.dtype[Any]:
    """The NumPy type that values of an ONNX type have here: half floats are widened."""
    if data_type in (FLOAT16, BFLOAT16):
        return np.dtype(np.float32)
    if data_type in SMALL:
        return SMALL[data_type].dtype
    if data_type not in DTYPES:
        raise UnsupportedError(
            message("onnx", "element type is not computed with", {"type": type_name(data_type)})
        )
    return DTYPES[data_type].newbyteorder("=")


def stored_dtype(data_type: int) -> np.dtype[Any] | None:
    """The NumPy type of stored elements; None for types that do not lie so."""
    return DTYPES.get(data_type)


def is_known(data_type: int) -> bool:
    """Whether tensors of this type are read."""
    return data_type in DTYPES or data_type in SMALL


def array(tensor: TensorProto, folder: str | None = None) -> Array:
    """The elements of `tensor`; folder: where external data may be, None to refuse them.

    Raises: FormatError when sizes do not fit; UnsupportedError for element types without a rule.
    """
    what = f"tensor {quoted(tensor.name)}"
    shape = tensor.dims
    # Empty extents count as one, as in NumPy: strides are products too.
    most = prod(extent or 1 for extent in shape[:_MAX_RANK])
    if any(extent < 0 for extent in shape) or len(shape) > _MAX_RANK or most >= 1 << 59:
        raise _fault(what, "no such shape", {"dims": shape[:_MAX_RANK]})
    count = prod(shape)
    if tensor.data_type == STRING:
        return _strings(tensor, what, count)
    small = SMALL.get(tensor.data_type)
    if small is not None:
        data = _bytes(tensor, what, room(small, count), np.dtype(np.uint8), folder)
        return decoded(small, data, count).reshape(shape)
    stored = stored_dtype(tensor.data_type)
    if stored is None:
        raise UnsupportedError(
            message(
                what, "element type is not computed with", {"type": type_name(tensor.data_type)}
            )
        )
    found = _bytes(tensor, what, count, stored, folder)
    return _widened(found, tensor.data_type).reshape(shape)


def _bytes(
    tensor: TensorProto, what: str, count: int, stored: np.dtype[Any], folder: str | None
) -> Array:
    """Stored elements, wherever they lie."""
    if tensor.is_external:
        return _external(tensor, what, count * stored.itemsize, folder).view(stored)
    if tensor.raw is None:
        return _listed(tensor, what, count, stored)
    if len(tensor.raw) != count * stored.itemsize:
        raise _fault(
            what,
            "raw_data has another size than the shape",
            {"bytes": len(tensor.raw), "dims": tensor.dims},
            f"{count * stored.itemsize} bytes",
        )
    return np.frombuffer(tensor.raw, stored)


def _widened(found: Array, data_type: int) -> Array:
    if data_type == BFLOAT16:
        return (found.astype(np.uint32) << 16).view(np.float32)
    if data_type == FLOAT16:
        return found.astype(np.float32)
    return found.astype(found.dtype.newbyteorder("="), copy=False)


def _listed(tensor: TensorProto, what: str, count: int, stored: np.dtype[Any]) -> Array:
    """Elements from float_data, int32_data, int64_data, double_data or uint64_data."""
    floating = tensor.data_type in (1, 11)
    elements = len(tensor.floats) if floating else len(tensor.ints)
    if elements != count:
        raise _fault(
            what,
            "another number of elements than the shape has",
            {"elements": elements, "dims": tensor.dims},
            str(count),
        )
    if floating:
        return tensor.floats.astype(stored)
    if stored.kind == "b":
        return np.asarray(tensor.ints != 0)
    # float16 and bfloat16 lie as 16 bits in int32_data.
    bits = stored if stored.kind in "iu" else np.dtype("<u2")
    return tensor.ints.astype(np.dtype(f"<u{bits.itemsize}")).view(stored)


def _strings(tensor: TensorProto, what: str, count: int) -> Array:
    if len(tensor.strings) != count:
        raise _fault(what, "another number of texts than the shape has", {"dims": tensor.dims})
    found = np.empty(count, object)
    found[:] = [text.decode("utf-8", "replace") for text in tensor.strings]
    return found.reshape(tensor.dims)


# External data


def _external(tensor: TensorProto, what: str, size: int, folder: str | None) -> Array:
    if folder is None:
        raise UnsupportedError(message(what, "its elements are in another file"))
    entries = dict(tensor.external)
    if set(entries) - {"location", "offset", "length", "checksum"} or "location" not in entries:
        raise _fault(
            what,
            "external data has other keys than the format",
            {"keys": [quoted(key, most=80) for key in list(entries)[:8]]},
        )
    offset = _number(what, "offset", entries.get("offset", "0"))
    length = _number(what, "length", entries.get("length", str(size)))
    if length != size:
        raise _fault(
            what, "length of external data differs from the shape's", {"length": length}, f"{size}"
        )
    descriptor = _open(what, folder, entries["location"])
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_nlink != 1:
            raise _fault(what, "external data is not a regular file with one name")
        if offset > status.st_size or length > status.st_size - offset:
            raise _fault(
                what,
                "external data reaches beyond its file",
                {"offset": offset, "length": length},
                f"offset + length <= {status.st_size}",
            )
        # From the descriptor that was judged, never from the name again.
        with os.fdopen(os.dup(descriptor), "rb") as file:
            file.seek(offset)
            found = np.fromfile(file, np.uint8, length)
        if found.size != length:
            raise _fault(what, "external data ended early", {"bytes": found.size}, f"{length}")
        return found
    finally:
        os.close(descriptor)


def _number(what: str, key: str, text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 19:
        raise _fault(what, f"external data's {key} is no size", {key: quoted(text)})
    return int(text)


def _open(what: str, folder: str, location: str) -> int:
    """The descriptor of `location` below `folder`; follows no link and never climbs."""
    parts = location.split("/")
    parts = [part for part in parts if part not in ("", ".")] if location[:1] != "/" else []
    if not parts or ".." in parts or "\\" in location or "\0" in location or ":" in parts[0]:
        raise _fault(what, "external data must lie inside the model's folder",
                     {"location": quoted(location)})  # fmt: skip
    here = os.open(folder or ".", os.O_RDONLY | os.O_DIRECTORY)
    try:
        for part in parts[:-1]:
            below = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=here)
            os.close(here)
            here = below
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
        return os.open(parts[-1], flags, dir_fd=here)
    except FileNotFoundError:
        raise _fault(
            what, "its file of external data is not there", {"location": quoted(location)}
        ) from None
    except OSError as error:
        raise _fault(
            what,
            "external data cannot be opened without following a link",
            {"location": quoted(location), "error": error.strerror},
        ) from None
    finally:
        os.close(here)


def _fault(
    what: str, rule: str, got: dict[str, object] | None = None, expected: str = ""
) -> FormatError:
    return FormatError(message(what, rule, got, expected))
