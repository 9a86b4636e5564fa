# SPDX-License-Identifier: Apache-2.0
"""Checkpoints: what goes in comes out; no damage goes unnoticed; no end is too sudden."""

from __future__ import annotations

import errno
import hashlib
import math
import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from comparators import same_bits
from lamella.errors import DTypeError, FormatError
from lamella.storage import checkpoint, safetensors
from storage.crafted import safetensors_bytes
from storage.test_files import awkward_arrays

# How often the writing process is killed.
KILLS = int(os.environ.get("LAMELLA_KILLS", "100"))

SMALL = {
    "weight": np.arange(6, dtype=np.float32).reshape(2, 3),
    "step": np.array(7),
    "on": np.True_,
}
INFO = {
    "epoch": 3,
    "loss": [0.5, math.inf, None, True],
    "name": 'é"\\\n\U0001f600',
    "generator": 2**127 + 1,
    "nested": {"a": {"b": []}, "": {}},
}


def test_what_goes_in_comes_out(tmp_path: Path) -> None:
    want = awkward_arrays()
    checkpoint.write(tmp_path / "x", want, INFO)
    got, info = checkpoint.read(tmp_path / "x")
    assert info == INFO
    assert list(got) == list(want)
    for name, array in want.items():
        same_bits(got[name], array.astype(array.dtype.newbyteorder("="), order="C"))


@pytest.mark.parametrize("info", [None, 3, "a", [], {}, [[1.5]], -0.0, 1e-320])
def test_any_tree(info: object, tmp_path: Path) -> None:
    checkpoint.write(tmp_path / "x", {}, info)
    assert repr(checkpoint.read(tmp_path / "x")) == repr(({}, info))


def test_it_is_a_safetensors_file_with_digests_of_its_bytes(tmp_path: Path) -> None:
    checkpoint.write(tmp_path / "x", SMALL, INFO)
    found = safetensors.read(tmp_path / "x")
    for name, array in load_file(tmp_path / "x").items():
        same_bits(array, np.asarray(SMALL[name]))
    digests = found[1]["digests"]
    want = [hashlib.sha256(np.asarray(array).tobytes()).hexdigest() for array in SMALL.values()]
    assert digests == "".join(want)


def test_every_flipped_bit_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "x"
    checkpoint.write(path, SMALL, INFO)
    whole = path.read_bytes()
    header = 8 + int.from_bytes(whole[:8], "little")
    tensors = set()
    for bit in range(8 * len(whole)):
        data = bytearray(whole)
        data[bit // 8] ^= 1 << bit % 8
        path.write_bytes(data)
        with pytest.raises(FormatError) as caught:
            checkpoint.read(path)
        text = str(caught.value)
        if bit // 8 < header:
            assert "header" in text, (bit, text)
        else:
            found = re.search(r"entry='(\w+)'", text)
            assert found is not None, (bit, text)
            tensors.add((bit // 8, found[1]))
    # Every byte of data is blamed on one tensor, and every tensor has as many as it is long.
    names = [name for _, name in tensors]
    assert {name: names.count(name) for name in SMALL} == {
        name: np.asarray(array).nbytes for name, array in SMALL.items()
    }


def test_every_truncation_and_every_longer_file_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "x"
    checkpoint.write(path, SMALL, INFO)
    whole = path.read_bytes()
    for data in (*(whole[:size] for size in range(len(whole))), whole + b"\0", whole + whole):
        path.write_bytes(data)
        with pytest.raises(FormatError):
            checkpoint.read(path)


def test_the_previous_checkpoint_is_kept_and_named(tmp_path: Path) -> None:
    tmp_path /= "of many epochs " * 12
    tmp_path.mkdir()
    path = tmp_path / "run"
    kept = tmp_path / "run.previous"
    for epoch in range(3):
        checkpoint.write(path, SMALL, epoch)
        assert checkpoint.read(path)[1] == epoch
        assert kept.exists() == (epoch > 0)
    assert checkpoint.read(kept)[1] == 1
    assert sorted(os.listdir(tmp_path)) == ["run", "run.previous"]

    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    named = f"previous checkpoint is whole: {re.escape(ascii(str(kept)))}"
    with pytest.raises(FormatError, match=named):
        checkpoint.read(path)
    path.unlink()
    with pytest.raises(FileNotFoundError, match=named):
        checkpoint.read(path)
    path.write_bytes(whole[:-1])
    kept.write_bytes(kept.read_bytes()[:-1])
    with pytest.raises(FormatError) as caught:
        checkpoint.read(path)
    assert "previous checkpoint" not in str(caught.value)


def test_a_file_system_without_hard_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_args: object) -> None:
        raise OSError(errno.EPERM, "no links here")

    monkeypatch.setattr(os, "link", refuse)
    for epoch in range(2):
        checkpoint.write(tmp_path / "run", SMALL, epoch)
    assert checkpoint.read(tmp_path / "run")[1] == 1
    assert checkpoint.read(tmp_path / "run.previous")[1] == 0


def test_a_second_name_that_cannot_be_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_args: object) -> None:
        raise OSError(errno.ENOSPC, "the folder is full")

    checkpoint.write(tmp_path / "run", SMALL, "old")
    monkeypatch.setattr(os, "link", refuse)
    with pytest.raises(OSError, match="the folder is full"):
        checkpoint.write(tmp_path / "run", SMALL, "new")
    assert checkpoint.read(tmp_path / "run")[1] == "old"
    assert os.listdir(tmp_path) == ["run"]


def test_what_was_not_written_right_never_takes_the_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that keeps other bytes than it was given."""
    path = tmp_path / "run"
    checkpoint.write(path, SMALL, "old")
    fsync = os.fsync

    def damage(descriptor: int) -> None:
        os.pwrite(descriptor, b"\x55", os.fstat(descriptor).st_size - 2)
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", damage)
    with pytest.raises(FormatError, match="a tensor is damaged"):
        checkpoint.write(path, SMALL, "new")
    assert checkpoint.read(path)[1] == "old"
    assert os.listdir(tmp_path) == ["run"]


def test_a_newer_version_is_told_from_damage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "VERSION", 2)
        # What is written is read back, so the writer of the future reads it as well.
        checkpoint.write(tmp_path / "x", SMALL, INFO)
    with pytest.raises(FormatError, match="another version of lamella; got format version=2"):
        checkpoint.read(tmp_path / "x")


def test_other_safetensors_files_are_no_checkpoints(tmp_path: Path) -> None:
    for metadata in (None, {"lamella_checkpoint": "1"}, {"lamella_checkpoint": "1", "sha256": "0"}):
        safetensors.write(tmp_path / "x", {"w": np.ones(2)}, metadata)
        with pytest.raises(FormatError, match="no checkpoint"):
            checkpoint.read(tmp_path / "x")


@pytest.mark.parametrize(
    ("metadata", "part"),
    [
        ({}, "metadata is not that of a checkpoint"),
        ({"info": "{", "digests": ""}, "metadata is not that of a checkpoint"),
        ({"info": "[" * 100_000, "digests": ""}, "metadata is not that of a checkpoint"),
        ({"info": " " * (1 << 20) + "1", "digests": ""}, "metadata is not that of a checkpoint"),
        ({"info": "1", "digests": "0" * 64}, "metadata is not that of a checkpoint"),
    ],
)
def test_a_right_digest_around_a_wrong_tree(
    metadata: dict[str, str], part: str, tmp_path: Path
) -> None:
    head, _ = safetensors.encode(
        "checkpoint", {}, {"lamella_checkpoint": "1", "sha256": "0" * 64, **metadata}
    )
    at = head.index(b"0" * 64)
    digest = hashlib.sha256(head).hexdigest().encode()
    (tmp_path / "x").write_bytes(head[:at] + digest + head[at + 64 :])
    with pytest.raises(FormatError, match=part):
        checkpoint.read(tmp_path / "x")


def test_a_header_in_another_spelling_is_refused(tmp_path: Path) -> None:
    checkpoint.write(tmp_path / "x", SMALL, INFO)
    whole = (tmp_path / "x").read_bytes()
    size = 8 + int.from_bytes(whole[:8], "little")
    spaced = safetensors_bytes(whole[8:size] + b" " * 8, whole[size:])
    (tmp_path / "x").write_bytes(spaced)
    with pytest.raises(FormatError, match="header is damaged"):
        checkpoint.read(tmp_path / "x")


@pytest.mark.parametrize(
    ("info", "error"),
    [
        ({1: "a"}, DTypeError),
        ({"a": np.ones(2)}, DTypeError),
        ({"a": {1, 2}}, DTypeError),
        ([b"a"], DTypeError),
        ([np.float32(1)], DTypeError),
        ("x" * (1 << 20), FormatError),
    ],
)
def test_what_is_no_tree(info: object, error: type[Exception], tmp_path: Path) -> None:
    with pytest.raises(error):
        checkpoint.write(tmp_path / "x", SMALL, info)
    assert os.listdir(tmp_path) == []


def test_a_tree_that_holds_itself(tmp_path: Path) -> None:
    info: list[object] = []
    info += [info, info]
    with pytest.raises(FormatError, match="nested deeper"):
        checkpoint.write(tmp_path / "x", SMALL, info)


# Sizes change, so that a file of mixed generations would not even have the right length. One
# interpreter starts all writers, a fork each: what is killed needs no import of its own.
WRITERS = """
import itertools, os, sys
import numpy as np
from lamella.storage import checkpoint

def write():
    for i in itertools.count():
        size = 1000 + 977 * (i % 50)
        checkpoint.write(sys.argv[1], {"w": np.full(size, i, "f4"), "i": np.array(i)}, {"i": i})
        if i == 0:
            print("ready", os.getpid(), flush=True)

for line in sys.stdin:
    writer = os.fork()
    if writer == 0:
        write()
    print("ended by", os.WTERMSIG(os.waitpid(writer, 0)[1]), flush=True)
"""


def test_no_kill_leaves_an_unreadable_checkpoint(tmp_path: Path) -> None:
    path, choice = tmp_path / "run", random.Random(5)
    last = -1
    writers = subprocess.Popen(
        [sys.executable, "-c", WRITERS, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with writers:
        assert writers.stdin is not None
        assert writers.stdout is not None
        for _ in range(KILLS):
            print(file=writers.stdin, flush=True)
            word, writer = writers.stdout.readline().split()
            assert word == "ready"
            time.sleep(choice.uniform(0, 0.03))
            os.kill(int(writer), signal.SIGKILL)
            assert writers.stdout.readline() == f"ended by {signal.SIGKILL:d}\n"
            arrays, info = checkpoint.read(path)
            assert info["i"] == int(arrays["i"])
            assert set(arrays["w"].tolist()) == {float(info["i"])}
            last = max(last, info["i"])
            if info["i"]:
                checkpoint.read(f"{path}{checkpoint.PREVIOUS}")
    assert last > 0
