# SPDX-License-Identifier: Apache-2.0
"""Resumed training ends with the bits of training that was never interrupted."""

from __future__ import annotations

import hashlib
import json
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
from lamella.train import (
    Callback,
    CSVLogger,
    EarlyStopping,
    Fit,
    JSONLogger,
    LRScheduler,
    ModelCheckpoint,
)
from lamella.train.checkpoint import pack, unpack

RNG = np.random.default_rng(0)
X = RNG.standard_normal((100, 6)).astype(np.float32)
T = (X[:, 0] * X[:, 1] > 0).astype(np.int64)
EPOCHS, BATCHES = 4, 7


class Cut(Callback):
    """Ends training at a position, as a killed process would: nothing is written by it."""

    last = True

    def __init__(self, epoch: int, batch: int) -> None:
        self.position = epoch, batch

    def on_batch_end(self, fit: Fit) -> None:
        if (fit.epoch, fit.batch) == self.position:
            raise InterruptedError

    def on_epoch_end(self, fit: Fit) -> None:
        if (fit.epoch, fit.batch) == self.position:
            raise InterruptedError


def rates(optimizer: Any) -> dict[str, Callback]:
    """Schedulers of all three kinds."""
    of = optim.lr_scheduler
    return {
        "epochs": LRScheduler(of.ExponentialLR(optimizer, 0.8)),
        "batches": LRScheduler(of.OneCycleLR(optimizer, 0.05, total_steps=EPOCHS * BATCHES)),
        "judging": LRScheduler(of.ReduceLROnPlateau(optimizer, patience=0), "loss"),
    }


class Noise(nn.Module):
    """Numbers that are drawn in forward."""

    def forward(self, x: Any) -> Any:
        return x + 0.1 * F.randn_like(x) * F.bernoulli(F.rand_like(x))


OPTIMIZERS = {
    "sgd": lambda p: optim.SGD(p, lr=0.05, momentum=0.9, weight_decay=1e-3),
    "adam": lambda p: optim.AdamW(p, lr=0.01, amsgrad=True),
}


def train(
    *callbacks: Callback, kind: str = "adam", rate: str = "epochs", x: Any = X, y: Any = T,
    **options: Any,
) -> tuple[str, Any]:  # fmt: skip
    """The digest of everything that training leaves behind, and the history without times."""
    lm.manual_seed(1)
    net = nn.Sequential(
        nn.Linear(6, 16), nn.BatchNorm1d(16), Noise(), nn.ReLU(), nn.Dropout(0.3), nn.Linear(16, 2)
    )
    optimizer = OPTIMIZERS[kind](net.parameters())
    options = {"epochs": EPOCHS, "batch_size": 16, "metrics": ["accuracy", "f1"]} | options
    if options.get("resume") is None:
        options.setdefault("seed", 7)
    try:
        history = lm.fit(
            net, x, y, loss=nn.CrossEntropyLoss(), optimizer=optimizer,
            callbacks=[rates(optimizer)[rate], *callbacks], **options,
        )  # fmt: skip
    except InterruptedError:
        return "", None
    tensors: dict[str, Any] = {}
    info = pack([net.state_dict(), optimizer.state_dict()], "", tensors)
    digest = hashlib.sha256(json.dumps(info).encode())
    for name in sorted(tensors):
        digest.update(name.encode() + tensors[name].tobytes())
    columns = history.to_dict()
    del columns["seconds"]
    return digest.hexdigest(), columns


@pytest.mark.parametrize("kind", OPTIMIZERS)
@pytest.mark.parametrize("rate", ["epochs", "batches", "judging"])
@pytest.mark.parametrize("position", [(0, 3), (1, 0), (2, 7), (3, 6), (4, 0)])
def test_any_position(kind: str, rate: str, position: tuple[int, int], tmp_path: Path) -> None:
    want = train(kind=kind, rate=rate)
    every: Any = "epoch" if position[1] == 0 else position[1]
    train(ModelCheckpoint(tmp_path / "c", every=every), Cut(*position), kind=kind, rate=rate)
    assert train(kind=kind, rate=rate, resume=tmp_path / "c") == want


@pytest.mark.parametrize(("before", "after"), [(1, 2), (2, 1)])
def test_another_number_of_threads(before: int, after: int, tmp_path: Path) -> None:
    was = lm.get_num_threads()
    try:
        lm.set_num_threads(before)
        want = train()
        train(ModelCheckpoint(tmp_path / "c", every=2), Cut(2, 4))
        lm.set_num_threads(after)
        assert train(resume=tmp_path / "c") == want
    finally:
        lm.set_num_threads(was)


def test_logs_go_on_where_training_does(tmp_path: Path) -> None:
    def logs() -> list[Callback]:
        return [CSVLogger(tmp_path / "log.csv"), JSONLogger(tmp_path / "log.jsonl")]

    train(ModelCheckpoint(tmp_path / "c", every=2), *logs(), Cut(1, 2))
    train(*logs(), epochs=3)  # two epochs more than the checkpoint knows of
    train(*logs(), resume=tmp_path / "c")
    lines = (tmp_path / "log.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in lines] == ["epoch", "1", "2", "3", "4"]
    lines = (tmp_path / "log.jsonl").read_text().splitlines()
    assert [json.loads(line)["epoch"] for line in lines] == [1, 2, 3, 4]


def test_twice_and_from_the_exception(tmp_path: Path) -> None:
    class Ends(Callback):
        def __init__(self, epoch: int, batch: int) -> None:
            self.position = epoch, batch

        def on_batch_end(self, fit: Fit) -> None:
            if (fit.epoch, fit.batch) == self.position:
                raise ArithmeticError

    want = train()
    resume = None
    for position in ((0, 5), (0, 6), (2, 1)):
        with pytest.raises(ArithmeticError) as caught:
            train(Ends(*position), resume=resume)
        resume = tmp_path / f"{position}"
        caught.value.fit.save(resume)  # type: ignore[attr-defined]
    assert train(resume=resume) == want


def test_weights_splits_and_accumulated_batches(tmp_path: Path) -> None:
    options: dict[str, Any] = {
        "sample_weight": np.linspace(0, 2, 100), "class_weight": "balanced", "clip_norm": 1.0,
        "validation_split": 0.2, "accumulate": 2, "rate": "epochs",
    }  # fmt: skip
    want = train(**options)
    for batch in (1, 2, 4):
        train(ModelCheckpoint(tmp_path / "c", every=batch), Cut(1, batch), **options)
        assert train(resume=tmp_path / "c", **options) == want


class Batches:
    def __len__(self) -> int:
        return BATCHES

    def __iter__(self) -> Iterator[Any]:
        for first in range(0, 100, 16):
            yield X[first : first + 16], T[first : first + 16]


def test_an_iterable_is_read_up_to_the_position(tmp_path: Path) -> None:
    data: dict[str, Any] = {"x": Batches(), "y": None}
    want = train(**data)
    train(ModelCheckpoint(tmp_path / "c", every=3), Cut(1, 3), **data)
    assert train(resume=tmp_path / "c", **data) == want


def test_early_stopping_goes_on_counting(tmp_path: Path) -> None:
    class Worse(Callback):
        def on_epoch_end(self, fit: Fit) -> None:
            fit.logs["loss"] = abs(fit.epoch - 2.0)

    def early() -> EarlyStopping:
        return EarlyStopping("loss", patience=3, restore_best_weights=True)

    want = train(Worse(), early(), epochs=9)
    assert len(want[1]["loss"]) == 5
    for epoch in (1, 3, 4, 5):
        train(Worse(), early(), ModelCheckpoint(tmp_path / "c"), Cut(epoch, 0), epochs=9)
        found = early()
        assert train(Worse(), found, resume=tmp_path / "c", epochs=9) == want
        assert found.best_epoch == 2


def test_more_epochs_than_at_first(tmp_path: Path) -> None:
    want = train(epochs=4)
    train(ModelCheckpoint(tmp_path / "c"), epochs=2)
    assert train(resume=tmp_path / "c", epochs=4) == want
    assert train(resume=tmp_path / "c", epochs=2)[1] == train(epochs=2)[1]


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"batch_size": 8}, "another batches, batch_size"),
        ({"x": X[:90], "y": T[:90]}, "another samples"),
        ({"shuffle": False}, "another shuffle"),
        ({"accumulate": 2}, "another accumulate"),
        ({"seed": 8}, "another seed"),
    ],
)
def test_another_training_is_refused(change: dict[str, Any], text: str, tmp_path: Path) -> None:
    train(ModelCheckpoint(tmp_path / "c"), epochs=1)
    with pytest.raises(ValueError, match=text):
        train(resume=tmp_path / "c", **change)


def test_what_does_not_fit_changes_nothing(tmp_path: Path) -> None:
    train(ModelCheckpoint(tmp_path / "c"), epochs=1)
    for change in ("net", "optimizer"):
        width = 17 if change == "net" else 16
        net = nn.Sequential(
            nn.Linear(6, width), nn.BatchNorm1d(width), nn.ReLU(), nn.Dropout(0.3),
            nn.Linear(width, 2),
        )  # fmt: skip
        kind = optim.AdamW if change == "net" else optim.RMSprop
        optimizer = kind(net.parameters())
        before = {name: array.tobytes() for name, array in net.state_dict().items()}
        options = json.dumps(optimizer.state_dict()["param_groups"], default=str)
        with pytest.raises(FormatError):
            lm.fit(
                net, X, T, loss=nn.CrossEntropyLoss(), optimizer=optimizer, batch_size=16,
                resume=tmp_path / "c",
            )  # fmt: skip
        assert {name: a.tobytes() for name, a in net.state_dict().items()} == before
        assert json.dumps(optimizer.state_dict()["param_groups"], default=str) == options


@pytest.mark.parametrize(
    "info",
    [
        {},
        [],
        {"kind": "lamella.fit", "version": 2},
        {"kind": "lamella.fit", "version": 1},
        {"kind": "lamella.fit", "version": 1, "plan": {}, "state": {"epoch": -1}},
        {"kind": "lamella.fit", "version": 1, "plan": {}, "state": {"epoch": {"$tensor": "no"}}},
        {"kind": "lamella.fit", "version": 1, "plan": {}, "state": {"epoch": {"$items": 3}}},
    ],
)
def test_other_files_are_refused(info: Any, tmp_path: Path) -> None:
    checkpoint.write(tmp_path / "c", {"a": np.zeros(2, np.float32)}, info)
    with pytest.raises(FormatError, match="fit"):
        train(resume=tmp_path / "c")


def test_nests_are_packed_and_unpacked() -> None:
    nest = {
        "a": [1, 2.5, None, True, "text", (1, (2,))],
        3: {"x": np.arange(3), ("y", 1): np.float32(2)},
        "inf": [float("inf"), -float("inf")],
        "$odd": {"$tensor": 1},
        "large": 2**63 - 1,
    }
    tensors: dict[str, Any] = {}
    packed = json.loads(json.dumps(pack(nest, "n", tensors)))
    again = unpack(packed, tensors)
    assert again[3].pop("x").tolist() == [0, 1, 2]
    nest[3].pop("x")  # type: ignore[attr-defined]
    assert again == nest
    assert np.isnan(unpack(pack(float("nan"), "n", {}), {}))
    with pytest.raises(TypeError, match="cannot be stored"):
        pack({"a": {1, 2}}, "n", {})
