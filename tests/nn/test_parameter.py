# SPDX-License-Identifier: Apache-2.0
"""Parameters, buffers and counters: storage of their own, seen read-only, changed by assignment."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest

from comparators import same_bits
from lamella import nn
from lamella.errors import DTypeError, ShapeError
from lamella.ir.types import DType
from lamella.nn.parameter import Counter


@pytest.mark.parametrize(
    ("data", "dtype"),
    [
        ([1.0, 2.0], np.float32),
        (3.0, np.float32),
        (np.ones(2, np.float16), np.float32),
        (np.ones(2, np.float32), np.float32),
        (np.ones(2, np.float64), np.float64),
        (np.ones(2, ">f8"), np.float64),
        (np.ones((3, 4), np.float32)[::2, ::-1], np.float32),
        (np.float64(2), np.float64),
    ],
)
def test_what_a_parameter_is_made_of(data, dtype):
    parameter = nn.Parameter(data)
    same_bits(
        np.asarray(parameter),
        np.ascontiguousarray(np.asarray(data).astype(dtype)).reshape(np.shape(data)),
    )
    assert nn.Parameter(data, dtype="float64").dtype is DType.float64


@pytest.mark.parametrize(
    "data",
    [[1, 2], np.arange(3), True, "text", None, np.ones(2, complex), np.ones(2, "complex64"), {}],
)
def test_what_it_is_not_made_of(data):
    with pytest.raises(DTypeError, match="Parameter: "):
        nn.Parameter(data)


def test_integers_become_a_parameter_when_asked():
    same_bits(np.asarray(nn.Parameter([1, 2], dtype=np.float32)), np.float32([1, 2]))
    with pytest.raises(DTypeError, match="drop fractions"):
        nn.Buffer([1.5], dtype=np.int64)


def test_the_storage_is_its_own():
    data = np.ones(3, np.float32)
    parameter = nn.Parameter(data)
    data[:] = 7
    same_bits(np.asarray(parameter), np.ones(3, np.float32))
    for view in (parameter.data, np.asarray(parameter), parameter.numpy()):
        with pytest.raises(ValueError, match="read-only"):
            view[0] = 1
        with pytest.raises(ValueError, match="WRITEABLE"):
            view.flags.writeable = True
    np.array(parameter)[0] = 5
    assert parameter.data[0] == 1
    with pytest.raises(ValueError, match="copy"):
        np.asarray(parameter, dtype=np.float64, copy=False)
    same_bits(np.asarray(parameter, dtype=np.float64), np.ones(3))


def test_assignment_copies_casts_and_counts():
    parameter = nn.Parameter(np.zeros((2, 3), np.float32))
    view = parameter.data
    for number, value in enumerate(
        [np.ones((2, 3)), np.ones((2, 3), int), [[True] * 3] * 2, nn.Parameter(np.ones((2, 3)))]
    ):
        before = int(parameter.version[0])
        parameter.data = value
        assert parameter.version[0] == before + 1, number
        same_bits(np.array(view), np.ones((2, 3), np.float32))


@pytest.mark.parametrize("value", [np.ones((3, 2)), np.ones(6), 1.0, np.ones((1, 3))])
def test_assignment_of_another_shape(value):
    parameter = nn.Parameter(np.zeros((2, 3)))
    with pytest.raises(ShapeError, match=r"Parameter: another shape; .* expected \(2, 3\)"):
        parameter.data = value
    assert not parameter.data.any()


@pytest.mark.parametrize("dtype", [complex, object, "U1"])
def test_assignment_of_another_kind(dtype):
    parameter = nn.Parameter(np.zeros(2))
    with pytest.raises(DTypeError, match="no safe cast"):
        parameter.data = np.zeros(2).astype(dtype)
    with pytest.raises(DTypeError, match="no safe cast"):
        nn.Buffer([1, 2]).data = np.zeros(2)


def test_what_is_known_of_it():
    parameter = nn.Parameter(np.zeros((2, 3), np.float32))
    assert parameter.shape == (2, 3)
    assert parameter.ndim == parameter.dim() == 2
    assert parameter.numel() == 6
    assert len(parameter) == parameter.size(0) == 2
    assert parameter.size() == (2, 3)
    assert parameter.dtype is DType.float32
    assert repr(nn.Parameter([1.0])) == ("Parameter containing:\narray([1.], dtype=float32)")


@pytest.mark.parametrize("make", [nn.Parameter, nn.Buffer])
def test_copies(make):
    original = make(np.arange(3.0), False)
    for twin in (
        copy.copy(original),
        copy.deepcopy(original),
        pickle.loads(pickle.dumps(original)),
    ):
        assert type(twin) is make
        same_bits(np.asarray(twin), np.arange(3.0))
        assert getattr(twin, "requires_grad", False) is getattr(twin, "persistent", False) is False
        twin.data = np.ones(3)
        same_bits(np.asarray(original), np.arange(3.0))


def test_buffers_take_any_of_our_types():
    assert nn.Buffer([1, 2]).dtype is DType.int64
    assert nn.Buffer([True]).dtype is DType.bool
    for name in ("int64", "int32", "uint8", "int8"):
        assert nn.Buffer(np.arange(3, dtype=name)).dtype is DType.of(name)
    assert nn.Buffer(np.arange(3, dtype=np.int16)).dtype is DType.int64
    assert nn.Buffer(np.arange(3, dtype=">i4")).data.dtype == np.dtype("int32")
    same_bits(nn.Buffer(np.arange(2)).data, np.arange(2))


def test_counter():
    counter = Counter()
    same_bits(counter.data, np.array(0))
    counter.data = 5
    same_bits(np.asarray(counter), np.array(5))
    same_bits(np.array(pickle.loads(pickle.dumps(counter)).data), np.array(5))
    counter.cast(np.dtype(np.float32))
    counter.data = 2**53
    assert int(counter.data) == 2**53
    for bad in (1.5, [1, 2], "1"):
        with pytest.raises(DTypeError, match="one integer"):
            counter.data = bad
