# SPDX-License-Identifier: Apache-2.0
"""Structures come back as they were; arrays are copied only where they must be."""

from __future__ import annotations

from collections import namedtuple

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import lamella as lm
import lamella.functional as F
from lamella import nn
from lamella.errors import DTypeError, UnsupportedError
from lamella.ir.types import DType, TensorType
from lamella.runtime.signature import LEAF, flatten, is_ready, normalize, unflatten

Pair = namedtuple("Pair", "first second")

trees = st.recursive(
    st.integers() | st.none(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.text(max_size=2), inner, max_size=3)
        | st.tuples(inner, inner).map(lambda pair: Pair(*pair))
    ),
    max_leaves=12,
)


@given(trees)
def test_structures_come_back(tree):
    leaves, structure = flatten(tree)
    assert all(isinstance(leaf, int) for leaf in leaves)
    back = unflatten(structure, leaves)
    assert back == tree
    assert type(back) is type(tree)
    assert hash(structure) == hash(flatten(tree)[1])


@given(trees, trees)
def test_equal_structures_have_equal_containers(one, other):
    same = flatten(one)[1] == flatten(other)[1]
    assert same == (repr(flatten(one)[1]) == repr(flatten(other)[1]))


def test_a_leaf_is_a_structure():
    assert flatten(3) == ([3], LEAF)


def misaligned(values):
    raw = np.zeros(values.nbytes + 1, np.uint8)
    array = raw[1:].view(values.dtype)
    array[:] = values
    return array


VALUES = np.arange(12, dtype=np.float32)
COMPUTED = ("float32", "float64", "int64", "int32", "uint8", "int8", "bool")


def test_ready_arrays_are_used_as_they_are():
    for array in (VALUES, VALUES.reshape(3, 4), np.ones(()), np.zeros((0, 3)), VALUES > 1):
        assert is_ready(array)
        assert normalize(array, op="op", name="x") is array


def read_only():
    array = VALUES.copy()
    array.flags.writeable = False
    return array


@pytest.mark.parametrize(
    "array",
    [
        VALUES[::-1],
        VALUES[::2],
        VALUES.reshape(3, 4).T,
        np.broadcast_to(VALUES[:1], (5,)),
        misaligned(VALUES),
        VALUES.astype(">f4"),
        VALUES.astype(">f8")[::2],
        VALUES.astype(np.int8)[::-1],
        VALUES.astype(">i4"),
        VALUES.astype(">i2"),
        VALUES.astype(np.uint64),
        np.ma.masked_array(VALUES),
        [1.0, 2.0],
        [[1, 2], [3, 4]],
        2.5,
        np.float32(2.5),
        True,
    ],
    ids=repr,
)
def test_others_are_copied(array):
    got = normalize(array, op="op", name="x")
    assert is_ready(got)
    assert got.shape == np.shape(array)
    assert np.array_equal(got, np.asarray(array))
    native = np.asarray(array).dtype.newbyteorder("=")
    assert got.dtype == (native if native in COMPUTED else np.int64)


@pytest.mark.parametrize("dtype", ["<f2", ">f2"])
def test_halves_stay_halves(dtype):
    got = normalize(VALUES.astype(dtype)[::-1], op="op", name="x")
    assert is_ready(got)
    assert got.dtype == np.float16
    assert np.array_equal(got, VALUES[::-1])


def test_read_only_arrays_are_read():
    array = read_only()
    assert normalize(array, op="op", name="x") is array


@pytest.mark.parametrize(
    ("array", "advice"),
    [
        (VALUES.astype(np.longdouble), "astype(np.float64)"),
        (VALUES.astype(complex), "x.real and x.imag"),
        (np.array([1, None]), "astype(np.float32)"),
        (np.array(["a"]), ""),
        (np.zeros(2, "datetime64[s]"), ""),
        (np.zeros(2, [("a", "f4")]), ""),
        (None, ""),
    ],
    ids=repr,
)
def test_other_types_are_refused(array, advice):
    with pytest.raises(DTypeError, match=r"op: element type is not computed with; got x=") as error:
        normalize(array, op="op", name="x")
    assert str(error.value).endswith(advice or "integer or bool")


def test_masked_elements_are_refused():
    array = np.ma.masked_array(VALUES, VALUES.mean() < VALUES)
    with pytest.raises(UnsupportedError, match=r"op: masked elements .*x=\d+ masked of .*filled"):
        normalize(array, op="op", name="x")


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.longdouble, ">f4"])
@pytest.mark.parametrize("target", [DType.float32, DType.float64])
def test_networks_cast_floats(dtype, target):
    got = normalize(VALUES.astype(dtype)[::-1], op="op", name="x", floating=target)
    assert got.dtype == target.numpy
    assert np.array_equal(got, VALUES[::-1])
    integers = normalize(np.arange(3), op="op", name="x", floating=target)
    assert integers.dtype == np.int64


def test_numbers_beyond_float32_become_infinite():
    got = normalize(np.array([1e300]), op="op", name="x", floating=DType.float32)
    assert np.isposinf(got[0])


BFLOAT16 = np.dtype(ml_dtypes.bfloat16)


@pytest.mark.parametrize("dtype", [np.dtype(np.float16), BFLOAT16])
def test_storage_types_are_read_as_they_lie(dtype):
    """A function and a float32 net compile for them, answer natively, and compute in float32."""
    x = np.linspace(-3, 3, 24).reshape(4, 6).astype(dtype)
    wide = x.astype(np.float32)
    assert normalize(x, op="op", name="x") is x
    assert normalize(x.T, op="op", name="x").dtype == dtype
    net = nn.Sequential(nn.Linear(6, 3), nn.Tanh())
    for called in (F.relu, net):
        want = called(wide).copy()
        for _ in range(3):
            got = called(x)
            assert got.dtype == np.float32
            assert got.tobytes() == want.tobytes()
    (leaf,) = lm.compile(net, TensorType((4, 6), DType.of(dtype))).graph.inputs
    assert leaf.type == TensorType((4, 6), DType.of(dtype))
    assert F.add(x, x.astype(np.float64)).dtype == np.float64
    assert F.add(x, 0.1).dtype == np.float32
    assert np.array_equal(F.relu(x.T), np.maximum(wide, 0).T)
    assert np.array_equal(lm.compile(lambda a: a + x, wide)(wide), wide + wide)


def test_a_net_of_float64_takes_storage_types_as_float64():
    x = np.linspace(-3, 3, 24).reshape(4, 6)
    net = nn.Linear(6, 3, dtype="float64")
    for dtype in (np.float16, BFLOAT16):
        for _ in range(2):
            assert np.array_equal(net(x.astype(dtype)), net(x.astype(dtype).astype(np.float64)))


def test_uint16_is_no_bfloat16():
    """The core holds the bits of bfloat16 in uint16; a caller's uint16 are numbers."""
    x = np.linspace(-3, 3, 8).astype(BFLOAT16)
    for _ in range(3):
        F.relu(x)
        with pytest.raises(DTypeError):
            F.relu(x.view(np.uint16))


@pytest.mark.parametrize("dtype", [ml_dtypes.float8_e4m3fn, np.longdouble, np.complex64])
def test_types_of_no_list_are_refused(dtype):
    with pytest.raises(DTypeError, match="element type is not computed with"):
        F.relu(np.ones(3).astype(dtype))
