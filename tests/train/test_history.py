# SPDX-License-Identifier: Apache-2.0
"""History: columns, and the picture of the curves."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from lamella.errors import FormatError
from lamella.train.history import History


def example() -> History:
    history = History()
    for epoch in range(3):
        history.append(
            {
                "loss": 1 / (epoch + 1),
                "accuracy": epoch / 2,
                "val_loss": 1.0,
                "val_accuracy": 0.5,
                "lr": 0.1,
                "seconds": 2.0,
            }
        )
    return history


def test_columns() -> None:
    history = example()
    assert (len(history), history.epochs) == (3, [1, 2, 3])
    assert history.loss == history["loss"] == [1.0, 0.5, 1 / 3]
    assert history.val_loss == [1.0] * 3
    assert (history.lr, history.seconds) == ([0.1] * 3, [2.0] * 3)
    assert history.metrics == {"accuracy": [0.0, 0.5, 1.0], "val_accuracy": [0.5] * 3}
    assert "accuracy" in history
    assert "f1" not in history
    assert repr(history).startswith("History of 3 epochs: loss=0.3333, accuracy=1")
    assert repr(History()) == "History of 0 epochs"


def test_a_column_may_come_later() -> None:
    history = example()
    history.append({"loss": 0.0, "f1": 1.0})
    assert all(math.isnan(value) for value in history["f1"][:3])
    assert math.isnan(history["val_loss"][3])
    assert {len(column) for column in history.to_dict().values()} == {4}


def test_dictionaries_and_back() -> None:
    again = History()
    again.load_dict(example().to_dict())
    assert again.to_dict() == example().to_dict()
    with pytest.raises(FormatError, match="different lengths"):
        again.load_dict({"epoch": [1.0], "loss": []})
    assert len(again) == 3


@pytest.mark.parametrize("ending", ["png", "svg"])
def test_the_picture(ending: str, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    path = tmp_path / f"curves.{ending}"
    figure = example().plot(path)
    assert path.stat().st_size > 1000
    labels = [[line.get_label() for line in axis.lines] for axis in figure.axes]
    assert labels == [["loss", "val_loss"], ["accuracy", "val_accuracy"]]
    assert list(figure.axes[0].lines[0].get_ydata()) == [1.0, 0.5, 1 / 3]


def test_a_picture_of_nothing(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    History().plot(tmp_path / "empty.png")
    assert (tmp_path / "empty.png").exists()
