# SPDX-License-Identifier: Apache-2.0
"""Dtypes of results are NumPy's, as far as lamella computes with them."""

from __future__ import annotations

import operator

import numpy as np
import pytest

from graphs import F32, F64, kind, traced
from lamella.errors import DTypeError
from lamella.ir.types import DType
from lamella.runtime.tensor import cat, matmul, where

ARITHMETIC = [operator.add, operator.sub, operator.mul, operator.truediv, operator.pow]


def result(body, *inputs):
    (value,) = traced(body, *inputs).outputs
    return value.dtype


@pytest.mark.parametrize("operation", ARITHMETIC)
@pytest.mark.parametrize("a", [F32, F64])
@pytest.mark.parametrize("b", [F32, F64])
def test_floats_meet(operation, a, b):
    expected = np.result_type(a.numpy, b.numpy)
    assert result(operation, kind(3, dtype=a), kind(3, dtype=b)).numpy == expected


@pytest.mark.parametrize("operation", ARITHMETIC)
@pytest.mark.parametrize("number", [2, 2.5, True])
@pytest.mark.parametrize("dtype", [F32, F64])
def test_numbers_are_weak(operation, number, dtype):
    assert result(lambda x: operation(x, number), kind(3, dtype=dtype)) is dtype
    assert result(lambda x: operation(number, x), kind(3, dtype=dtype)) is dtype


def test_numpy_scalars_and_arrays_are_not_weak():
    assert result(lambda x: x + np.float64(1), kind(3)) is F64
    assert result(lambda x: np.ones(3) * x, kind(3)) is F64
    assert result(lambda x: np.float32(1) - x, kind(3)) is F32


def test_numbers_beyond_the_range_are_infinite():
    graph = traced(lambda x: x + 1e300, kind(3))
    assert np.isposinf(graph.nodes[0].inputs[1].array)
    with pytest.raises(DTypeError, match="number: no float32 holds this integer"):
        traced(lambda x: x + 10**400, kind(3))


def test_masks_count_as_zero_and_one():
    mask = kind(3, dtype=DType.bool)
    assert result(lambda x, m: x * m, kind(3), mask) is F32
    assert result(lambda x, m: m + x, kind(3, dtype=F64), mask) is F64
    assert result(lambda x, m: matmul(x, m), kind(2, 3), mask) is F32


def test_masks_alone_are_no_numbers():
    mask = kind(3, dtype=DType.bool)
    with pytest.raises(DTypeError, match="add: element types do not fit"):
        traced(lambda m: m + m, mask)


def test_integers_are_for_indices():
    with pytest.raises(DTypeError, match=r"mul: .*got x=float32, y=int64"):
        traced(lambda x, i: x * i, kind(3), kind(3, dtype=DType.int64))
    assert result(lambda x, i: x * i.float(), kind(3), kind(3, dtype=DType.int64)) is F32


def test_small_integers_and_swapped_floats_become_constants():
    graph = traced(lambda x: x + np.arange(3, dtype=">f4"), kind(3))
    assert graph.nodes[0].inputs[1].array.dtype == np.float32
    with pytest.raises(DTypeError, match="y=int64"):
        traced(lambda x: x + np.arange(3, dtype=np.int8), kind(3))
    with pytest.raises(DTypeError, match="unknown element type; got dtype=float128"):
        traced(lambda x: x + np.ones(3, np.longdouble), kind(3))


def test_lists_promote_together():
    assert result(lambda x, y: cat([x, y]), kind(3), kind(3, dtype=F64)) is F64
    assert result(lambda x: where(x > 0, x, np.zeros(3)), kind(3)) is F64
    assert result(lambda x: where(x > 0, x, 0), kind(3)) is F32


def test_comparisons_promote_and_give_masks():
    graph = traced(lambda x, y: x < y, kind(3), kind(3, dtype=F64))
    assert [str(node.op) for node in graph.nodes] == ["cast(float64)", "lt"]
    assert graph.outputs[0].dtype is DType.bool
