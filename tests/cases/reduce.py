# SPDX-License-Identifier: Apache-2.0
"""Reductions: rows and columns, short, odd, chunked, empty; the chains of the contract.

A row sums 1024 columns in 16 lanes, then pairs of chunks, then the lanes by a tree; columns sum 64
rows to a chunk, 64 chunks to a group, then groups: those orders give the numbers of roundings.
"""

from __future__ import annotations

import math

import numpy as np

from cases.case import Case, exactly, normal, scaled, uniform
from lamella.ops.reduce import REDUCE, Reduce

# (shape, first axis, last axis)
ROWS = (
    ((5,), 0, 0),
    ((1, 1), 1, 1),
    ((3, 16), 1, 1),
    ((2, 3, 37), 2, 2),
    ((4, 5, 9), 1, 2),
    ((2, 3, 5), 0, 2),
    ((2, 5000), 1, 1),
    ((900, 130), 1, 1),
    ((0, 7), 1, 1),
)
COLUMNS = (((5, 3), 0, 0), ((2, 7, 33), 1, 1), ((3, 4, 5), 0, 1), ((130, 700), 0, 0))
EMPTY = (((3, 0), 1, 1), ((0,), 0, 0))


def row_chain(size: int) -> int:
    """Roundings of one row's sum: lanes, chunks in pairs, tree."""
    lanes = math.ceil(min(size, 1024) / 16)
    chunks = math.ceil(math.log2(max(1, math.ceil(size / 1024))))
    return lanes + chunks + 4


def column_chain(size: int) -> int:
    """Roundings of one column's sum: chunk, group, groups."""
    return min(size, 64) + min(math.ceil(size / 64), 64) + math.ceil(size / 4096)


def _flat(x: np.ndarray, first: int, last: int) -> np.ndarray:
    """The reduced axes as the last one."""
    shape = x.shape
    size = math.prod(shape[first : last + 1])
    rows = x.reshape((math.prod(shape[:first]), size, math.prod(shape[last + 1 :])))
    return rows.swapaxes(1, 2).reshape((*shape[:first], *shape[last + 1 :], size))


def _logsumexp(rows: np.ndarray) -> np.ndarray:
    peak = rows.max(-1, keepdims=True)
    return np.log(np.exp(rows - peak).sum(-1)) + peak[..., 0]


def _variance(rows: np.ndarray, correction: float) -> np.ndarray:
    deviations = rows - rows.mean(-1, keepdims=True)
    return np.square(deviations).sum(-1) / (rows.shape[-1] - correction)


def _deviation(rows: np.ndarray, correction: float) -> np.ndarray:
    return np.sqrt(_variance(rows, correction))


def _norm(rows: np.ndarray) -> np.ndarray:
    return np.sqrt(np.square(rows).sum(-1))


def _case(kind: str, shape: tuple[int, ...], first: int, last: int, keepdim: bool = False) -> Case:
    size, inner = math.prod(shape[first : last + 1]), math.prod(shape[last + 1 :])
    chain = row_chain(size) if inner == 1 else column_chain(size)
    kept = (1,) * (last + 1 - first) if keepdim else ()
    result = (*shape[:first], *kept, *shape[last + 1 :])
    correction = 0.0 if kind in ("var", "std") and size == 1 else 1.0
    sources = {
        "sum": lambda r: r.sum(-1),
        "mean": lambda r: r.sum(-1) / size,
        "prod": lambda r: r.prod(-1),
        "logsumexp": _logsumexp,
        "var": lambda r: _variance(r, correction),
        "std": lambda r: _deviation(r, correction),
        "norm": _norm,
    }
    scales = {
        "sum": lambda r: np.abs(r).sum(-1),
        "mean": lambda r: np.abs(r).sum(-1) / size,
        "prod": lambda r: np.abs(r.prod(-1)),
        # exp errs by 1 ulp and by the rounding of its argument, log relative to its value.
        "logsumexp": lambda r: 1 + np.abs(_logsumexp(r)),
        "var": lambda r: _variance(r, correction),
        "std": lambda r: _deviation(r, correction),
        "norm": _norm,
    }
    units = {
        "sum": chain,
        "mean": chain + 2,
        # Every multiplication rounds the whole product, in whatever order.
        "prod": size,
        "logsumexp": chain + 24,
        "var": 2 * chain + 6,
        # A root halves relative errors.
        "std": chain + 4,
        "norm": chain + 2,
    }
    if kind in sources:
        source, scale = sources[kind], scales[kind]
        judge = scaled(
            lambda x: np.asarray(source(_flat(x, first, last))).reshape(result),
            lambda x: np.asarray(scale(_flat(x, first, last))).reshape(result),
            lambda x: units[kind],
        )
    else:
        pick = {"max": np.max, "min": np.min, "argmax": np.argmax, "argmin": np.argmin}[kind]
        judge = exactly(lambda x: np.asarray(pick(_flat(x, first, last), -1)).reshape(result))
    inputs = uniform(0.9, 1.1, shape) if kind == "prod" else normal(shape)
    name = f"{kind} {shape} {first}..{last}{' keepdim' if keepdim else ''}"
    return Case(name, Reduce(kind, first, last, keepdim, correction), inputs, judge)


def _cases() -> list[Case]:
    cases = []
    for kind, row in REDUCE.items():
        if row.truth:
            continue  # of integers and truth values: cases/integers.py
        cases += [_case(kind, *sizes) for sizes in ROWS]
        cases += [_case(kind, *sizes, keepdim=True) for sizes in ROWS[:4]]
        if row.columns:
            cases += [_case(kind, *sizes) for sizes in COLUMNS]
    for sizes in EMPTY:
        cases += [_case(kind, *sizes) for kind in ("sum", "prod")]
    return cases


CASES = _cases()
