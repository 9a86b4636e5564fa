# SPDX-License-Identifier: Apache-2.0
"""Callbacks: what happens beside training, at its hooks.

Every hook takes the run, a `Fit`: it has the net, the optimiser, the position, the history and the
last epoch's values, and `fit.stop = True` ends training after the hook. Hooks run in the order in
which the callbacks were given; those with `last` (checkpoints) come after all others. What a
callback must remember when training is resumed is its `state_dict`.
"""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lamella.errors import message
from lamella.optim.lr_scheduler import OneCycleLR, ReduceLROnPlateau

if TYPE_CHECKING:
    from lamella.train.loop import Fit

__all__ = [
    "CSVLogger",
    "Callback",
    "EarlyStopping",
    "JSONLogger",
    "LRScheduler",
    "ModelCheckpoint",
    "PlotCurves",
]

_LARGER_IS_BETTER = ("accuracy", "precision", "recall", "f1", "r2", "auc", "score")


class Callback:
    """Base class: every hook does nothing. Subclasses write the hooks they need.

    Hooks for batches cost each batch a call of Python; a callback without them costs none.

    >>> from lamella.train import Callback
    >>> class Enough(Callback):
    ...     def on_epoch_end(self, fit):
    ...         if fit.logs["loss"] < 0.01:
    ...             fit.stop = True
    """

    #: Whether the hooks run after those of all other callbacks.
    last: bool = False

    #: Whether the hooks for batches and updates that a subclass has are to be called in this run.
    batch_hooks: bool = True

    def on_train_begin(self, fit: Fit) -> None:
        """Before the first epoch, and once more when training is resumed."""

    def on_train_end(self, fit: Fit) -> None:
        """After the last epoch, or after a callback stopped training; not after an exception."""

    def on_epoch_begin(self, fit: Fit) -> None:
        """Before the first batch of an epoch; not when training resumes in the midst of one."""

    def on_epoch_end(self, fit: Fit) -> None:
        """After an epoch and its validation: `fit.logs` and `fit.history` have its values."""

    def on_batch_begin(self, fit: Fit) -> None:
        """Before each batch."""

    def on_update(self, fit: Fit) -> None:
        """After each update of the parameters, before on_batch_end: what schedules count.

        Every batch makes one, or with accumulate=k every k-th, and the last ones of an epoch, fewer
        than k, behind their on_batch_end.
        """

    def on_batch_end(self, fit: Fit) -> None:
        """After each batch: `fit.last_loss` is its loss."""

    def on_interrupt(self, fit: Fit) -> None:
        """When an exception, KeyboardInterrupt for one, ends training; it is raised afterwards."""

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint has to hold: numbers, texts, arrays, nested in dicts and lists."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Takes over what state_dict gave."""


class _Best:
    """The best value of a monitored quantity so far."""

    def __init__(self, op: str, monitor: str, mode: str, min_delta: float) -> None:
        if mode not in ("auto", "min", "max"):
            raise ValueError(message(op, "no mode", {"mode": repr(mode)}, "'auto', 'min' or 'max'"))
        if not min_delta >= 0:
            raise ValueError(message(op, "negative", {"min_delta": min_delta}, "min_delta >= 0"))
        if mode == "auto":
            larger = any(word in monitor for word in _LARGER_IS_BETTER)
            mode = "max" if larger else "min"
        self.sign = 1.0 if mode == "max" else -1.0
        self.min_delta = min_delta
        self.value: float | None = None

    def improved(self, value: float) -> bool:
        """Whether `value` is better than the best by more than min_delta; then it is the best."""
        better = value == value and (
            self.value is None or self.sign * (value - self.value) > self.min_delta
        )
        if better:
            self.value = value
        return better


class EarlyStopping(Callback):
    """Stops when a value has not improved for some epochs.

    Parameters: monitor, a column of the history; patience >= 0, after how many epochs without
    improvement to stop, 0 being the same as 1; min_delta >= 0, what an improvement exceeds; mode,
    "min", "max", or "auto": "max" for names with accuracy, precision, recall, f1, r2, auc, score;
    restore_best_weights, whether the net ends with the parameters and buffers of the best epoch
    instead of the last, also when a parameter became NaN.
    Attributes: best, the best value; best_epoch, its epoch, from 1; wait, epochs since then.
    Raises: ValueError, also when training begins and has no value named `monitor`.

    >>> from lamella.train import EarlyStopping
    >>> EarlyStopping("val_accuracy", patience=3, restore_best_weights=True).wait
    0
    """

    def __init__(
        self,
        monitor: str = "val_loss",
        patience: int = 0,
        min_delta: float = 0.0,
        mode: str = "auto",
        restore_best_weights: bool = False,
    ) -> None:
        if not (hasattr(patience, "__index__") and patience >= 0):
            raise ValueError(
                message(
                    "EarlyStopping",
                    "no number of epochs",
                    {"patience": repr(patience)},
                    "a whole number >= 0",
                )
            )
        self.monitor = monitor
        self.patience = patience
        self.restore_best_weights = restore_best_weights
        self._best = _Best("EarlyStopping", monitor, mode, min_delta)
        self.wait = 0
        self.best_epoch: int | None = None
        self._weights: dict[str, Any] | None = None
        self._loaded = False

    @property
    def best(self) -> float | None:
        """The best value so far."""
        return self._best.value

    def on_train_begin(self, fit: Fit) -> None:
        """Forgets an earlier training, unless this one is resumed."""
        if not self._loaded:
            self.wait, self.best_epoch, self._weights = 0, None, None
            self._best.value = None
        self._loaded = False
        fit.require(self.monitor)
        self._judge(fit)

    def on_epoch_end(self, fit: Fit) -> None:
        """Compares."""
        if self._best.improved(fit.logs[self.monitor]):
            self.wait, self.best_epoch = 0, fit.epoch
            if self.restore_best_weights:
                self._weights = fit.net.state_dict()
        else:
            self.wait += 1
        self._judge(fit)

    def _judge(self, fit: Fit) -> None:
        if self.wait >= max(self.patience, 1):
            fit.stop = True

    def on_train_end(self, fit: Fit) -> None:
        """Puts the best weights back."""
        if self._weights is not None:
            fit.net.load_state_dict(self._weights)

    def on_interrupt(self, fit: Fit) -> None:
        """Puts them back if the last ones are of no use."""
        if fit.diverged:
            self.on_train_end(fit)

    def state_dict(self) -> dict[str, Any]:
        """The best value, epoch and weights, and how long ago."""
        return {
            "best": self.best,
            "best_epoch": self.best_epoch,
            "wait": self.wait,
            "weights": self._weights,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Takes over what state_dict gave."""
        self._best.value, self.best_epoch = state["best"], state["best_epoch"]
        self.wait, self._weights = state["wait"], state["weights"]
        self._loaded = True


class ModelCheckpoint(Callback):
    """Writes checkpoints, from which `fit(..., resume=path)` continues.

    A checkpoint holds the parameters and buffers, the optimiser, schedulers and other callbacks,
    random states, the position and the history. The file at `path` is replaced only by a complete
    one; "{epoch}" in it is the number of finished epochs and keeps a file for each.

    Parameters: path; every, "epoch" or a number of batches >= 1; monitor and save_best_only,
    whether to write only after epochs whose value is the best so far; mode, as EarlyStopping's;
    on_interrupt, whether to write also when an exception or Ctrl-C ends training, at the last
    finished step; nothing is written then before the first step, nor parameters that are NaN.
    Raises: ValueError; OSError when a file cannot be written, when training begins if there is no
    such folder.

    >>> from lamella.train import ModelCheckpoint
    >>> ModelCheckpoint("run.ckpt", monitor="val_loss", save_best_only=True).every
    'epoch'
    """

    last = True

    def __init__(
        self,
        path: str | os.PathLike[str],
        monitor: str = "val_loss",
        save_best_only: bool = False,
        every: str | int = "epoch",
        mode: str = "auto",
        on_interrupt: bool = False,
    ) -> None:
        whole = isinstance(every, int) and not isinstance(every, bool) and every >= 1
        if not (whole or every == "epoch") or (whole and save_best_only):
            expected = "'epoch'" if save_best_only else "'epoch' or a number of batches >= 1"
            raise ValueError(message("ModelCheckpoint", "when?", {"every": repr(every)}, expected))
        self.path = os.fspath(path)
        self.monitor = monitor
        self.save_best_only = save_best_only
        self.every = every
        self.batch_hooks = whole
        self._interrupts = on_interrupt
        self._best = _Best("ModelCheckpoint", monitor, mode, 0.0)
        self._begin: tuple[int, int] | None = None

    def _save(self, fit: Fit) -> None:
        fit.save(self.path.replace("{epoch}", str(fit.epoch)))

    def on_train_begin(self, fit: Fit) -> None:
        """Judges the monitor and the folder."""
        if self.save_best_only:
            fit.require(self.monitor)
        folder = os.path.dirname(self.path)
        if folder and "{epoch}" not in folder and not os.path.isdir(folder):
            text = message("ModelCheckpoint", "no such folder", None, "a folder that is there")
            raise FileNotFoundError(errno.ENOENT, text, folder)
        self._begin = fit.epoch, fit.batch

    def on_batch_end(self, fit: Fit) -> None:
        """Writes after every so many batches of an epoch."""
        if fit.batch % int(self.every) == 0:
            self._save(fit)

    def on_epoch_end(self, fit: Fit) -> None:
        """Writes after the epoch, or after the best."""
        if self.every == "epoch":
            if not self.save_best_only or self._best.improved(fit.logs[self.monitor]):
                self._save(fit)

    def on_interrupt(self, fit: Fit) -> None:
        """Writes what this training has finished, if asked to and if there is any."""
        begin, self._begin = self._begin, None
        finished = begin is not None and begin != (fit.epoch, fit.batch)
        if self._interrupts and finished and not fit.diverged:
            self._save(fit)

    def state_dict(self) -> dict[str, Any]:
        """The best value."""
        return {"best": self._best.value}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Takes over what state_dict gave."""
        self._best.value = state["best"]


class LRScheduler(Callback):
    """Steps a scheduler of lamella.optim after every epoch or update.

    A scheduler whose step takes a value (ReduceLROnPlateau) gets the monitored one. Its state is
    part of checkpoints.

    Parameters: scheduler; monitor, a column of the history; every, "epoch" or "update", by default
    "update" for OneCycleLR, as its formula counts them, and "epoch" for all others; "batch" is
    another word for "update". With accumulate=k an epoch of b batches has ceil(b / k) updates.
    Raises: TypeError, ValueError; when training begins also for another optimiser's scheduler.

    >>> from lamella import nn, optim
    >>> from lamella.train import LRScheduler
    >>> optimizer = optim.SGD(nn.Linear(2, 1).parameters(), lr=0.1)
    >>> LRScheduler(optim.lr_scheduler.StepLR(optimizer, 10)).every
    'epoch'
    """

    def __init__(self, scheduler: Any, monitor: str = "val_loss", every: str | None = None) -> None:
        if not callable(getattr(scheduler, "step", None)):
            raise TypeError(
                message("LRScheduler", "no scheduler", {"scheduler": type(scheduler).__name__},
                        "an object with step(), of lamella.optim")
            )  # fmt: skip
        if every is None:
            every = "update" if isinstance(scheduler, OneCycleLR) else "epoch"
        if every not in ("epoch", "update", "batch"):
            raise ValueError(
                message("LRScheduler", "when?", {"every": repr(every)}, "'epoch' or 'update'")
            )
        self.scheduler = scheduler
        self.monitor = monitor
        self.every = every
        self.batch_hooks = every != "epoch"
        self._judges = isinstance(scheduler, ReduceLROnPlateau)

    def on_train_begin(self, fit: Fit) -> None:
        """Judges the monitor, and whose rates the scheduler sets."""
        if self._judges:
            fit.require(self.monitor)
        if getattr(self.scheduler, "optimizer", fit.optimizer) is not fit.optimizer:
            got = {"scheduler": type(self.scheduler).__name__}
            rule, expected = "a scheduler of another optimiser", "one made for fit's optimizer"
            raise ValueError(message("LRScheduler", rule, got, expected))

    def on_update(self, fit: Fit) -> None:
        """Steps."""
        self.scheduler.step()

    def on_epoch_end(self, fit: Fit) -> None:
        """Steps, with the monitored value for a scheduler that judges one."""
        if self.every == "epoch" and self._judges:
            self.scheduler.step(fit.logs[self.monitor])
        elif self.every == "epoch":
            self.scheduler.step()

    def state_dict(self) -> dict[str, Any]:
        """The scheduler's state."""
        return {"scheduler": self.scheduler.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Takes over what state_dict gave."""
        self.scheduler.load_state_dict(state["scheduler"])


class _Log(Callback):
    """Writes the values of each epoch, a line for each, below so many lines of names."""

    heading = 0

    def __init__(self, path: str | os.PathLike[str], append: bool = False) -> None:
        self.path = Path(path)
        self.append = append

    def on_train_begin(self, fit: Fit) -> None:
        """Empties the file, or takes out epochs that resumed training will have once more."""
        if self.append:
            return
        lines: list[str] = []
        if (fit.epoch or fit.batch) and self.path.exists():
            lines = self.path.read_text().splitlines(keepends=True)[: self.heading + fit.epoch]
        self.path.write_text("".join(lines))


class CSVLogger(_Log):
    """Writes a line of comma-separated values for each epoch, under a line of names.

    Resumed training continues the file of the training before. Parameters: path; append, whether
    to add to whatever is there.

    >>> from lamella.train import CSVLogger
    >>> CSVLogger("curves.csv").append
    False
    """

    heading = 1

    def on_epoch_end(self, fit: Fit) -> None:
        """Writes the line."""
        with self.path.open("a+") as file:
            file.seek(0)
            names = file.readline().rstrip("\n").split(",")
            if names == [""]:
                names = ["epoch", *fit.logs]
                file.write(",".join(names) + "\n")
            values = {"epoch": fit.epoch, **fit.logs}
            file.write(",".join(repr(values.get(name, "")) for name in names) + "\n")


class JSONLogger(_Log):
    """Writes one JSON object on a line of its own for each epoch (JSON Lines).

    Values that are not finite are null. Parameters: as CSVLogger's.

    >>> from lamella.train import JSONLogger
    >>> JSONLogger("curves.jsonl").append
    False
    """

    def on_epoch_end(self, fit: Fit) -> None:
        """Writes the line."""
        finite = {n: v if abs(v) < float("inf") else None for n, v in fit.logs.items()}
        with self.path.open("a") as file:
            file.write(json.dumps({"epoch": fit.epoch, **finite}) + "\n")


class PlotCurves(Callback):
    """Draws the history's curves into a file when training ends, or every so many epochs.

    Parameters: path, PNG, SVG or PDF by its ending; every, epochs, or None for the end only.
    Raises: ImportError when training begins without matplotlib.

    >>> from lamella.train import PlotCurves
    >>> PlotCurves("curves.png", every=10).every
    10
    """

    def __init__(self, path: str | os.PathLike[str], every: int | None = None) -> None:
        self.path = Path(path)
        self.every = every

    def on_train_begin(self, fit: Fit) -> None:
        """Finds out now, not after hours, whether matplotlib is there."""
        import matplotlib  # noqa: F401

    def on_epoch_end(self, fit: Fit) -> None:
        """Draws in between."""
        if self.every is not None and fit.epoch % self.every == 0:
            fit.history.plot(self.path)

    def on_train_end(self, fit: Fit) -> None:
        """Draws."""
        if len(fit.history):
            fit.history.plot(self.path)

    def on_interrupt(self, fit: Fit) -> None:
        """Draws what there is."""
        self.on_train_end(fit)
