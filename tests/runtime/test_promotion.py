# SPDX-License-Identifier: Apache-2.0
"""Dtypes of results are PyTorch's, as far as lamella computes with them.

tests/parity/test_torch_promotion.py asks torch itself, for every kind of scalar.
"""

from __future__ import annotations

import operator

import numpy as np
import pytest

from graphs import F32, F64, kind, traced
from lamella import functional as F
from lamella import nn
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


def test_numpy_scalars_are_numbers_and_0d_arrays_yield():
    assert result(lambda x: x + np.float64(1), kind(3)) is F32
    assert result(lambda x: np.int8(2) * x ** np.float64(2), kind(3)) is F32
    assert result(lambda x: x + np.array(1.0), kind(3)) is F32
    assert result(lambda x: x - x.double().mean(), kind(3)) is F32
    assert result(lambda x: x * x.argmax(), kind(3)) is F32
    # Among themselves 0-d arrays meet as arrays do, and numbers yield to them.
    assert result(lambda x: x.mean() + np.array(1.0), kind(3)) is F64
    assert result(lambda x: x.mean() * np.float64(0.5), kind(3)) is F32
    assert result(lambda x: np.ones(3) * x, kind(3)) is F64
    assert result(lambda x: np.float32(1) - x, kind(3, dtype=F64)) is F64


def test_numbers_alone_have_the_dtype_of_the_trace():
    for dtype in (F32, F64):
        assert (
            result(lambda x: where(x > 0, 1.0, np.float64(0.5)) * x, kind(3, dtype=dtype)) is dtype
        )
        assert result(lambda x: (x > 0) * 0.5, kind(3, dtype=dtype)) is dtype
    assert result(lambda m: where(m, 1.0, 0), kind(3, dtype=DType.bool)) is F32
    assert result(lambda m: where(m, True, False), kind(3, dtype=DType.bool)) is DType.bool


class Scaled(nn.Module):
    """NumPy scalars as attributes, as arguments and on the way."""

    def __init__(self, dtype=None):
        super().__init__()
        self.scale = np.float64(2.0)
        self.linear = nn.Linear(3, 2, dtype=dtype)

    def forward(self, x, factor):
        y = self.linear(x * self.scale) / np.sqrt(self.linear.weight.shape[1])
        return where(y > np.float64(0), y, np.float64(0.5)) * factor, y.mean() * factor


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_network_keeps_its_dtype_whatever_scalars_touch_it(dtype):
    x = np.ones((4, 3), dtype)
    for factor in (0.5, 2, True, np.float64(0.5), np.float32(0.5), np.int32(2), np.array(0.5)):
        y, mean = Scaled(dtype)(x, factor)
        assert (y.dtype, mean.dtype) == (dtype, dtype), factor

    class Plain(nn.Module):
        def forward(self, x, factor):
            return x * factor, x.mean() * factor

    for factor in (0.5, np.float64(0.5), np.float32(0.5), np.int32(2)):
        assert [y.dtype for y in Plain()(x, factor)] == [dtype, dtype], factor


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_functions_and_losses_keep_their_dtype(dtype):
    x, half = np.array([0.25, 0.5, 0.75], dtype), np.float64(0.5)
    results = [
        F.add(x, half), F.sub(half, x, alpha=half), F.clamp(x, half, np.float64(0.6)),
        F.leaky_relu(x, half), F.elu(x, half), F.softplus(x, half), F.hardtanh(x, -half, half),
        F.pad(x, (1, 1), value=half), F.where(x > half, x, half),
        F.huber_loss(x, x, delta=half), F.smooth_l1_loss(x, x, beta=half),
        F.gaussian_nll_loss(x, x, half), F.poisson_nll_loss(x, x, eps=half),
        F.cross_entropy(x[None], np.array([1]), label_smoothing=half),
        F.layer_norm(x, (3,), eps=half), F.cosine_similarity(x, x, 0, half),
        F.var(x, correction=half), F.cosine_embedding_loss(x[None], x[None], x[:1], margin=half),
    ]  # fmt: skip
    assert [y.dtype for y in results] == [dtype] * len(results)


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
    with pytest.raises(DTypeError, match="int64 does not hold"):
        traced(lambda x: x + np.array([2**63], np.uint64), kind(3))
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
