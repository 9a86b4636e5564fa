# SPDX-License-Identifier: Apache-2.0
"""A formula, the calls it is tried with, and the arrays that they share.

A formula takes the arguments of the function it stands for, arrays in float64, and is written from
the definition, never from the library's own. The calls give every option another value than its
default. Judged is what a function means on ordinary numbers; how exact it is, is judged elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from comparators import same_bits, within_scale

# Roundings of the largest term that went into an element. None of the calls sums more than 60
# terms, each of a few roundings, and a term of another sign, index or axis is off by millions.
UNITS = 256


@dataclass(frozen=True)
class Call:
    """Positional and named arguments."""

    args: tuple[Any, ...]
    named: dict[str, Any]


@dataclass(frozen=True)
class Formula:
    """of: the formula; calls: at least one."""

    of: Callable[..., Any]
    calls: tuple[Call, ...]


def call(*args: Any, **named: Any) -> Call:
    return Call(args, named)


def formula(of: Callable[..., Any], *calls: Call) -> Formula:
    return Formula(of, calls)


def draw(*shape: int, seed: int = 0, low: float = -3.0, high: float = 3.0) -> np.ndarray:
    """Numbers of both signs, some of them on both sides of every corner of an activation."""
    return np.random.default_rng(100 + seed).uniform(low, high, shape).astype(np.float32)


def wide(value: Any) -> Any:
    """The same argument with its floating arrays in float64."""
    if isinstance(value, np.ndarray) and value.dtype.kind == "f":
        return value.astype(np.float64)
    if isinstance(value, list):
        return [wide(one) for one in value]
    return value


def judge(function: Callable[..., Any], row: Formula, one: Call) -> None:
    """Raises comparators.Mismatch unless the function gives what its formula does."""
    got = function(*one.args, **one.named)
    named = {name: wide(value) for name, value in one.named.items()}
    with np.errstate(all="ignore"):
        want = row.of(*map(wide, one.args), **named)
    if not isinstance(want, tuple):
        got, want = (got,), (want,)
    assert len(got) == len(want)
    for mine, exact in zip(got, want, strict=True):
        near(mine, np.asarray(exact))


def near(got: Any, want: np.ndarray) -> None:
    """Numbers within UNITS roundings of the larger of one and the result, all else exactly."""
    if want.dtype.kind != "f":
        same_bits(got, np.ascontiguousarray(want).reshape(want.shape))
        return
    if got.dtype == np.float64:  # asked for by dtype=, or the answer to integers
        got = got.astype(np.float32)
    within_scale(got, want, 1.0 + np.abs(want), np.float32, UNITS)
