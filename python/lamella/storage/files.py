# SPDX-License-Identifier: Apache-2.0
"""`save` and `load`: weights by name, to and from files.

What a file is, is read from its first bytes, never from its name. Loading executes nothing, follows
nothing and keeps to stated bounds of memory; saving replaces a file as a whole or not at all.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from lamella.errors import UnsupportedError, message
from lamella.storage import npz, safetensors, torch_file
from lamella.storage.archive import members
from lamella.storage.elements import Array, checked
from lamella.storage.source import opened, quoted

__all__ = ["load", "save"]


def _safetensors(path: str | os.PathLike[str], *, max_bytes: int | None = None) -> dict[str, Array]:
    return safetensors.read(path, max_bytes=max_bytes)[0]


_READERS = {"safetensors": _safetensors, "npz": npz.read, "torch": torch_file.read}


def _format_of(path: str | os.PathLike[str]) -> str:
    """The format that the file's first bytes, or its members, are those of."""
    with opened(path) as source:
        start = source.take(0, min(9, source.size))
        if start.startswith((b"PK\3\4", b"PK\5\6")):
            return "torch" if torch_file.is_torch(members(source)) else "npz"
        if start.startswith(npz.MAGIC):
            return "npz"
        # Checked first of the rest: a length may look like anything else.
        if start[8:9] == b"{":
            return "safetensors"
        if start.startswith(b"\x80"):
            source.fail(
                "a bare pickle, as PyTorch wrote them before 1.6, is not loaded",
                advice="Load it with PyTorch and save it as safetensors",
            )
        return source.fail("no format known here", None, "safetensors, npz, npy or torch.save")


def load(
    path: str | os.PathLike[str], *, format: str | None = None, max_bytes: int | None = None
) -> dict[str, Array]:
    """Reads weights from a file: name -> array.

    Formats, recognised by content: safetensors; NumPy's .npz and .npy (the one array of the latter
    is named `arr_0`); state dicts that torch.save wrote since PyTorch 1.6, alone or in a checkpoint
    as `state_dict`, `model_state_dict` or `model`, read without PyTorch. bfloat16 becomes float32
    with the same values. The arrays are new, writable and of the machine's byte order.

    Parameters: path; format, "safetensors", "npz" or "torch" to accept that one only; max_bytes,
    the most that the arrays may take, by default twice the file and 48 MiB, which only compressed
    archives and tensors that share storage can exceed.
    Raises: FormatError for a file that breaks a rule of its format, naming both; OSError.
    Source: github.com/huggingface/safetensors, numpy/lib/format.py, torch/serialization.py.

    >>> import tempfile, lamella.storage.files as files
    >>> from lamella import nn
    >>> path = os.path.join(tempfile.mkdtemp(), "net.safetensors")
    >>> net = nn.Linear(2, 3)
    >>> files.save(net, path)
    >>> net.load_state_dict(files.load(path))
    LoadResult(missing_keys=[], unexpected_keys=[])
    """
    if format is not None and format not in _READERS:
        raise UnsupportedError(
            message("load", "no such format", {"format": quoted(format)}, ", ".join(_READERS))
        )
    return _READERS[format or _format_of(path)](path, max_bytes=max_bytes)


def save(
    state: Mapping[str, Any] | Any,
    path: str | os.PathLike[str],
    *,
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Writes weights to a .safetensors or .npz file, which the formats' own libraries can read.

    The file appears whole or not at all: on any failure what was there before is untouched.

    Parameters: state, a mapping of names to arrays (or parameters, or anything else that
    np.asarray takes), or a module; path, whose ending chooses the format; metadata, texts to keep
    with them (safetensors only).
    Raises: UnsupportedError for another ending; DTypeError for what is no array of numbers;
    FormatError for a name that the format cannot hold; OSError.

    >>> import numpy as np, tempfile, lamella.storage.files as files
    >>> path = os.path.join(tempfile.mkdtemp(), "weights.npz")
    >>> files.save({"scale": np.float32([1, 2])}, path)
    >>> files.load(path)
    {'scale': array([1., 2.], dtype=float32)}
    """
    ending = os.path.splitext(os.fsdecode(path))[1].lower()
    if ending not in (".safetensors", ".npz"):
        raise UnsupportedError(
            message("save", "no such format", {"path": quoted(path)}, ".safetensors or .npz")
        )
    found = state if isinstance(state, Mapping) else getattr(state, "state_dict", lambda: None)()
    if not isinstance(found, Mapping):
        raise TypeError(
            message("save", "no weights", {"state": type(state).__name__}, "a mapping or a module")
        )
    arrays = checked("save", found)
    if ending == ".safetensors":
        safetensors.write(path, arrays, metadata)
    elif metadata:
        raise UnsupportedError(
            message("save", "npz files hold arrays only", {"metadata": len(metadata)}, "None")
        )
    else:
        npz.write(path, arrays)
