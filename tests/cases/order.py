# SPDX-License-Identifier: Apache-2.0
"""Running sums and extremes, stable orders, and places in them."""

from __future__ import annotations

import numpy as np

from cases.case import Arrays, Case, exactly, scaled
from cases.gather import EVERY, FLOATS, draw
from lamella.ops.scan import Scan
from lamella.ops.sort import Search, Sort

SHAPES = (((9,), 0), ((4, 5), 1), ((4, 5), 0), ((3, 7, 2), 1), ((2, 0, 3), 1), ((2, 3, 130), 1))


def _carried(kind: str, shape: tuple[int, ...], axis: int, reverse: bool) -> Case:
    running = np.cumsum if kind == "sum" else np.cumprod

    def of(x: np.ndarray) -> np.ndarray:
        x = np.flip(x, axis) if reverse else x
        y = running(x, axis=axis, dtype=x.dtype)
        return np.flip(y, axis) if reverse else y

    def inputs(rng: np.random.Generator, dtype: str) -> Arrays:
        return (draw(rng, shape, dtype),)

    # float32 is carried in double; float64 rounds at every link.
    judge = scaled(
        of, lambda x: of(np.abs(x)), lambda x: 1.01 if x.dtype == np.float64 else shape[axis]
    )
    name = f"cum{kind} {shape} along {axis} reverse={reverse}"
    return Case(name, Scan(kind, axis, reverse), inputs, judge)


def _whole(kind: str, shape: tuple[int, ...], axis: int) -> Case:
    running = np.cumsum if kind == "sum" else np.cumprod

    def inputs(rng: np.random.Generator, dtype: str) -> Arrays:
        return (rng.integers(-(2**62), 2**62, shape),)

    judge = exactly(lambda x: running(x, axis=axis))
    return Case(f"cum{kind} of int64 {shape}", Scan(kind, axis), inputs, judge, dtypes=("int64",))


def _extreme(kind: str, shape: tuple[int, ...], axis: int, output: int) -> Case:
    def inputs(rng: np.random.Generator, dtype: str) -> Arrays:
        return (draw(rng, shape, dtype),)

    def of(x: np.ndarray) -> np.ndarray:
        values, positions = x.copy(), np.zeros(shape, np.int64)
        rows, best = np.moveaxis(values, axis, 0), np.moveaxis(positions, axis, 0)
        for j in range(1, len(rows)):
            taken = rows[j] >= rows[j - 1] if kind == "max" else rows[j] <= rows[j - 1]
            best[j] = np.where(taken, j, best[j - 1])
            rows[j] = np.where(taken, rows[j], rows[j - 1])
        return (values, positions)[output]

    name = f"cum{kind} {shape} along {axis} output {output}"
    dtypes = EVERY if shape == SHAPES[3][0] else FLOATS
    return Case(name, Scan(kind, axis), inputs, exactly(of), output=output, dtypes=dtypes)


def _sorted(
    shape: tuple[int, ...], wanted: int, descending: bool, output: int, equal: bool = False
) -> Case:
    def inputs(rng: np.random.Generator, dtype: str) -> Arrays:
        x = draw(rng, shape, dtype)
        return (np.round(x).astype(dtype) if equal else x,)

    def of(x: np.ndarray) -> np.ndarray:
        # Python's sort is stable, reversed too.
        rows = [x[at] for at in np.ndindex(x.shape[:-1])]
        order = [
            sorted(range(x.shape[-1]), key=row.__getitem__, reverse=descending) for row in rows
        ]
        picked = np.array(order, np.int64).reshape(x.shape)[..., :wanted]
        return picked if output else np.take_along_axis(x, picked, -1)

    name = f"sort {wanted} of {shape} descending={descending} output {output} equal={equal}"
    op = Sort(wanted, descending)
    # Where elements are equal there is no slope; rows of both lengths come in every type.
    dtypes = tuple(dtype for dtype in EVERY if dtype != "float64") if equal else FLOATS
    return Case(name, op, inputs, exactly(of), output=output, dtypes=dtypes)


def _searched(row: tuple[int, ...], x: tuple[int, ...], right: bool) -> Case:
    def inputs(rng: np.random.Generator, dtype: str) -> Arrays:
        return np.sort(np.round(draw(rng, row, dtype)).astype(dtype)), draw(rng, x, dtype)

    def of(row: np.ndarray, x: np.ndarray) -> np.ndarray:
        before = row[..., None, :] <= x[..., None] if right else row[..., None, :] < x[..., None]
        if row.ndim == 1:
            before = row <= x[..., None] if right else row < x[..., None]
        return before.sum(-1)

    dtypes = EVERY if len(row) > 1 else FLOATS
    name = f"search {x} in {row} right={right}"
    return Case(name, Search(right), inputs, exactly(of), dtypes=dtypes)


CASES = [
    *(
        _carried(kind, *sizes, reverse)
        for kind in ("sum", "prod")
        for sizes in SHAPES
        for reverse in (False, True)[: 2 if sizes[1] else 1]
    ),
    *(_whole(kind, *sizes) for kind in ("sum", "prod") for sizes in SHAPES[:3]),
    *(
        _extreme(kind, *sizes, output)
        for kind in ("max", "min")
        for sizes in SHAPES
        for output in (0, 1)
    ),
    *(
        _sorted(shape, wanted, descending, output, equal)
        for shape, wanted, equal in (
            ((9,), 9, False),
            ((4, 5), 3, True),
            ((3, 70), 70, True),
            ((20, 33), 20, False),
            ((2, 3, 300), 40, False),
            ((1, 4500), 4500, True),
            ((3, 0), 0, False),
        )
        for descending, output in ((False, 0), (True, 1), (True, 0))
    ),
    *(
        _searched(row, x, right)
        for row, x in (((7,), (4, 5)), ((3, 9), (3, 70)), ((0,), (6,)), ((300,), (2, 2, 2)))
        for right in (False, True)
    ),
]
