# SPDX-License-Identifier: Apache-2.0
"""The measurement of bursts: what is timed and told; what it finds is no test's business."""

from __future__ import annotations

import sys

import pytest

from lamella.benchmarks import bursts, measure, tasks


def test_every_call_of_a_burst_is_timed_and_no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    now, pauses = [0.0], []

    def sleep(seconds: float) -> None:
        pauses.append(seconds)
        now[0] += seconds

    def call() -> None:
        cost = 3.0 if len(pauses) > len(started) else 1.0  # the first one wakes the threads
        started.extend([0] * (len(pauses) - len(started)))
        now[0] += cost

    started: list[int] = []
    monkeypatch.setattr(measure.time, "sleep", sleep)
    monkeypatch.setattr(measure.time, "perf_counter", lambda: now[0])
    found = measure.time_bursts(call, 4, 50.0, 8.0)
    assert pauses == [50.0] * 4
    assert found == [[3.0] + [1.0] * 5] * 4
    assert measure.of_bursts(found) == {"median": 1.0, "percentile90": 3.0, "first": 3.0}


def test_every_row_is_printed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert tasks.ALL.keys() >= set(bursts.TASKS)
    short = ["--bursts", "2", "--idle", "0", "--busy", "0", "--threads", "1", "--markdown"]
    monkeypatch.setattr(sys, "argv", ["bursts.py", *short, "--rivals", "onnxruntime", "numpy"])
    assert bursts.main() == 0
    lines = [line.split(" | ") for line in capsys.readouterr().out.splitlines() if "|" in line][2:]
    libraries = [cells[2] for cells in lines if cells[0] == f"| {bursts.TASKS[1]}"]
    assert libraries[0] == "lamella"
    assert "numpy" in libraries
    # NumPy has no gelu.
    assert [cells[2] for cells in lines if cells[0] == f"| {bursts.TASKS[0]}"][-1] != "numpy"
    assert all(len(cells) == len(bursts.HEADER) for cells in lines)
