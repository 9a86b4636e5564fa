# SPDX-License-Identifier: Apache-2.0
"""The measurement of manners runs and prints its rows; what it finds is no test's business."""

from __future__ import annotations

import os
import sys
import threading

import pytest

from lamella import _core
from lamella.benchmarks import manners


def test_every_row_is_printed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(manners, "ASLEEP", 0.0)
    monkeypatch.setattr(manners, "SECONDS", 0.002)
    monkeypatch.setattr(manners, "PAIRS", 2)
    monkeypatch.setattr(sys, "argv", ["manners.py", "--rounds", "1"])
    before, threads = os.sched_getaffinity(0), _core.num_threads()
    assert manners.main() == 0
    _core.set_num_threads(threads)
    text = capsys.readouterr().out
    assert text.count(f"{manners.CALLERS} callers of one model") == (4 if len(before) > 1 else 2)
    assert text.count("NumPy product") == (2 if len(before) > 1 else 0)
    assert "processor time used" in text
    assert "from Ctrl-C to the end of fit" in text
    assert os.sched_getaffinity(0) == before


def test_every_caller_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manners, "SECONDS", 0.05)
    seen = set()
    assert 0 < manners.seconds_per_call(lambda: seen.add(threading.get_ident()), 3) < 1
    assert len(seen) == 3
