# SPDX-License-Identifier: Apache-2.0
"""Ops that move elements: NumPy's own movement is the oracle, bit by bit, for every dtype."""

from __future__ import annotations

import numpy as np

from cases.case import Arrays, Case, exactly
from lamella.ops.detach import Detach
from lamella.ops.shape import Concat, Expand, Pad, Permute, Reshape, Slice

DTYPES = ("float32", "float64", "int64", "bool")


def any_dtype(*shapes: tuple[int, ...]):
    """Operands of any dtype; floating ones hold NaN, infinities and negative zeros too."""

    def inputs(rng: np.random.Generator, dtype: str) -> Arrays:
        arrays = []
        for shape in shapes:
            x = rng.integers(-50, 50, shape)
            if dtype.startswith("float"):
                special = np.array([np.nan, np.inf, -np.inf, -0.0, 1e-42])
                drawn = special[rng.integers(0, 5, shape)]
                arrays.append(np.where(rng.uniform(size=shape) < 0.2, drawn, x / 7).astype(dtype))
            else:
                arrays.append((x % 2).astype(dtype) if dtype == "bool" else x.astype(dtype))
        return tuple(arrays)

    return inputs


def _slice(x_shape, starts, sizes, steps):
    def oracle(x):
        index = []
        for start, size, step in zip(starts, sizes, steps, strict=True):
            index.append([start + step * k for k in range(size)])
        return x[np.ix_(*index)] if index else x

    name = f"slice {x_shape} {starts} {sizes} {steps}"
    return Case(
        name, Slice(starts, sizes, steps), any_dtype(x_shape), exactly(oracle), dtypes=DTYPES
    )


def _permute(shape, order):
    judge = exactly(lambda x: x.transpose(order))
    name = f"permute {shape} {order}"
    return Case(name, Permute(order), any_dtype(shape), judge, dtypes=DTYPES)


def _reshape(shape, target):
    judge = exactly(lambda x: x.reshape(target))
    name = f"reshape {shape} {target}"
    return Case(name, Reshape(target), any_dtype(shape), judge, dtypes=DTYPES)


def _expand(shape, target):
    judge = exactly(lambda x: np.broadcast_to(x, target))
    return Case(f"expand {shape} {target}", Expand(target), any_dtype(shape), judge, dtypes=DTYPES)


def _pad(shape, before, after, value=0.0):
    amounts = tuple(zip(before, after, strict=True))
    judge = exactly(lambda x: np.pad(x, amounts, constant_values=value))
    name = f"pad {shape} {before} {after} {value}"
    dtypes = ("float32", "float64")
    return Case(name, Pad(before, after, value), any_dtype(shape), judge, dtypes=dtypes)


def _concat(axis, *shapes):
    judge = exactly(lambda *arrays: np.concatenate(arrays, axis))
    name = f"concat {axis} {shapes}"
    return Case(name, Concat(axis), any_dtype(*shapes), judge, dtypes=DTYPES)


def _detach(shape):
    return Case(f"detach {shape}", Detach(), any_dtype(shape), exactly(lambda x: x), dtypes=DTYPES)


CASES = [
    *map(_detach, ((), (5, 3), (0, 4))),
    _reshape((), (1, 1)),
    _reshape((2, 3, 4), (6, 4)),
    _reshape((24,), (2, 1, 12)),
    _reshape((0, 5), (5, 0, 2)),
    _permute((), ()),
    _permute((7,), (0,)),
    _permute((5, 3), (1, 0)),
    _permute((2, 3, 4), (2, 0, 1)),
    _permute((2, 3, 4), (0, 2, 1)),
    _permute((2, 1, 3, 5), (3, 2, 1, 0)),
    _permute((0, 3), (1, 0)),
    _permute((70, 90), (1, 0)),
    _permute((300, 500), (1, 0)),
    _expand((), (3,)),
    _expand((1, 4), (3, 4)),
    _expand((3, 1), (2, 3, 5)),
    _expand((1, 1, 1), (2, 3, 4)),
    _expand((1, 3), (0, 3)),
    _expand((1, 700), (300, 700)),
    _slice((9,), (2,), (3,), (2,)),
    _slice((9,), (8,), (9,), (-1,)),
    _slice((9,), (7,), (3,), (-3,)),
    _slice((4, 5, 6), (1, 0, 2), (2, 5, 2), (1, 1, 2)),
    _slice((4, 5), (0, 0), (0, 5), (1, 1)),
    _slice((4, 5), (3, 4), (4, 5), (-1, -1)),
    _slice((600, 400), (100, 1), (300, 199), (1, 2)),
    _pad((5,), (2,), (3,)),
    _pad((2, 3), (0, 1), (2, 0), -1.5),
    _pad((2, 0), (1, 1), (0, 1), 7.0),
    _pad((2, 3, 4), (0, 0, 0), (0, 0, 0)),
    _pad((3,), (1,), (1,), float("inf")),
    _pad((200, 300), (3, 5), (7, 1), 2.0),
    _concat(0, (3,), (4,), (1,)),
    _concat(1, (2, 3), (2, 1), (2, 4)),
    _concat(1, (2, 3, 4), (2, 2, 4)),
    _concat(2, (2, 3, 4), (2, 3, 1)),
    _concat(0, (0, 3), (2, 3)),
    _concat(0, (5, 2)),
    _concat(1, (200, 300), (200, 500)),
]
