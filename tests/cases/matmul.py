# SPDX-License-Identifier: Apache-2.0
"""Matrix products: shapes around every tile edge, and operands whose products are exact.

Small whole numbers make every order of summation exact, so that products can be compared bit by
bit (the method of oneDNN's benchdnn): |a|, |b| <= 8 keep sums of 700 terms far below 2^24.
"""

from __future__ import annotations

import itertools

import numpy as np

from cases.case import Arrays, Case, Judge, exactly, normal
from comparators import within_product_bound
from lamella.ops.elementwise import unary
from lamella.ops.matmul import Dense, MatMul

# Around the panels (16), the row tiles (16, 12, 8, 6, 4, 3, 2, 1) and the vectors (4, 8); up to 40.
SIZES = (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 15, 16, 17, 23, 24, 25, 31, 32, 33, 40)
SHAPES = tuple(itertools.product(SIZES, SIZES, SIZES))
FEW_SIZES = (1, 2, 6, 7, 15, 16, 17, 33)
FEW_SHAPES = tuple(itertools.product(FEW_SIZES, FEW_SIZES, FEW_SIZES))
# float64 epilogues and transposes repeat the templates of float32: a thinner grid.
TRANSPOSES = tuple(itertools.product((False, True), repeat=2))


def large_shapes(count: int) -> list[tuple[int, int, int]]:
    """Random shapes that cross K-blocks (256), row blocks and the threading threshold."""
    rng = np.random.default_rng(40)
    shapes = []
    for index in range(count):
        m, n = rng.integers(1, 300, 2)
        k = rng.integers(250, 700) if index % 4 == 0 else rng.integers(1, 300)
        shapes.append((int(m), int(n), int(k)))
    return shapes


def whole(rng: np.random.Generator, shape: tuple[int, ...], dtype: str) -> np.ndarray:
    """Whole numbers in -8..8."""
    return rng.integers(-8, 9, shape).astype(dtype)


# The gauge's list: one rounding, a short chain, one block, several blocks, many blocks.
GAUGE_K = (1, 7, 64, 256, 257, 1000, 4096, 65536)


def _oracle(op: MatMul | Dense, arrays: tuple[np.ndarray, ...]) -> tuple[np.ndarray, ...]:
    """The operands as np.matmul takes them."""
    a, b = arrays[:2]
    if isinstance(op, MatMul) and op.transpose_a:
        a = a.swapaxes(-1, -2)
    return a, b.swapaxes(-1, -2) if op.transpose_b else b


def _judge(op: MatMul | Dense) -> Judge:
    def judge(got: np.ndarray, *arrays: np.ndarray) -> None:
        a, b = _oracle(op, arrays)
        within_product_bound(got, a, b, addends=arrays[2:], extra=3 + len(arrays[2:]))

    return judge


def _case(op: MatMul | Dense, *shapes: tuple[int, ...], constant: tuple[int, ...] = ()) -> Case:
    weights = f" constant {constant}" if constant else ""
    return Case(f"{op} {shapes}{weights}", op, normal(*shapes), _judge(op), constant)


def _whole(op: MatMul | Dense, *shapes: tuple[int, ...], constant: tuple[int, ...] = ()) -> Case:
    """Whole numbers through an activation that keeps them exact."""

    def inputs(rng: np.random.Generator, dtype: str) -> Arrays:
        return tuple(whole(rng, shape, dtype) for shape in shapes)

    def oracle(*arrays: np.ndarray) -> np.ndarray:
        a, b = _oracle(op, arrays)
        total = a @ b
        for addend in arrays[2:]:
            total = total + addend
        return np.maximum(total, 0) + np.zeros((), total.dtype)

    return Case(f"{op} {shapes} whole {constant}", op, inputs, exactly(oracle), constant)


_RELU = unary("relu")
CASES = [
    _case(MatMul(), (3, 4), (4, 5)),
    _case(MatMul(), (1, 1), (1, 1)),
    _case(MatMul(), (7,), (7,)),
    _case(MatMul(), (7,), (7, 20)),
    _case(MatMul(), (5, 7), (7,)),
    _case(MatMul(), (0, 4), (4, 5)),
    _case(MatMul(), (3, 0), (0, 5)),
    _case(MatMul(), (3, 4), (4, 0)),
    _case(MatMul(), (2,), (0, 0, 2, 2)),
    _case(MatMul(), (0, 3, 2), (0, 2, 20)),
    _case(MatMul(), (2, 3, 4), (4, 5)),
    _case(MatMul(), (2, 1, 3, 4), (5, 4, 6)),
    _case(MatMul(), (4, 33), (3, 33, 18)),
    _case(MatMul(True), (4, 3), (4, 5)),
    _case(MatMul(False, True), (3, 4), (5, 4)),
    _case(MatMul(True, True), (2, 4, 3), (2, 17, 4)),
    _case(MatMul(), (3, 300), (300, 40), constant=(1,)),
    _case(MatMul(False, True), (3, 300), (7, 300), constant=(1,)),
    _case(MatMul(), (150, 700), (700, 130)),
    _case(MatMul(False, True), (260, 300), (9, 300)),
    _case(MatMul(), (5, 4096), (4096, 20)),
    _case(MatMul(), (30, 8500), (8500, 64)),
    _case(MatMul(True), (4097, 70), (4097, 80)),
    _case(MatMul(False, True), (7, 8200), (100, 8200)),
    _case(MatMul(True), (2, 4500, 3), (4500, 5)),
    _case(Dense(), (3, 4), (4, 5)),
    _case(Dense(True, bias=True), (9, 33), (20, 33), (20,), constant=(1, 2)),
    _case(Dense(True, bias=True), (2, 9, 33), (5, 33), (5,), constant=(1, 2)),
    _case(Dense(residual=True), (9, 33), (33, 20), (9, 20), constant=(1,)),
    _case(Dense(bias=True, residual=True), (200, 300), (300, 170), (170,), (200, 170)),
    _case(Dense(bias=True), (33,), (33, 20), (20,), constant=(1, 2)),
    _case(Dense(True, bias=True), (9, 4200), (20, 4200), (20,), constant=(1, 2)),
    _case(Dense(bias=True, residual=True), (4, 4200), (4200, 6), (6,), (4, 6)),
    _whole(Dense(True, bias=True, activation=_RELU), (9, 33), (20, 33), (20,), constant=(1, 2)),
    _whole(Dense(bias=True, residual=True, activation=_RELU), (7, 30), (30, 3), (3,), (7, 3)),
    _whole(Dense(activation=_RELU), (0, 30), (30, 3)),
]
