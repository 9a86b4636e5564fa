# SPDX-License-Identifier: Apache-2.0
"""Entries picked by index, exactly, and put where an index says, in one order."""

from __future__ import annotations

import numpy as np

from cases.case import Arrays, Case, exactly, scaled
from lamella.ops.gather import Gather, Scatter
from lamella.ops.indices import Index

FLOATS = ("float32", "float64")
INTEGERS = ("int64", "int32", "uint8", "int8")
EVERY = (*FLOATS, *INTEGERS, "bool")


def draw(rng: np.random.Generator, shape: tuple[int, ...], dtype: str) -> np.ndarray:
    """Values of both signs where there are two."""
    return (2 * rng.normal(size=shape)).astype(dtype)


def _gathered(
    shape: tuple[int, ...],
    axis: int,
    index: tuple[int, ...],
    from_end: bool = False,
    dtypes: tuple[str, ...] = FLOATS,
) -> Case:
    rows = shape[axis]

    def inputs(rng: np.random.Generator, dtype: str) -> Arrays:
        return draw(rng, shape, dtype), rng.integers(-rows if from_end else 0, rows, index)

    def picked(x: np.ndarray, at: np.ndarray) -> np.ndarray:
        y = np.empty((*shape[:axis], index[axis], *shape[axis + 1 :]), x.dtype)
        for place in np.ndindex(y.shape):
            own = tuple(0 if have == 1 else i for i, have in zip(place, at.shape, strict=True))
            y[place] = x[(*place[:axis], at[own], *place[axis + 1 :])]
        return y

    name = f"gather {index} along {axis} of {shape} from_end={from_end}"
    return Case(name, Gather(axis, from_end), inputs, exactly(picked), dtypes=dtypes)


_INTO = {
    "replace": lambda old, new: new,
    "sum": lambda old, new: old + new,
    "prod": lambda old, new: old * new,
    "amax": max,
    "amin": min,
}


def _put(op: Scatter, arrays: Arrays) -> np.ndarray:
    """One entry after another, along the axis first."""
    *x, index, source = arrays
    axis = op.axis
    shape = list(source.shape)
    shape[axis] = x[0].shape[axis] if x else op.rows
    y = x[0].copy() if x else np.zeros(shape, source.dtype)
    fresh = np.full(y.shape, not op.include_self and op.reduce != "replace")
    order = (axis, *(i for i in range(source.ndim) if i != axis))
    for moved in np.ndindex(tuple(source.shape[i] for i in order)):
        at = tuple(moved[order.index(i)] for i in range(source.ndim))
        own = tuple(0 if have == 1 else i for i, have in zip(at, index.shape, strict=True))
        row = index[own]
        if row == op.skipped:
            continue
        into = (*at[:axis], row, *at[axis + 1 :])
        y[into] = source[at] if fresh[into] else _INTO[op.reduce](y[into], source[at])
        fresh[into] = False
    return y


def _scattered(
    op: Scatter,
    rows: int,
    source: tuple[int, ...],
    index: tuple[int, ...],
    dtypes: tuple[str, ...] = FLOATS,
) -> Case:
    shape = (*source[: op.axis], rows, *source[op.axis + 1 :])

    def inputs(rng: np.random.Generator, dtype: str) -> Arrays:
        own = () if op.rows is not None else (draw(rng, shape, dtype),)
        return *own, rng.integers(0, rows, index), draw(rng, source, dtype)

    def oracle(*arrays: np.ndarray) -> np.ndarray:
        return _put(op, arrays)

    def sizes(*arrays: np.ndarray) -> np.ndarray:
        return _put(op, tuple(np.abs(x) if x.dtype.kind == "f" else x for x in arrays))

    def terms(*arrays: np.ndarray) -> np.ndarray:
        return 2 + source[op.axis]

    inexact = op.reduce in ("sum", "prod") and dtypes == FLOATS
    judge = scaled(oracle, sizes, terms) if inexact else exactly(oracle)
    name = f"{op} {source} by {index} into {shape} skipped={op.skipped} rows={op.rows}"
    return Case(f"{name} {dtypes[0]}", op, inputs, judge, dtypes=dtypes)


def _indexed(shape: tuple[int, ...], rows: int, from_end: bool = False) -> Case:
    def inputs(rng: np.random.Generator, dtype: str) -> Arrays:
        return (rng.integers(-rows if from_end else 0, rows, shape),)

    name = f"index {shape} of {rows} from_end={from_end}"
    return Case(name, Index(rows, from_end), inputs, exactly(lambda index: index % rows))


CASES = [
    # Rows of tables.
    _gathered((4, 5), 0, (3, 1)),
    _gathered((7, 1), 0, (6, 1), from_end=True),
    _gathered((4, 5), 0, (0, 1)),
    _gathered((50, 64), 0, (3000, 1)),
    _gathered((9,), 0, (40,), dtypes=EVERY),
    # Rows of each of several, of another axis, elements one by one.
    _gathered((3, 7, 5), 1, (3, 4, 1)),
    _gathered((3, 7, 5), 1, (1, 4, 1), from_end=True),
    _gathered((3, 7, 5), 1, (1, 4, 5)),
    _gathered((3, 7, 5), 1, (3, 9, 5), dtypes=EVERY),
    _gathered((3, 7, 5), 2, (3, 7, 2), from_end=True),
    _gathered((6, 40), 0, (90, 40)),
    _gathered((2, 3, 4), 0, (5, 3, 4)),
    _scattered(Scatter(0, "sum", rows=4), 4, (3, 5), (3, 1)),
    _scattered(Scatter(0, "sum", rows=4), 4, (0, 5), (0, 1)),
    _scattered(Scatter(0, "sum", rows=7, skipped=3), 7, (40, 1), (40, 1)),
    _scattered(Scatter(0, "sum", rows=50), 50, (3000, 64), (3000, 1)),
    _scattered(Scatter(0, "sum", rows=9, skipped=0), 9, (600, 200), (600, 1)),
    _scattered(Scatter(0, "replace", rows=9), 9, (5, 4), (5, 4), dtypes=EVERY),
    *(
        _scattered(Scatter(axis, kind, own), rows, source, index)
        for kind in ("sum", "prod", "amax", "amin")
        for own in (True, False)
        for axis, rows, source, index in (
            (0, 5, (9, 4), (9, 1)),
            (1, 3, (2, 5, 4), (2, 5, 4) if own else (1, 5, 1)),
        )
    ),
    *(
        _scattered(Scatter(axis, "replace"), rows, source, index)
        for axis, rows, source, index in (
            (0, 7, (3,), (3,)),
            (0, 4, (1, 5), (1, 1)),
            (1, 5, (4, 9), (1, 9)),
            (1, 40, (3, 1, 33), (1, 1, 1)),
            (2, 5, (2, 6, 0), (2, 6, 0)),
            (1, 7, (30, 4, 64), (30, 4, 1)),
            (1, 300, (1, 200, 9), (1, 200, 9)),
            (0, 2, (1, 0, 3), (1, 1, 1)),
        )
    ),
    *(
        _scattered(Scatter(1, kind, own), 5, (3, 40, 7), (3, 40, 7), dtypes)
        for kind, dtypes in (
            ("sum", INTEGERS),
            ("prod", INTEGERS),
            ("amax", (*INTEGERS, "bool")),
            ("amin", (*INTEGERS, "bool")),
            ("replace", (*INTEGERS, "bool")),
        )
        for own in (True, False)[: 2 if kind in ("amax", "prod") else 1]
    ),
    _scattered(Scatter(0, "sum"), 11, (700, 96), (700, 1), INTEGERS),
    *(_indexed(*sizes) for sizes in (((3,), 4), ((), 2), ((2, 3), 7), ((0,), 4), ((3000,), 50))),
    _indexed((2000,), 7, from_end=True),
]
