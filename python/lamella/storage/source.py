# SPDX-License-Identifier: Apache-2.0
"""The file that is read, and what it may cost.

A Source is opened once, must be a regular file, and answers only for ranges that lie inside the
size it had then; a Budget says no before memory is taken. The law of all readers: peak memory at
most three times the file and 64 MiB, whatever the file says about itself.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

from lamella.errors import FormatError, message

__all__ = ["CHUNK", "MAX_NAMES", "Budget", "Source", "opened", "quoted"]

MIB = 1 << 20

# Read, widened, checked or inflated at a time: fits a second-level cache with its result.
CHUNK = 1 << 18

# Tensors, entries of metadata, members of an archive: at some 800 bytes of Python objects each they
# stay within the law's 64 MiB. The largest published models have fewer than 100,000 in all shards.
MAX_NAMES = 65_536


# The most that a message shows of one name out of a file, which may hold anything: as long as the
# name of a file may be on Linux. What a user gave is shown whole.
_SHOWN = 255


def quoted(name: object, most: int = _SHOWN) -> str:
    """A name out of a file as one may print it: escaped, and whole unless it is too long.

    >>> quoted("weight")
    "'weight'"
    >>> len(quoted("x" * 1000)), len(quoted("\\u202e" * 1000, most=80))
    (260, 85)
    """
    text = name if isinstance(name, str) else str(name)
    shown = ascii(text[: most + 1])
    return shown if len(shown) <= most + 2 else f"{shown[: most + 1]}{shown[0]}..."


class Source:
    """A regular file, opened for reading; `fail` raises the FormatError that names it."""

    __slots__ = ("_descriptor", "path", "size")

    def __init__(self, descriptor: int, path: str, size: int) -> None:
        self._descriptor = descriptor
        self.path = path
        self.size = size

    def fail(
        self, rule: str, got: dict[str, object] | None = None, expected: str = "", advice: str = ""
    ) -> NoReturn:
        """Raises FormatError: this file breaks this rule."""
        raise FormatError(message(f"load {self.path!a}", rule, got, expected, advice))

    def into(self, offset: int, view: memoryview) -> None:
        """Fills `view` (bytes) with what begins at `offset`."""
        if offset < 0 or offset + len(view) > self.size:
            self.fail("range outside the file", {"offset": offset, "bytes": len(view)})
        done = 0
        while done < len(view):
            count = os.preadv(self._descriptor, [view[done:]], offset + done)
            if count == 0:
                self.fail("the file became shorter while it was read")
            done += count

    def take(self, offset: int, count: int) -> bytes:
        """The `count` bytes from `offset` on; for small parts."""
        if count < 0 or offset < 0 or offset + count > self.size:
            self.fail("range outside the file", {"offset": offset, "bytes": count})
        found = bytearray(count)
        self.into(offset, memoryview(found))
        return bytes(found)


class Budget:
    """How many bytes the arrays of one file, or what else `what` says, may take in memory.

    By default twice the file (bfloat16 doubles) and 48 MiB (small files compress well); of a large
    one three times, less 16 MiB (tied tensors are copied).
    """

    __slots__ = ("_left", "_limit", "_what", "source")

    def __init__(
        self, source: Source, max_bytes: int | None = None, what: str = "its arrays"
    ) -> None:
        self.source = source
        self._what = what
        default = max(2 * source.size + 48 * MIB, 3 * source.size - 16 * MIB)
        self._limit = default if max_bytes is None else max_bytes
        self._left = self._limit

    def spend(self, count: int, name: object) -> None:
        """Takes `count` bytes for what `name` says, or raises FormatError."""
        if count > self._left:
            self.source.fail(
                f"{self._what} would take more memory than allowed",
                {"entry": quoted(name), "bytes": count, "left": self._left},
                f"at most {self._limit} bytes in all",
                "Give max_bytes= if the file can be trusted" if self._what == "its arrays" else "",
            )
        self._left -= count


@contextmanager
def opened(path: str | os.PathLike[str]) -> Iterator[Source]:
    """Opens a file for the readers; FormatError for pipes, devices and folders, else OSError."""
    # Without O_NONBLOCK a named pipe would wait for its writer.
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        found = os.fstat(descriptor)
        source = Source(descriptor, os.fsdecode(path), found.st_size)
        if not stat.S_ISREG(found.st_mode):
            source.fail("not a regular file")
        yield source
    finally:
        os.close(descriptor)
