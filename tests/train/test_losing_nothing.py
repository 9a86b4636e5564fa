# SPDX-License-Identifier: Apache-2.0
"""What ends a training badly costs no more than it must: NaN, callbacks that fail, full disks."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lamella as lm
from lamella import functional as F
from lamella import nn, optim
from lamella.errors import FormatError
from lamella.storage import checkpoint
from lamella.train import Callback, EarlyStopping, Fit, ModelCheckpoint

RNG = np.random.default_rng(5)
X = RNG.standard_normal((40, 4)).astype(np.float32)
Y = RNG.standard_normal((40, 2)).astype(np.float32)
T = (X[:, 0] > 0).astype(np.int64)


def new_net(*between: nn.Module) -> nn.Sequential:
    lm.manual_seed(2)
    return nn.Sequential(nn.Linear(4, 8), *(between or (nn.Tanh(),)), nn.Linear(8, 2))


def train(net: nn.Module, *callbacks: Callback, x: Any = X, y: Any = Y, **options: Any) -> Any:
    options = {
        "loss": nn.MSELoss(), "batch_size": 8, "epochs": 3, "shuffle": False, "seed": 3,
        "optimizer": optim.SGD(net.parameters(), lr=0.05),
    } | options  # fmt: skip
    return lm.fit(net, x, y, callbacks=callbacks, **options)


def state(net: nn.Module) -> dict[str, bytes]:
    return {name: array.tobytes() for name, array in net.state_dict().items()}


class At(Callback):
    """Does something at a position."""

    def __init__(self, epoch: int, batch: int, what: Any) -> None:
        self.position, self.what = (epoch, batch), what

    def on_batch_end(self, fit: Fit) -> None:
        if (fit.epoch, fit.batch) == self.position:
            self.what(fit)


def rate(value: float) -> Any:
    return lambda fit: fit.optimizer.param_groups[0].update(lr=value)


def fail(fit: Fit) -> None:
    raise ArithmeticError("on purpose")


@pytest.mark.parametrize("watched", [False, True])
def test_parameters_of_nan_end_the_training(watched: bool, tmp_path: Path) -> None:
    """The last checkpoint is that of numbers, and the best weights come back."""
    net, path = new_net(), tmp_path / "c"
    early = EarlyStopping("loss", patience=9, restore_best_weights=True)

    class Ruin(Callback):
        def on_epoch_begin(self, fit: Fit) -> None:
            if fit.epoch == 2:
                rate(float("inf"))(fit)

    callbacks = [Ruin(), early, ModelCheckpoint(path, on_interrupt=True)]
    if watched:
        callbacks.append(At(9, 9, fail))
    with pytest.raises(
        FloatingPointError, match=r"0\.weight has become NaN; got epoch=3"
    ) as caught:
        train(net, *callbacks, epochs=9)
    run = caught.value.fit  # type: ignore[attr-defined]
    assert run.diverged
    # Watched, the batch that shows NaN is the last; else the epoch is over first.
    assert (run.epoch, run.batch, len(run.history)) == (2, 2 if watched else 5, 2)
    tensors, info = checkpoint.read(path)
    assert info["state"]["epoch"] == 2
    assert all(np.isfinite(array).all() for array in tensors.values())
    assert {f"net.{name}": array for name, array in state(net).items()} == {
        name: array.tobytes() for name, array in tensors.items() if name.startswith("net.")
    }


def test_a_batch_that_does_not_count_is_no_divergence() -> None:
    """A loss of 0 and a gradient of 0: net and history are those of the other batches."""
    kept, ignored = T[:16], np.where(np.arange(24) < 8, -100, T[:24])
    net, other = new_net(), new_net()
    loss = nn.CrossEntropyLoss()
    history = train(net, x=X[:24], y=ignored, loss=loss)
    alone = train(other, x=X[8:24], y=T[8:24], loss=loss)
    assert history.loss == alone.loss
    assert kept.size == 16
    assert state(net) == state(other)


class Careful(nn.Module):
    """A net that knows what to do with NaN."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = new_net()

    def forward(self, x: Any) -> Any:
        return self.inner(F.where(x == x, x, 0.0))


def careful(output: Any, target: Any) -> Any:
    return F.mse_loss(output, F.where(target == target, target, 0.0))


def test_nan_is_for_those_who_know_it() -> None:
    x, y = X.copy(), Y.copy()
    x[3, 1] = y[4, 0] = np.nan
    net, want = Careful(), Careful()
    train(net, x=x, y=y, loss=careful)
    train(want, x=np.nan_to_num(x), y=np.nan_to_num(y))
    assert state(net) == state(want)


def test_nan_of_no_weight_is_left_out() -> None:
    x = X.copy()
    x[8:16] = np.nan
    weight = np.ones(40)
    weight[8:16] = 0.0
    net, other = new_net(), new_net()
    train(net, x=x, sample_weight=weight)
    keep = weight > 0
    train(other, x=X[keep], y=Y[keep], sample_weight=weight[keep])
    assert state(net) == state(other)
    with pytest.raises(ValueError, match="x=NaN in sample 8, samples with NaN=8"):
        train(net, x=x)


def test_infinities_that_cancel_in_a_sum_are_not_nan() -> None:
    x = X.copy()
    x[0, 0], x[1, 0] = np.inf, -np.inf
    net = nn.Sequential(nn.Tanh(), nn.Linear(4, 2))
    train(net, x=x)
    assert all(np.isfinite(array).all() for array in net.state_dict().values())


class Fails(Callback):
    def on_interrupt(self, fit: Fit) -> None:
        raise OSError(errno.ENOSPC, "the disk is full")


def test_a_callback_that_fails_does_not_keep_the_next_from_saving(tmp_path: Path) -> None:
    net, saving = new_net(), ModelCheckpoint(tmp_path / "c", on_interrupt=True)
    with (
        pytest.warns(RuntimeWarning, match=r"Fails\.on_interrupt: failed.*the disk is full"),
        pytest.raises(ArithmeticError, match="on purpose") as caught,
    ):
        train(net, At(1, 2, fail), Fails(), saving)
    assert "the disk is full" in caught.value.__notes__[0]
    assert caught.value.fit.batch == 2  # type: ignore[attr-defined]
    again, whole = new_net(), new_net()
    train(again, resume=tmp_path / "c")
    train(whole)
    assert state(again) == state(whole)


def test_a_full_disk_keeps_the_last_checkpoint_and_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    net, path, write = new_net(), tmp_path / "c", checkpoint.write

    def full(*arguments: Any) -> None:
        if arguments[2]["state"]["epoch"] == 2:
            raise OSError(errno.ENOSPC, "the disk is full")
        write(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "write", full)
        with pytest.raises(OSError, match="full") as caught:
            train(net, ModelCheckpoint(path))
    assert checkpoint.read(path)[1]["state"]["epoch"] == 1
    caught.value.fit.save(tmp_path / "elsewhere")  # type: ignore[attr-defined]
    whole = new_net()
    train(whole)
    for saved in (path, tmp_path / "elsewhere"):
        again = new_net()
        train(again, resume=saved)
        assert state(again) == state(whole)


def test_a_training_that_never_began_leaves_the_checkpoint_of_another(tmp_path: Path) -> None:
    saving = ModelCheckpoint(tmp_path / "c", on_interrupt=True)
    train(new_net(), saving)
    before = (tmp_path / "c").read_bytes()
    with pytest.raises(ValueError, match="no such value"):
        train(new_net(), EarlyStopping("speed"), saving)
    with pytest.raises(lm.ShapeError):
        train(new_net(), saving, y=Y[:, :1])
    net = new_net()
    with pytest.raises(ArithmeticError):
        train(net, At(3, 1, fail), saving, epochs=4, resume=tmp_path / "c")
    assert (tmp_path / "c.previous").read_bytes() == before
    assert checkpoint.read(tmp_path / "c")[1]["state"]["batch"] == 1


def test_a_folder_that_is_not_there_is_told_before_the_first_step(tmp_path: Path) -> None:
    net = new_net()
    before = state(net)
    with pytest.raises(FileNotFoundError, match=r"ModelCheckpoint: no such folder.*missing"):
        train(net, ModelCheckpoint(tmp_path / "missing" / "c", on_interrupt=True))
    assert state(net) == before


def test_an_iterable_that_fails_can_be_resumed(tmp_path: Path) -> None:
    class Batches:
        def __init__(self, fails: bool) -> None:
            self.fails = fails

        def __len__(self) -> int:
            return 5

        def __iter__(self) -> Iterator[Any]:
            for first in range(0, 40, 8):
                if self.fails and first == 24:
                    raise OSError(errno.EIO, "the share is gone")
                yield X[first : first + 8], Y[first : first + 8]

    with pytest.raises(OSError, match="share") as caught:
        train(new_net(), x=Batches(True), y=None)
    caught.value.fit.save(tmp_path / "c")  # type: ignore[attr-defined]
    again, whole = new_net(), new_net()
    train(again, x=Batches(False), y=None, resume=tmp_path / "c")
    train(whole, x=Batches(False), y=None)
    assert state(again) == state(whole)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_steps_that_others_make_are_not_counted(accumulate: int) -> None:
    """The position comes from versions of the parameters, which every step counts up."""
    net = new_net()
    optimizer = optim.SGD(net.parameters(), lr=0.05)
    other = lm.TrainStep(net, nn.MSELoss(), optimizer)

    def batches() -> Iterator[Any]:
        for first in range(0, 24, 8):
            yield X[first : first + 8], Y[first : first + 8]
            other(X, Y)
        raise OSError(errno.EIO, "the share is gone")

    with pytest.raises(OSError, match="share") as caught:
        train(net, x=batches(), y=None, epochs=1, optimizer=optimizer, accumulate=accumulate)
    run = caught.value.fit  # type: ignore[attr-defined]
    assert (run.batch, len(run.losses), run.lost) == (3, 3, [])
    assert run.step.held == 3 % accumulate


def test_an_iterator_that_ends_before_the_position_is_told(tmp_path: Path) -> None:
    items = [(X[i : i + 8], Y[i : i + 8]) for i in range(0, 40, 8)]
    options: dict[str, Any] = {"y": None, "epochs": 1}
    saving = ModelCheckpoint(tmp_path / "c", on_interrupt=True)
    with pytest.raises(ArithmeticError):
        train(new_net(), At(0, 4, fail), saving, x=iter(items), **options)
    with pytest.raises(ValueError, match=r"end before the position.*batches=3; .*at least 4"):
        train(new_net(), x=iter(items[:3]), resume=tmp_path / "c", **options)


OTHERS: list[tuple[str, type[Exception], dict[str, Any]]] = [
    ("data", ValueError, {"x": X[::-1].copy()}),
    ("data", ValueError, {"y": Y + 1}),
    ("data", ValueError, {"sample_weight": np.full(40, 0.5)}),
    ("loss", FormatError, {"loss": nn.L1Loss()}),
    ("net", FormatError, {"net": new_net(nn.ReLU())}),
    ("net", FormatError, {"net": new_net().double()}),
    ("optimizer", FormatError, {"kind": optim.Adagrad}),
]


@pytest.mark.parametrize(("what", "error", "change"), OTHERS)
def test_a_checkpoint_of_something_else_is_refused(
    what: str, error: type[Exception], change: dict[str, Any], tmp_path: Path
) -> None:
    train(new_net(), ModelCheckpoint(tmp_path / "c"), epochs=1)
    change = dict(change)
    net, kind = change.pop("net", new_net()), change.pop("kind", optim.SGD)
    before = state(net)
    optimizer = kind(net.parameters(), lr=0.05)
    with pytest.raises(error, match=f"cannot continue with another {what}"):
        train(net, resume=tmp_path / "c", optimizer=optimizer, **change)
    assert state(net) == before


def test_the_same_data_in_another_form_are_the_same(tmp_path: Path) -> None:
    train(new_net(), ModelCheckpoint(tmp_path / "c"), epochs=1)
    stored = np.memmap(tmp_path / "x", ">f8", "w+", shape=X.shape)
    stored[:] = X
    again, whole = new_net(), new_net()
    train(again, x=stored, y=Y.tolist(), resume=tmp_path / "c")
    train(whole)
    assert state(again) == state(whole)
