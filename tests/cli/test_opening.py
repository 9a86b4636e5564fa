# SPDX-License-Identifier: Apache-2.0
"""The measurement of opening ONNX files runs and prints its rows; what it finds is not judged."""

from __future__ import annotations

import sys

import pytest

from lamella.benchmarks import opening


def test_every_row_is_printed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["opening.py", "--rounds", "1", "--megabytes", "0.5"])
    assert opening.main() == 0
    lines = capsys.readouterr().out.splitlines()
    names = ["load an MLP of 0.5", "its first call", "its later calls", "MLP 64-64-64-4"]
    assert [name for name in names if any(line.startswith(name) for line in lines)] == names
