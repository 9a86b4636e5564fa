# SPDX-License-Identifier: Apache-2.0
"""fit: updates and figures do not depend on how samples were cut into batches.

Batches that make one update together are compared with one large batch; figures of an epoch with
the loss of its data. Resumed training is compared bit for bit.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lamella as lm
from lamella import functional as F
from lamella import nn, optim
from lamella.train import Callback, EarlyStopping, LRScheduler, ModelCheckpoint

N, BATCH = 22, 4
RNG = np.random.default_rng(3)
X = RNG.standard_normal((N, 5))
T = RNG.integers(0, 3, N)
Y = X[:, :3] ** 2
IGNORED = np.where(np.arange(N) < 9, -100, T)  # all of the first two batches, one of the third
WEIGHT = RNG.uniform(0.2, 2.0, N)
ZEROS = np.where((np.arange(N) < 8) | (np.arange(N) % 3 == 0), 0.0, WEIGHT)
OF_CLASS = nn.CrossEntropyLoss(weight=np.array([1.0, 7.0, 0.5]))

LOSSES: dict[str, tuple[Any, Any]] = {
    "squares": (nn.MSELoss(), Y),
    "sum": (nn.CrossEntropyLoss(reduction="sum"), T),
    "weights of classes": (OF_CLASS.double(), T),
    "ignored": (nn.CrossEntropyLoss(), IGNORED),
    "a partial": (partial(F.cross_entropy, ignore_index=1), T),
    "by hand": (lambda output, target: (output - target).square().mean(), Y),
}
ALL = [(name, weight) for name in LOSSES for weight in (None, WEIGHT, ZEROS) if name != "by hand"]
ALL.append(("by hand", None))


def classifier(norm: bool = False) -> nn.Sequential:
    lm.manual_seed(1)
    between = [nn.BatchNorm1d(8)] if norm else []
    return nn.Sequential(nn.Linear(5, 8), *between, nn.Tanh(), nn.Linear(8, 3)).double()


def train(
    loss: Any, y: Any, x: Any = X, net: nn.Module | None = None, lr: float = 0.1, **options: Any
) -> tuple[dict[str, np.ndarray], Any]:
    net = net or classifier()
    options = {
        "batch_size": BATCH, "shuffle": False, "seed": 0,
        "optimizer": optim.SGD(net.parameters(), lr=lr, momentum=0.9),
    } | options  # fmt: skip
    history = lm.fit(net, x, y, loss=loss, **options)
    return {name: np.array(value) for name, value in net.state_dict().items()}, history


def near(got: dict[str, np.ndarray], want: dict[str, np.ndarray]) -> None:
    for name, value in want.items():
        np.testing.assert_allclose(got[name], value, rtol=0, atol=1e-13, err_msg=name)


def batches(y: Any, weight: Any) -> list[tuple[Any, ...]]:
    parts = [slice(first, first + BATCH) for first in range(0, N, BATCH)]
    return [(X[p], y[p], *(() if weight is None else (weight[p],))) for p in parts]


@pytest.mark.parametrize(("name", "weight"), ALL)
def test_several_batches_are_one_of_all_their_samples(name: str, weight: Any) -> None:
    """Six batches, the last of two: 4 + 2, all six, and more than there are."""
    loss, y = LOSSES[name]
    kept = N if weight is None else np.count_nonzero(weight)
    for accumulate in (4, 6, 9):
        got, history = train(loss, y, accumulate=accumulate, epochs=2, sample_weight=weight)
        size = min(accumulate * BATCH, kept)
        want, whole = train(loss, y, batch_size=size, epochs=2, sample_weight=weight)
        near(got, want)
        np.testing.assert_allclose(history.loss, whole.loss, rtol=1e-13)


@pytest.mark.parametrize(("name", "weight"), ALL)
def test_batches_of_an_iterable_are_those_of_arrays(name: str, weight: Any) -> None:
    """But for samples of weight 0: arrays are cut without them, each batch loses its own."""
    loss, y = LOSSES[name]
    for accumulate in (1, 4) if weight is not ZEROS else (9,):
        got, history = train(loss, None, batches(y, weight), accumulate=accumulate)
        want, whole = train(loss, y, sample_weight=weight, accumulate=accumulate)
        near(got, want)
        np.testing.assert_allclose(history.loss, whole.loss, rtol=1e-13)


@pytest.mark.parametrize(("name", "weight"), ALL)
def test_figures_are_those_of_the_data(name: str, weight: Any) -> None:
    """With a learning rate of 0: the losses of training and validation, at every cut."""
    loss, y = LOSSES[name]
    figures = []
    for size in (1, 3, 4, N):
        held = [(X[i : i + size], y[i : i + size]) for i in range(0, N, size)]
        if weight is not None:
            held = [(*pair, weight[i * size : i * size + size]) for i, pair in enumerate(held)]
        _, history = train(
            loss, y, lr=0.0, batch_size=size, shuffle=True, sample_weight=weight,
            validation_data=held, epochs=2,
        )  # fmt: skip
        figures += history.loss + history.val_loss
    assert np.isfinite(figures).all()
    np.testing.assert_allclose(figures, figures[0], rtol=1e-13)
    if weight is None:
        net = classifier().eval()
        want = Y.dtype.type(np.square(net(X) - Y).mean() if name == "by hand" else loss(net(X), y))
        np.testing.assert_allclose(figures[0], want, rtol=1e-13)


def test_data_in_which_nothing_counts_have_no_loss() -> None:
    _, history = train(nn.CrossEntropyLoss(), T, validation_data=(X, np.full(N, -100)))
    assert math.isnan(history.val_loss[0])
    assert np.isfinite(history.loss[0])


def test_early_stopping_sees_no_cut() -> None:
    """The epoch at which training stops is that of one validation batch."""
    ends = []
    for size in (3, 10, N):
        held = [(X[i : i + size], IGNORED[i : i + size]) for i in range(0, N, size)]
        stopping = EarlyStopping(patience=1)
        train(nn.CrossEntropyLoss(), T, epochs=60, lr=0.2, validation_data=held, callbacks=stopping)
        ends.append((stopping.best_epoch, round(stopping.best or 0, 12)))
    assert ends == [ends[0]] * 3
    assert 1 < ends[0][0] < 60


class Counting(Callback):
    """Updates, and where they are."""

    def __init__(self) -> None:
        self.places: list[tuple[int, int]] = []
        self.batches = 0

    def on_update(self, fit: Any) -> None:
        self.places.append((fit.epoch, fit.batch))

    def on_batch_end(self, fit: Any) -> None:
        self.batches += 1
        assert (self.places[-1:] == [(fit.epoch, fit.batch)]) == (fit.step.held == 0)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("accumulate", "places"), [(1, [1, 2, 3, 4, 5, 6]), (4, [4, 6]), (3, [3, 6]), (9, [6])]
)
def test_schedules_and_callbacks_count_updates(
    accumulate: int, places: list[int], stream: bool
) -> None:
    net = classifier()
    optimizer = optim.SGD(net.parameters(), lr=0.1)
    counting = Counting()
    total = 3 * len(places)
    schedule = optim.lr_scheduler.OneCycleLR(optimizer, 0.05, total_steps=total)
    train(
        nn.CrossEntropyLoss(), None if stream else T, batches(T, None) if stream else X, net,
        optimizer=optimizer, epochs=3, accumulate=accumulate, scheduler=schedule,
        callbacks=counting,
    )  # fmt: skip
    assert counting.places == [(epoch, batch) for epoch in range(3) for batch in places]
    assert counting.batches == 18
    assert schedule.last_epoch == total


def test_a_schedule_of_updates_by_either_word() -> None:
    for word in ("update", "batch"):
        net = classifier()
        optimizer = optim.SGD(net.parameters(), lr=0.1)
        steps = optim.lr_scheduler.StepLR(optimizer, 1, 0.5)
        train(
            nn.MSELoss(), Y, net=net, optimizer=optimizer, accumulate=5,
            callbacks=LRScheduler(steps, every=word),
        )  # fmt: skip
        assert optimizer.param_groups[0]["lr"] == 0.025


class Cut(Callback):
    """Ends training behind a batch, or behind the update at the end of an epoch."""

    def __init__(self, epoch: int, batch: int, hook: str) -> None:
        self.position = epoch, batch
        setattr(self, hook, self.end)

    def end(self, fit: Any) -> None:
        if (fit.epoch, fit.batch) == self.position:
            raise InterruptedError

    def on_update(self, fit: Any) -> None: ...

    def on_batch_end(self, fit: Any) -> None: ...


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("batch", "hook"),
    [*((batch, "on_batch_end") for batch in range(1, 7)), (4, "on_update"), (6, "on_update")],
)
def test_training_goes_on_to_the_bit_within_an_update(
    batch: int, hook: str, stream: bool, tmp_path: Path
) -> None:
    def run(*callbacks: Callback, **options: Any) -> Any:
        net = classifier(norm=True)
        optimizer = optim.AdamW(net.parameters(), lr=0.01)
        schedule = optim.lr_scheduler.OneCycleLR(optimizer, 0.05, total_steps=6)
        state, history = train(
            nn.CrossEntropyLoss(), None if stream else T, batches(IGNORED, WEIGHT) if stream else X,
            net, optimizer=optimizer, epochs=3, accumulate=4,
            sample_weight=None if stream else WEIGHT, metrics=["accuracy"],
            callbacks=[LRScheduler(schedule), *callbacks], **options,
        )  # fmt: skip
        columns = history.to_dict()
        del columns["seconds"]
        return {name: value.tobytes() for name, value in state.items()}, columns

    want = run()
    path = tmp_path / "c"
    with pytest.raises(InterruptedError):
        run(ModelCheckpoint(path, on_interrupt=True), Cut(1, batch, hook))
    assert run(resume=path) == want


def test_a_batch_norm_that_cannot_take_the_last_batch_says_so_first() -> None:
    x, y = X[: 2 * BATCH + 1], T[: 2 * BATCH + 1]
    for accumulate in (1, 2):
        net = classifier(norm=True)
        before = {name: np.array(value) for name, value in net.state_dict().items()}
        counting = Counting()
        with pytest.raises(lm.ShapeError, match=r"last batch=1.*drop_last=True") as caught:
            train(nn.CrossEntropyLoss(), y, x, net, accumulate=accumulate, callbacks=counting)
        assert "one value a channel" in str(caught.value)
        assert not counting.batches
        for name, value in net.state_dict().items():
            assert np.array_equal(value, before[name])
        train(
            nn.CrossEntropyLoss(),
            y,
            x,
            accumulate=accumulate,
            drop_last=True,
            net=classifier(norm=True),
        )
        pairs = [(x[:8], y[:8]), (x[8:], y[8:])]
        with pytest.raises(lm.ShapeError, match=r"last batch=1.*drop_last=True"):
            train(
                nn.CrossEntropyLoss(), None, pairs, net, accumulate=accumulate, callbacks=counting
            )
        assert not counting.batches
    train(nn.CrossEntropyLoss(), y, x)  # nothing mixes samples
    weight = np.ones(len(x))
    weight[0] = 0  # eight are left
    train(nn.CrossEntropyLoss(), y, x, classifier(norm=True), sample_weight=weight)


@pytest.mark.parametrize("stream", [False, True])
def test_a_weight_of_a_class_that_does_not_exist_is_refused(stream: bool) -> None:
    x, y = (batches(T, None), None) if stream else (X, T)
    for classes in ({3: 2.0}, {0: 1.0, -1: 2.0}, {7: 0.0}):
        net = classifier()
        before = net[0].weight.data.copy()
        with pytest.raises(ValueError, match="a class that does not exist"):
            train(nn.CrossEntropyLoss(), y, x, net, class_weight=classes)
        assert np.array_equal(net[0].weight.data, before)
    train(nn.CrossEntropyLoss(), y, x, class_weight={0: 1.0, 2: 2.0})
    binary = nn.Linear(5, 1).double()

    def loss(output: Any, target: Any) -> Any:
        return F.binary_cross_entropy_with_logits(output.squeeze(1), target.to("float64"))

    kept = np.flatnonzero(T < 2)
    train(loss, T[kept], X[kept], binary, class_weight={0: 1.0, 1: 2.0})
    with pytest.raises(ValueError, match="a class that does not exist"):
        train(loss, T[kept], X[kept], binary, class_weight={2: 2.0})


def test_weights_of_one_are_none() -> None:
    for name in ("ignored", "weights of classes", "squares"):
        loss, y = LOSSES[name]
        (got, first), (want, second) = train(loss, y, sample_weight=np.ones(N)), train(loss, y)
        assert {k: v.tobytes() for k, v in got.items()} == {k: v.tobytes() for k, v in want.items()}
        assert first.loss == second.loss


def test_a_sample_of_weight_zero_in_a_batch_is_not_there() -> None:
    """Neither NaN in it nor batch norm nor a metric sees it."""
    x = np.where(ZEROS[:, None] == 0, np.nan, X)
    weighted = [(x[a : a + 11], T[a : a + 11], ZEROS[a : a + 11]) for a in (0, 11)]
    kept = [(one[w > 0], t[w > 0], w[w > 0]) for one, t, w in weighted]
    (got, first), (want, second) = (
        train(
            nn.CrossEntropyLoss(), None, data, classifier(norm=True), metrics=["accuracy"],
            validation_data=data,
        )
        for data in (weighted, kept)
    )  # fmt: skip
    near(got, want)
    assert first.metrics == second.metrics
    assert first.val_loss == second.val_loss


def test_a_generator_may_use_its_arrays_again() -> None:
    """No batch is asked for before the one before it is done."""
    x, y = np.empty((BATCH, 5)), np.empty((BATCH, 3))

    class Reusing:
        def __iter__(self) -> Iterator[Any]:
            for first in range(0, N - BATCH, BATCH):
                x[:], y[:] = X[first : first + BATCH], Y[first : first + BATCH]
                yield x, y

    got, _ = train(nn.MSELoss(), None, Reusing(), accumulate=3)
    end = N - N % BATCH
    want, _ = train(nn.MSELoss(), Y[:end], X[:end], accumulate=3)
    near(got, want)
