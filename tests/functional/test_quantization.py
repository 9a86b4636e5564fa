# SPDX-License-Identifier: Apache-2.0
"""What quantisation makes of odd operands: no numbers, scales that are none, wrong zero points."""

from __future__ import annotations

import numpy as np
import pytest

from comparators import same_bits
from lamella import functional as F
from lamella.errors import DTypeError, ShapeError, UnsupportedError

NAN, INF = np.nan, np.inf
X = np.array([[-3.0, 0.5, 2.0], [NAN, INF, -INF]], np.float32)
U = np.arange(12, dtype=np.uint8).reshape(3, 4)
S = np.arange(20, dtype=np.int8).reshape(4, 5)


@pytest.mark.parametrize("dtype", ["uint8", "int8"])
def test_no_numbers_and_ends(dtype):
    limits = np.iinfo(dtype)
    y = F.quantize_per_tensor(X, 1.0, 0, dtype)
    same_bits(y[1], np.array([limits.min, limits.max, limits.min], dtype))
    scales = np.array([0.0, NAN, -1.0], np.float32)
    y = F.quantize_per_channel(X, scales, axis=1, dtype=dtype)
    # -3 / 0 and NaN / 0; by NaN everything is none; by -1 the sign turns.
    assert y[0, 0] == limits.min
    assert (y[:, 1] == limits.min).all()
    assert y[0, 2] == max(-2, limits.min)
    assert y[1, 2] == limits.max


def test_dynamic_ranges():
    for x, scale, zero in (
        ([0.0, 0.0], 1.0, 0),
        ([2.0, 255.0], 1.0, 0),
        ([-255.0, -3.0], 1.0, 255),
        ([-INF, 1.0], INF, 0),
        ([1e-45, 0.0], 1.0, 0),
    ):
        y, s, z = F.quantize_dynamic(np.array(x, np.float32))
        assert s.dtype == np.float32
        assert z.dtype == y.dtype == np.uint8
        assert (float(s), int(z)) == (scale, zero), x
    y, s, z = F.quantize_dynamic(X)
    assert np.isnan(s)
    assert int(z) == 0
    assert not y.any()


def test_there_and_back_is_within_half_a_step(rng):
    x = rng.uniform(-1, 1, 1000).astype(np.float32)
    y, scale, zero = F.quantize_dynamic(x)
    back = F.dequantize(y, scale, zero)
    assert np.abs(back - x).max() <= 0.5001 * scale + 1e-7


def test_products_wrap_as_numpy_does():
    x, w = np.full((1, 70000), 255, np.uint8), np.full((70000, 1), 127, np.int8)
    want = x.astype(np.int32) @ w.astype(np.int32)
    assert want < 0
    same_bits(F.matmul_integer(x, w), want)


def test_strides_and_out():
    x, w = U[::-1, ::-1], np.asfortranarray(S)
    want = x.astype(np.int32) @ w.astype(np.int32)
    same_bits(F.matmul_integer(x, w), want)
    same_bits(F.matmul_integer(U.T.copy().T, w), U.astype(np.int32) @ w.astype(np.int32))
    out = np.empty((3, 5), np.int32)
    assert F.matmul_integer(x, w, out=out) is out
    same_bits(out, want)
    same_bits(F.matmul_integer(U[0], S), U[0].astype(np.int32) @ S.astype(np.int32))
    same_bits(F.matmul_integer(U, S[:, 0]), U.astype(np.int32) @ S[:, 0].astype(np.int32))


def test_each_row_its_zero_point():
    zero = np.array([1, 200, 7], np.uint8)
    want = (U.astype(np.int32) - zero[:, None]) @ S.astype(np.int32)
    same_bits(F.matmul_integer(U, S, zero), want)
    same_bits(F.matmul_integer(U, S, zero[:, None]), want)


BAD = {
    "floats": (lambda: F.matmul_integer(X, S[:3]), DTypeError, "uint8 or int8 each"),
    "wide": (lambda: F.matmul_integer(U.astype(np.int32), S), DTypeError, "uint8 or int8 each"),
    "inner sizes": (lambda: F.matmul_integer(U, S[:3]), ShapeError, "inner sizes differ"),
    "numbers": (lambda: F.matmul_integer(U[0, 0], S), ShapeError, "no matrices"),
    "zero of the other type": (
        lambda: F.matmul_integer(U, S, np.int8(3)), DTypeError, "x_zero has another type"),
    "zero a column of x": (
        lambda: F.matmul_integer(U, S, np.zeros(4, np.uint8)), ShapeError, "x_zero does not fit"),
    "zero a row of w": (
        lambda: F.matmul_integer(U, S, None, np.zeros(4, np.int8)), ShapeError, "w_zero does not"),
    "quantised integers": (lambda: F.quantize_per_tensor(U, 1.0), DTypeError, "quantize"),
    "wide integers": (lambda: F.quantize_per_tensor(X, 1.0, 0, "int32"), DTypeError, "no such"),
    "a negative zero": (lambda: F.quantize_per_tensor(X, 1.0, -1), DTypeError, "0 to 255"),
    "a large zero": (
        lambda: F.quantize_per_tensor(X, 1.0, 128, "int8"), DTypeError, "-128 to 127"),
    "a broken zero": (lambda: F.quantize_per_tensor(X, 1.0, 0.5), DTypeError, "whole number"),
    "scales without an axis": (
        lambda: F.quantize_per_tensor(X, np.ones(3, np.float32)), ShapeError, "scale does not fit"),
    "too few scales": (
        lambda: F.quantize_per_channel(X, np.ones(3, np.float32)), ShapeError, r"== \(2,\)"),
    "no such axis": (
        lambda: F.quantize_per_channel(X, np.ones(3, np.float32), axis=2), ShapeError, "axis"),
    "zeros of another type": (
        lambda: F.quantize_per_channel(X, np.ones(2, np.float32), np.zeros(2, np.uint8)),
        DTypeError, "zero point has another type"),
    "floats back": (lambda: F.dequantize(X, 1.0), DTypeError, "not quantised"),
    "longs back": (lambda: F.dequantize(U.astype(np.int64), 1.0), DTypeError, "not quantised"),
    "masked": (
        lambda: F.matmul_integer(np.ma.masked_equal(U, 3), S), UnsupportedError, "mask"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_refusals(name):
    call, error, text = BAD[name]
    with pytest.raises(error, match=text):
        call()
