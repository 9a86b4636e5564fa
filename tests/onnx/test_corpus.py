# SPDX-License-Identifier: Apache-2.0
"""Replays what fuzzing found worth keeping, and what it found wrong, under the same limits.

corpus/TARGET holds inputs that together reach what the fuzzer has reached (`make fuzz`, minimised
with -merge=1), and under `found-` names those that once did harm. No fuzzer is needed here.
"""

from __future__ import annotations

import time
import tracemalloc
from pathlib import Path

import pytest

from fuzz import targets

CORPUS = Path(__file__).parent / "corpus"


@pytest.mark.parametrize("target", targets.TARGETS)
def test_the_corpus_is_taken_within_its_limits(target: str) -> None:
    files = sorted((CORPUS / target).iterdir())
    assert len(files) > 50
    read = 0
    for path in files:
        data = path.read_bytes()
        start = time.process_time()
        try:
            follow = targets.TARGETS[target](data)
        except targets.REFUSALS:
            follow = None
        else:
            read += 1
        assert time.process_time() - start < targets.time_limit(len(data)), path.name
        tracemalloc.start()
        try:
            targets.TARGETS[target](data)
        except targets.REFUSALS:
            pass
        finally:
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
        assert peak < targets.memory_limit(len(data)), path.name
        if follow is not None:
            try:
                follow()
            except targets.REFUSALS:
                continue
    # A corpus that is refused as a whole would show nothing.
    assert read > len(files) // 4


def test_the_corpus_is_small() -> None:
    sizes = [path.stat().st_size for path in CORPUS.rglob("*") if path.is_file()]
    assert sum(sizes) < 300_000


def test_judging_finds_what_is_wrong(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The oracles are no decoration: work, memory and foreign exceptions are told."""
    monkeypatch.setattr(targets, "time_limit", lambda size: 0.01)

    def slow(data: bytes) -> None:
        start = time.process_time()
        while data and time.process_time() - start < 0.05:
            continue

    monkeypatch.setitem(targets.TARGETS, "door", slow)
    assert "s for 1 bytes" in targets.judge("door", b"x")

    def large(data: bytes) -> None:
        if data:
            bytearray(b"\1" * (100 << 20))

    monkeypatch.setattr(targets, "time_limit", lambda size: 60.0)
    monkeypatch.setitem(targets.TARGETS, "door", large)
    assert "MiB for 1 bytes" in targets.judge("door", b"x")

    def wrong(data: bytes) -> None:
        if data:
            raise KeyError("y")

    monkeypatch.setitem(targets.TARGETS, "door", wrong)
    with pytest.raises(KeyError):
        targets.judge("door", b"x")
