# SPDX-License-Identifier: Apache-2.0
"""Checkpoints of training: one safetensors file in which no bit can change unnoticed.

The header begins, byte for byte, `{"__metadata__":{"lamella_checkpoint":"<version>","sha256":"<64
hex digits>"`; that digest covers the length and the whole header, with its own digits as zeros. In
the metadata `info` is a tree of JSON and `digests` holds the SHA-256 of each tensor's bytes, in the
header's order. Every version keeps this beginning. A new checkpoint is read back before it takes
the old one's name; the old one is kept beside it as `<name>.previous`.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import numpy as np

from lamella.errors import DTypeError, FormatError, message
from lamella.storage.durable import replacing
from lamella.storage.elements import Array, checked, little
from lamella.storage.safetensors import encode, parse, read_header, tensors
from lamella.storage.source import MIB, Budget, Source, opened, quoted

__all__ = ["PREVIOUS", "VERSION", "read", "write"]

VERSION = 1
PREVIOUS = ".previous"

_DIGITS = 64
_BEGIN = re.compile(
    rb'\{"__metadata__":\{"lamella_checkpoint":"([0-9]{1,9})","sha256":"([0-9a-f]{64})"'
)
# As Python objects a tree of JSON takes up to 35 times its text.
_MAX_INFO = MIB
_MAX_DEPTH = 64


def _digest(head: bytes, at: int) -> str:
    """Digest of length and header; the digits at `at` count as zeros."""
    whole = hashlib.sha256(head[:at])
    whole.update(b"0" * _DIGITS)
    whole.update(head[at + _DIGITS :])
    return whole.hexdigest()


def _check_tree(info: Any) -> None:
    """Only what JSON gives back as it was: no keys but text, no types of other libraries."""
    waiting = [(info, 0)]
    while waiting:
        value, depth = waiting.pop()
        if depth > _MAX_DEPTH:
            raise FormatError(message("checkpoint", "info is nested deeper than", {"": _MAX_DEPTH}))
        if isinstance(value, dict) and all(type(key) is str for key in value):
            waiting += [(item, depth + 1) for item in value.values()]
        elif isinstance(value, list | tuple):
            waiting += [(item, depth + 1) for item in value]
        elif value is not None and not isinstance(value, str | int | float):
            raise DTypeError(
                message(
                    "checkpoint",
                    "info is a tree of JSON",
                    {"part": type(value).__name__},
                    "dict with text as keys, list, str, int, float, bool or None",
                    "Arrays belong to the tensors",
                )
            )


def _encoded(arrays: dict[str, Array], info: Any) -> tuple[bytes, list[str]]:
    """Length and header, digests included, and the order of the data."""
    _check_tree(info)
    text = json.dumps(info, separators=(",", ":"))
    if len(text) > _MAX_INFO:
        raise FormatError(
            message(
                "checkpoint",
                "info is too long",
                {"characters": len(text)},
                f"at most {_MAX_INFO}",
                "Long series of numbers belong to the tensors",
            )
        )
    digests = [hashlib.sha256(little(array)).hexdigest() for array in arrays.values()]
    metadata = {
        "lamella_checkpoint": str(VERSION),
        "sha256": "0" * _DIGITS,
        "info": text,
        "digests": "".join(digests),
    }
    head, order = encode("checkpoint", arrays, metadata)
    match = _BEGIN.match(head, 8)
    assert match is not None
    at = match.start(2)
    return head[:at] + _digest(head, at).encode() + head[at + _DIGITS :], order


def write(path: str | os.PathLike[str], arrays: Mapping[str, Array], info: Any) -> None:
    """Writes a checkpoint; the one that was there is kept as `<path>.previous`.

    The new file is written beside the old one, flushed to the disk, read back and verified; only
    then does it take the name. At every moment, a sudden end included, `path` is the old or the new
    checkpoint.

    Parameters: path; arrays, name -> array; info, a tree of dicts with text as keys, lists, texts,
    numbers, truth values and None (tuples come back as lists), at most 1 MiB as JSON.
    Raises: DTypeError, FormatError for what cannot be kept; OSError. The old checkpoint is then as
    it was.

    >>> import tempfile
    >>> import numpy as np
    >>> path = os.path.join(tempfile.mkdtemp(), "run.checkpoint")
    >>> write(path, {"weight": np.ones(3, np.float32)}, {"epoch": 7})
    >>> read(path)
    ({'weight': array([1., 1., 1.], dtype=float32)}, {'epoch': 7})
    """
    # Digests are of what reading gives: no narrower elements.
    found = {name: np.asarray(one) for name, one in checked("checkpoint", arrays).items()}
    head, order = _encoded(found, info)
    with replacing(path, before_rename=_keep) as file:
        file.write(head)
        for name in order:
            file.write(little(found[name]))


def _keep(new: str, old: str) -> None:
    """Verifies the new file, then gives the old one its second name."""
    _verify(new)
    if not os.path.exists(old):
        return
    kept, between = old + PREVIOUS, new + PREVIOUS
    try:
        # A second name, so that the first never names nothing.
        os.link(old, between)
        os.replace(between, kept)
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK):
            raise
        os.replace(old, kept)  # on a file system without hard links
    finally:
        with suppress(FileNotFoundError):
            os.unlink(between)


def _head(source: Source) -> bytes:
    """The header, once its digest has been found right."""
    start = source.take(0, min(8 + 200, source.size))
    if _BEGIN.match(start, 8) is None:
        source.fail("no checkpoint, or the beginning of its header is damaged")
    header = read_header(source)
    match = _BEGIN.match(header)
    if match is None:
        source.fail("the header is damaged: its length is wrong")
    at = 8 + match.start(2)
    if _digest(len(header).to_bytes(8, "little") + header, at) != match[2].decode():
        source.fail("the header is damaged: its digest differs")
    if int(match[1]) != VERSION:
        source.fail(
            "written by another version of lamella",
            {"format version": int(match[1])},
            str(VERSION),
            "Use the version that wrote it, or a newer one",
        )
    return header


def _read(
    source: Source, max_bytes: int | None, keep: bool
) -> tuple[dict[str, Array], dict[str, str]]:
    header = _head(source)
    entries, metadata = parse(source, header)
    digests = metadata.get("digests", "")
    if len(digests) != _DIGITS * len(entries) or len(metadata.get("info", "")) > _MAX_INFO:
        source.fail("the metadata is not that of a checkpoint")
    arrays = {}
    budget = Budget(source, max_bytes)
    for i, (name, array) in enumerate(tensors(source, header, entries, budget)):
        expected = digests[i * _DIGITS : (i + 1) * _DIGITS]
        if entries[i].element == "BF16" or hashlib.sha256(little(array)).hexdigest() != expected:
            source.fail("a tensor is damaged: its digest differs", {"entry": quoted(name)})
        if keep:
            arrays[name] = array
    return arrays, metadata


def _verify(path: str) -> None:
    """Raises FormatError or OSError unless every digest of the checkpoint is right."""
    with opened(path) as source:
        _read(source, None, keep=False)


def read(
    path: str | os.PathLike[str], *, max_bytes: int | None = None
) -> tuple[dict[str, Array], Any]:
    """Reads and verifies a checkpoint: (name -> array, info).

    Raises: FormatError naming what is damaged, and the previous checkpoint where that one is whole;
    OSError.
    """
    try:
        with opened(path) as source:
            arrays, metadata = _read(source, max_bytes, keep=True)
            try:
                return arrays, json.loads(metadata["info"])
            except (ValueError, KeyError, RecursionError):
                source.fail("the metadata is not that of a checkpoint")
    except (FormatError, FileNotFoundError) as error:
        kept = os.path.realpath(os.fsdecode(path)) + PREVIOUS
        try:
            _verify(kept)
        except (FormatError, OSError):
            raise error from None
        advice = f". The previous checkpoint is whole: {kept!a}"
        if isinstance(error, FormatError):
            raise FormatError(f"{error}{advice}") from None
        raise FileNotFoundError(error.errno, f"{error.strerror}{advice}", error.filename) from None
