# SPDX-License-Identifier: Apache-2.0
"""One case: an op, the arrays it is given, and how its result is to be judged.

An oracle maps the arrays to what the result should be, in higher precision than the dtype; it is
written here, independently of the op's own reference. `judge` raises comparators.Mismatch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from comparators import same_values, within_scale, within_ulps
from lamella.ops.base import Op

Arrays = tuple[np.ndarray, ...]
Oracle = Callable[..., np.ndarray]
# Raises unless the first argument is right for the operands that follow.
Judge = Callable[..., None]


@dataclass(frozen=True)
class Case:
    """inputs: makes the operands. constant: operands handed over as weights, by position.

    output: the one that is judged, of an op with several; the others are not asked for.
    """

    name: str
    op: Op
    inputs: Callable[[np.random.Generator, str], Arrays]
    judge: Judge
    constant: tuple[int, ...] = ()
    dtypes: tuple[str, ...] = ("float32", "float64")
    output: int = 0

    def __str__(self) -> str:
        return self.name


def precise(x: np.ndarray) -> np.ndarray:
    """The operand as the oracle computes with it."""
    if x.dtype.kind != "f":
        return x
    return x.astype(np.float64 if x.dtype == np.float32 else np.longdouble)


def exactly(oracle: Oracle) -> Judge:
    """The oracle, on the operands as they are, gives the result itself."""

    def judge(got: np.ndarray, *arrays: np.ndarray) -> None:
        with np.errstate(all="ignore"):
            same_values(got, np.ascontiguousarray(oracle(*arrays)).reshape(got.shape))

    return judge


def rounded(oracle: Oracle, ulps: float = 0.5) -> Judge:
    """The result is within `ulps` units in the last place of the oracle."""

    def judge(got: np.ndarray, *arrays: np.ndarray) -> None:
        with np.errstate(all="ignore"):
            within_ulps(got, oracle(*map(precise, arrays)), got.dtype, ulps)

    return judge


def scaled(oracle: Oracle, scale: Oracle, units: Callable[..., object]) -> Judge:
    """The error is at most `units` roundings of `scale`; all three see the precise operands."""

    def judge(got: np.ndarray, *arrays: np.ndarray) -> None:
        operands = [precise(x) for x in arrays]
        with np.errstate(all="ignore"):
            reference, magnitude = oracle(*operands), scale(*operands)
            within_scale(got, reference, magnitude, got.dtype, units(*operands))

    return judge


def normal(*shapes: tuple[int, ...]) -> Callable[[np.random.Generator, str], Arrays]:
    """Operands of these shapes, normally distributed."""
    return lambda rng, dtype: tuple(rng.normal(size=shape).astype(dtype) for shape in shapes)


def uniform(
    low: float, high: float, *shapes: tuple[int, ...]
) -> Callable[[np.random.Generator, str], Arrays]:
    """Operands of these shapes, uniform in [low, high)."""
    return lambda rng, dtype: tuple(rng.uniform(low, high, shape).astype(dtype) for shape in shapes)


def masks(*shapes: tuple[int, ...]) -> Callable[[np.random.Generator, str], Arrays]:
    """Truth values."""
    return lambda rng, dtype: tuple(rng.integers(0, 2, shape).astype(bool) for shape in shapes)
