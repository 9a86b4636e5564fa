# SPDX-License-Identifier: Apache-2.0
"""The same numbers for PyTorch, in float64, and what its answers are compared by."""

from __future__ import annotations

import numpy as np
import pytest

from comparators import same_values, within_ulps
from lamella.ops.tables import UNARY

torch = pytest.importorskip("torch")
torch.set_num_threads(1)


def draw(*shape: int, seed: int = 11, low: float = -3.0, high: float = 3.0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(low, high, shape).astype(np.float32)


def wide(x: np.ndarray) -> torch.Tensor:
    """The same numbers for the oracle: float64, other dtypes as they are."""
    return torch.from_numpy(x.astype(np.float64) if x.dtype.kind == "f" else x.copy())


def oracle(function, *inputs: np.ndarray, **named) -> np.ndarray:
    with torch.no_grad():
        return function(*map(wide, inputs), **named).numpy()


# Their argument has to be positive.
POSITIVE = {"sqrt", "rsqrt", "log", "log1p", "reciprocal"}


def samples(name: str) -> np.ndarray:
    if name in POSITIVE:
        return draw(7, 130, low=0.05, high=9.0)
    x = draw(7, 130)
    # Halves, to see how round and the corners of the piecewise functions behave.
    x[0] = np.arange(130) / 16 - 4
    return x


def check_unary(got: np.ndarray, want: np.ndarray, row: str, x: np.ndarray) -> None:
    bound = UNARY[row].ulp
    if bound == 0:
        same_values(got, want.astype(np.float32))
    else:
        # The sign of a zero result is not torch's to decide for us where torch computes x - x.
        want = np.where((want == 0) & (got == 0), np.copysign(0.0, got), want)
        within_ulps(got, want, np.float32, bound)
