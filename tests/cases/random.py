# SPDX-License-Identifier: Apache-2.0
"""Dropout: every element is zero or scaled, and the number of zeros is what chance allows."""

from __future__ import annotations

import numpy as np

from cases.case import Case, uniform
from comparators import Mismatch, same_form, same_values
from lamella.ops.random import Dropout

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


CASES = [
    Case(f"dropout {shape} {p}", Dropout(p, 0), uniform(0.5, 1, shape), _judge(p))
    for shape in SHAPES
    for p in (0.0, 0.3, 0.5, 0.9, 1.0)
]
