# SPDX-License-Identifier: Apache-2.0
"""fit: the same as the loop by hand, from every kind of data, and what it refuses."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lamella as lm
from lamella import functional as F
from lamella import nn, optim
from lamella.train import Callback
from lamella.train.data import permutation

N = 70
RNG = np.random.default_rng(0)
X = RNG.standard_normal((N, 5)).astype(np.float32)
T = (X[:, 0] + X[:, 1] > 0).astype(np.int64) + (X[:, 2] > 1)
Y = (X @ RNG.standard_normal((5, 2))).astype(np.float32)
YN = np.where(np.arange(N)[:, None] == 5, np.float32(np.nan), Y[:, [0, 0, 1]])


def classifier(dropout: float = 0.0) -> nn.Sequential:
    lm.manual_seed(1)
    layers = [nn.Linear(5, 16), nn.Tanh(), nn.Dropout(dropout), nn.Linear(16, 3)]
    return nn.Sequential(*layers)


def bits(net: nn.Module) -> bytes:
    return b"".join(array.tobytes() for array in net.state_dict().values())


def fitted(x: Any = X, y: Any = T, dropout: float = 0.0, **options: Any) -> tuple[bytes, Any]:
    net = classifier(dropout)
    optimizer = optim.Adam(net.parameters(), lr=0.01)
    options = {"loss": nn.CrossEntropyLoss(), "epochs": 3, "batch_size": 16, "seed": 4} | options
    history = lm.fit(net, x, y, optimizer=optimizer, **options)
    return bits(net), history


def by_hand(weight: np.ndarray | None = None, epochs: int = 3) -> tuple[bytes, list[float]]:
    net = classifier()
    step = lm.TrainStep(net, nn.CrossEntropyLoss(), optim.Adam(net.parameters(), lr=0.01))
    means = []
    for epoch in range(epochs):
        order, total, mass = permutation(N, 4, epoch), 0.0, 0.0
        for first in range(0, N, 16):
            index = order[first : first + 16]
            given = None if weight is None else weight[index]
            share = len(index) if given is None else given.sum(dtype=np.float64)
            total += float(step(X[index], T[index], given)) * share
            mass += share
        means.append(total / mass)
    return bits(net), means


def test_training_is_imported_when_named() -> None:
    code = (
        "import sys, lamella as lm; before = 'lamella.train' in sys.modules; lm.fit, lm.train; "
        "print(before, 'fit' in dir(lm), lm.fit is lm.train.fit, lm.TrainStep.__name__)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["False", "True", "True", "TrainStep"]


def test_it_is_the_loop_by_hand() -> None:
    got, history = fitted()
    want, losses = by_hand()
    assert got == want
    # Two ways to add five products in float64.
    assert history.loss == pytest.approx(losses, rel=8 * 2.0**-53)
    assert history.loss[2] < history.loss[0]


def test_weights_are_those_of_the_loop_by_hand() -> None:
    weight = np.random.default_rng(2).uniform(0.5, 2.0, N).astype(np.float32)
    got, history = fitted(sample_weight=weight)
    want, losses = by_hand(weight)
    assert got == want
    assert history.loss == pytest.approx(losses, rel=64 * 2.0**-53)


def test_the_seed_decides_and_nothing_else(threads: int) -> None:
    first = fitted(dropout=0.3)[0]
    np.random.default_rng().standard_normal(3)
    assert fitted(dropout=0.3)[0] == first
    assert fitted(dropout=0.3, seed=5)[0] != first
    assert fitted(dropout=0.3, shuffle=False)[0] != first


def test_without_a_seed_it_is_manual_seed_that_decides() -> None:
    # classifier() calls it.
    assert fitted(dropout=0.3, seed=None)[0] == fitted(dropout=0.3, seed=None)[0]


def as_double(x: np.ndarray, _: Path) -> Any:
    return x.astype(np.float64)


def as_strided(x: np.ndarray, _: Path) -> Any:
    wide = np.zeros((len(x), 10), x.dtype)
    wide[:, ::2] = x
    return wide[:, ::2]


def as_map(x: np.ndarray, path: Path) -> Any:
    stored = np.memmap(path / "x", x.dtype, "w+", shape=x.shape)
    stored[:] = x
    stored.flush()
    return np.memmap(path / "x", x.dtype, "r", shape=x.shape)


def as_swapped_map(x: np.ndarray, path: Path) -> Any:
    stored = np.memmap(path / "x", ">f8", "w+", shape=x.shape)
    stored[:] = x
    return stored


def as_list(x: np.ndarray, _: Path) -> Any:
    return x.tolist()


@pytest.mark.parametrize("form", [as_double, as_strided, as_map, as_swapped_map, as_list])
def test_every_form_of_the_same_numbers(form: Any, tmp_path: Path) -> None:
    assert fitted(form(X, tmp_path), T.astype(np.uint8))[0] == fitted()[0]


class Batches:
    """As a DataLoader: a length, and items that are collated lists of tensors."""

    def __init__(self, weight: np.ndarray | None = None) -> None:
        self.weight = weight

    def __len__(self) -> int:
        return 5

    def __iter__(self) -> Iterator[Any]:
        for first in range(0, N, 16):
            rows = slice(first, first + 16)
            batch = [X[rows], T[rows].astype(np.int32)]
            yield batch if self.weight is None else [*batch, self.weight[rows]]


def test_iterables_of_batches() -> None:
    want = fitted(shuffle=False)[0]
    got, history = fitted(Batches(), None)
    assert got == want
    assert len(history) == 3
    assert fitted(list(map(tuple, Batches())), None)[0] == want
    assert fitted(iter(Batches()), None, epochs=1)[0] == fitted(shuffle=False, epochs=1)[0]
    weight = np.linspace(0.5, 1.5, N).astype(np.float32)
    want = fitted(shuffle=False, sample_weight=weight)[0]
    assert fitted(Batches(weight), None)[0] == want


def test_a_torch_data_loader() -> None:
    torch = pytest.importorskip("torch")
    data = torch.utils.data.TensorDataset(torch.from_numpy(X), torch.from_numpy(T))
    loader = torch.utils.data.DataLoader(data, batch_size=16)
    assert fitted(loader, None)[0] == fitted(shuffle=False)[0]
    assert fitted(torch.from_numpy(X), torch.from_numpy(T))[0] == fitted()[0]


class Two(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        lm.manual_seed(1)
        self.a, self.b = nn.Linear(2, 3), nn.Linear(3, 3)

    def forward(self, left: Any, right: Any) -> Any:
        return self.a(left) + F.tanh(self.b(right))


def test_nets_of_several_inputs() -> None:
    found = set()
    parts = X[:, :2], X[:, 2:]
    named = {"right": parts[1], "left": parts[0]}
    halves = parts[0].astype(np.float16).astype(np.float32), parts[1]
    assert halves[0].flags.c_contiguous
    for x in (parts, named, [((X[:, :2], X[:, 2:]), T)]):
        net, stream = Two(), isinstance(x, list)
        lm.fit(
            net, x, None if stream else T, loss=nn.CrossEntropyLoss(), batch_size=N, shuffle=False,
            optimizer=optim.SGD(net.parameters(), lr=0.1), epochs=2,
        )  # fmt: skip
        found.add(bits(net))
    assert len(found) == 1


def test_the_data_are_not_copied(tmp_path: Path) -> None:
    x = np.memmap(tmp_path / "x", np.float32, "w+", shape=(400_000, 40))  # 64 MB
    wide = np.broadcast_to(np.float64(1.0), (400_000, 40))
    y = np.zeros((400_000, 1), np.float32)
    for data in (x, wide):
        net = nn.Linear(40, 1)
        options: dict[str, Any] = {
            "loss": nn.MSELoss(), "optimizer": optim.SGD(net.parameters(), lr=1e-3),
            "batch_size": 20_000,
        }  # fmt: skip
        tracemalloc.start()
        try:
            lm.fit(net, data, y, **options)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        # The order and its argsort are 3 x 3.2 MB, a batch in its own and in the net's type 9.6 MB.
        assert peak < 32 << 20


def test_validation_is_forward_alone() -> None:
    got, history = fitted(validation_data=(X, T), metrics=["accuracy"], dropout=0.4)
    assert got == fitted(dropout=0.4)[0]
    net = classifier(0.4)
    net.load_state_dict(nn_state(got, net))
    net.eval()
    want = float(F.cross_entropy(net(X), T))
    # Means of 70 losses, in one batch or in one of another program: gamma_70 in float32.
    assert history.val_loss[-1] == pytest.approx(want, rel=70 * 2.0**-24)
    assert history["val_accuracy"][-1] == (net(X).argmax(axis=1) == T).mean()


def nn_state(raw: bytes, net: nn.Module) -> dict[str, np.ndarray]:
    state, at = {}, 0
    for name, array in net.state_dict().items():
        state[name] = np.frombuffer(raw, array.dtype, array.size, at).reshape(array.shape)
        at += array.nbytes
    return state


def test_the_split_is_the_end_of_the_samples() -> None:
    weight = np.linspace(0.5, 1.5, N)
    got, history = fitted(validation_split=0.2, sample_weight=weight)
    cut = N - 14
    want, other = fitted(
        X[:cut], T[:cut], sample_weight=weight[:cut],
        validation_data=(X[cut:], T[cut:], weight[cut:]),
    )  # fmt: skip
    assert got == want
    assert history.val_loss == other.val_loss
    batches = [(X[cut:], T[cut:], weight[cut:])]
    stream = fitted(X[:cut], T[:cut], sample_weight=weight[:cut], validation_data=batches)[1]
    assert stream.val_loss == other.val_loss


def test_training_metrics_are_of_the_outputs_met() -> None:
    rows = []

    def count(y_true: np.ndarray, y_pred: np.ndarray) -> float:
        rows.append((y_true.shape, y_pred.shape))
        return float((y_pred.argmax(axis=1) == y_true).mean())

    _, history = fitted(metrics=["accuracy", count], epochs=2)
    assert rows == [((N,), (N, 3))] * 2
    assert history["accuracy"] == history["count"]


def test_class_weights() -> None:
    counts = np.bincount(T)
    balanced = N / (3 * counts)
    by_sample = fitted(sample_weight=balanced[T])[0]
    assert fitted(class_weight="balanced")[0] == by_sample
    assert fitted(class_weight=dict(enumerate(balanced)))[0] == by_sample
    assert fitted(class_weight={1: 1.0})[0] == fitted(sample_weight=np.ones(N))[0]
    both = fitted(class_weight={0: 2.0}, sample_weight=np.linspace(1, 2, N))[0]
    assert both == fitted(sample_weight=np.linspace(1, 2, N) * np.where(T == 0, 2.0, 1.0))[0]
    stream = fitted(list(map(tuple, Batches())), None, class_weight={0: 2.0})[0]
    assert stream == fitted(shuffle=False, class_weight={0: 2.0})[0]


def test_a_weight_of_zero_takes_a_sample_out() -> None:
    used = np.arange(N) % 3 > 0
    weight = used.astype(np.float32)
    weighted = fitted(sample_weight=weight)[0]
    assert weighted == fitted(X[used], T[used], sample_weight=np.ones(used.sum()))[0]


def test_a_trained_net_is_ready_to_predict() -> None:
    net = classifier(0.5)
    net.eval()
    net[2].train()
    before = [module.training for module in net.modules()]

    def failing(output: Any, target: Any) -> Any:
        raise ArithmeticError

    def train(loss: Any) -> list[bool]:
        optimizer = optim.SGD(net.parameters(), lr=0.1)
        with contextlib.suppress(ArithmeticError):
            lm.fit(net, X, T, loss=loss, optimizer=optimizer, validation_split=0.5)
        return [module.training for module in net.modules()]

    assert train(failing) == before
    assert not any(train(nn.CrossEntropyLoss()))
    net.train()
    assert not any(train(F.cross_entropy))


def test_a_part_in_inference_mode_stays_so() -> None:
    net = classifier(0.5)
    net[2].eval()
    seen = []

    class Look(Callback):
        def on_batch_end(self, fit: Any) -> None:
            seen.append([module.training for module in net.modules()])

    optimizer = optim.SGD(net.parameters(), lr=0.1)
    lm.fit(net, X, T, loss=nn.CrossEntropyLoss(), optimizer=optimizer, validation_split=0.5,
           epochs=2, callbacks=Look())  # fmt: skip
    assert all(modes == [True, True, True, False, True] for modes in seen)


def test_several_batches_make_one_update() -> None:
    net = classifier()
    optimizer = optim.SGD(net.parameters(), lr=0.1)
    step = lm.TrainStep(net, nn.CrossEntropyLoss(), optimizer, accumulate=2, clip_norm=0.5)
    for first in range(0, N, 16):
        step(X[first : first + 16], T[first : first + 16])
    assert step.held == 1  # left over
    step.flush()
    want, net = bits(net), classifier()
    optimizer = optim.SGD(net.parameters(), lr=0.1)
    lm.fit(
        net, X, T, loss=nn.CrossEntropyLoss(), optimizer=optimizer, batch_size=16, shuffle=False,
        accumulate=2, clip_norm=0.5,
    )  # fmt: skip
    assert bits(net) == want


WRONG: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"x": X[:5]}, lm.ShapeError, "different numbers of samples"),
    ({"x": X[:0], "y": T[:0]}, lm.ShapeError, "no samples"),
    ({"x": (X, X[:3])}, lm.ShapeError, "different numbers of samples"),
    ({"y": None}, TypeError, "y is missing"),
    ({"x": 3, "y": None}, TypeError, "no data"),
    ({"x": np.array(["a"] * N)}, lm.DTypeError, "not numbers"),
    ({"x": np.ma.masked_array(X, X > 1)}, lm.UnsupportedError, "masked elements"),
    ({"x": [[1.0, 2.0], [3.0]], "y": [0, 1]}, lm.DTypeError, "not an array; got x=list"),
    ({"x": iter([(X, T)])}, lm.DTypeError, "x=list_iterator.*no y beside it"),
    ({"x": iter([(X, None)]), "y": None}, lm.DTypeError, "got y=NoneType"),
    ({"x": np.where(X[7, 2] == X, np.nan, X)}, ValueError, "x=NaN in sample 7, .*NaN=1"),
    ({"y": YN, "loss": nn.MSELoss()}, ValueError, "y=NaN in sample 5"),
    ({"y": YN, "loss": F.mse_loss}, ValueError, "y=NaN in sample 5"),
    ({"x": [(X, YN)], "y": None, "loss": nn.MSELoss()}, ValueError, "y=NaN, batch=1"),
    ({"validation_data": (X * np.nan, T)}, ValueError, "got validation x=NaN in sample 0"),
    ({"epochs": 0}, ValueError, "epochs >= 1"),
    ({"epochs": float("inf")}, TypeError, "not a whole number; got epochs=inf"),
    ({"epochs": float("nan")}, TypeError, "not a whole number"),
    ({"epochs": True}, TypeError, "not a whole number"),
    ({"batch_size": 0}, ValueError, "batch_size >= 1"),
    ({"batch_size": 2.5}, TypeError, "not a whole number"),
    ({"batch_size": 100, "drop_last": True}, lm.ShapeError, "drop_last"),
    ({"accumulate": 0}, ValueError, "accumulate >= 1"),
    ({"seed": -1}, ValueError, "seed"),
    ({"seed": 1.5}, TypeError, "seed"),
    ({"loss": "mse"}, TypeError, r"not a loss; got loss='mse'.*nn.MSELoss"),
    ({"loss": nn.MSELoss}, TypeError, "not a loss; got loss=<class.*an object"),
    ({"optimizer": "adam"}, TypeError, "not an optimiser"),
    ({"net": None}, TypeError, "not a net"),
    ({"metrics": ["speed"]}, ValueError, "no metric"),
    ({"callbacks": [print]}, TypeError, "not a callback"),
    ({"callbacks": 3}, TypeError, "not a callback"),
    ({"scheduler": 3}, TypeError, "no scheduler"),
    ({"validation_split": 1.0}, ValueError, "no fraction"),
    ({"validation_split": "half"}, TypeError, "not a number; got validation_split='half'"),
    ({"validation_split": 0.001}, ValueError, "one part is empty"),
    ({"validation_split": 0.5, "validation_data": (X, T)}, ValueError, "one of them"),
    ({"validation_data": (X,)}, ValueError, "no data"),
    ({"validation_data": X}, TypeError, "no data"),
    ({"validation_data": iter([(X, T)])}, ValueError, "only once"),
    ({"sample_weight": np.ones(3)}, lm.ShapeError, "one weight for each sample"),
    ({"sample_weight": -np.ones(N)}, ValueError, "negative"),
    ({"class_weight": "even"}, ValueError, "no weights"),
    ({"class_weight": {}}, TypeError, "no weights"),
    ({"class_weight": {0: -1}}, ValueError, "negative"),
    ({"class_weight": {"a": 1}}, TypeError, "no weights; got class_weight={'a': 1}"),
    ({"class_weight": {0.5: 1}}, TypeError, "class index"),
    ({"class_weight": {0: "b"}}, TypeError, "class index"),
    ({"class_weight": {0: 1}, "y": Y}, lm.DTypeError, "needs classes"),
    ({"x": iter([(X, T)]), "y": None, "epochs": 2}, ValueError, "gives its batches once"),
    ({"x": [(X, T)], "y": None, "validation_split": 0.5}, ValueError, "needs arrays"),
    ({"x": [(X, T)], "y": None, "class_weight": "balanced"}, ValueError, "balanced"),
    ({"x": iter([]), "y": None}, ValueError, "no batches"),
    ({"x": iter([X]), "y": None}, TypeError, "not a batch"),
    ({"resume": 3}, TypeError, "not a path"),
    ({"resume": "/nowhere/at.all"}, FileNotFoundError, "nowhere"),
    ({"clip_norm": -1.0}, ValueError, "clip_norm"),
    ({"clip_norm": "1"}, TypeError, "clip_norm='1'"),
    ({"x": X[:, :3]}, lm.ShapeError, "3"),
    ({"y": T + 10}, IndexError, "."),
]


@pytest.mark.parametrize(("change", "error", "text"), WRONG)
def test_what_is_wrong_is_told_and_changes_nothing(
    change: dict[str, Any], error: type[Exception], text: str
) -> None:
    net = classifier()
    before = bits(net)
    arguments = {
        "net": net, "x": X, "y": T, "loss": nn.CrossEntropyLoss(),
        "optimizer": optim.SGD(net.parameters(), lr=0.1),
    } | change  # fmt: skip
    first = [arguments.pop(name) for name in ("net", "x", "y")]
    with pytest.raises(error, match=text):
        lm.fit(*first, **arguments)
    assert bits(net) == before
    assert net.training


def test_a_used_up_iterable_is_told() -> None:
    class Once:
        def __init__(self) -> None:
            self.items = iter([(X, T)])

        def __iter__(self) -> Iterator[Any]:
            return self.items

    with pytest.raises(ValueError, match=r"no batches.*used up"):
        fitted(Once(), None, epochs=2)
