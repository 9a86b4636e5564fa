# SPDX-License-Identifier: Apache-2.0
"""Formulas of quantisation and of products of bytes."""

from __future__ import annotations

import numpy as np

from formulas.formula import Formula, call, draw, formula


def _rounded(x: np.ndarray, scale: np.ndarray, zero: np.ndarray, dtype: str) -> np.ndarray:
    limits = np.iinfo(dtype)
    return np.clip(np.rint(x / scale) + zero, limits.min, limits.max).astype(dtype)


def _per_tensor(
    x: np.ndarray, scale: float, zero_point: int = 0, dtype: str = "uint8"
) -> np.ndarray:
    return _rounded(x, np.float32(scale), np.float64(zero_point), dtype)


def _beside(values: np.ndarray, x: np.ndarray, axis: int) -> np.ndarray:
    shape = [1] * x.ndim
    shape[axis] = -1
    return np.asarray(values, np.float64).reshape(shape)


def _per_channel(
    x: np.ndarray,
    scales: np.ndarray,
    zero_points: np.ndarray | None = None,
    axis: int = 0,
    dtype: str = "int8",
) -> np.ndarray:
    zeros = np.zeros(len(scales)) if zero_points is None else zero_points
    return _rounded(x, _beside(scales, x, axis), _beside(zeros, x, axis), dtype)


def _dynamic(x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    low, high = min(x.min(), 0.0), max(x.max(), 0.0)
    scale = (high - low) / 255
    zero = np.rint(-low / scale)
    return _rounded(x, scale, zero, "uint8"), np.asarray(scale), zero.astype(np.uint8)


def _dequantize(
    x: np.ndarray, scale: np.ndarray, zero_point: np.ndarray | None = None, axis: int | None = None
) -> np.ndarray:
    y = x.astype(np.float64)
    zero = np.zeros(np.shape(scale)) if zero_point is None else np.asarray(zero_point, np.float64)
    if axis is not None:
        scale, zero = _beside(scale, x, axis), _beside(zero, x, axis)
    return (y - zero) * scale


def _matmul_integer(
    x: np.ndarray,
    w: np.ndarray,
    input_zero_point: np.ndarray | None = None,
    other_zero_point: np.ndarray | None = None,
) -> np.ndarray:
    a, b = x.astype(np.int64), w.astype(np.int64)
    if input_zero_point is not None:
        zero = np.asarray(input_zero_point, np.int64)
        a = a - (zero[..., None] if zero.ndim else zero)
    if other_zero_point is not None:
        b = b - np.asarray(other_zero_point, np.int64)
    return np.asarray(a @ b).astype(np.int32)


X = draw(3, 4, 5)
BYTES = np.random.default_rng(7).integers(0, 256, (3, 4, 5), np.uint8)
WEIGHT = np.random.default_rng(8).integers(-128, 128, (5, 2), np.int8)
ROWS = np.random.default_rng(9).integers(0, 256, (3, 4), np.uint8)

FORMULAS: dict[str, Formula] = {
    "quantize_per_tensor": formula(
        _per_tensor,
        call(X, 0.013),
        call(X, 0.031, 120),
        call(X, np.float32(0.02), np.int8(-7), dtype="int8"),
    ),
    "quantize_per_channel": formula(
        _per_channel,
        call(X, np.float32([0.02, 0.03, 0.05])),
        call(X, np.float32([0.02, 0.03, 0.05, 0.04]), np.uint8([0, 9, 200, 128]), 1, "uint8"),
        call(X, np.float32([0.02, 0.03, 0.05, 0.04, 0.1]), axis=-1),
    ),
    "quantize_dynamic": formula(_dynamic, call(X), call(np.abs(X))),
    "dequantize": formula(
        _dequantize,
        call(BYTES, 0.25),
        call(BYTES, np.float32(0.3), np.uint8(130)),
        call(BYTES.view(np.int8), np.float32([0.02, 0.03, 0.05]), np.int8([0, -3, 9]), 0),
        call(BYTES.astype(np.int32) * 1000, np.float32([0.02, 0.03, 0.05, 0.1]), axis=1),
    ),
    "matmul_integer": formula(
        _matmul_integer,
        call(BYTES, WEIGHT),
        call(BYTES, WEIGHT, np.uint8(130), np.int8([3, -100])),
        call(BYTES, WEIGHT.view(np.uint8), ROWS, np.uint8(7)),
        call(BYTES.view(np.int8), WEIGHT),
    ),
}
