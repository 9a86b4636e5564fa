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
from lamella.storage.elements import checked
from lamella.storage.source import opened
from lamella.storage.weights import Weights

__all__ = ["load", "save"]

_FORMATS = ("safetensors", "npz", "torch")


def _format_of(path: str | os.PathLike[str]) -> str:
    """The format that the file's first bytes, or its members, are those of."""
    with opened(path) as source:
        start = source.take(0, min(300, source.size))
        if start.startswith((b"PK\3\4", b"PK\5\6")):
            return "torch" if torch_file.is_torch(members(source)) else "npz"
        if start.startswith(npz.MAGIC):
            return "npz"
        # Checked first of the rest: a length may look like anything else.
        if start[8:9] == b"{":
            return "safetensors"
        if torch_file.is_legacy(start):
            return "torch"
        if start.startswith(b"\x80"):
            source.fail(
                "a bare pickle, which torch.save did not write, is not loaded",
                advice="Load it with what wrote it and save it as safetensors",
            )
        if start[257:262] == b"ustar":
            source.fail(
                "a tar archive, as PyTorch 0.1 wrote them, is not loaded",
                advice="Load it with PyTorch and save it as safetensors",
            )
        return source.fail("no format known here", None, "safetensors, npz, npy or torch.save")


def load(
    path: str | os.PathLike[str],
    *,
    format: str | None = None,
    max_bytes: int | None = None,
    key: str | None = None,
) -> Weights:
    """Reads weights from a file: name -> array.

    Formats, recognised by content: safetensors, where a tied tensor that is stored once has both
    of its names; NumPy's .npz and .npy (the one array of the latter is named `arr_0`); what
    torch.save wrote, of any version since 0.2, read without PyTorch: a state dict, alone or among
    other things (as `state_dict`, `model` and the like, or the only one there), and tensors or
    arrays without names, which become `arr_0`, `arr_1`. What else a checkpoint holds (optimiser,
    random states, settings, objects of any class) is not loaded; the result's attribute `skipped`
    tells it, name -> kind. Names stay those of the file: `load_state_dict` sees through the
    prefixes of DataParallel and torch.compile. bfloat16 becomes float32 with the same values. The
    arrays are new, writable and of the machine's byte order.

    Parameters: path; format, "safetensors", "npz" or "torch" to accept that one only; max_bytes,
    the most that the arrays may take, by default what keeps the peak below three times the file
    and 64 MiB, which only compressed archives and tensors that share storage can exceed; key, the
    name of the state dict in a checkpoint that holds several ("generator", or "nets.generator"
    one level down), "" for its own entries; what is no tensor there is then skipped too.
    Raises: FormatError for a file that breaks a rule of its format, for an object where weights
    should be, and for tensors that are sparse, quantised or complex, naming them; OSError.
    Source: github.com/huggingface/safetensors, numpy/lib/format.py, torch/serialization.py.

    >>> import tempfile, lamella.storage.files as files
    >>> from lamella import nn
    >>> path = os.path.join(tempfile.mkdtemp(), "net.safetensors")
    >>> net = nn.Linear(2, 3)
    >>> files.save(net, path)
    >>> net.load_state_dict(files.load(path))
    LoadResult(missing_keys=[], unexpected_keys=[])
    """
    if format is not None and format not in _FORMATS:
        raise UnsupportedError(
            message("load", "no such format", {"format": ascii(format)}, ", ".join(_FORMATS))
        )
    found = format or _format_of(path)
    if found == "torch":
        return torch_file.read(path, max_bytes=max_bytes, key=key)
    if key is not None:
        raise UnsupportedError(
            message("load", "the file has no dicts in it", {"format": found, "key": ascii(key)})
        )
    if found == "npz":
        return Weights(npz.read(path, max_bytes=max_bytes))
    arrays, metadata = safetensors.read(path, max_bytes=max_bytes)
    for dropped, kept in metadata.items():
        # As safetensors.torch.save_model keeps tied tensors; "format" is the package's own entry.
        if kept in arrays and dropped != "format":
            arrays.setdefault(dropped, arrays[kept])
    return Weights(arrays)


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
            message(
                "save", "no such format", {"path": ascii(os.fsdecode(path))}, ".safetensors or .npz"
            )
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
