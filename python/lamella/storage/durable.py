# SPDX-License-Identifier: Apache-2.0
"""Replaces a file as a whole or not at all.

The order is that of Pillai et al., "All File Systems Are Not Created Equal" (OSDI 2014): a new file
in the same folder, its bytes flushed to the disk, the rename, the folder flushed. Whatever fails
before the rename leaves the old file as it was and nothing beside it; only a process that is killed
can leave its unfinished `.lamella-*.tmp` behind. What fails is raised, never tried again: a failed
fsync may have dropped the bytes that it was to save.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import BinaryIO

__all__ = ["flush_folder", "replacing"]


def flush_folder(folder: str) -> None:
    """Makes renames in the folder survive a power failure."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some network file systems cannot, and say so.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)


@contextmanager
def replacing(
    path: str | os.PathLike[str], before_rename: Callable[[str, str], None] | None = None
) -> Iterator[BinaryIO]:
    """A file to write to that takes the place of `path` when the block ends without an exception.

    A symbolic link stays, the file that it points to is replaced; an old file's permissions are
    kept. `before_rename(new, old)` is called with both paths when the new bytes are on the disk; an
    exception from it keeps the old file.

    >>> import pathlib, tempfile
    >>> name = pathlib.Path(tempfile.mkdtemp(), "numbers")
    >>> with replacing(name) as file:
    ...     file.write(b"1 2 3")
    5
    >>> name.read_text(), os.listdir(name.parent)
    ('1 2 3', ['numbers'])
    """
    target = os.path.realpath(os.fsdecode(path))
    folder = os.path.dirname(target)
    temporary = os.path.join(folder, f".lamella-{os.urandom(8).hex()}.tmp")
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        mode = None
        with suppress(FileNotFoundError):
            found = os.stat(target).st_mode
            if stat.S_ISDIR(found):
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), target)
            mode = found & 0o777
        with open(os.open(temporary, flags, 0o666 if mode is None else mode & 0o600), "wb") as file:
            yield file
            file.flush()
            if mode is not None:
                os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
        if before_rename is not None:
            before_rename(temporary, target)
        os.replace(temporary, target)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(temporary)
        raise
    flush_folder(folder)
