# SPDX-License-Identifier: Apache-2.0
"""Dtypes of results are PyTorch's, as far as lamella computes with them.

tests/parity/test_torch_promotion.py asks torch itself, for every kind of scalar.
"""

from __future__ import annotations

import itertools
import operator

import numpy as np
import pytest

from graphs import F32, F64, kind, traced
from lamella import functional as F
from lamella import nn
from lamella.errors import DTypeError
from lamella.ir.types import DType
from lamella.runtime.tensor import cat, matmul, where

I64, I32, U8, I8 = DType.int64, DType.int32, DType.uint8, DType.int8
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
    assert result(lambda m: where(m, 1, 0), kind(3, dtype=DType.bool)) is I64
    assert result(lambda m: m * 2, kind(3, dtype=DType.bool)) is I64
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
    with pytest.raises(DTypeError, match="number: no float32 holds this number"):
        traced(lambda x: x + 10**400, kind(3))


def test_masks_count_as_zero_and_one():
    mask = kind(3, dtype=DType.bool)
    assert result(lambda x, m: x * m, kind(3), mask) is F32
    assert result(lambda x, m: m + x, kind(3, dtype=F64), mask) is F64
    assert result(lambda x, m: matmul(x, m), kind(2, 3), mask) is F32


def test_masks_alone_are_truth_values():
    mask = kind(3, dtype=DType.bool)
    for operation in (operator.add, operator.mul, F.maximum, F.minimum, operator.and_):
        assert result(lambda m, o=operation: o(m, m), mask) is DType.bool
    assert result(lambda m: m / m, mask) is F32
    assert result(lambda m: m.sum(), mask) is I64
    for operation in (operator.sub, operator.floordiv, operator.mod, operator.pow):
        with pytest.raises(DTypeError, match=r"expected numbers.*\.float\(\); & \| \^ ~ combine"):
            traced(lambda m, o=operation: o(m, m), mask)
    with pytest.raises(DTypeError, match="neg: element types do not fit; got x=bool"):
        traced(lambda m: -m, mask)


INTEGERS = (I64, I32, U8, I8)


@pytest.mark.parametrize(
    "operation", [operator.add, operator.mul, operator.floordiv, operator.and_]
)
def test_integers_meet_as_in_numpy(operation):
    for a, b in itertools.product(INTEGERS, INTEGERS):
        if {a, b} == {U8, I8}:
            with pytest.raises(DTypeError, match=r"no integer type here holds both.*\.int\(\)"):
                traced(operation, kind(3, dtype=a), kind(3, dtype=b))
            continue
        wanted = np.result_type(a.numpy, b.numpy)
        assert result(operation, kind(3, dtype=a), kind(3, dtype=b)).numpy == wanted
        assert result(operation, kind(3, dtype=a), kind(3, dtype=DType.bool)) is a
    # Operands with axes decide; numbers have no width.
    assert result(operation, kind(3, dtype=I8), kind(dtype=I64)) is I8
    assert result(operation, kind(3, dtype=DType.bool), kind(dtype=I8)) is I8
    for number in (3, True, np.int64(3), np.uint16(3)):
        for dtype in INTEGERS:
            assert result(lambda x, n=number: operation(x, n), kind(3, dtype=dtype)) is dtype
            assert result(lambda x, n=number: operation(n, x), kind(3, dtype=dtype)) is dtype


def test_integers_beside_floating_ones_are_floating():
    for dtype in (*INTEGERS, DType.bool):
        assert result(lambda x, i: x * i, kind(3), kind(3, dtype=dtype)) is F32
        assert result(lambda x, i: i - x, kind(3, dtype=F64), kind(3, dtype=dtype)) is F64
        assert result(lambda i: i * 0.5, kind(3, dtype=dtype)) is F32
        assert result(lambda i: i / 2, kind(3, dtype=dtype)) is F32
        assert result(lambda x, i: x.sum() + i, kind(3, dtype=F64), kind(3, dtype=dtype)) is F64
    # Where all that is floating is float64, so are numbers.
    assert result(lambda x, i: i / i, kind(3, dtype=F64), kind(3, dtype=I64)) is F64


@pytest.mark.parametrize(("dtype", "number"), [(U8, 256), (U8, -1), (I8, 128), (I32, 2**31)])
def test_integers_beyond_the_range_are_refused(dtype, number):
    for body in (lambda x: x + number, lambda x: number * x, lambda x: F.maximum(x, number)):
        with pytest.raises(DTypeError, match=rf"no {dtype} holds this number; got value={number}"):
            traced(body, kind(3, dtype=dtype))
    # A comparison has an answer all the same, and compares as int64.
    graph = traced(lambda x: x < number, kind(3, dtype=dtype))
    assert [str(node.op) for node in graph.nodes] == ["cast(int64)", "lt"]
    with pytest.raises(DTypeError, match="no int64 holds this number"):
        traced(lambda x: x < 2**63, kind(3, dtype=I64))


def test_comparisons_hold_all_values():
    graph = traced(lambda x, y: x == y, kind(3, dtype=U8), kind(3, dtype=I8))
    assert [str(node.op) for node in graph.nodes] == ["cast(int32)", "cast(int32)", "eq"]
    graph = traced(lambda x, y: x == y, kind(3, dtype=U8), kind(dtype=I64))
    assert [str(node.op) for node in graph.nodes] == ["cast(int64)", "eq"]


def test_products_and_means_want_floating_numbers():
    for body in (
        lambda x, i: x @ i, lambda x, i: i @ x, lambda x, i: F.linear(x, i),
        lambda x, i: i.mean(), lambda x, i: i.var(), lambda x, i: i.exp(), lambda x, i: i.softmax(),
    ):  # fmt: skip
        with pytest.raises(DTypeError, match=r"float32 or float64 everywhere.*or \.float\(\)"):
            traced(body, kind(3, 3), kind(3, 3, dtype=I64))
    assert result(lambda x, i: x @ i.float(), kind(3, 3), kind(3, 3, dtype=I64)) is F32


def test_positions_are_int64():
    for dtype in INTEGERS:
        graph = traced(lambda i, w: F.embedding(i, w), kind(3, dtype=dtype), kind(4, 2))
        casts = [str(node.op) for node in graph.nodes if "cast" in str(node.op)]
        assert casts == ([] if dtype is I64 else ["cast(int64)"])
        assert result(lambda i: F.argmax(i, 0), kind(3, dtype=dtype)) is I64


def test_constants_keep_their_type():
    graph = traced(lambda x: x + np.arange(3, dtype=">f4"), kind(3))
    assert graph.nodes[0].inputs[1].array.dtype == np.float32
    assert result(lambda x: x + np.arange(3, dtype=np.int8), kind(3)) is F32
    for name in ("int8", "uint8", "int32", ">i4", "int64"):
        wanted = np.dtype(name).newbyteorder("=")
        assert result(lambda x, n=name: x + np.arange(3, dtype=n), kind(3, dtype=DType.bool)
                      ).numpy == wanted  # fmt: skip
    # Those that programs do not have are int64.
    assert result(lambda x: x + np.arange(3, dtype=np.int16), kind(3, dtype=I8)) is I64
    with pytest.raises(DTypeError, match="int64 does not hold"):
        traced(lambda x: x + np.array([2**63], np.uint64), kind(3))
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
