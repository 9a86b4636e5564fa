# SPDX-License-Identifier: Apache-2.0
"""The measurement of changing sizes runs and prints its rows; what it finds is not judged."""

from __future__ import annotations

import sys
import time

import numpy as np
import pytest

from lamella.benchmarks import situations, sizes

SMALL = ["--rounds", "1", "--batch", "9", "--length", "9", "--width", "32"]


def test_every_row_is_printed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["sizes.py", *SMALL, "--markdown"])
    assert sizes.main() == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| ")][2:]
    scale = situations.Scale(1, 9, 9, 32)
    assert [line.split(" | ")[0][2:] for line in lines] == [row.name for row in sizes.rows(scale)]
    assert all(len(line.split(" | ")) == len(sizes.HEADER) for line in lines)
    pytest.importorskip("onnxruntime")
    # Python's attributes and freeze() are lamella's alone.
    alone = [line for line in lines if line.split(" | ")[3] == "-"]
    assert len(alone) == 3
    assert all("freeze" in line or "attribute" in line or "eval()" in line for line in alone)


def test_rows_are_chosen_by_words(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["sizes.py", *SMALL, "--rows", "attribute"])
    assert sizes.main() == 0
    assert "a call alone" in capsys.readouterr().out
    monkeypatch.setattr(sys, "argv", ["sizes.py", *SMALL, "--rows", "cooking"])
    assert sizes.main() == 1


def test_who_stands_still_is_seen() -> None:
    numbers, held = np.random.default_rng(0).random(300_000).tolist(), []

    def hold() -> None:
        start = time.perf_counter()
        sorted(numbers)  # one call of C: nobody else runs Python meanwhile
        held.append(time.perf_counter() - start)

    seconds, stop = situations.watched(hold)
    assert seconds >= held[0]
    assert stop > 0.9 * held[0] - 1e-3
