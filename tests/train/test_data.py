# SPDX-License-Identifier: Apache-2.0
"""Sources of batches: order, rows of any layout, weights, iterables, what they refuse."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lamella as lm
from lamella import nn, optim
from lamella.errors import DTypeError, ShapeError
from lamella.train.data import Arrays, Stream, permutation, sorted_by

F32 = np.dtype(np.float32)


def batches(source: Arrays | Stream, epoch: int = 0, start: int = 0) -> list[tuple[Any, ...]]:
    """Copies of x, y and weight of each batch, whoever gathers them."""
    found = []
    for arguments in source.epoch(epoch, start):
        if source.native:
            x, y, index, weight = arguments
            arguments = (x[index], y[index], None if weight is None else weight[index])
        found.append(tuple(None if a is None else np.array(a) for a in arguments))
    return found


def test_the_order_is_fixed_for_all_time() -> None:
    """Philox4x64 of Random123 under (seed, epoch): part of what a checkpoint means."""
    assert permutation(8, 0, 1).tolist() == [0, 1, 6, 5, 3, 7, 2, 4]
    words = np.random.Philox(key=3, counter=[0, 5, 0, 0]).random_raw(100)
    assert permutation(100, 3, 5).tolist() == sorted(range(100), key=lambda i: (words[i], i))


def test_each_epoch_and_seed_has_an_order_of_its_own() -> None:
    orders = {tuple(permutation(50, seed, epoch)) for seed in range(4) for epoch in range(4)}
    assert len(orders) == 16
    assert all(sorted(order) == list(range(50)) for order in orders)


def test_equal_words_keep_their_places(rng: np.random.Generator) -> None:
    words = rng.integers(0, 50, 5000).astype(np.uint64)
    assert sorted_by(words).tolist() == sorted(range(5000), key=lambda i: (words[i], i))


@pytest.mark.parametrize("samples", [0, 1, 2])
def test_small_orders(samples: int) -> None:
    assert sorted(permutation(samples, 2**63 - 1, 7)) == list(range(samples))


def layouts(rng: np.random.Generator, tmp_path: Path) -> dict[str, tuple[np.ndarray, bool]]:
    """The same numbers in other forms, and whether a step may gather from them."""
    plain = rng.integers(-100, 100, (37, 6)).astype(np.float32)
    wide = np.zeros((37, 12), np.float32)
    wide[:, ::2] = plain
    stored = np.memmap(tmp_path / "x.bin", np.float32, "w+", shape=plain.shape)
    stored[:] = plain
    odd = np.memmap(tmp_path / "odd.bin", np.float16, "w+", shape=plain.shape)
    odd[:] = plain
    bytes_ = np.zeros(plain.nbytes + 1, np.uint8)[1:]
    shifted = bytes_.view(np.float32).reshape(plain.shape)
    shifted[:] = plain
    return {
        "plain": (plain, True),
        "double": (plain.astype(np.float64), True),  # small: converted once
        "strided": (wide[:, ::2], True),
        "reversed": (plain[::-1][::-1], True),
        "fortran": (np.asfortranarray(plain), True),
        "swapped": (plain.astype(">f4"), True),
        "shifted": (shifted, False),
        "memory map": (stored, True),
        "memory map of halves": (odd, False),
    }


LAYOUTS = (
    "plain", "double", "strided", "reversed", "fortran", "swapped", "shifted", "memory map",
    "memory map of halves",
)  # fmt: skip


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_rows_of_any_layout(
    layout: str, shuffle: bool, rng: np.random.Generator, tmp_path: Path
) -> None:
    forms = layouts(rng, tmp_path)
    assert tuple(forms) == LAYOUTS
    (x, native), y = forms[layout], np.arange(37)
    source = Arrays(x, y, None, dtype=F32, batch_size=8, shuffle=shuffle, seed=5)
    assert (source.native, source.batches, source.samples) == (native, 5, 37)
    order = permutation(37, 5, 2) if shuffle else np.arange(37)
    want = forms["plain"][0][order]
    for start in (0, 3):
        got = batches(source, 2, start)
        assert [len(b[0]) for b in got] == [8, 8, 8, 8, 5][start:]
        assert np.array_equal(np.concatenate([b[0] for b in got]), want[8 * start :])
        assert np.array_equal(np.concatenate([b[1] for b in got]), order[8 * start :])
        assert {b[0].dtype for b in got} == {F32}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_large_data_are_never_copied(
    layout: str, rng: np.random.Generator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lamella.train.data._CAST_ONCE", 0)
    x, y = layouts(rng, tmp_path)[layout][0], np.arange(37, dtype=np.uint8)
    source = Arrays(x, y, None, dtype=F32, batch_size=8, shuffle=True, seed=5)
    assert np.shares_memory(source.x.array, x)
    assert np.shares_memory(source.y.array, y)
    got = batches(source)
    want = np.ascontiguousarray(x, np.float32)[permutation(37, 5, 0)]
    assert np.array_equal(np.concatenate([b[0] for b in got]), want)
    assert got[0][1].dtype == np.uint8


def test_trees_of_arrays() -> None:
    x = (np.arange(6.0), {"mask": np.arange(6) > 2})
    source = Arrays(x, np.arange(6), None, dtype=F32, batch_size=4)
    assert not source.native  # a mask
    (left, right), y, weight = next(source.epoch(0))
    assert (left.dtype, right["mask"].dtype, weight) == (F32, np.bool_, None)
    assert right["mask"].tolist() == [False, False, False, True]
    assert y.tolist() == [0, 1, 2, 3]


def test_drop_last_leaves_the_rest_out() -> None:
    source = Arrays(np.ones((9, 1)), np.arange(9), None, dtype=F32, batch_size=4, drop_last=True)
    assert [b[1].tolist() for b in batches(source)] == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert source.rest == 0
    with pytest.raises(ShapeError, match="drop_last=True leaves nothing"):
        Arrays(np.ones((3, 1)), np.arange(3), None, dtype=F32, batch_size=4, drop_last=True)


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("kind", [np.float32, np.float16])
def test_samples_of_weight_zero_are_left_out(shuffle: bool, kind: Any) -> None:
    weight = np.array([1, 0, 2, 0, 3, 4, 0], np.float64)
    x = np.arange(7, dtype=kind)[:, None]
    source = Arrays(x, np.arange(7), weight, dtype=F32, batch_size=2, shuffle=shuffle, seed=1)
    got = batches(source)
    assert [len(b[0]) for b in got] == [2, 2]
    seen = np.concatenate([b[1] for b in got])
    assert sorted(seen) == [0, 2, 4, 5]
    assert np.concatenate([b[2] for b in got]).tolist() == weight[seen].tolist()


@pytest.mark.parametrize(
    ("x", "y", "weight", "error", "text"),
    [
        (np.ones((3, 1)), np.ones(4), None, ShapeError, "different numbers of samples"),
        (np.ones((0, 1)), np.ones(0), None, ShapeError, "no samples"),
        (np.float32(1), np.ones(1), None, ShapeError, "samples along the first axis"),
        (np.array(["a"]), np.ones(1), None, DTypeError, "not numbers"),
        (np.ones(2) * 1j, np.ones(2), None, DTypeError, "not numbers"),
        (np.ones((3, 1)), np.ones(3), np.ones(2), ShapeError, "one weight for each sample"),
        (np.ones((3, 1)), np.ones(3), np.ones((3, 1)), ShapeError, "one weight for each sample"),
        (np.ones((2, 1)), np.ones(2), np.array([1, -1]), ValueError, "negative"),
        (np.ones((2, 1)), np.ones(2), np.array([1, np.nan]), ValueError, "not finite"),
        (np.ones((2, 1)), np.ones(2), np.zeros(2), ShapeError, "no samples"),
    ],
)  # fmt: skip
def test_wrong_data(x: Any, y: Any, weight: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        Arrays(x, y, weight, dtype=F32, batch_size=2)


class Tensor:
    """As a torch tensor: no ndarray, detached before it is read."""

    def __init__(self, array: np.ndarray, attached: bool = True) -> None:
        self.array, self.attached = array, attached

    def detach(self) -> Tensor:
        return Tensor(self.array, False)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        assert not self.attached
        return self.array


def test_batches_of_an_iterable() -> None:
    items = [
        (np.ones((2, 1)), np.array([0, 1], np.int32)),
        [Tensor(np.ones((3, 1), np.float32)), Tensor(np.array([0, 1, 2])), np.array([1.0, 0, 2])],
        ([np.ones((1, 1)), np.zeros((1, 2))], np.array([5], np.uint8)),
    ]
    source = Stream(items, lambda y, weight: weight, dtype=F32)
    assert (source.batches, source.once, source.native) == (3, False, False)
    first, second, third = source.epoch(0)
    assert first[1].dtype == np.int32
    assert (len(second[0]), second[1].tolist(), second[2].tolist()) == (2, [0, 2], [1, 2])
    assert second[2].dtype == F32
    assert isinstance(third[0], tuple)
    assert [y.tolist() for _, y, _ in source.epoch(0, 2)] == [[5]]


def test_weights_of_one_are_none() -> None:
    for weight, samples in (([1, 1, 1], 3), ([1, 0, 1], 2)):
        source = Arrays(np.ones((3, 1)), np.arange(3), np.array(weight), dtype=F32, batch_size=2)
        assert (source.weight, source.samples, source.rest) == (None, samples, samples % 2)


def test_a_batch_of_no_weight_is_skipped() -> None:
    items = [(np.ones((2, 1)), np.arange(2), np.array(w, np.float32)) for w in ([0, 0], [0, 1])]
    source = Stream(items, lambda y, weight: weight, dtype=F32)
    assert len(list(source.epoch(0))) == 1


@pytest.mark.parametrize(
    ("item", "error"),
    [
        (np.ones((2, 1)), TypeError),
        ((np.ones(2),), TypeError),
        ((np.ones(2), np.ones(3)), ShapeError),
        ((np.ones(2), np.ones(2), np.ones(3)), ShapeError),
        ((np.ones(2), np.array(["a", "b"])), DTypeError),
    ],
)
def test_wrong_batches(item: Any, error: type[Exception]) -> None:
    source = Stream([item], lambda y, weight: weight, dtype=F32)
    with pytest.raises(error, match="fit"):
        list(source.epoch(0))


@pytest.mark.parametrize("kind", [np.uint8, np.int8, np.int32])
def test_integers_train_as_they_predict(kind: type, rng: np.random.Generator) -> None:
    """The net gets them as they are: what it makes of them it makes in either."""

    class Pixels(nn.Module):
        def __init__(self, twice: bool) -> None:
            super().__init__()
            self.inner, self.twice = nn.Linear(6, 3), twice

        def forward(self, x: Any) -> Any:
            return self.inner((x + x if self.twice else x).float() / 255)

    # Bytes wrap around in the sum.
    x, y = rng.integers(0, 250, (40, 6)).astype(kind), rng.integers(0, 3, 40).astype(np.int32)
    floating = (x + x).astype(np.float32)
    nets = []
    for twice, given in ((True, x), (False, floating)):
        lm.manual_seed(3)
        net = Pixels(twice)
        optimizer = optim.SGD(net.parameters(), lr=0.5)
        loss = nn.CrossEntropyLoss()
        lm.fit(net, given, y, loss=loss, optimizer=optimizer, epochs=3, batch_size=8, verbose=False)
        nets.append(net)
    assert np.array_equal(nets[0].inner.weight.numpy(), nets[1].inner.weight.numpy())
    assert np.array_equal(nets[0](x), nets[1](floating))
