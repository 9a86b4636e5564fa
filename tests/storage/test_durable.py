# SPDX-License-Identifier: Apache-2.0
"""A file is replaced as a whole or not at all, whatever fails on the way."""

from __future__ import annotations

import errno
import os
import resource
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from lamella.storage import checkpoint, files
from lamella.storage.durable import replacing

OLD = {"w": np.full(100, 1.0)}
NEW = {"w": np.full(100, 2.0)}


def write(kind: str, path: Path, arrays: dict[str, np.ndarray]) -> None:
    if kind == "checkpoint":
        checkpoint.write(path, arrays, None)
    else:
        files.save(arrays, path)


def value(kind: str, path: Path) -> float:
    found = checkpoint.read(path)[0] if kind == "checkpoint" else files.load(path)
    return float(found["w"][0])


KINDS = [("safetensors", "x.safetensors"), ("npz", "x.npz"), ("checkpoint", "x.checkpoint")]
CALLS = ["fsync", "replace", "open", "stat"]


@pytest.mark.parametrize(("kind", "name"), KINDS)
@pytest.mark.parametrize(
    "error",
    [OSError(errno.ENOSPC, "full"), OSError(errno.EIO, "damaged"), KeyboardInterrupt()],
    ids=["ENOSPC", "EIO", "interrupt"],
)
@pytest.mark.parametrize("call", CALLS)
def test_a_call_that_fails_leaves_the_old_file(
    call: str, error: BaseException, kind: str, name: str, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    path = tmp_path / name
    write(kind, path, OLD)
    before = path.read_bytes()

    def fail(*_args: object, **_named: object) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(os, call, fail)
        with pytest.raises(type(error)):
            write(kind, path, NEW)
    assert path.read_bytes() == before
    assert [n for n in os.listdir(tmp_path) if n != name + checkpoint.PREVIOUS] == [name]
    write(kind, path, NEW)
    assert value(kind, path) == 2.0


# The limit makes write() fail in the middle, as a full disk does.
FULL = """
import os, resource, signal, sys
import numpy as np
from lamella.storage import checkpoint, files

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
kind, path = sys.argv[1:]
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    if kind == "checkpoint":
        checkpoint.write(path, {"w": np.zeros(100_000)}, None)
    else:
        files.save({"w": np.zeros(100_000)}, path)
except OSError as error:
    print(error.errno)
"""


@pytest.mark.parametrize(("kind", "name"), KINDS)
def test_a_full_disk_leaves_the_old_file(kind: str, name: str, tmp_path: Path) -> None:
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY
    path = tmp_path / name
    write(kind, path, OLD)
    before = path.read_bytes()
    child = [sys.executable, "-W", "error", "-c", FULL, kind, str(path)]
    done = subprocess.run(child, capture_output=True, text=True, check=True)
    assert done.stdout == f"{errno.EFBIG}\n", done.stderr
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == [name]


def test_the_order_of_the_calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bytes to the disk, rename, folder to the disk."""
    calls: list[str] = []
    fsync, replace = os.fsync, os.replace

    def note_fsync(descriptor: int) -> None:
        mode = os.fstat(descriptor).st_mode
        calls.append("fsync folder" if stat.S_ISDIR(mode) else "fsync file")
        if not stat.S_ISDIR(mode):
            assert os.fstat(descriptor).st_size == 5
        fsync(descriptor)

    def note_replace(old: str, new: str) -> None:
        calls.append("rename")
        replace(old, new)

    monkeypatch.setattr(os, "fsync", note_fsync)
    monkeypatch.setattr(os, "replace", note_replace)
    with replacing(tmp_path / "x") as file:
        file.write(b"12345")
    assert calls == ["fsync file", "rename", "fsync folder"]


def test_a_folder_that_cannot_be_flushed_is_no_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "not on this file system")

    monkeypatch.setattr(os, "fsync", refuse)
    with replacing(tmp_path / "x") as file:
        file.write(b"1")
    assert (tmp_path / "x").read_bytes() == b"1"


def test_links_and_permissions_stay(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    target, link = tmp_path / "folder" / "target.npz", tmp_path / "link.npz"
    files.save(OLD, target)
    target.chmod(0o640)
    link.symlink_to(target)
    files.save(NEW, link)
    assert link.is_symlink()
    assert value("npz", target) == 2.0
    assert stat.S_IMODE(target.stat().st_mode) == 0o640
    assert os.listdir(tmp_path / "folder") == ["target.npz"]


def test_a_folder_is_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    path.mkdir()
    with pytest.raises(IsADirectoryError):
        files.save(OLD, path)
    with pytest.raises(IsADirectoryError):
        checkpoint.write(path, OLD, None)
    with pytest.raises(FileNotFoundError):
        files.save(OLD, tmp_path / "absent" / "x.npz")
    assert os.listdir(tmp_path) == ["x.npz"]
