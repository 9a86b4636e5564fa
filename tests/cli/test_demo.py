# SPDX-License-Identifier: Apache-2.0
"""`lamella demo`: the check of every prediction, the table, the picture."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lamella import cli

pytest.importorskip("sklearn")

QUICK = ["--rounds", "1", "--hidden", "24", "--epochs", "20"]


def test_every_prediction_agrees(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["demo", "--no-plot", *QUICK]) == 0
    text = capsys.readouterr().out
    assert "1797 of 1797 predictions agree" in text
    assert "time of the fit" in text
    for name in ("lamella", "plain NumPy", "scikit-learn", "batch 1,", "batch 32,", "batch 1797,"):
        assert name in text


def test_the_picture(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    path = tmp_path / "demo.png"
    assert cli.main(["demo", "--plot", str(path), *QUICK]) == 0
    data = path.read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    assert struct.unpack(">II", data[16:24]) == (1800, 960)
    assert len(data) > 30_000


def test_a_difference_fails(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from lamella import sklearn as door

    take_over = door.from_sklearn

    class OffByOne:
        def __init__(self, fitted: Any) -> None:
            self.net = take_over(fitted)

        def predict_proba(self, x: Any) -> Any:
            return self.net.predict_proba(x)

        def predict(self, x: Any) -> Any:
            answer = np.array(self.net.predict(x))
            answer[3] = (answer[3] + 1) % 10
            return answer

    monkeypatch.setattr(door, "from_sklearn", OffByOne)
    assert cli.main(["demo", "--no-plot", *QUICK]) == 1
    assert "1796 of 1797" in capsys.readouterr().out
