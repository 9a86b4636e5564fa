# SPDX-License-Identifier: Apache-2.0
"""What callers may do to a result: hold it, reshape it, freeze it, view it, feed it back.

Result arrays are used again once nobody holds them; none of this may ever be seen in a later
result, nor may a later call be seen in a result that is held.
"""

from __future__ import annotations

import contextlib
import gc
import sys
import weakref

import numpy as np
import pytest

import lamella.functional as F
from bits.nets import NETS, WIDTH, values
from comparators import same_bits
from lamella import nn

X = values((5, 6), "float32")
LINEAR = nn.Linear(6, 6)
CALLS = {"function": F.tanh, "layer": LINEAR, "pair": lambda x: F.add(x, x)}


def set_shape(y):
    y.shape = (6, 5)


def set_strides(y):
    with contextlib.suppress(AttributeError, DeprecationWarning):
        y.strides = (4, 20)


def set_dtype(y):
    with contextlib.suppress(AttributeError, DeprecationWarning):
        y.dtype = np.int32


def freeze(y):
    y.flags.writeable = False


def shrink(y):
    y.resize((2, 3), refcheck=False)


def grow(y):
    y.resize((50, 60), refcheck=False)


def swap_bytes(y):
    y.byteswap(inplace=True)


def fill(y):
    y.fill(np.nan)


def transpose_in_place(y):
    with contextlib.suppress(AttributeError, DeprecationWarning):
        y.shape = (30,)
        y.shape = (5, 6)


CHANGES = (
    set_shape,
    set_strides,
    set_dtype,
    freeze,
    shrink,
    grow,
    swap_bytes,
    fill,
    transpose_in_place,
)


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_a_changed_result_does_not_come_back(change, name):
    call = CALLS[name]
    want = call(X).copy()
    for _ in range(20):
        change(call(X))
        y = call(X)
        assert y.flags.writeable
        assert y.flags.owndata or y.base is not None
        same_bits(y, want)
        z = call(X + 1)
        same_bits(y, want)
        assert not np.shares_memory(y, z)
        del y, z


@pytest.mark.parametrize("name", CALLS)
def test_results_as_arguments(name):
    call = CALLS[name]
    once = call(X).copy()
    twice = call(once).copy()
    thrice = call(twice).copy()
    for _ in range(50):
        same_bits(call(call(call(X))), thrice)
        y = X
        for want in (once, twice, thrice):
            y = call(y)
            same_bits(y, want)
        same_bits(F.add(call(X), call(X)), once + once)
        same_bits(F.add(call(X), call(X + 0)), once + once)


@pytest.mark.parametrize("name", CALLS)
def test_held_in_every_way(name):
    call = CALLS[name]
    want = call(X).copy()
    views = [call(X)[1:], call(X).T, call(X).ravel(), call(X).view(np.int32), call(X)[0, 0:1]]
    views += [memoryview(call(X)), np.asarray(call(X)), np.broadcast_to(call(X), (2, 5, 6))]
    views += [call(X).flat, np.lib.stride_tricks.as_strided(call(X), (3,), (4,)), call(X).real]
    rows = iter(call(X))
    interface = call(X).__array_interface__
    pointer = call(X).ctypes
    capsule = call(X).__dlpack__()
    for step in range(100):
        call(X * step)
    same_bits(np.array(views[0]), want[1:])
    same_bits(np.array(views[1], order="C"), np.ascontiguousarray(want.T))
    same_bits(np.array(views[2]), want.ravel())
    same_bits(np.array(views[3]), want.view(np.int32))
    same_bits(np.array(views[4]), want[0, 0:1])
    same_bits(np.array(views[5]), want)
    same_bits(np.array(views[6]), want)
    same_bits(np.array(views[7][1]), want)
    same_bits(np.array(views[8][:]), want.ravel())
    same_bits(np.array(views[9]), want.ravel()[:3])
    same_bits(np.array(views[10]), want)
    assert [row.tobytes() for row in rows] == [row.tobytes() for row in want]
    assert interface is not None
    assert pointer.data_as is not None
    assert capsule is not None


@pytest.mark.parametrize("name", CALLS)
def test_dlpack_keeps_the_memory(name):
    call = CALLS[name]
    want = call(X).copy()

    class Exporter:
        def __init__(self, array):
            self._array = array

        def __dlpack__(self, **options):
            return self._array.__dlpack__(**options)

        def __dlpack_device__(self):
            return self._array.__dlpack_device__()

    imported = [np.from_dlpack(Exporter(call(X))) for _ in range(5)]
    for step in range(50):
        call(X * step)
    for array in imported:
        same_bits(array.copy(), want)


def test_weak_references_do_not_hold():
    for call in CALLS.values():
        want = call(X).copy()
        weak = [weakref.ref(call(X)) for _ in range(10)]
        same_bits(call(X), want)
        for ref in weak:
            found = ref()
            if found is not None:
                kept = found.copy()
                call(X * 2)
                same_bits(found, kept)


def test_memory_does_not_grow():
    for call in CALLS.values():
        large = np.ones((300, 6), np.float32)
        call(large)
        gc.collect()
        before = sys.getallocatedblocks()
        for _ in range(3000):
            call(large)
        gc.collect()
        assert sys.getallocatedblocks() - before < 200


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", NETS)
def test_an_empty_batch(name, dtype):
    net = NETS[name](dtype)
    full = net(values((3, WIDTH), dtype))
    for _ in range(2):
        empty = net(values((0, WIDTH), dtype))
        assert empty.shape == (0, *full.shape[1:])
        assert empty.dtype == full.dtype
