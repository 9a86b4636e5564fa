# SPDX-License-Identifier: Apache-2.0
"""x[key] is NumPy's: arrays of integers and known masks beside slices, None and the ellipsis.

Keys are constants of the code, arrays of the user's, or inputs of the run; all have to agree.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import lamella as lm
from lamella import functional as F
from lamella.errors import DTypeError, UnsupportedError
from lamella.runtime.tensor import where

X = np.arange(4 * 5 * 6 * 7, dtype=np.float32).reshape(4, 5, 6, 7)


@st.composite
def keys(draw):
    """A key for X, with at least one array; integers stand beside arrays or not at all."""
    count = draw(st.integers(1, 4))
    shapes = draw(st.sampled_from([[()], [(3,)], [(2, 1), (3,)], [(2, 3)], [(0,)], [(1,), (3,)]]))
    key, picks = [], 0
    for axis in range(count):
        if draw(st.integers(0, 5)) == 0:
            key.append(None)
        if draw(st.booleans()):
            shape = draw(st.sampled_from(shapes))
            extent = X.shape[axis]
            size = int(np.prod(shape))
            numbers = draw(st.lists(st.integers(-extent, extent - 1), min_size=size, max_size=size))
            key.append(np.array(numbers, np.int64).reshape(shape))
            picks += 1
        else:
            start, step = draw(st.integers(-3, 3)), draw(st.sampled_from([1, 2, -1]))
            key.append(slice(start, None, step))
    if not picks:
        key[-1] = np.array([1, -1])
    if draw(st.booleans()):
        key.append(...)
    return tuple(key)


def as_input(key):
    """The key with its arrays as inputs of the run."""
    arrays = [item for item in key if isinstance(item, np.ndarray)]

    def picked(x, *given):
        rest = iter(given)
        return x[tuple(next(rest) if isinstance(item, np.ndarray) else item for item in key)]

    return lm.compile(picked, X, *arrays)(X, *arrays)


@given(keys())
def test_keys_of_integers(key):
    want = X[key]
    for got in (lm.compile(lambda x: x[key], X)(X), as_input(key)):
        assert got.shape == want.shape
        np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize(
    "key",
    [
        [0, -1],
        [],
        (slice(None), [1, 2]),
        ([1, 2], [0, -1]),
        (0, [1, 2]),
        ([1, 2], 0, [3, 4]),
        ([[1], [2]], slice(None), 3),
        (..., [0, 2]),
        (None, [0, 2]),
        ([1, 2], slice(1, 3), [0, -1]),
        ([1, 2], None, [0, -1]),
        X[:, 0, 0, 0] > 300,
        (slice(None), X[0, :, 0, 0] > 60),
        (slice(None), X[0, :, :, 0] > 100),
        (slice(None), X[0, :, :, 0] > 100, [2]),
        (X[:, 0, 0, 0] > 300, [1, 2]),
        X > 700,
        X[:, :, 0, 0] < 0,
        np.array(2),
        (np.array([1, 3], np.uint8), np.array([0, 1], np.int32)),
    ],
    ids=lambda key: str(key)[:30].replace("\n", " "),
)
def test_keys(key):
    want = X[key]
    got = lm.compile(lambda x: x[key], X)(X)
    assert got.shape == want.shape
    np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize(
    ("key", "error", "text"),
    [
        (3, IndexError, "-3 <= index < 3"),
        (-4, IndexError, "outside"),
        ((0, 0, 0), IndexError, "too many"),
        (([0], [0], [0]), IndexError, "too many"),
        ((..., ...), IndexError, "ellipsis"),
        ([3], IndexError, "3..3"),
        ([0, -4], IndexError, "-3 <= index < 3"),
        (([0, 1], [0, 2]), IndexError, "-2 <= index < 2"),
        (([0, 1, 2], [0, 1]), IndexError, "broadcast"),
        ([True, False], IndexError, "mask"),
        (np.zeros((3, 3), bool), IndexError, "mask"),
        (np.zeros((3, 2, 1), bool), IndexError, "too many"),
        (np.array(True), IndexError, "mask"),
        ([0.5], DTypeError, "float64"),
        (True, UnsupportedError, "bool"),
        (np.True_, UnsupportedError, "bool"),
        ("a", UnsupportedError, "str"),
        (1.5, UnsupportedError, "float"),
    ],
    ids=str,
)
def test_other_keys_are_refused(key, error, text):
    with pytest.raises(error, match=text) as raised:
        lm.compile(lambda x: x[key], X[:3, :2, 0, 0].copy())
    assert str(raised.value).startswith("index: ")


def test_an_integer_apart_from_arrays_is_refused():
    with pytest.raises(UnsupportedError, match="NumPy and PyTorch"):
        lm.compile(lambda x: x[0, :, [1, 2]], X)
    got = lm.compile(lambda x: x[0][:, [1, 2]], X)(X)
    np.testing.assert_array_equal(got, X[0][:, [1, 2]])


def test_a_mask_of_the_run_is_refused_with_a_cure():
    with pytest.raises(UnsupportedError, match="masked_fill"):
        lm.compile(lambda x: x[x > 0], X)


def test_indices_of_the_run_are_judged_there():
    pick = lm.compile(lambda x, i, j: x[i, :, j], X, np.array([0]), np.array([0]))
    np.testing.assert_array_equal(pick(X, np.array([-1]), np.array([2])), X[[-1], :, [2]])
    for i, j in ((4, 0), (-5, 0), (0, 6), (0, -7), (2**62, 0)):
        with pytest.raises(IndexError, match="expected an index from -"):
            pick(X, np.array([i]), np.array([j]))


class Pick(lm.nn.Module):
    """Keys that are attributes: arrays of integers are read where they lie, masks are compared."""

    def __init__(self):
        super().__init__()
        self.rows = np.array([0, 2])
        self.mask = np.array([True, False, True])

    def forward(self, x):
        return x[self.rows], x[self.mask]


def test_keys_that_change():
    net, x = Pick(), X[:3, :, 0, 0].copy()
    for rows, mask in (([0, 2], [1, 0, 1]), ([1, 1], [0, 0, 1]), ([-1, 0], [1, 1, 1])):
        net.rows[:] = rows
        net.mask[:] = mask
        for _ in range(3):
            got = net(x)
            np.testing.assert_array_equal(got[0], x[rows])
            np.testing.assert_array_equal(got[1], x[np.array(mask, bool)])
    net.rows[0] = 3
    with pytest.raises(IndexError):
        net(x)


def test_any_size():
    """A batch of other sizes is one text."""

    class Both(lm.nn.Module):
        def forward(self, x, i):
            return x[:, i], x[i], F.cumsum(x, 0), F.sort(x, 0).values, where(x > 0, x, -x)[..., [0]]

    net = Both()
    for n in (3, 5, 8, 13, 40):
        x, i = np.random.default_rng(n).normal(size=(n, 6)).astype(np.float32), np.array([1, -1])
        got = net(x, i)
        want = x[:, i], x[i], np.cumsum(x, 0, np.float64), np.sort(x, 0), np.abs(x)[:, [0]]
        for mine, exact in zip(got, want, strict=True):
            np.testing.assert_allclose(mine, exact, rtol=1e-6, atol=1e-6)


def test_an_expanded_index_moves_rows():
    """The index of a graph network, (E, 1) expanded to (E, D), is read as the (E, 1) that it is."""

    class Messages(lm.nn.Module):
        def forward(self, x, index, source):
            return F.scatter_add(x, 0, index.unsqueeze(1).expand(source.shape), source)

    rng = np.random.default_rng(0)
    x, index = np.zeros((9, 5), np.float32), rng.integers(0, 9, 30)
    source = rng.normal(size=(30, 5)).astype(np.float32)
    net = Messages()
    want = x.copy()
    np.add.at(want, index, source)
    assert net(x, index, source).tobytes() == want.tobytes()
    ops = [row.op for row in lm.profile(net, x, index, source).rows]
    assert ops == ["index(9)", "scatter_sum(0)"]
