# SPDX-License-Identifier: Apache-2.0
"""History: what `fit` returns, one value of each quantity for each finished epoch."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lamella.errors import FormatError, message

__all__ = ["History"]

_BESIDE = ("loss", "val_loss", "lr", "seconds")


class History:
    """Losses, metrics, learning rates and times of the finished epochs, in order.

    `history["loss"]` is a list with one float for each epoch; so are "val_loss" (with validation
    data), the metrics by name and, of the validation data, by "val_" and name, "lr" (the learning
    rate of the first group during that epoch) and "seconds".

    >>> from lamella.train import History
    >>> history = History()
    >>> history.append({"loss": 0.5, "accuracy": 0.75, "lr": 0.1, "seconds": 2.0})
    >>> history.loss, history.metrics, len(history)
    ([0.5], {'accuracy': [0.75]}, 1)
    """

    def __init__(self) -> None:
        self._columns: dict[str, list[float]] = {}
        self._length = 0

    def append(self, logs: Mapping[str, float]) -> None:
        """Adds an epoch; a quantity that is new or missing is nan where it was not given."""
        for name in logs:
            self._columns.setdefault(name, [float("nan")] * self._length)
        for name, column in self._columns.items():
            column.append(float(logs.get(name, float("nan"))))
        self._length += 1

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, name: str) -> list[float]:
        return self._columns[name]

    def __contains__(self, name: object) -> bool:
        return name in self._columns

    @property
    def epochs(self) -> list[int]:
        """The numbers of the finished epochs, from 1."""
        return list(range(1, self._length + 1))

    @property
    def loss(self) -> list[float]:
        """The loss of each epoch's samples together, as they were trained on."""
        return self._columns.get("loss", [])

    @property
    def val_loss(self) -> list[float]:
        """The loss of the validation data after each epoch; [] without such data."""
        return self._columns.get("val_loss", [])

    @property
    def lr(self) -> list[float]:
        """The learning rate of the first parameter group in each epoch."""
        return self._columns.get("lr", [])

    @property
    def seconds(self) -> list[float]:
        """How long each epoch took, validation included."""
        return self._columns.get("seconds", [])

    @property
    def metrics(self) -> dict[str, list[float]]:
        """Every metric, of the training and ("val_...") of the validation data."""
        return {name: list(v) for name, v in self._columns.items() if name not in _BESIDE}

    def to_dict(self) -> dict[str, list[float]]:
        """All columns: "epoch" and what __getitem__ has; pandas.DataFrame takes it.

        >>> from lamella.train import History
        >>> History().to_dict()
        {'epoch': []}
        """
        columns = {name: list(column) for name, column in self._columns.items()}
        return {"epoch": [float(epoch) for epoch in self.epochs], **columns}

    def load_dict(self, columns: Mapping[str, Any]) -> None:
        """Takes over what to_dict gave. Raises: FormatError for columns of different lengths."""
        lengths = {len(column) for column in columns.values()}
        if len(lengths) > 1:
            raise FormatError(message("History", "columns of different lengths", {"": lengths}))
        self._length = lengths.pop() if lengths else 0
        self._columns = {
            name: list(map(float, v)) for name, v in columns.items() if name != "epoch"
        }

    def plot(self, path: str | os.PathLike[str] | None = None) -> Any:
        """Draws the curves over the epochs: the loss above, the metrics below.

        Parameters: path, a file to write (PNG, SVG, PDF by its ending), or None.
        Returns: matplotlib's figure. Raises: ImportError without matplotlib.

        >>> from lamella.train import History
        >>> history = History()
        >>> for loss in (1.0, 0.5, 0.4):
        ...     history.append({"loss": loss, "val_loss": loss + 0.1})
        >>> len(history.plot().axes)
        1
        """
        # Not pyplot: it would choose a window system and keep the figure alive.
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        names = [name for name in self.metrics if not name.startswith("val_")]
        names += [n for n in self.metrics if n.startswith("val_") and n[4:] not in names]
        panels = ["loss", *names]
        figure = Figure(figsize=(7.0, 2.6 * len(panels)), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
        for axis, name in zip(axes, panels, strict=True):
            for column, style in ((name, "-"), (f"val_{name}", "--")):
                if column in self:
                    axis.plot(self.epochs, self[column], style, label=column, color="#0b6e4f")
            axis.set_ylabel(name)
            axis.grid(color="#e4e7eb")
            axis.spines[["top", "right"]].set_visible(False)
            if axis.lines:
                axis.legend(frameon=False)
        axes[-1].set_xlabel("epoch")
        if path is not None:
            figure.savefig(Path(path), dpi=150)
        return figure

    def __repr__(self) -> str:
        if not self._length:
            return "History of 0 epochs"
        last = ", ".join(f"{name}={column[-1]:.4g}" for name, column in self._columns.items())
        return f"History of {self._length} epochs: {last}"
