# SPDX-License-Identifier: Apache-2.0
"""Dropout: every element is zero or scaled, and the number of zeros is what chance allows.

Draws: numbers of the distribution, by the largest distance of the two distribution functions.
"""

from __future__ import annotations

from math import erf

import numpy as np

from cases.case import Case, uniform
from comparators import Mismatch, same_form, same_values
from lamella.ir.types import DType
from lamella.ops.random import Draw, Dropout

SHAPES = ((1,), (37,), (5, 7), (0, 3), (300, 700))


def _judge(p: float):
    def judge(got: np.ndarray, x: np.ndarray) -> None:
        same_form(got, x.shape, x.dtype)
        scale = x.dtype.type(1 / (1 - p)) if p < 1 else x.dtype.type(0)
        zero = got == 0
        same_values(np.where(zero, 0, got).astype(x.dtype), np.where(zero, 0, x * scale))
        # Six standard deviations of a binomial count: a right generator fails once in 10^9.
        dropped, n = int(zero.sum()), x.size
        if abs(dropped - n * p) > 6 * (n * p * (1 - p)) ** 0.5:
            raise Mismatch(f"dropout: {dropped} of {n} elements dropped at p = {p}")

    return judge


DISTRIBUTIONS = {
    "uniform": lambda x: x,
    "normal": np.vectorize(lambda x: (1 + erf(x / 2**0.5)) / 2, otypes=[float]),
}


def distributed(got: np.ndarray, kind: str) -> None:
    """Raises Mismatch unless a sample of at most 2^16 numbers may be of the distribution."""
    x = np.sort(got.reshape(-1)[: 2**16].astype(np.float64))
    n = x.size
    if kind == "uniform" and n and not 0 <= x[0] <= x[-1] < 1:
        raise Mismatch(f"uniform: numbers from {x[0]} to {x[-1]}")
    if n < 30:
        return
    below = DISTRIBUTIONS[kind](x)
    distance = np.abs(below - (np.arange(n) + 0.5) / n).max() - 0.5 / n
    # Exceeded once in 10^9 samples: 2 exp(-2 * 3.3^2) (Dvoretzky, Kiefer, Wolfowitz; Massart 1990).
    if distance > 3.3 / n**0.5:
        raise Mismatch(f"{kind}: distribution functions {distance} apart, n = {n}")


def _drawn(kind: str, shape: tuple[int, ...], dtype: str) -> Case:
    def judge(got: np.ndarray) -> None:
        same_form(got, shape, np.dtype(dtype))
        distributed(got, kind)

    op = Draw(kind, shape, DType.of(dtype), 0)
    return Case(f"draw {kind} {shape} {dtype}", op, lambda rng, dtype: (), judge, dtypes=(dtype,))


CASES = [
    _drawn(kind, shape, dtype)
    for kind in ("uniform", "normal")
    for shape in ((), *SHAPES)
    for dtype in ("float32", "float64")
] + [
    Case(f"dropout {shape} {p}", Dropout(p, 0), uniform(0.5, 1, shape), _judge(p))
    for shape in SHAPES
    for p in (0.0, 0.3, 0.5, 0.9, 1.0)
]
