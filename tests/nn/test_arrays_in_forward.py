# SPDX-License-Identifier: Apache-2.0
"""Arrays that forward reads are read where they lie, at every run."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from comparators import same_bits
from lamella import functional as F
from lamella import nn
from lamella.runtime.variants import Variants

X = np.float32([[1.0, -2.0, 3.0]])


class Net(nn.Module):
    """y = x * read(self)"""

    traced = 0

    def __init__(self, read) -> None:
        super().__init__()
        self.read = read

    def forward(self, x):
        Net.traced += 1
        return x * self.read(self)


def test_arrays_are_read_where_they_lie():
    for array in (
        np.full(3, 2, np.float32),
        np.full((3, 2), 2, np.float32)[:, 0],
        np.full((3, 3), 2, np.float32).T[1],
        np.full(3, 2, ">f4"),
    ):
        holders = (
            lambda n, a=array: n.array,
            lambda n, a=array: n.arrays["k"][0],
            lambda n, a=array: a,
        )
        for read in holders:
            net = Net(read)
            array[...] = 2
            net.array, net.arrays = array, {"k": [array]}
            same_bits(net(X).copy(), 2 * X)
            traced = Net.traced
            for number in (3, 4, 5, 6):
                array[...] = number
                same_bits(net(X).copy(), np.float32(number) * X)
            # At the first change once more, to see that forward computes nothing from it.
            assert Net.traced <= traced + 1
            assert len(programs(net)) == 1


def programs(net):
    """The programs that the module has for its present structure."""
    found = [entry.value for entry in net._compiled.current.families.programs]
    return {one.program for kept in found if isinstance(kept, Variants) for one in kept.programs}


def test_an_array_that_python_computes_with_as_well():
    net = Net(lambda n: n.array / np.float32(n.array.sum()))
    for array in (np.ones(3, np.float32), np.ones((3, 2), np.float32)[:, 0]):
        net.array = array
        same_bits(net(X).copy(), X * (array / array.sum()))
        for number in (2, 4, 8):
            array[0] = number
            for _ in range(2):
                same_bits(net(X).copy(), X * array / array.sum())


def test_changes_that_make_no_difference_make_no_program():
    net = Net(lambda n: n.array if n.items[0] > 1 else 3.0)
    net.array, net.items = np.ones((3, 2), np.float32)[:, 1], [2]
    for number in (2, 3, 4):
        net.items[0] = number
        net.array[...] = number
        same_bits(net(X).copy(), number * X)
    assert len(programs(net)) == 1
    net.items[0] = 1
    same_bits(net(X).copy(), 3 * X)
    assert len(programs(net)) == 2


@pytest.mark.parametrize("dtype", ["int64", "int32", "uint8", "uint64", "bool"])
def test_integers_and_truth_values_are_read_where_they_lie(dtype):
    class Where(nn.Module):
        def __init__(self):
            super().__init__()
            self.mask, self.rows = np.array([1, 0, 1], dtype), np.array([2, 0], dtype)

        def forward(self, x):
            if dtype == "bool":
                return F.where(self.mask, x, 0.0)
            return F.embedding(self.rows, x.T)

    net = Where()
    for _ in range(2):
        net(X)
    if dtype == "bool":
        net.mask[:] = [False, True, False]
        same_bits(net(X).copy(), np.where(net.mask, X, np.float32(0)))
    else:
        same_bits(net(X).copy(), X.T[[2, 0]])
        net.rows[0] = 1
        same_bits(net(X).copy(), X.T[[1, 0]])
        net.rows[0] = 3
        with pytest.raises(IndexError):
            net(X)


def test_float16_and_single_elements():
    for dtype, shape in (("float16", 3), ("float64", ()), ("float32", ())):
        net = Net(lambda n: n.array)
        net.array = np.full(shape, 2, dtype)
        for number in (2, 3, 4):
            net.array[...] = number
            same_bits(net(X).copy(), np.float32(number) * X)
        assert len(programs(net)) == 1


def test_float64_arrays_promote_as_numpy_does():
    net = Net(lambda n: n.array)
    net.array = np.full(3, 1 / 3)
    same_bits(net(X).copy(), X * net.array)
    net.array[:] = 1e-300
    same_bits(net(X).copy(), X * net.array)


def test_views_are_read_where_they_lie():
    net = Net(lambda n: n.array[1] + n.array.reshape(-1)[:3])
    net.array = np.arange(6, dtype=np.float32).reshape(2, 3)
    same_bits(net(X).copy(), X * (net.array[1] + net.array[0]))
    net.array *= 2
    same_bits(net(X).copy(), X * (net.array[1] + net.array[0]))


@pytest.mark.parametrize("turned", [False, True])
def test_products_do_not_keep_packed_copies(turned):
    class Product(nn.Module):
        def __init__(self):
            super().__init__()
            self.w = np.eye(40, dtype=np.float32)
            self.b = np.zeros(40, np.float32)

        def forward(self, x):
            y = F.linear(x, self.w, self.b) if turned else x @ self.w + self.b
            return y.relu()

    net, x = Product(), np.random.default_rng(0).normal(size=(7, 40)).astype(np.float32)
    for factor in (1, 2, 4):
        net.w[...] = np.eye(40) * factor
        net.b[...] = factor
        for _ in range(2):
            same_bits(net(x).copy(), np.maximum(x * np.float32(factor) + np.float32(factor), 0))


def test_another_shape_is_another_program():
    net = Net(lambda n: n.array)
    net.array = np.full(3, 2, np.float32)
    same_bits(net(X).copy(), 2 * X)
    with pytest.raises(ValueError, match="resize"):
        net.array.resize(6, refcheck=False)
    net.array.shape = (1, 3)
    same_bits(net(X).copy(), 2 * X)
    net.array.shape = (3, 1)
    same_bits(net(X).copy(), 2 * np.broadcast_to(X, (3, 3)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        net.array.dtype = np.dtype(">f4")
    assert (net(X) != 2 * X).all()


def test_arrays_that_python_reads_are_compared():
    net = Net(lambda n: float(n.array[0]) if n.array[1] > 0 else 7.0)
    net.array = np.array([2.0, 1.0, 0.0])[::-1][::-1]
    same_bits(net(X).copy(), 2 * X)
    net.array[0] = 3.0
    same_bits(net(X).copy(), 3 * X)
    net.array[1] = -1.0
    same_bits(net(X).copy(), 7 * X)
    shape = Net(lambda n: np.zeros(n.sizes[0], np.float32) + 2)
    shape.sizes = np.array([3, 9, 1])[::2]
    assert shape(X).shape == (1, 3)
    shape.sizes[0] = 1
    assert shape(X[:, :1]).shape == (1, 1)


def test_out_may_be_the_array_itself():
    net = Net(lambda n: n.array)
    net.array = np.full((1, 3), 2, np.float32)
    for _ in range(3):
        want = X * net.array
        net(X, out=net.array)
        same_bits(net.array, want)


def test_a_result_is_no_view_of_the_array():
    class Giving(nn.Module):
        def __init__(self):
            super().__init__()
            self.array = np.ones(3, np.float32)

        def forward(self, x):
            return self.array, x

    net = Giving()
    for _ in range(3):
        y, _ = net(X)
        assert not np.shares_memory(y, net.array)
        net.array += 1
        assert (y == net.array - 1).all()
