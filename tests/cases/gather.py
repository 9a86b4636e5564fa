# SPDX-License-Identifier: Apache-2.0
"""Looking rows up: exact, and any index outside the table is an error; and the sums back."""

from __future__ import annotations

import numpy as np

from cases.case import Arrays, Case, exactly, scaled
from lamella.ops.gather import Embedding, Index, IndexCopy, ScatterAdd

# Index shape, rows, columns.
SIZES = (((3,), 4, 5), ((), 2, 3), ((2, 3), 7, 1), ((0,), 4, 5), ((4,), 1, 33), ((3000,), 50, 64))


def _case(shape: tuple[int, ...], rows: int, cols: int, from_end: bool = False) -> Case:
    def inputs(rng: np.random.Generator, dtype: str) -> Arrays:
        first = -rows if from_end else 0
        return rng.integers(first, rows, shape), rng.normal(size=(rows, cols)).astype(dtype)

    judge = exactly(lambda indices, table: table[indices])
    name = f"embedding {shape} of ({rows}, {cols}) from_end={from_end}"
    return Case(name, Embedding(from_end=from_end), inputs, judge)


def _scatter(
    count: int, rows: int, cols: int, padding: int | None = None, from_end: bool = False
) -> Case:
    def inputs(rng: np.random.Generator, dtype: str) -> Arrays:
        first = -rows if from_end else 0
        return rng.integers(first, rows, count), rng.normal(size=(count, cols)).astype(dtype)

    def sums(indices: np.ndarray, x: np.ndarray) -> np.ndarray:
        y = np.zeros((rows, cols), x.dtype)
        indices = indices % rows
        np.add.at(y, indices, np.where((indices == padding)[:, None], 0, x))
        return y

    # A row rounds once for each of its terms.
    judge = scaled(
        sums,
        lambda indices, x: sums(indices, np.abs(x)),
        lambda indices, x: np.bincount(indices % rows, minlength=rows)[:, None],
    )
    name = f"scatter_add {count} into ({rows}, {cols}) padding={padding} from_end={from_end}"
    return Case(name, ScatterAdd(rows, padding, from_end), inputs, judge)


def _indexed(shape: tuple[int, ...], rows: int, from_end: bool = False) -> Case:
    def inputs(rng: np.random.Generator, dtype: str) -> Arrays:
        return (rng.integers(-rows if from_end else 0, rows, shape),)

    name = f"index {shape} of {rows} from_end={from_end}"
    return Case(name, Index(rows, from_end), inputs, exactly(lambda index: index % rows))


def _copied(shape: tuple[int, ...], axis: int, count: int | None) -> Case:
    def inputs(rng: np.random.Generator, dtype: str) -> Arrays:
        x = rng.normal(size=shape).astype(dtype)
        index = rng.integers(0, shape[axis], () if count is None else count)
        put = (*shape[:axis], index.size, *shape[axis + 1 :])
        return x, index, rng.normal(size=put).astype(dtype)

    def copied(x: np.ndarray, index: np.ndarray, source: np.ndarray) -> np.ndarray:
        y = x.copy()
        for i, row in enumerate(index.reshape(-1)):
            y[(*[slice(None)] * axis, row)] = source[(*[slice(None)] * axis, i)]
        return y

    name = f"index_copy {count} along {axis} of {shape}"
    return Case(name, IndexCopy(axis), inputs, exactly(copied))


CASES = [
    *(_case(*sizes) for sizes in SIZES),
    *(_case(*sizes, from_end=True) for sizes in SIZES[::2]),
    _scatter(3, 4, 5),
    _scatter(0, 4, 5),
    _scatter(40, 7, 1, 3),
    _scatter(3000, 50, 64),
    _scatter(3000, 9, 200, 0),
    _scatter(40, 7, 1, 3, from_end=True),
    _scatter(3000, 9, 200, from_end=True),
    *(_indexed(*sizes[:2]) for sizes in SIZES),
    _indexed((2000,), 7, from_end=True),
    _copied((7,), 0, 3),
    _copied((4, 5), 0, None),
    _copied((4, 5), 1, 9),
    _copied((3, 40, 33), 1, 1),
    _copied((2, 6, 5), 2, 0),
    _copied((300, 7, 64), 1, 4),
    _copied((1, 3000, 9), 1, 2000),
    _copied((2, 0, 3), 0, 1),
]
