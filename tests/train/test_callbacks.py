# SPDX-License-Identifier: Apache-2.0
"""Callbacks: when they are called, what they stop, write and restore."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lamella as lm
from lamella import nn, optim
from lamella.train import (
    Callback,
    CSVLogger,
    EarlyStopping,
    Fit,
    JSONLogger,
    LRScheduler,
    ModelCheckpoint,
    PlotCurves,
)

X = np.random.default_rng(0).standard_normal((20, 3)).astype(np.float32)
Y = (X @ np.array([[1.0], [2.0], [3.0]])).astype(np.float32)


def train(*callbacks: Callback, lr: float = 0.05, **options: Any) -> tuple[nn.Module, Any]:
    lm.manual_seed(1)
    net = nn.Linear(3, 1)
    optimizer = optim.SGD(net.parameters(), lr=lr)
    options = {"epochs": 4, "batch_size": 8, "seed": 0} | options
    history = lm.fit(
        net, X, Y, loss=nn.MSELoss(), optimizer=optimizer, callbacks=callbacks, **options
    )
    return net, history


class Recorder(Callback):
    """Notes every hook with the position that it sees."""

    def __init__(self, name: str, calls: list[tuple[Any, ...]]) -> None:
        self.name, self.calls = name, calls

    def _note(self, hook: str, fit: Fit) -> None:
        self.calls.append((hook, self.name, fit.epoch, fit.batch))

    def on_train_begin(self, fit: Fit) -> None:
        self._note("train begin", fit)

    def on_train_end(self, fit: Fit) -> None:
        self._note("train end", fit)

    def on_epoch_begin(self, fit: Fit) -> None:
        self._note("epoch begin", fit)

    def on_epoch_end(self, fit: Fit) -> None:
        assert len(fit.history) == fit.epoch
        assert fit.logs["loss"] == fit.history.loss[-1]
        self._note("epoch end", fit)

    def on_batch_begin(self, fit: Fit) -> None:
        self._note("batch begin", fit)

    def on_batch_end(self, fit: Fit) -> None:
        assert fit.last_loss == fit.losses[-1]
        self._note("batch end", fit)

    def on_interrupt(self, fit: Fit) -> None:
        self._note("interrupt", fit)


def test_hooks_in_their_order() -> None:
    calls: list[tuple[Any, ...]] = []
    train(Recorder("a", calls), Recorder("b", calls), epochs=2)
    want: list[tuple[str, int, int]] = [("train begin", 0, 0)]
    for epoch in range(2):
        want.append(("epoch begin", epoch, 0))
        for batch in range(3):
            want += [("batch begin", epoch, batch), ("batch end", epoch, batch + 1)]
        want.append(("epoch end", epoch + 1, 0))
    want.append(("train end", 2, 0))
    assert calls == [(hook, name, e, b) for hook, e, b in want for name in "ab"]


def test_looking_at_batches_changes_nothing() -> None:
    calls: list[tuple[Any, ...]] = []
    plain, seen = train()[0], train(Recorder("a", calls), metrics=["mae"])[0]
    for a, b in zip(plain.parameters(), seen.parameters(), strict=True):
        assert a.data.tobytes() == b.data.tobytes()


@pytest.mark.parametrize(
    ("hook", "finished", "last"),
    [
        ("on_epoch_end", 1, "train end"),
        ("on_batch_end", 0, "train end"),
        ("on_batch_begin", 0, "train end"),
        ("on_train_begin", 0, "train end"),
    ],
)
def test_any_hook_may_stop(hook: str, finished: int, last: str) -> None:
    class Stop(Callback):
        pass

    setattr(Stop, hook, lambda self, fit: setattr(fit, "stop", True))
    calls: list[tuple[Any, ...]] = []
    _, history = train(Stop(), Recorder("a", calls))
    assert len(history) == finished
    assert calls[-1][0] == last
    assert sum(call[0] == "batch end" for call in calls) == {
        "on_epoch_end": 3, "on_batch_end": 1, "on_batch_begin": 0, "on_train_begin": 0,
    }[hook]  # fmt: skip


def test_an_exception_reaches_all_callbacks_and_the_caller() -> None:
    class Fails(Callback):
        def on_batch_end(self, fit: Fit) -> None:
            if (fit.epoch, fit.batch) == (1, 2):
                raise RuntimeError("on purpose")

    calls: list[tuple[Any, ...]] = []
    with pytest.raises(RuntimeError, match="on purpose") as caught:
        train(Fails(), Recorder("a", calls))
    assert calls[-1] == ("interrupt", "a", 1, 2)
    run = caught.value.fit  # type: ignore[attr-defined]
    assert (run.epoch, run.batch, len(run.history)) == (1, 2, 1)


class Feed(Callback):
    """Gives the epochs values of our choice."""

    def __init__(self, *values: float) -> None:
        self.values = values

    def on_epoch_end(self, fit: Fit) -> None:
        fit.logs["loss"] = self.values[fit.epoch - 1]


@pytest.mark.parametrize(
    ("values", "options", "epochs", "best_epoch"),
    [
        ([3, 2, 1, 0], {}, 4, 4),
        ([3, 2, 2, 0], {}, 3, 2),
        ([3, 2, 2, 0], {"patience": 1}, 3, 2),
        ([3, 2, 2, 0], {"patience": 2}, 4, 4),
        ([3, 2, 2, 2], {"patience": 2}, 4, 2),
        ([3, 2.5, 1, 0], {"min_delta": 0.5}, 2, 1),
        ([3, float("nan"), 1, 0], {"patience": 2}, 4, 4),
        ([1, 2, 3, 2], {"mode": "max"}, 4, 3),
    ],
)
def test_early_stopping(
    values: list[float], options: dict[str, Any], epochs: int, best_epoch: int
) -> None:
    early = EarlyStopping("loss", **options)
    _, history = train(Feed(*values), early)
    assert (len(history), early.best_epoch) == (epochs, best_epoch)


def test_the_best_weights_come_back() -> None:
    best = train(epochs=2)[0]
    early = EarlyStopping("loss", patience=2, restore_best_weights=True)
    net, history = train(Feed(2, 1, 3, 3), early)
    assert len(history) == 4
    assert early.best == 1
    for a, b in zip(best.parameters(), net.parameters(), strict=True):
        assert a.data.tobytes() == b.data.tobytes()


def test_larger_is_better_for_names_that_say_so() -> None:
    early = EarlyStopping("val_r2")
    train(early, metrics=["r2"], validation_data=(X, Y), epochs=3)
    assert early.best_epoch == 3


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: EarlyStopping(patience=-1), "patience"),
        (lambda: EarlyStopping(mode="best"), "mode"),
        (lambda: EarlyStopping(min_delta=-1.0), "min_delta"),
        (lambda: ModelCheckpoint("a", every=0), "every"),
        (lambda: ModelCheckpoint("a", every="day"), "every"),
        (lambda: ModelCheckpoint("a", every=3, save_best_only=True), "every"),
    ],
)
def test_wrong_arguments(make: Any, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        make()


@pytest.mark.parametrize(
    "callback", [EarlyStopping(), ModelCheckpoint("never", save_best_only=True)]
)
def test_a_monitor_that_is_not_there_is_told_at_once(callback: Callback) -> None:
    with pytest.raises(ValueError, match=r"no such value; got monitor='val_loss'.*validation_data"):
        train(callback)
    assert not Path("never").exists()


def test_checkpoints_when_asked_for(tmp_path: Path) -> None:
    saved: list[tuple[str, int, int]] = []

    class Spy(ModelCheckpoint):
        def _save(self, fit: Fit) -> None:
            super()._save(fit)
            saved.append((Path(self.path).name, fit.epoch, fit.batch))

    train(Spy(tmp_path / "a"), Spy(tmp_path / "b", every=2), epochs=2)
    assert saved == [("b", 0, 2), ("a", 1, 0), ("b", 1, 2), ("a", 2, 0)]
    saved.clear()
    train(Feed(2, 3, 1, 1), Spy(tmp_path / "c", "loss", save_best_only=True))
    assert saved == [("c", 1, 0), ("c", 3, 0)]
    train(ModelCheckpoint(tmp_path / "epoch-{epoch}"), epochs=2)
    assert (tmp_path / "epoch-1").exists()
    assert (tmp_path / "epoch-2").exists()


def test_a_scheduler_is_stepped_by_epochs_or_batches() -> None:
    class Counter:
        def __init__(self) -> None:
            self.steps = 0

        def step(self) -> None:
            self.steps += 1

        def state_dict(self) -> dict[str, Any]:
            return {}

    counters = Counter(), Counter()
    train(LRScheduler(counters[0]), LRScheduler(counters[1], every="batch"))
    assert [counter.steps for counter in counters] == [4, 12]
    with pytest.raises(TypeError, match="no scheduler"):
        LRScheduler(3)
    with pytest.raises(ValueError, match="every"):
        LRScheduler(counters[0], every="day")


def test_a_scheduler_of_another_optimiser_is_told() -> None:
    other = optim.SGD(nn.Linear(3, 1).parameters(), lr=0.1)
    with pytest.raises(ValueError, match="another optimiser; got scheduler=StepLR"):
        train(LRScheduler(optim.lr_scheduler.StepLR(other, 2)))


def test_the_rate_of_each_epoch_is_kept() -> None:
    net = nn.Linear(3, 1)
    optimizer = optim.SGD(net.parameters(), lr=0.1)
    scheduler = optim.lr_scheduler.StepLR(optimizer, 2, gamma=0.5)
    history = lm.fit(
        net, X, Y, loss=nn.MSELoss(), optimizer=optimizer, scheduler=scheduler, epochs=5
    )
    assert history.lr == [0.1, 0.1, 0.05, 0.05, 0.025]


def test_a_scheduler_that_judges_gets_the_value() -> None:
    net = nn.Linear(3, 1)
    optimizer = optim.SGD(net.parameters(), lr=0.1)
    scheduler = optim.lr_scheduler.ReduceLROnPlateau(optimizer)
    seen = []
    step = scheduler.step
    scheduler.step = lambda value: (seen.append(value), step(value))  # type: ignore[method-assign]
    history = lm.fit(
        net, X, Y, loss=nn.MSELoss(), optimizer=optimizer, scheduler=scheduler, epochs=3
    )
    assert seen == history.loss


def test_logs(tmp_path: Path) -> None:
    table, lines = tmp_path / "log.csv", tmp_path / "log.jsonl"
    for _ in range(2):  # each training starts its files anew
        _, history = train(CSVLogger(table), JSONLogger(lines), epochs=3)
    with table.open() as file:
        rows = list(csv.DictReader(file))
    assert [float(row["loss"]) for row in rows] == history.loss
    assert [row["epoch"] for row in rows] == ["1", "2", "3"]
    entries = [json.loads(line) for line in lines.read_text().splitlines()]
    assert [entry["loss"] for entry in entries] == history.loss
    train(JSONLogger(lines, append=True), epochs=1)
    assert len(lines.read_text().splitlines()) == 4


def test_what_is_not_finite_is_still_json(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    train(Feed(float("nan"), float("inf")), JSONLogger(path), epochs=2)
    entries = [json.loads(line) for line in path.read_text().splitlines()]
    assert [entry["loss"] for entry in entries] == [None, None]


def test_curves_are_drawn(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    path = tmp_path / "curves.png"
    train(PlotCurves(path), epochs=2)
    assert path.read_bytes().startswith(b"\x89PNG")


def test_progress(capsys: pytest.CaptureFixture[str]) -> None:
    train(epochs=2, verbose=True)
    lines = capsys.readouterr().err.splitlines()
    assert [line.split()[:2] for line in lines] == [["epoch", "1/2"], ["epoch", "2/2"]]
    train(epochs=2, verbose=False)
    train(epochs=2)
    assert capsys.readouterr() == ("", "")
